package mqtt

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/plugin"
)

// The forms of payloads.
const (
	PayloadBody   = "body"   // what the device sent
	PayloadRecord = "record" // a JSON object with body and properties
)

// Config is the settings of an MQTT endpoint.
type Config struct {
	URL      string          `json:"url" doc:"the broker, mqtts or mqtt" example:"mqtts://broker.example.com:8883"`
	Topic    string          `json:"topic" doc:"what messages are published under; {hub}, {deviceId}, {moduleId} and {source} stand for those of the message, in which + # and / are written as %2B %23 and %2F" default:"causeway/{hub}/{deviceId}"`
	Version  string          `json:"version" doc:"of the protocol; with 3.1.1 properties are left out of payloads that are the body" default:"5" oneof:"5 3.1.1"`
	Payload  string          `json:"payload" doc:"what is published: the body as it was sent, or a record with its properties in JSON" default:"body" oneof:"body record"`
	Retain   bool            `json:"retain,omitempty" doc:"whether the broker keeps the last message of a topic"`
	ClientID string          `json:"clientId,omitempty" doc:"default: causeway-, the hub, and the endpoint"`
	Batch    int             `json:"batch" doc:"the most messages that are published before the broker must have acknowledged them, 1 to 1000" default:"100"`
	User     string          `json:"user,omitempty" doc:"user name"`
	Password causeway.Secret `json:"password,omitempty" doc:"password"`

	CA         string          `json:"caCertificates,omitempty" doc:"certificates, PEM, that the broker's must be signed by; default: those the system trusts"`
	ClientCert string          `json:"clientCertificate,omitempty" doc:"certificate chain, PEM, by which the broker knows us"`
	ClientKey  causeway.Secret `json:"clientKey,omitempty" doc:"private key of clientCertificate, PEM"`
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts":
		return fmt.Errorf("setting %q is %q: it must be an address that begins with mqtts:// or mqtt://", "url", c.URL)
	case u.User != nil:
		return fmt.Errorf("setting %q has a user in it: use the settings user and password", "url")
	case c.Batch < 1 || c.Batch > 1000:
		return fmt.Errorf("setting %q is %d: it must be 1 to 1000", "batch", c.Batch)
	case c.Password != "" && c.User == "":
		return errors.New("setting password needs a user")
	case len(c.ClientID) > 256:
		return fmt.Errorf("setting %q has %d characters, at most 256 may be", "clientId", len(c.ClientID))
	}
	for _, p := range placeholder.FindAllString(c.Topic, -1) {
		switch p {
		case "{hub}", "{deviceId}", "{moduleId}", "{source}":
		default:
			return fmt.Errorf("setting %q has %s in it: it may have {hub}, {deviceId}, {moduleId} and {source}", "topic", p)
		}
	}
	if plain := placeholder.ReplaceAllString(c.Topic, "x"); !mqtt.ValidTopic(plain) || len(c.Topic) > 1024 || strings.HasPrefix(plain, "$") {
		return fmt.Errorf("setting %q is %q: it must be a topic name of at most 1024 bytes without + and # that does not begin with $", "topic", c.Topic)
	}
	_, err = c.tls()
	return err
}

func (c *Config) version() mqtt.Version {
	if c.Version == "3.1.1" {
		return mqtt.V311
	}
	return mqtt.V5
}

// escaped writes what would have a meaning in a topic so that it has none.
var escaped = strings.NewReplacer("+", "%2B", "#", "%23", "/", "%2F", "\x00", "")

// topic returns what a message is published under.
func (c *Config) topic(hub string, m *causeway.Message) string {
	return placeholder.ReplaceAllStringFunc(c.Topic, func(p string) string {
		switch p {
		case "{hub}":
			return hub
		case "{deviceId}":
			return escaped.Replace(m.From.Device)
		case "{moduleId}":
			return escaped.Replace(m.From.Module)
		}
		return escaped.Replace(m.Source)
	})
}

// addr returns the broker's host and port.
func (c *Config) addr() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "" // refused when the settings were checked
	}
	port := "1883"
	if u.Scheme == "mqtts" {
		port = "8883"
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
}

// tls returns how the broker is known, and we to it; nil for mqtt.
func (c *Config) tls() (*tls.Config, error) {
	t, err := plugin.TLS(c.CA, c.ClientCert, c.ClientKey)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "mqtts" {
		return nil, err
	}
	t.ServerName = u.Hostname()
	return t, nil
}
