package amqp

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
)

// keepRegistration takes what SASL says of a registration.
func (c *conn) keepRegistration(w *wire.Conn, g *registration) {
	g.seen = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w, c.reg = w, g
}

// plainRegistration takes the user name and the password of a device that looks
// for its hub. Whether they prove anything is said to its first request: there are
// words for it there, and the SDK for Node takes a refusal of SASL for trouble with
// the network.
func (c *conn) plainRegistration(w *wire.Conn, addr dpsamqp.Address, password causeway.Secret) {
	c.keepRegistration(w, &registration{c: c, addr: addr, token: password})
}

// tpmRegistration takes the proof of a TPM. Who has none is refused here; of what
// else is wrong the client hears with its first request.
func (c *conn) tpmRegistration(w *wire.Conn, d *dpsamqp.TPM) error {
	g := &registration{c: c, addr: d.Address, token: d.Token, endorsementKey: d.EndorsementKey, storageRootKey: d.StorageRootKey}
	c.keepRegistration(w, g)
	c.mu.Lock()
	r := g.credential(w)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	// An operation that nobody has: what is asked is whether the proof is taken.
	_, err := c.v.provisioner.Lookup(ctx, r, "")
	switch code := causeway.CodeOf(err); {
	case code.HTTPStatus() == 401:
		return err
	case err == nil || code == operationNotFound:
		g.isProven()
	}
	return nil
}

// operationNotFound is what [causeway.Provisioner] says of an operation that a
// device which has proven who it is does not have.
const operationNotFound causeway.Code = 404202

// startTPM begins the dialogue of a device with a TPM.
func startTPM(w *wire.Conn) wire.Dialogue {
	c := w.Handler().(*conn)
	var d dpsamqp.TPM
	return func(response []byte) ([]byte, bool, error) {
		challenge, step, err := d.Next(response)
		switch {
		case err != nil:
			return nil, false, err
		case step == dpsamqp.Activate:
			blob, err := c.challenge(w, &d)
			if err != nil {
				return nil, false, err
			}
			challenge, err = d.Blob(blob)
			return challenge, false, err
		case step == dpsamqp.Verify:
			err := c.tpmRegistration(w, &d)
			return nil, err == nil, err
		}
		return challenge, false, nil
	}
}

// challenge returns what a TPM must activate.
func (c *conn) challenge(w *wire.Conn, d *dpsamqp.TPM) ([]byte, error) {
	g := &registration{c: c, addr: d.Address, endorsementKey: d.EndorsementKey, storageRootKey: d.StorageRootKey}
	c.mu.Lock()
	r := g.credential(w)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	ch, err := c.v.provisioner.Challenge(ctx, r)
	return ch.AuthenticationKey, err
}
