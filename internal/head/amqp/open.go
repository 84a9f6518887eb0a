package amqp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Open finds the hub that the connection is for: part of [wire.Handler].
func (c *conn) Open(w *wire.Conn, o *codec.Open) error {
	hub, host, err := c.resolve(w, o.Hostname)
	if err != nil {
		if h, ok := c.resolveProvisioning(w, o.Hostname); ok {
			host, err = h, nil
		}
	}
	if err != nil {
		c.setCause(ReasonUnknownHost, err)
		return hubamqp.ConditionOf(err)
	}
	c.mu.Lock()
	earlier, login := c.hub, c.login
	c.w, c.hub, c.host, c.login = w, hub, host, nil
	c.mu.Unlock()
	switch {
	case earlier != "" && earlier != hub:
		err = causeway.Errorf(causeway.IotHubUnauthorized, "amqp.open", "the user name was verified for another hub")
	case login != nil:
		err = c.verifyLogin(login)
	}
	if err != nil {
		c.setCause(ReasonSASL, err)
		return hubamqp.ConditionOf(err)
	}
	certified := len(certificates(w)) > 0
	c.v.metrics.Connects.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.certified = certified
	c.allow()
	c.arm()
	return nil
}

// allow bounds what the client may have sent in part by what it has proven; c.mu is
// held.
func (c *conn) allow() {
	n := halfOpenParts
	if !c.half {
		n = knownParts + len(c.devices)*deviceParts
	}
	if c.w != nil {
		c.w.SetPartial(n)
	}
}

// resolve returns the hub of the host that the client asks for: in its open, or
// with the handshake of TLS when there is no such hub.
func (c *conn) resolve(w *wire.Conn, hostname string) (hub, host string, err error) {
	hosts := [...]string{hostname, serverName(w)}
	for _, h := range hosts {
		if h == "" {
			continue
		}
		if hub, _, ok := c.v.realms.Realm(h); ok {
			return hub, strings.ToLower(sas.Host(strings.Clone(h))), nil
		}
	}
	shown := hostname
	if len(shown) > 255 {
		shown = shown[:255]
	}
	return "", "", &causeway.Error{
		Code: causeway.AmqpAddressNotFound, Op: "amqp.open", Err: errors.New("unknown host"),
		Msg: fmt.Sprintf("no hub answers to the host name %q", shown),
	}
}

// serverName returns the name that the client asked for in the handshake of TLS.
func serverName(w *wire.Conn) string {
	s, _ := w.ConnectionState()
	return s.ServerName
}

// certificates returns the chain that the client presented.
func certificates(w *wire.Conn) []*x509.Certificate {
	s, _ := w.ConnectionState()
	return s.PeerCertificates
}

// transport returns how the client is connected.
func (c *conn) transport() causeway.Transport {
	if _, ok := c.nc.(interface{ Subprotocol() string }); ok {
		return causeway.AMQPWS
	}
	return causeway.AMQP
}

// admit gives back the place among the half-open: the client has proven
// something.
func (c *conn) admit() {
	c.mu.Lock()
	half := c.half
	c.half = false
	c.allow()
	c.mu.Unlock()
	if half {
		c.v.conns.Admit()
	}
}
