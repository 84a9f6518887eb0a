package mqtt

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// burst deals with what is in w and with all that arrives meanwhile. It returns
// w to the pool.
func (c *conn) burst(w *work) error {
	defer w.release()
	for {
		readErr := c.gather(w)
		pos, need, err := c.decode(w)
		if flushErr := c.flush(w); err == nil {
			err = flushErr
		}
		if err == nil {
			err = readErr
		}
		if err != nil {
			return err
		}
		w.consume(pos, need)
		if need == 0 {
			if w.fill = 0; c.now == nil {
				return nil
			}
			if err := c.gather(w); w.fill == 0 {
				return err
			}
			c.seen.Store(c.v.clock.now()) // an error comes again
			continue
		}
		if err := c.await(w); err != nil {
			return err
		}
	}
}

// gather reads what has arrived without waiting.
func (c *conn) gather(w *work) error {
	if c.now == nil {
		return nil
	}
	for w.fill < len(w.buf) {
		n, err := c.now(w.buf[w.fill:])
		w.fill += n
		if err != nil && !c.interrupted(err) {
			return err
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

// await waits for more of a packet that has arrived in part. The connection
// counts as idle meanwhile.
func (c *conn) await(w *work) error {
	if !c.rest() {
		return ending(ReasonStop, nil)
	}
	for {
		n, err := c.nc.Read(w.buf[w.fill:])
		w.fill += n
		if err != nil && c.interrupted(err) {
			err = nil // half a packet is no time to be parked
		}
		if n == 0 && err == nil {
			continue
		}
		if !c.wake() {
			return ending(ReasonStop, nil)
		}
		return err
	}
}

// decode deals with all whole packets in w, or gathers them in the batch. It
// returns where the rest begins, and how many bytes make a packet of it, 0 for
// no rest.
func (c *conn) decode(w *work) (pos, need int, err error) {
	limit := maxPacket
	if c.dps != nil {
		limit = maxProvisioningPacket
	}
	for pos < w.fill {
		f, n, need, err := wire.Split(w.buf[pos:w.fill], wire.V311, limit)
		if err != nil {
			return pos, 0, err
		}
		if n == 0 {
			return pos, need, nil
		}
		pos += n
		if err := c.packet(w, f); err != nil {
			return pos, 0, err
		}
		if len(w.msgs) >= c.v.limits.BatchMessages || len(w.twins) >= c.v.limits.TwinRequests {
			if err := c.flush(w); err != nil {
				return pos, 0, err
			}
		}
	}
	return pos, 0, nil
}

// packet deals with one packet.
func (c *conn) packet(w *work, f wire.Frame) error {
	switch f.Type {
	case wire.PUBLISH:
		if err := w.pub.Decode(f, wire.V311); err != nil {
			return err
		}
		if c.dps != nil {
			return c.ask(w)
		}
		return c.publish(w)
	case wire.PUBACK:
		var p wire.Ack
		if err := p.Decode(f, wire.V311); err != nil {
			return err
		}
		c.settle(p.ID)
		return nil
	case wire.PINGREQ:
		var p wire.Ping
		if err := p.Decode(f, wire.V311); err != nil {
			return err
		}
		p.Response = true
		w.out, _ = p.Append(w.out, wire.V311)
		return nil
	case wire.SUBSCRIBE:
		var p wire.Subscribe
		if err := p.Decode(f, wire.V311); err != nil {
			return err
		}
		if err := c.flush(w); err != nil {
			return err
		}
		if c.dps != nil {
			return c.subscribeAnswers(&p)
		}
		return c.subscribe(&p)
	case wire.UNSUBSCRIBE:
		var p wire.Unsubscribe
		if err := p.Decode(f, wire.V311); err != nil {
			return err
		}
		if err := c.flush(w); err != nil {
			return err
		}
		if c.dps != nil {
			return c.unsubscribeAnswers(&p)
		}
		return c.unsubscribe(&p)
	case wire.DISCONNECT:
		var p wire.Disconnect
		if err := p.Decode(f, wire.V311); err != nil {
			return err
		}
		return ending(ReasonDisconnect, nil)
	case wire.CONNECT:
		return ending(ReasonSecondConnect, nil)
	case wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		return ending(ReasonUnexpected, errors.New(f.Type.String()+" belongs to QoS 2, which is not supported"))
	default:
		return ending(ReasonUnexpected, errors.New(f.Type.String()+" is for servers to send"))
	}
}

// template is a telemetry topic with what it says. Devices mostly send on one
// topic, which need not be parsed again then.
type template struct {
	topic string
	msg   causeway.Message
	size  int
}

// publish adds the message in w.pub to the batch, or does what its topic says.
func (c *conn) publish(w *work) error {
	p := &w.pub
	if p.QoS > 1 {
		return ending(ReasonQoS2, nil)
	}
	if n := len(p.Payload); n > causeway.MaxMessageSize {
		return ending(ReasonTooLarge, fmt.Errorf("payload of %d bytes, at most %d are accepted", n, causeway.MaxMessageSize))
	}
	if t := c.telemetry; t != nil && t.topic == p.Topic && !p.Retain && t.size+len(p.Payload) <= causeway.MaxMessageSize {
		if len(w.msgs) == len(w.props) {
			w.props = append(w.props, nil)
		}
		w.msgs = append(w.msgs, t.msg)
		w.msgs[len(w.msgs)-1].Body = p.Payload
		w.bytes += len(p.Payload)
		c.due(w)
		return nil
	}
	m := w.add()
	t, text, err := topic.ParsePublish(bytesOf(p.Topic), c.id, m, w.text)
	w.text = text
	if err != nil {
		w.drop()
		return endOfTopic(err)
	}
	if t.Kind == topic.Telemetry {
		if p.Retain {
			m.Properties = appendRetain(m.Properties)
		}
		m.Body = p.Payload
		w.keep()
		if n := m.Size(); n > causeway.MaxMessageSize {
			w.drop()
			return ending(ReasonTooLarge, fmt.Errorf("message of %d bytes, at most %d are accepted", n, causeway.MaxMessageSize))
		}
		w.bytes += len(p.Payload)
		c.due(w)
		if !p.Retain {
			c.remember(p.Topic)
		}
		return nil
	}
	w.drop()
	c.due(w)
	if t.Kind == topic.MethodResponse {
		c.respond(t.RID, t.Status, p.Payload)
		return nil
	}
	patch, hears := t.Kind == topic.TwinPatch, c.hears()
	if patch || hears {
		w.twins = append(w.twins, twinRequest{
			patch: patch, mute: !hears || t.RID == "", rid: strings.Clone(t.RID), version: t.Version,
			body: append([]byte(nil), p.Payload...),
		})
	}
	return nil
}

// due notes the acknowledgement of w.pub.
func (c *conn) due(w *work) {
	if w.pub.QoS > 0 {
		w.acks = append(w.acks, ack{id: w.pub.ID, after: len(w.msgs)})
	}
}

// remember keeps the parsed form of a telemetry topic that comes the second
// time in a row.
func (c *conn) remember(name string) {
	if len(name) > maxCachedTopic {
		return
	}
	hash := maphash.String(c.v.seed, name)
	if c.lastTopic != hash {
		c.lastTopic = hash
		return
	}
	t := &template{topic: strings.Clone(name)}
	if _, _, err := topic.ParsePublish(bytesOf(t.topic), c.id, &t.msg, nil); err != nil {
		return // it was parsed before
	}
	// Nobody appends into the slice that all messages share.
	t.msg.Properties = t.msg.Properties[:len(t.msg.Properties):len(t.msg.Properties)]
	t.size = t.msg.Size()
	c.telemetry = t
}

// appendRetain marks a message with the RETAIN flag, in the words of today's
// documentation and of earlier ones.
func appendRetain(ps []causeway.Property) []causeway.Property {
	return append(ps, causeway.Property{Key: "mqtt-retain", Value: "true"}, causeway.Property{Key: "x-opt-retain", Value: "true"})
}

// flush sends the batch, acknowledges it when it is durable, and starts the
// twin requests behind it. Then w is empty.
func (c *conn) flush(w *work) error {
	var failed error
	if n := len(w.msgs); n > 0 {
		stored := n
		if err := c.session.Send(c.v.life, w.msgs...); err != nil {
			stored, failed = c.salvage(w, err)
		}
		c.v.metrics.MessagesIn.Add(float64(stored))
		if failed == nil {
			c.v.metrics.BytesIn.Add(float64(w.bytes))
		}
		for len(w.acks) > 0 && w.acks[len(w.acks)-1].after > stored {
			w.acks = w.acks[:len(w.acks)-1]
		}
	}
	for _, a := range w.acks {
		w.out = wire.AppendPuback(w.out, a.id)
	}
	if len(w.acks) > 0 {
		c.v.metrics.AckLatency.Observe(time.Duration(c.v.clock.now() - c.seen.Load()).Seconds())
	}
	w.reset()
	err := c.reply(w.out)
	w.out = w.out[:0]
	if failed != nil {
		clear(w.twins)
		w.twins = w.twins[:0]
		return failed
	}
	if err == nil && len(w.twins) > 0 {
		err = c.askTwin(w.twins)
		clear(w.twins)
		w.twins = w.twins[:0]
	}
	return err
}

// salvage sends the messages of a batch that failed one by one when one of them
// may be the cause, so that the others are acknowledged and do not come again
// with it for ever. It returns how many were stored, and the end.
func (c *conn) salvage(w *work, err error) (stored int, failed error) {
	e := endOfHub(err)
	if e.reason != ReasonRejected || len(w.msgs) == 1 {
		return 0, e
	}
	for i := range w.msgs {
		if err := c.session.Send(c.v.life, w.msgs[i:i+1]...); err != nil {
			return i, endOfHub(err)
		}
	}
	return len(w.msgs), nil
}
