package webhook

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

// The formats of bodies.
const (
	FormatJSON        = "json"
	FormatCloudEvents = "cloudEvents"
	FormatEventGrid   = "eventGrid"
)

// Config is the settings of a webhook.
type Config struct {
	URL        string            `json:"url" doc:"where messages are posted, http or https" example:"https://example.com/messages"`
	Format     string            `json:"format" doc:"what is posted: an array of records as IoT Hub writes them to storage, CloudEvents 1.0, or Event Grid events" default:"json" oneof:"json cloudEvents eventGrid"`
	Validation string            `json:"validation" doc:"whether the receiver must say that it wants messages before it gets any: by the handshake of Event Grid, or of CloudEvents; for the format json there is none" default:"required" oneof:"required none"`
	Batch      int               `json:"batch" doc:"the most messages of one request, 1 to 1000; with 1, a CloudEvent is posted by itself and not as an array" default:"100"`
	MaxBytes   int               `json:"maxBytes" doc:"about how large a request may be, but for one message, 1024 to 16777216" default:"1048576"`
	Timeout    plugin.Duration   `json:"timeout" doc:"how long the receiver has for a reply, 1s to 100s" default:"30s"`
	Headers    map[string]string `json:"headers,omitempty" doc:"headers of each request; they are shown to whoever may read the settings"`
	Topic      string            `json:"topic,omitempty" doc:"what events come from; default: a resource id that ends in the name of the hub"`

	Token    causeway.Secret `json:"token,omitempty" doc:"bearer token"`
	User     string          `json:"user,omitempty" doc:"user name for basic authentication"`
	Password causeway.Secret `json:"password,omitempty" doc:"password for basic authentication"`
	KeyName  string          `json:"keyHeader,omitempty" doc:"header in which the key is sent" example:"x-functions-key"`
	Key      causeway.Secret `json:"key,omitempty" doc:"key that is sent in the header keyHeader"`
	Signing  causeway.Secret `json:"signingKey,omitempty" doc:"key that bodies are signed with as Standard Webhooks says: whsec_ and base64, or any text"`

	CA         string          `json:"caCertificates,omitempty" doc:"certificates, PEM, that the receiver's must be signed by; default: those the system trusts"`
	ClientCert string          `json:"clientCertificate,omitempty" doc:"certificate chain, PEM, by which the receiver knows us"`
	ClientKey  causeway.Secret `json:"clientKey,omitempty" doc:"private key of clientCertificate, PEM"`
}

// reserved are headers that are set by what they mean.
var reserved = []string{"Content-Type", "Content-Length", "Host", "Authorization", "Aeg-Event-Type", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Transfer-Encoding", "Connection"}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("setting %q is %q: it must be an address that begins with https:// or http://", "url", c.URL)
	case u.User != nil:
		return fmt.Errorf("setting %q has a user in it: use the settings user and password", "url")
	case c.Batch < 1 || c.Batch > 1000:
		return fmt.Errorf("setting %q is %d: it must be 1 to 1000", "batch", c.Batch)
	case c.MaxBytes < 1024 || c.MaxBytes > 16<<20:
		return fmt.Errorf("setting %q is %d: it must be 1024 to 16777216", "maxBytes", c.MaxBytes)
	case time.Duration(c.Timeout) < time.Second || time.Duration(c.Timeout) > 100*time.Second:
		return fmt.Errorf("setting %q is %v: it must be 1s to 100s", "timeout", time.Duration(c.Timeout))
	case (c.User == "") != (c.Password == ""):
		return errors.New("settings user and password go together")
	case (c.KeyName == "") != (c.Key == ""):
		return errors.New("settings keyHeader and key go together")
	case c.Token != "" && c.User != "":
		return errors.New("a request has one authorization: set token, or user and password, not both")
	case len(c.Headers) > maxHeaders:
		return fmt.Errorf("there are %d headers, at most %d may be set", len(c.Headers), maxHeaders)
	}
	if c.KeyName != "" && !httpguts.ValidHeaderFieldName(c.KeyName) {
		return fmt.Errorf("setting %q: %q is no name of a header", "keyHeader", c.KeyName)
	}
	for k, v := range c.Headers {
		if !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
			return fmt.Errorf("setting %q: %q is no header", "headers", k)
		}
		if slices.Contains(reserved, textproto.CanonicalMIMEHeaderKey(k)) {
			return fmt.Errorf("setting %q: %s is set by the server; for authorization use token, or user and password", "headers", k)
		}
	}
	if !httpguts.ValidHeaderFieldValue(string(c.Token)) || !httpguts.ValidHeaderFieldValue(string(c.Key)) {
		return errors.New("settings token and key may not have line breaks or other control characters")
	}
	if _, err := c.signingKey(); err != nil {
		return err
	}
	_, err = c.tls()
	return err
}

// signingKey returns the bytes of the key that bodies are signed with.
func (c *Config) signingKey() ([]byte, error) {
	text, ok := strings.CutPrefix(string(c.Signing), "whsec_")
	if !ok {
		return []byte(c.Signing), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("setting %q must be base64 after whsec_", "signingKey")
	}
	return key, nil
}

// tls returns how the receiver is known, and we to it.
func (c *Config) tls() (*tls.Config, error) { return plugin.TLS(c.CA, c.ClientCert, c.ClientKey) }
