package amqp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
)

// mechanisms are what is offered in a SASL dialogue. Clients may do without one.
// Those of hubs take the first that they know, and none of them knows TPM.
func (v *serving) mechanisms() []wire.Mechanism {
	// With these nothing is proven yet.
	silent := func(*wire.Conn) wire.Dialogue {
		return func([]byte) ([]byte, bool, error) { return nil, true, nil }
	}
	all := []wire.Mechanism{
		{Name: "MSSBCBS", Start: silent},
		{Name: "ANONYMOUS", Start: silent},
		{Name: "PLAIN", Start: startPlain},
		{Name: "EXTERNAL", Start: startExternal},
	}
	if v.provisioner != nil {
		all = append(all, wire.Mechanism{Name: dpsamqp.MechanismTPM, Start: startTPM})
	}
	return all
}

// startExternal lets in who has a certificate, which the links are judged by.
func startExternal(w *wire.Conn) wire.Dialogue {
	return func([]byte) ([]byte, bool, error) {
		if len(certificates(w)) == 0 {
			return nil, false, errors.New("EXTERNAL without a certificate")
		}
		return nil, true, nil
	}
}

// login is a user name and a password.
type login struct {
	user   auth.Login
	secret causeway.Secret
}

// startPlain takes a user name and a password (RFC 4616).
func startPlain(w *wire.Conn) wire.Dialogue {
	c := w.Handler().(*conn)
	return func(response []byte) ([]byte, bool, error) {
		if response == nil {
			return nil, false, nil // an empty challenge asks for it
		}
		parts := bytes.Split(response, []byte{0})
		if len(parts) != 3 {
			return nil, false, errors.New("PLAIN response is not of three parts")
		}
		if addr, ok := c.parseRegistration(string(parts[1])); ok {
			c.plainRegistration(w, addr, causeway.Secret(parts[2]))
			return nil, true, nil
		}
		err := c.plain(w, string(parts[1]), causeway.Secret(parts[2]))
		return nil, err == nil, err
	}
}

// plain takes the user name and the password of a client of a hub.
func (c *conn) plain(w *wire.Conn, name string, password causeway.Secret) error {
	user, err := auth.ParseLogin(name)
	if err != nil {
		return err
	}
	l := &login{user: user, secret: password}
	hub, host, _ := c.resolve(w, user.Hub)
	c.mu.Lock()
	if c.w = w; hub == "" {
		c.login = l // the open will say
	} else {
		c.hub, c.host = hub, host
	}
	c.mu.Unlock()
	if hub == "" {
		return nil
	}
	return c.verifyLogin(l)
}

// verifyLogin takes what a user name and its password prove. The connection ends
// with it.
func (c *conn) verifyLogin(l *login) error {
	var expires time.Time
	var err error
	if l.user.Policy == "" {
		expires, err = c.verifyDevice(l)
	} else {
		expires, err = c.verifyPolicy(l)
	}
	if err != nil {
		return err
	}
	c.admit()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = expires
	return nil
}

// verifyDevice verifies the token of a device or module.
func (c *conn) verifyDevice(l *login) (expires time.Time, err error) {
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	t, err := c.verifyToken(ctx, l.user.Device, l.user.Module, l.secret)
	if err != nil {
		return time.Time{}, err
	}
	return t.expires, c.keepToken(t)
}

// verifyPolicy verifies the token or the key of a policy.
func (c *conn) verifyPolicy(l *login) (expires time.Time, err error) {
	g := grant{policy: l.user.Policy, secret: l.secret, key: l.user.Hub == ""}
	a, err := c.verifyGrant(&g)
	if err == nil && a.Policy != l.user.Policy {
		err = auth.Unauthorized("amqp.sasl", fmt.Errorf("%w: the token is of policy %q", auth.ErrPolicy, a.Policy))
	}
	if err != nil {
		return time.Time{}, err
	}
	return g.expires, c.keepGrant(g)
}
