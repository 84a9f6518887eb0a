package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

// The forms of payloads.
const (
	PayloadBody   = "body"   // what the device sent; properties are headers
	PayloadRecord = "record" // a JSON object with body and properties
)

// Config is the settings of a Kafka endpoint.
type Config struct {
	Brokers     []string        `json:"brokers" doc:"some of the brokers, host and port" example:"[\"kafka-1.example.com:9092\"]"`
	Topic       string          `json:"topic" doc:"the topic" example:"telemetry"`
	Create      bool            `json:"createTopic,omitempty" doc:"whether a topic that is not there is made, if the brokers allow it"`
	Payload     string          `json:"payload" doc:"what is produced: the body as it was sent, with properties as headers, or a record in JSON" default:"body" oneof:"body record"`
	Compression string          `json:"compression" doc:"of batches" default:"snappy" oneof:"none gzip snappy lz4 zstd"`
	Batch       int             `json:"batch" doc:"the most messages that are produced before they must be acknowledged, 1 to 1000" default:"500"`
	MaxBytes    int             `json:"maxBytes" doc:"the largest batch that the brokers take, 1024 to 16777216" default:"1000000"`
	User        string          `json:"user,omitempty" doc:"user name for SASL; of Event Hubs: $ConnectionString"`
	Password    causeway.Secret `json:"password,omitempty" doc:"password for SASL; of Event Hubs: the connection string"`
	Mechanism   string          `json:"mechanism" doc:"of SASL" default:"plain" oneof:"plain scram-sha-256 scram-sha-512"`

	TLS        bool            `json:"tls,omitempty" doc:"whether connections are encrypted"`
	CA         string          `json:"caCertificates,omitempty" doc:"certificates, PEM, that the brokers' must be signed by; default: those the system trusts"`
	ClientCert string          `json:"clientCertificate,omitempty" doc:"certificate chain, PEM, by which the brokers know us"`
	ClientKey  causeway.Secret `json:"clientKey,omitempty" doc:"private key of clientCertificate, PEM"`
}

// maxBrokers bounds the brokers that are named.
const maxBrokers = 32

// topicForm is what topics may be called.
var topicForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	switch {
	case len(c.Brokers) == 0 || len(c.Brokers) > maxBrokers:
		return fmt.Errorf("setting %q has %d brokers: it must have 1 to %d", "brokers", len(c.Brokers), maxBrokers)
	case !topicForm.MatchString(c.Topic) || c.Topic == "." || c.Topic == "..":
		return fmt.Errorf("setting %q is %q: it must be 1 to 249 letters, digits, dots, hyphens and underscores", "topic", c.Topic)
	case c.Batch < 1 || c.Batch > 1000:
		return fmt.Errorf("setting %q is %d: it must be 1 to 1000", "batch", c.Batch)
	case c.MaxBytes < 1024 || c.MaxBytes > 16<<20:
		return fmt.Errorf("setting %q is %d: it must be 1024 to 16777216", "maxBytes", c.MaxBytes)
	case (c.User == "") != (c.Password == ""):
		return errors.New("settings user and password go together")
	case !c.TLS && (c.CA != "" || c.ClientCert != ""):
		return errors.New("certificates are for encrypted connections: set tls to true")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return fmt.Errorf("setting %q: %q must be a host and a port, for example kafka-1.example.com:9092", "brokers", b)
		}
	}
	_, err := c.tls()
	return err
}

// tls returns how the brokers are known, and we to them; nil for not at all.
func (c *Config) tls() (*tls.Config, error) {
	t, err := plugin.TLS(c.CA, c.ClientCert, c.ClientKey)
	if err != nil || !c.TLS {
		return nil, err
	}
	return t, nil
}
