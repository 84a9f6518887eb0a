package mqtt

import (
	"context"
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// will is the message to publish when the client dies.
type will struct {
	topic   string
	payload []byte
	retain  bool
	// cred opens a session to send it with, when the connection's own is over.
	cred causeway.Credential
}

// takeWill keeps the will of a CONNECT packet. It must be telemetry of the
// client itself.
func (c *conn) takeWill(p *wire.Connect, cred causeway.Credential) error {
	if p.Will == nil {
		return nil
	}
	if p.Will.QoS > 1 {
		return c.refuse(wire.RefusedUnauthorized, ReasonWill, errors.New("the will has QoS 2"))
	}
	l := p.Will.Clone()
	var m causeway.Message
	t, _, err := topic.ParsePublish(bytesOf(l.Topic), cred.Identity, &m, nil)
	if err == nil && t.Kind != topic.Telemetry {
		err = errors.New("the topic is not for telemetry")
	}
	if err != nil {
		return c.refuse(wire.RefusedUnauthorized, ReasonWill, fmt.Errorf("will: %w", err))
	}
	c.will = &will{topic: l.Topic, payload: l.Payload, retain: l.Retain, cred: cred}
	return nil
}

// publishWill sends the will as telemetry of the client.
func (c *conn) publishWill() {
	ctx, cancel := context.WithTimeout(c.v.life, willWait)
	defer cancel()
	var m causeway.Message
	if _, _, err := topic.ParsePublish(bytesOf(c.will.topic), c.id, &m, nil); err != nil {
		return // takeWill let no such will in
	}
	m.Body = c.will.payload
	m.Properties = append(m.Properties, causeway.Property{Key: "iothub-MessageType", Value: "Will"})
	if c.will.retain {
		m.Properties = appendRetain(m.Properties)
	}
	err := c.session.Send(ctx, m)
	switch causeway.CodeOf(err) {
	case causeway.ConnectionForcefullyClosedOnNewConnection, causeway.IotHubUnauthorized:
		// The hub ended the session: the client connected again, its token expired
		// a moment ago, or it is no longer let in, and then neither is its will.
		err = c.sendAside(ctx, m)
	}
	if err != nil {
		c.v.log.Warn("publishing a will failed", obs.KeyID, c.id, obs.KeyError, err)
		return
	}
	c.v.metrics.MessagesIn.Inc()
	c.v.metrics.BytesIn.Add(float64(len(m.Body)))
}

// sendAside sends m in a session of its own, beside that of a connection which
// may have replaced this one.
func (c *conn) sendAside(ctx context.Context, m causeway.Message) error {
	s, err := c.v.hub.Connect(ctx, c.will.cred, nil)
	if err != nil {
		return err
	}
	return errors.Join(s.Send(ctx, m), s.Close(nil))
}
