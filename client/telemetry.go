package client

import (
	"context"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Send sends a message and returns when the hub has it on stable storage. It
// survives a loss of the connection: the message is sent again, so a hub may
// get it twice. When ctx ends first the message may arrive or not.
func (d *Device) Send(ctx context.Context, m *causeway.Message) error {
	done := make(chan error, 1)
	if err := d.SendAsync(ctx, m, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SendAsync hands a message over and returns; done is called once, from another
// goroutine, when the hub has the message on stable storage (nil), or when that
// will not happen any more. At most InFlight messages are under way: at the
// bound SendAsync waits for one of them, or for ctx. m is not kept.
func (d *Device) SendAsync(ctx context.Context, m *causeway.Message, done func(error)) error {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ctx.Done():
		return ErrClosed
	}
	pub := mqtt.Publish{Topic: string(topic.AppendTelemetry(nil, d.id, m)), Payload: m.Body, QoS: 1}

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		<-d.slots
		return ErrClosed
	}
	o := &outgoing{id: d.newID(), done: done}
	pub.ID = o.id
	var err error
	if o.packet, err = pub.Append(make([]byte, 0, mqtt.MaxHeader+4+len(pub.Topic)+len(m.Body)), mqtt.V311); err != nil {
		<-d.slots
		return fmt.Errorf("send: %w", err)
	}
	d.pending.add(o)
	if d.cur != nil {
		d.cur.write(o.packet) // a failure ends the link; the next one sends it again
	}
	return nil
}

// newID returns a free packet id. The caller holds d.mu.
func (d *Device) newID() uint16 {
	return d.ids.next(func(id uint16) bool { return d.pending.byID[id] != nil || d.subacks[id] != nil })
}

// Post sends a message without any guarantee (QoS 0) and returns once it was
// handed to the connection; ErrOffline when there is none.
func (d *Device) Post(ctx context.Context, m *causeway.Message) error {
	d.mu.Lock()
	l := d.cur
	d.mu.Unlock()
	if l == nil {
		return ErrOffline
	}
	pub := mqtt.Publish{Topic: string(topic.AppendTelemetry(nil, d.id, m)), Payload: m.Body}
	b, err := pub.Append(nil, mqtt.V311)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	return l.writeWait(ctx, b)
}

// Flush waits until everything sent so far is acknowledged or given up.
func (d *Device) Flush(ctx context.Context) error {
	// Whoever holds all the slots knows that nothing is in flight.
	held := 0
	defer func() {
		for range held {
			<-d.slots
		}
	}()
	for range cap(d.slots) {
		select {
		case d.slots <- struct{}{}:
			held++
		case <-ctx.Done():
			return ctx.Err()
		case <-d.ctx.Done():
			return ErrClosed
		}
	}
	return nil
}

// acked ends the message that the hub has acknowledged.
func (d *Device) acked(id uint16) {
	d.mu.Lock()
	o := d.pending.take(id)
	d.mu.Unlock()
	if o != nil { // an unknown id is the answer to a message sent twice
		d.settle(o, nil)
	}
}

func (d *Device) settle(o *outgoing, err error) {
	<-d.slots
	if o.done != nil {
		o.done(err)
	}
}
