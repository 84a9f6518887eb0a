package amqp

import (
	"cmp"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const opProvisioning = "amqp.provisioning"

// registration is what a connection is for whose client looks for its hub: one
// registration, with a link in each direction. Its fields are guarded by the
// connection's mutex, but for those that never change.
type registration struct {
	c    *conn
	addr dpsamqp.Address // ids as the client wrote them
	// The proof, beside the certificate of the TLS handshake, and the keys of a
	// TPM: all of SASL.
	token                          causeway.Secret
	endorsementKey, storageRootKey []byte

	proven     bool      // the provisioner has taken the proof once
	seen       time.Time // when it did last; before, when there was something of it first
	apiVersion string
	clientType string
	in         *wire.Receiver // the newest; nil for none
	out        *wire.Sender
	queue      registrationQueue
}

// registrationIn is the link on which the client sends, registrationOut the one
// on which it is answered.
type (
	registrationIn  struct{ g *registration }
	registrationOut struct{ g *registration }
)

// provisions reports whether host is one of a provisioning service.
func (v *serving) provisions(host string) bool {
	return v.provisioner != nil && v.provisioning != nil && host != "" && v.provisioning(strings.ToLower(sas.Host(host)))
}

// resolveProvisioning returns the host of a connection that is for no hub: of a
// provisioning service, or any when SASL has said what the connection is for.
func (c *conn) resolveProvisioning(w *wire.Conn, hostname string) (host string, ok bool) {
	c.mu.Lock()
	g := c.reg
	c.mu.Unlock()
	name := serverName(w)
	for _, h := range [...]string{hostname, name} {
		if c.v.provisions(h) {
			return strings.ToLower(sas.Host(strings.Clone(h))), true
		}
	}
	if g == nil {
		return "", false
	}
	return strings.ToLower(sas.Host(strings.Clone(cmp.Or(hostname, name, g.addr.Scope)))), true
}

// parseRegistration reads the address of a registration, when there is somebody
// to serve it.
func (c *conn) parseRegistration(address string) (dpsamqp.Address, bool) {
	if c.v.provisioner == nil {
		return dpsamqp.Address{}, false
	}
	return dpsamqp.ParseAddress(strings.Clone(address)) // ids in it are kept
}

// attachRegistration grants a link of a registration. Whether the client is who it
// says is decided with its first request, unless SASL has.
func (c *conn) attachRegistration(a *wire.Attach, addr dpsamqp.Address) error {
	g, err := c.registrationOf(a.Conn(), addr)
	if err != nil {
		c.v.refused(reasonOfLink(err), c, "link", err)
		return dpsamqp.ConditionOf(err)
	}
	p := hubamqp.ParseLinkProperties(a.Properties)
	c.mu.Lock()
	g.apiVersion, g.clientType = cmp.Or(p.APIVersion, g.apiVersion), cmp.Or(p.ClientVersion, g.clientType)
	oldIn, oldOut := g.in, g.out
	c.mu.Unlock()
	if a.Role == codec.Sender {
		in := a.Receive(wire.ReceiverOptions{
			Handler: registrationIn{g}, Credit: registrationCredit, MaxMessageSize: maxRegistrationMessage, SettleAtOnce: true,
		})
		if oldIn != nil {
			oldIn.Close(stolen())
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		g.in = in
		return nil
	}
	out := a.Send(wire.SenderOptions{Handler: registrationOut{g}, Untracked: true})
	if oldOut != nil {
		oldOut.Close(stolen())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g.out = out
	return nil
}

// registrationOf returns the registration of the connection, which there is one
// of.
func (c *conn) registrationOf(w *wire.Conn, addr dpsamqp.Address) (*registration, error) {
	if addr.Host != "" && addr.Host != c.host && !c.v.provisions(addr.Host) {
		return nil, causeway.Errorf(causeway.AmqpAddressNotFound, opProvisioning, "%q is no host of this provisioning service", addr.Host)
	}
	certified := len(certificates(w)) > 0
	c.mu.Lock()
	defer c.mu.Unlock()
	switch g := c.reg; {
	case g == nil && !certified:
		return nil, causeway.Errorf(causeway.IotHubUnauthorizedAccess, opProvisioning,
			"a device proves who it is with SASL PLAIN, user name {idScope}/registrations/{registrationId} and a token as the password, with SASL TPM, or with a certificate")
	case g == nil:
		c.reg = &registration{c: c, addr: addr, seen: time.Now()}
		c.arm()
	case !strings.EqualFold(g.addr.Scope, addr.Scope) || !strings.EqualFold(g.addr.ID, addr.ID):
		return nil, causeway.Errorf(causeway.IotHubUnauthorizedAccess, opProvisioning,
			"the connection is for %s; open another one for %s", g.addr.String(), addr.String())
	}
	return c.reg, nil
}

// Detached forgets the link.
func (l registrationIn) Detached(r *wire.Receiver, _ error) {
	c := l.g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.g.in == r {
		l.g.in = nil
	}
}

// Flow has nothing to send: who answers waits for credit.
func (registrationOut) Flow(s *wire.Sender) {
	if s.Draining() {
		s.Drained()
	}
}

// Disposition is not called: answers are not tracked.
func (registrationOut) Disposition(*wire.Sender, wire.Sent, *codec.State, bool) {}

// Detached forgets the link.
func (l registrationOut) Detached(s *wire.Sender, _ error) {
	c := l.g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.g.out == s {
		l.g.out = nil
	}
}

// credential returns what the client has shown; c.mu is held.
func (g *registration) credential(w *wire.Conn) causeway.Registration {
	c := g.c
	return causeway.Registration{
		Scope: g.addr.Scope, ID: g.addr.ID, EndorsementKey: g.endorsementKey, StorageRootKey: g.storageRootKey,
		Credential: causeway.Credential{
			Host: c.host, Token: g.token, Certificates: certificates(w), APIVersion: g.apiVersion, ClientType: g.clientType,
			Transport: c.transport(), RemoteAddr: c.nc.RemoteAddr().String(),
		},
	}
}

// isProven notes that the provisioner has taken the proof.
func (g *registration) isProven() {
	c := g.c
	c.mu.Lock()
	first := !g.proven
	g.proven, g.seen = true, time.Now()
	if first {
		c.arm()
	}
	c.mu.Unlock()
	if first {
		c.admit()
	}
}
