package amqp

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/plugin"
)

// Config is the settings of a broker's node.
type Config struct {
	URL              string          `json:"url,omitempty" doc:"the broker, amqps or amqp; not with connectionString" example:"amqps://broker.example.com:5671"`
	ConnectionString causeway.Secret `json:"connectionString,omitempty" doc:"of a Service Bus or Event Hubs namespace, or of one entity in it: Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…[;EntityPath=…]"`
	Address          string          `json:"address,omitempty" doc:"queue, topic, event hub or other node; may be left out when the connection string has an EntityPath" example:"telemetry"`
	User             string          `json:"user,omitempty" doc:"user name for SASL PLAIN; without one it is ANONYMOUS, or EXTERNAL with a client certificate"`
	Password         causeway.Secret `json:"password,omitempty" doc:"password for SASL PLAIN"`
	Batch            int             `json:"batch" doc:"the most messages that are sent before the broker must have accepted them, 1 to 1000" default:"200"`
	Properties       string          `json:"stamps,omitempty" doc:"whether what the hub stamped on a message stands among the application properties too, as receivers of queues expect: yes or no; default: no for event hubs" oneof:"yes no"`

	CA         string          `json:"caCertificates,omitempty" doc:"certificates, PEM, that the broker's must be signed by; default: those the system trusts"`
	ClientCert string          `json:"clientCertificate,omitempty" doc:"certificate chain, PEM, by which the broker knows us"`
	ClientKey  causeway.Secret `json:"clientKey,omitempty" doc:"private key of clientCertificate, PEM"`
}

// target is where and how to connect.
type target struct {
	addr    string // host and port
	host    string
	address string
	tls     *tls.Config // nil for none
	user    string
	secret  causeway.Secret
	key     causeway.Secret // of a shared access policy; then user is its name
	token   string          // made in advance
}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	if c.Batch < 1 || c.Batch > 1000 {
		return fmt.Errorf("setting %q is %d: it must be 1 to 1000", "batch", c.Batch)
	}
	_, err := c.target()
	return err
}

func (c *Config) target() (target, error) {
	tc, err := plugin.TLS(c.CA, c.ClientCert, c.ClientKey)
	if err != nil {
		return target{}, err
	}
	var t target
	switch {
	case (c.URL == "") == (c.ConnectionString == ""):
		return t, errors.New("one of the settings url and connectionString must be given")
	case c.ConnectionString != "":
		t, err = c.ofString(tc)
	default:
		t, err = c.ofURL(tc)
	}
	if err == nil && t.address == "" {
		err = fmt.Errorf("setting %q is missing: the queue, topic or other node to send to", "address")
	}
	return t, err
}

func (c *Config) ofURL(tc *tls.Config) (target, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "amqp" && u.Scheme != "amqps" {
		return target{}, fmt.Errorf("setting %q is %q: it must be an address that begins with amqps:// or amqp://", "url", c.URL)
	}
	if u.User != nil {
		return target{}, fmt.Errorf("setting %q has a user in it: use the settings user and password", "url")
	}
	if (c.User == "") != (c.Password == "") {
		return target{}, errors.New("settings user and password go together")
	}
	t := target{host: u.Hostname(), address: c.Address, user: c.User, secret: c.Password}
	port := "5672"
	if u.Scheme == "amqps" {
		t.tls, port = tc, "5671"
	}
	t.addr = net.JoinHostPort(t.host, cmp.Or(u.Port(), port))
	return t, nil
}

func (c *Config) ofString(tc *tls.Config) (target, error) {
	if c.User != "" {
		return target{}, errors.New("settings user and connectionString do not go together: the connection string says who we are")
	}
	if !strings.Contains(strings.ToLower(string(c.ConnectionString)), "endpoint=") {
		return target{}, fmt.Errorf("setting %q must have an Endpoint=sb://…/", "connectionString")
	}
	cs, err := sas.ParseConnectionString(string(c.ConnectionString))
	if err != nil {
		return target{}, fmt.Errorf("setting %q: %w", "connectionString", err)
	}
	u, err := url.Parse(cs.Endpoint)
	if err != nil || u.Host == "" {
		return target{}, fmt.Errorf("setting %q must have an Endpoint=sb://…/", "connectionString")
	}
	if cs.SharedAccessSignature == "" && (cs.SharedAccessKeyName == "" || cs.SharedAccessKey == "") {
		return target{}, fmt.Errorf("setting %q must have a SharedAccessKeyName and a SharedAccessKey", "connectionString")
	}
	t := target{
		host: u.Hostname(), address: cmp.Or(c.Address, cs.EntityPath), tls: tc,
		user: cs.SharedAccessKeyName, key: causeway.Secret(cs.SharedAccessKey), token: cs.SharedAccessSignature,
	}
	port := "5671"
	if cs.Emulator {
		t.tls, port = nil, "5672"
	}
	t.addr = net.JoinHostPort(t.host, cmp.Or(u.Port(), port))
	return t, nil
}
