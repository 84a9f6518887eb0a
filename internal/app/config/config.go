// Package config is the configuration of a cloud: what can be set, the values
// it has when nothing is set, and where settings come from. Later sources win:
//
//	defaults < YAML file < environment (CAUSEWAY_…) < flags
//
// Files are read strictly: an unknown key is an error that names its line and
// the key that was probably meant. The package knows no flags (package cli
// does) and starts nothing.
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/core/quota"
)

//go:embed example.yaml
var example string

// Example returns a file with every setting, its default and what it means. It
// is itself a valid file that changes nothing.
func Example() string { return example }

// Config is the configuration of a cloud. The yaml names are the settings'
// names; the environment has them in upper case, joined by "_" and with
// CAUSEWAY_ in front: CAUSEWAY_LISTEN_HTTPS.
type Config struct {
	Data   string `yaml:"data"`
	Listen Listen `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	Hubs   []Hub  `yaml:"hubs"`
	// Provisioning are provisioning services that exist from the first start on.
	Provisioning []Provisioning `yaml:"provisioning"`
	// LinkedHubsCA is a PEM file with the authorities that the certificates of
	// linked hubs elsewhere come from, beside those of the system.
	LinkedHubsCA string `yaml:"linkedHubsCA"`
	Log          Log    `yaml:"log"`
	Events       Events `yaml:"events"`
	Blobs        Blobs  `yaml:"blobs"`
	Trace        Trace  `yaml:"trace"`

	Endpoints Endpoints `yaml:"endpoints"`
	Stop      Stop      `yaml:"stop"`

	Pprof       bool `yaml:"pprof"`       // profiles under /debug/pprof/, for the administrator
	OpenMetrics bool `yaml:"openMetrics"` // /metrics for everybody

	// FaultInjection lets clients ask for faults, as test suites do.
	FaultInjection bool `yaml:"faultInjection"`
}

// Listen says where the cloud can be reached. Addresses are host:port; an
// empty one is not served, and port 0 takes any free port.
type Listen struct {
	HTTPS string `yaml:"https"`
	MQTT  string `yaml:"mqtt"`
	AMQP  string `yaml:"amqp"`
}

// TLS says which certificate the cloud shows.
type TLS struct {
	Names       []string `yaml:"names"`       // besides localhost, the machine's name and the hubs' hosts
	Certificate string   `yaml:"certificate"` // PEM chain; "" = issued by the local CA
	Key         string   `yaml:"key"`         // PEM
}

// Hub is a hub that exists from the first start on.
type Hub struct {
	Name       string   `yaml:"name"`
	Hosts      []string `yaml:"hosts"` // names it answers to; none = its name
	Partitions int      `yaml:"partitions"`
	// Routing replaces the routing of the hub at every start; nil leaves it
	// alone.
	Routing *Routing `yaml:"routing"`
	Quota   string   `yaml:"quota"` // edition whose limits it has; "" = none
	Units   int      `yaml:"units"` // of the edition; 0 = 1
}

// Provisioning is a provisioning service that exists from the first start on.
type Provisioning struct {
	Name  string   `yaml:"name"`
	Hosts []string `yaml:"hosts"` // names its API answers to; none = its name
	Hubs  []string `yaml:"hubs"`  // names of hubs that devices are assigned to; none = all
	// Throttle is a preset of how many calls it takes when it is made, "" = what
	// comes.
	Throttle string `yaml:"throttle"`
}

// Log is how the cloud writes its log.
type Log struct {
	Format string `yaml:"format"` // auto, text, json
	Level  string `yaml:"level"`  // debug, info, warn, error
}

// Events is how long telemetry is kept, where a hub has no setting of its own.
type Events struct {
	Retention      Duration `yaml:"retention"`
	RetentionBytes Bytes    `yaml:"retentionBytes"` // 0 = unlimited
	SegmentBytes   Bytes    `yaml:"segmentBytes"`
	// ConnectionSnapshot is how often events of connections are made, for hubs
	// with a route for them.
	ConnectionSnapshot Duration `yaml:"connectionSnapshot"`
}

// Endpoints is what custom endpoints of hubs may do.
type Endpoints struct {
	// Private lets them lead to private networks and to this machine.
	Private bool `yaml:"private"`
	// DeadLetters is how long messages are kept that they did not get, and
	// DeadLetterBytes how much of them, of each hub.
	DeadLetters     Duration `yaml:"deadLetters"`
	DeadLetterBytes Bytes    `yaml:"deadLetterBytes"`
}

// Blobs is where the files are that devices upload, and others: in a bucket of a
// service that speaks S3 or, without an endpoint, in the data directory.
type Blobs struct {
	Endpoint      string `yaml:"endpoint"` // host or host:port
	Bucket        string `yaml:"bucket"`
	Prefix        string `yaml:"prefix"` // of all keys; ends in a slash
	Region        string `yaml:"region"` // "" asks the service
	AccessKey     string `yaml:"accessKey"`
	SecretKeyFile string `yaml:"secretKeyFile"`
	Plain         bool   `yaml:"plain"` // HTTP, for a service on the same machine
}

// Trace is where OpenTelemetry traces go.
type Trace struct {
	Endpoint string `yaml:"endpoint"` // OTLP over HTTP, "" for none
}

// Stop is how the cloud ends.
type Stop struct {
	Drain Duration `yaml:"drain"` // time that connections have to finish
}

// Bounds of settings.
const (
	MaxHubs         = 1000
	MinSegmentBytes = 1 << 20
	MaxSegmentBytes = 4 << 30
	MaxDrain        = 5 * time.Minute
)

// Default returns the configuration of a cloud that nobody configured.
func Default() Config {
	return Config{
		Data:      "causeway-data",
		Listen:    Listen{HTTPS: ":443", MQTT: ":8883", AMQP: ":5671"},
		Log:       Log{Format: "auto", Level: "info"},
		Events:    Events{Retention: Duration(causeway.DefaultRetention), SegmentBytes: 64 << 20, ConnectionSnapshot: Duration(time.Minute)},
		Endpoints: Endpoints{Private: true, DeadLetters: Duration(7 * 24 * time.Hour), DeadLetterBytes: 256 << 20},
		Stop:      Stop{Drain: Duration(10 * time.Second)},
	}
}

// Load returns the defaults, overlaid by the file (nil for none; name is for
// messages) and the environment, which is a list of KEY=value. Unknown
// environment variables do not fail it, since Kubernetes sets
// CAUSEWAY_SERVICE_HOST and the like for a service of that name; they are
// returned for a warning.
func Load(name string, file []byte, env []string) (c Config, unknown []string, err error) {
	c = Default()
	if file != nil {
		if err := decode(name, file, &c); err != nil {
			return Config{}, nil, err
		}
	}
	unknown, err = overlay(&c, env)
	if err != nil {
		return Config{}, nil, err
	}
	return c, unknown, nil
}

var hubName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate says everything that is wrong with c, one error per line.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Data == "" {
		bad("data: is empty; name the directory that keeps everything")
	}
	for _, a := range []struct{ key, value string }{
		{"listen.https", c.Listen.HTTPS}, {"listen.mqtt", c.Listen.MQTT}, {"listen.amqp", c.Listen.AMQP},
	} {
		if a.value == "" {
			continue
		}
		if err := checkAddress(a.value); err != nil {
			bad("%s: %w", a.key, err)
		}
	}
	if c.Listen.HTTPS == "" {
		bad("listen.https: is empty; the service API, WebSockets and the administration need it, e.g. \":8443\"")
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		bad("tls: certificate and key belong together; one of them is missing")
	}
	for _, name := range c.TLS.Names {
		if err := pki.CheckName(name); err != nil {
			bad("tls.names: %w; a name with other letters is written in its ASCII form, xn--…", err)
		}
	}
	if len(c.Hubs) > MaxHubs {
		bad("hubs: %d are more than %d", len(c.Hubs), MaxHubs)
	}
	seen := map[string]bool{}
	for i, h := range c.Hubs {
		switch {
		case !hubName.MatchString(h.Name):
			bad("hubs[%d].name: %q is not a host label (lower-case letters, digits, inner hyphens)", i, h.Name)
		case seen[h.Name]:
			bad("hubs[%d].name: %q is there twice", i, h.Name)
		case h.Partitions < 0 || h.Partitions > causeway.MaxPartitions:
			bad("hubs[%d].partitions: %d is not within 1 and %d", i, h.Partitions, causeway.MaxPartitions)
		}
		if h.Quota == "" && h.Units != 0 {
			bad("hubs[%d].units: there is no edition to have units; set quota, e.g. standard-s1", i)
		} else if _, err := (&quota.Settings{Preset: h.Quota, Units: h.Units}).Limits(); err != nil {
			bad("hubs[%d].quota: %s", i, causeway.MessageOf(err))
		}
		seen[h.Name] = true
	}
	if len(c.Provisioning) > MaxHubs {
		bad("provisioning: %d are more than %d", len(c.Provisioning), MaxHubs)
	}
	services := map[string]bool{}
	for i, p := range c.Provisioning {
		switch {
		case !hubName.MatchString(p.Name):
			bad("provisioning[%d].name: %q is not a host label (lower-case letters, digits, inner hyphens)", i, p.Name)
		case services[p.Name]:
			bad("provisioning[%d].name: %q is there twice", i, p.Name)
		}
		if _, err := (&dps.Throttle{Preset: p.Throttle}).Resolve(); err != nil {
			bad("provisioning[%d].throttle: %s", i, causeway.MessageOf(err))
		}
		services[p.Name] = true
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		bad("log.format: %q is none of auto, text, json", c.Log.Format)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Events.Retention < Duration(time.Minute) {
		bad("events.retention: %v is less than a minute", c.Events.Retention)
	}
	if c.Events.RetentionBytes < 0 {
		bad("events.retentionBytes: is negative; 0 means unlimited")
	}
	if c.Events.SegmentBytes < MinSegmentBytes || c.Events.SegmentBytes > MaxSegmentBytes {
		bad("events.segmentBytes: %v is not within %v and %v", c.Events.SegmentBytes, Bytes(MinSegmentBytes), Bytes(MaxSegmentBytes))
	}
	if c.Endpoints.DeadLetters < Duration(time.Minute) {
		bad("endpoints.deadLetters: %v is less than a minute", c.Endpoints.DeadLetters)
	}
	if c.Endpoints.DeadLetterBytes < 1<<20 {
		bad("endpoints.deadLetterBytes: %v is less than 1MiB", c.Endpoints.DeadLetterBytes)
	}
	if c.Events.ConnectionSnapshot < Duration(time.Second) || c.Events.ConnectionSnapshot > Duration(time.Hour) {
		bad("events.connectionSnapshot: %v is not within 1s and 1h", c.Events.ConnectionSnapshot)
	}
	if b := c.Blobs; b.Endpoint != "" && (b.Bucket == "" || b.AccessKey == "" || b.SecretKeyFile == "") {
		bad("blobs: endpoint needs bucket, accessKey and secretKeyFile beside it")
	} else if b.Endpoint == "" && b != (Blobs{}) {
		bad("blobs: endpoint is missing: host:port of the service")
	} else if b.Prefix != "" && !strings.HasSuffix(b.Prefix, "/") {
		bad("blobs.prefix: %q does not end in a slash", b.Prefix)
	}
	if c.Stop.Drain < 0 || c.Stop.Drain > Duration(MaxDrain) {
		bad("stop.drain: %v is not within 0 and %v", c.Stop.Drain, MaxDrain)
	}
	return errors.Join(errs...)
}

func checkAddress(a string) error {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		if !strings.Contains(a, ":") {
			return fmt.Errorf("%q has no port; write \":%s\" or \"host:port\"", a, a)
		}
		return fmt.Errorf("%q is not host:port", a)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q is not a port", port)
	}
	return nil
}
