package mqtt

import (
	"context"
	"slices"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/chunk"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// window is the commands, and module inputs, that the client has not
// acknowledged yet.
type window struct {
	slots   [causeway.MaxDeliveryInFlight]slot
	lastID  uint16
	changed chan struct{} // closed when a slot becomes free; nil when nobody waits
}

// slot is one delivery.
type slot struct {
	id       uint16 // packet id; 0 for a free slot
	settling bool   // acknowledged, and being settled
	command  bool   // its sequence number means something
	sequence int64
	lock     causeway.LockToken
}

// signal wakes who waits for a slot. The connection's mutex is held.
func (w *window) signal() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// find returns the slot with a packet id.
func (w *window) find(id uint16) *slot {
	for i := range w.slots {
		if w.slots[i].id == id {
			return &w.slots[i]
		}
	}
	return nil
}

// again returns the slot of a command that the client has not acknowledged and
// that the hub delivers once more, because its lock ran out.
func (w *window) again(sequence int64) *slot {
	for i := range w.slots {
		if s := &w.slots[i]; s.id != 0 && s.command && !s.settling && s.sequence == sequence {
			return s
		}
	}
	return nil
}

// nextID returns a packet id that is not in use.
func (w *window) nextID() uint16 {
	for {
		if w.lastID++; w.lastID != 0 && w.find(w.lastID) == nil {
			return w.lastID
		}
	}
}

// Deliver hands a command or a module input to the client: part of
// causeway.Device. It waits for a place in the window, and returns when the
// packet is handed to the connection's writer. At QoS 0 the message is settled
// at once; at QoS 1 when the client acknowledges it. A command that no packet can
// carry is abandoned.
func (c *conn) Deliver(ctx context.Context, m causeway.Message) error {
	const op = "head/mqtt.Deliver"
	lane := causeway.LaneCommands
	if m.Input != "" {
		lane = causeway.LaneInputs
	}
	qos, ok := c.wants(lane, m.Input)
	if !ok {
		return causeway.Errorf(causeway.DeviceNotOnline, op, "the client does not subscribe to this kind of message")
	}
	p := wire.Publish{Payload: m.Body, QoS: qos}
	if qos > 0 {
		var err error
		if p.ID, p.Dup, err = c.place(ctx, &m); err != nil {
			return err
		}
	}
	name := chunk.Get()
	defer func() { chunk.Put(name) }()
	if lane == causeway.LaneInputs {
		name = topic.AppendInput(name, c.id, m.Input, &m)
	} else {
		name = topic.AppendCommand(name, c.id, &m)
	}
	if err := c.send(ctx, &p, name); err != nil {
		c.unplace(p.ID)
		if causeway.CodeOf(err) == causeway.ArgumentInvalid && m.Lock != (causeway.LockToken{}) {
			return c.giveUp(ctx, &m, err)
		}
		return err
	}
	if qos == 0 && m.Lock != (causeway.LockToken{}) {
		return c.session.Settle(ctx, m.Lock, causeway.Accepted)
	}
	return nil
}

// giveUp abandons a command that no packet can carry, such as one whose
// properties make a topic of more than 64 KiB: trying again would not help, and
// what is queued behind it would wait as long as it lives. Its deliveries are
// counted, so that it is soon dead and its sender told so.
func (c *conn) giveUp(ctx context.Context, m *causeway.Message, err error) error {
	c.v.log.Warn("a command cannot be delivered over MQTT", obs.KeyID, c.id, "sequence", m.Sequence, "message", m.ID, obs.KeyError, err)
	return c.session.Settle(ctx, m.Lock, causeway.Released)
}

// send encodes p on the topic in name and hands it to the writer.
func (c *conn) send(ctx context.Context, p *wire.Publish, name []byte) error {
	p.Topic = view(name)
	b := chunk.Get()
	defer func() { chunk.Put(b) }()
	b, err := p.Append(b, wire.V311)
	if err != nil {
		return &causeway.Error{Code: causeway.ArgumentInvalid, Op: "head/mqtt.send", Msg: "the message cannot be written as an MQTT packet", Err: err}
	}
	if err := c.enqueue(ctx, b); err != nil {
		return err
	}
	c.v.metrics.MessagesOut.Inc()
	c.v.metrics.BytesOut.Add(float64(len(p.Payload)))
	return nil
}

// place takes a slot of the window for m, waiting for one while ctx lasts.
func (c *conn) place(ctx context.Context, m *causeway.Message) (id uint16, dup bool, err error) {
	command := m.Input == ""
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.closed {
			return 0, false, errGone()
		}
		if c.window == nil {
			c.window = &window{}
		}
		w := c.window
		if command {
			if s := w.again(m.Sequence); s != nil {
				s.lock = m.Lock
				return s.id, true, nil
			}
		}
		if s := w.find(0); s != nil {
			*s = slot{id: w.nextID(), command: command, sequence: m.Sequence, lock: m.Lock}
			if i := slices.Index(c.redelivers, m.Sequence); command && i >= 0 {
				c.redelivers = slices.Delete(c.redelivers, i, i+1)
				dup = true
			}
			return s.id, dup, nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		c.mu.Unlock()
		select {
		case <-changed:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			return 0, false, ctx.Err()
		}
	}
}

// unplace gives back a slot whose packet was not sent.
func (c *conn) unplace(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window == nil || id == 0 {
		return
	}
	if s := c.window.find(id); s != nil {
		*s = slot{}
		c.window.signal()
	}
}

// settle completes the delivery with the packet id. It does not wait: the
// number of settlements under way is bounded by the window. An id that is not
// known is ignored; its message may have come back to the queue meanwhile.
func (c *conn) settle(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window == nil || c.closed {
		return
	}
	s := c.window.find(id)
	if s == nil || s.settling {
		return
	}
	s.settling = true
	lock := s.lock
	if lock == (causeway.LockToken{}) { // nothing to settle
		*s = slot{}
		c.window.signal()
		return
	}
	c.workers.Begin()
	c.v.conns.Go(func() {
		defer c.leave()
		if err := c.session.Settle(c.v.life, lock, causeway.Accepted); err != nil {
			// The message comes again when its lock has run out.
			c.v.log.Debug("settling a command failed", obs.KeyID, c.id, obs.KeyError, err)
		}
		c.unplace(id)
	})
}

// rememberUnacked keeps the sequence numbers of unacknowledged commands for the
// next connection of the session.
func (c *conn) rememberUnacked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window == nil || !c.persistent {
		return
	}
	sequences := c.redelivers // not delivered again yet
	for _, s := range c.window.slots {
		if s.id != 0 && s.command && !s.settling {
			sequences = append(sequences, s.sequence)
		}
	}
	c.v.unacked.put(c.id, sequences)
	c.window.signal() // who waits must not wait for a window that is gone
	c.window, c.redelivers = nil, nil
}

// Desired hands a change of desired properties to the client: part of
// causeway.Device. It is sent at QoS 0, as IoT Hub does: what gets lost is
// found out by its version after the next connect.
func (c *conn) Desired(ctx context.Context, p causeway.Patch) error {
	if _, ok := c.wants(causeway.LaneDesired, ""); !ok {
		return nil
	}
	var name [96]byte
	return c.send(ctx, &wire.Publish{Payload: p.Properties}, topic.AppendDesired(name[:0], p.Version))
}
