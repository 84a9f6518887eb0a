package endpoint

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/plugin"
)

// EventHub is the kind of endpoints that are an event log of their own, which
// back ends read as they read the hub's events.
const EventHub = "eventHub"

// deliveryKey is the member of an endpoint's config that says how patient its
// queue is. The others are those of its kind.
const deliveryKey = "delivery"

// EventHubConfig is the settings of an event hub.
type EventHubConfig struct {
	Partitions     int             `json:"partitions" doc:"how many, 1 to 32, fixed once it is made; 0 is as many as the hub's events have" default:"0"`
	Retention      plugin.Duration `json:"retention" doc:"how long messages are kept, 1m to 168h" default:"24h"`
	RetentionBytes int64           `json:"retentionBytes" doc:"how many bytes of them are kept at most; 0 is without a bound" default:"0"`
}

// Validate reports what is wrong with c.
func (c *EventHubConfig) Validate() error {
	switch d := time.Duration(c.Retention); {
	case c.Partitions < 0 || c.Partitions > causeway.MaxPartitions:
		return fmt.Errorf("setting %q is %d: it must be 1 to %d, or 0", "partitions", c.Partitions, causeway.MaxPartitions)
	case d < time.Minute || d > 7*24*time.Hour:
		return fmt.Errorf("setting %q is %v: it must be 1m to 168h", "retention", d)
	case c.RetentionBytes < 0:
		return fmt.Errorf("setting %q is %d: it must not be negative", "retentionBytes", c.RetentionBytes)
	}
	return nil
}

// DeliveryConfig is the settings of a queue.
type DeliveryConfig struct {
	TTL         plugin.Duration `json:"ttl" doc:"how long a message may wait before it becomes a dead letter, 1m to 168h" default:"24h"`
	MaxAttempts int             `json:"maxAttempts" doc:"how often a message is sent that the endpoint refuses for good, 1 to 100" default:"3"`
	MaxBackoff  plugin.Duration `json:"maxBackoff" doc:"the longest pause between attempts, 1s to 1h" default:"1m"`
	MaxMessages int64           `json:"maxMessages" doc:"how many messages may wait, 100 to 1000000000" default:"1000000"`
	MaxBytes    int64           `json:"maxBytes" doc:"how many bytes may wait, 1048576 to 1099511627776" default:"1073741824"`
	WhenFull    string          `json:"whenFull" doc:"what becomes of messages that find the queue full: they become dead letters, or are dropped" default:"deadLetter" oneof:"deadLetter drop"`
}

func (c *DeliveryConfig) policy() delivery.Policy {
	return delivery.Policy{
		TTL: time.Duration(c.TTL), MaxAttempts: c.MaxAttempts, MaxBackoff: time.Duration(c.MaxBackoff),
		MaxMessages: c.MaxMessages, MaxBytes: c.MaxBytes, WhenFull: c.WhenFull,
	}
}

// Validate reports what is wrong with c.
func (c *DeliveryConfig) Validate() error { return c.policy().Validate() }

// Describe describes all kinds of endpoints, and the settings of queues that all
// of them but event hubs have in the member "delivery" of their config.
func Describe(sinks *plugin.Registry) (kinds []plugin.Kind, queue []plugin.Field) {
	kinds = append(sinks.Kinds(), plugin.Describe[EventHubConfig](EventHub,
		"Keeps messages in a log of their own on this server, which back ends read as they read the hub's events"))
	return kinds, plugin.Describe[DeliveryConfig](deliveryKey, "").Fields
}

// Kinds returns what checks the settings of each kind of endpoints.
func Kinds(sinks *plugin.Registry) routing.Kinds {
	checks := routing.Kinds{EventHub: func(e routing.EndpointSettings) error {
		if len(e.Secrets) > 0 {
			return causeway.Errorf(causeway.ArgumentInvalid, "endpoint.check", "an event hub of this server has no secrets")
		}
		_, err := plugin.Decode[EventHubConfig](e.Config)
		return check(e, err)
	}}
	for _, k := range sinks.Kinds() {
		checks[k.Name] = func(e routing.EndpointSettings) error {
			_, own, err := split(e.Config)
			if err == nil {
				err = secretsIn(sinks, e, own)
			}
			if err == nil {
				err = sinks.Check(e.Kind, own, e.Secrets)
			}
			return check(e, err)
		}
	}
	return checks
}

// check returns what is wrong with an endpoint.
func check(e routing.EndpointSettings, err error) error {
	switch {
	case !delivery.ValidName(e.Name):
		return causeway.Errorf(causeway.ArgumentInvalid, "endpoint.check", "a name begins with a letter or a digit")
	case err == nil:
		return nil
	}
	if code := causeway.CodeOf(err); code != causeway.ServerError {
		return err
	}
	return &causeway.Error{Code: causeway.ArgumentInvalid, Op: "endpoint.check", Msg: err.Error()}
}

// secretsIn refuses secrets among settings that are shown, and what is none
// among secrets.
func secretsIn(sinks *plugin.Registry, e routing.EndpointSettings, own json.RawMessage) error {
	_, secrets, err := sinks.Split(e.Kind, own)
	if err != nil {
		return err
	}
	for name := range secrets {
		return fmt.Errorf("setting %q is a secret: it must be among the secrets, which are sealed, and not in the config", name)
	}
	for name := range e.Secrets {
		if !sinks.IsSecret(e.Kind, name) {
			return fmt.Errorf("setting %q is no secret of endpoints of this kind: it must be in the config", name)
		}
	}
	return nil
}

// split takes the settings of the queue out of a config.
func split(config json.RawMessage) (queue DeliveryConfig, own json.RawMessage, err error) {
	values := map[string]json.RawMessage{}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &values); err != nil {
			return queue, nil, fmt.Errorf("config is no JSON object: %w", err)
		}
	}
	if queue, err = plugin.Decode[DeliveryConfig](values[deliveryKey]); err != nil {
		return queue, nil, fmt.Errorf("config member %q: %w", deliveryKey, err)
	}
	delete(values, deliveryKey)
	own, err = json.Marshal(values)
	return queue, own, err
}
