package causeway

import (
	"crypto/x509"
	"log/slog"
	"strings"
	"time"
)

// Identity names a device, or a module of a device, of one hub. Device and
// module ids are case-sensitive, at most [MaxIDLength] characters.
type Identity struct {
	Hub    string // canonical name of the hub, its first host label in lower case
	Device string
	Module string // "" for a device
}

// IsModule reports whether id names a module.
func (id Identity) IsModule() bool { return id.Module != "" }

// String returns "device" or "device/module", the form of an MQTT client id.
func (id Identity) String() string {
	if id.Module == "" {
		return id.Device
	}
	return id.Device + "/" + id.Module
}

// Parent returns the device that id belongs to: id itself for a device.
func (id Identity) Parent() Identity { return Identity{Hub: id.Hub, Device: id.Device} }

// LogValue groups the parts of the identity in a log line.
func (id Identity) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("hub", id.Hub), slog.String("device", id.Device)}
	if id.Module != "" {
		attrs = append(attrs, slog.String("module", id.Module))
	}
	return slog.GroupValue(attrs...)
}

// Secret is text that must never reach a log: a key, a token, a password.
type Secret string

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// String hides the secret; convert with string(s) to use it.
func (Secret) String() string { return "REDACTED" }

// GoString hides the secret in %#v.
func (Secret) GoString() string { return "REDACTED" }

// Transport names how a client is connected, for diagnostics and metrics.
type Transport string

// The transports of the device side.
const (
	MQTT   Transport = "mqtt"
	MQTTWS Transport = "mqtt-ws"
	AMQP   Transport = "amqp"
	AMQPWS Transport = "amqp-ws"
	HTTPS  Transport = "https"
)

// Credential is what a client presents to open a session: who it says it is,
// and its proof. Exactly one of Token and Certificates proves a device; when
// both are given the registered authentication type decides.
type Credential struct {
	Host     string // host name the client asked for; selects the hub
	Identity Identity
	Token    Secret // shared access signature, "" when none
	// Certificates is the chain presented in the TLS handshake, leaf first.
	Certificates []*x509.Certificate
	// Path is what a single request is about, decoded, such as
	// /devices/{d}/messages/events: a token need not be good for more. "" is for
	// a connection, which is about the identity as a whole.
	Path string

	APIVersion string
	ClientType string // user agent, for diagnostics
	ModelID    string // digital twin model id announced at connect, or ""
	AuthChain  string // nested edge: ids separated by ';', nearest first
	Transport  Transport
	RemoteAddr string
}

// AuthScope says whose key proved a session.
type AuthScope string

// The scopes of authentication.
const (
	ScopeHub    AuthScope = "hub" // a shared access policy
	ScopeDevice AuthScope = "device"
	ScopeModule AuthScope = "module"
)

// AuthMethod is how a session was authenticated; it is stamped on telemetry as
// iothub-connection-auth-method.
type AuthMethod struct {
	Scope   AuthScope
	Type    string    // "sas" or "x509"
	Expires time.Time // zero when the proof does not expire
	// Grounds is what of the hub vouches for the proof: a key of a policy, or a
	// certificate authority. It is opaque, "" for a proof by the identity's own
	// record.
	Grounds string
}

// JSON returns the text of the iothub-connection-auth-method annotation.
func (m AuthMethod) JSON() string {
	var b strings.Builder
	b.WriteString(`{"scope":"`)
	b.WriteString(string(m.Scope))
	b.WriteString(`","type":"`)
	b.WriteString(m.Type)
	b.WriteString(`","issuer":"iothub","acceptingIpFilterRule":null}`)
	return b.String()
}
