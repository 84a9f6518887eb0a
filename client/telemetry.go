package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/causeway-iot/causeway"
)

// Send sends a message and returns when the hub has it on stable storage. It
// survives a loss of the connection: the message is sent again, so a hub may
// get it twice. When ctx ends first the message may arrive or not; the error then
// is that of ctx, and also ErrOffline and why the device is not connected if it is
// not.
func (d *Device) Send(ctx context.Context, m *causeway.Message) error {
	done := make(chan error, 1)
	if err := d.SendAsync(ctx, m, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return d.because(ctx)
	}
}

// because returns why nothing has become of something before ctx ended: the device
// may not even be connected.
func (d *Device) because(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cur != nil || d.why == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w: %w", ctx.Err(), ErrOffline, d.why)
}

// SendAsync hands a message over and returns; done is called once, from another
// goroutine, when the hub has the message on stable storage (nil), or when that
// will not happen any more. At most InFlight messages are under way: at the
// bound SendAsync waits for one of them, or for ctx. m is not kept. Codes:
// MessageTooLarge; over AMQP also those that the hub refuses a message with, such
// as ArgumentInvalid, IotHubQuotaExceeded and ThrottlingException.
func (d *Device) SendAsync(ctx context.Context, m *causeway.Message, done func(error)) error {
	if err := fits(m); err != nil {
		return err
	}
	if err := d.slot(ctx); err != nil {
		return err
	}
	o, err := d.transport.encode(m)
	if err != nil {
		<-d.slots
		return fmt.Errorf("send: %w", err)
	}
	return d.queue(o, done)
}

// fits refuses a message that hubs end connections for: it would be sent again
// and again.
func fits(m *causeway.Message) error {
	if n := m.Size(); n > causeway.MaxMessageSize {
		return causeway.Errorf(causeway.MessageTooLarge, "send", "the message has %d bytes with its properties, the limit is %d", n, causeway.MaxMessageSize)
	}
	return nil
}

// SendBatch sends messages and returns when the hub has all of them on stable
// storage. Over AMQP they travel in as few transfers as can be, each of which
// the hub takes or refuses as a whole; over MQTT one by one. The error is that
// of the first that was refused; the others are sent all the same, but none when
// one of them is larger than a message may be.
func (d *Device) SendBatch(ctx context.Context, messages []causeway.Message) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var first error
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	}
	for i := range messages {
		if err := fits(&messages[i]); err != nil {
			return err
		}
	}
	for len(messages) > 0 {
		if err := d.slot(ctx); err != nil {
			note(err)
			break
		}
		o, n, err := d.transport.batch(messages)
		if err != nil {
			<-d.slots
			note(fmt.Errorf("send: %w", err))
			break
		}
		messages = messages[n:]
		all.Add(1)
		if err := d.queue(o, func(err error) { note(err); all.Done() }); err != nil {
			all.Done()
			note(err)
			break
		}
	}
	acked := make(chan struct{})
	go func() { all.Wait(); close(acked) }()
	select {
	case <-acked:
		return first
	case <-ctx.Done():
		return d.because(ctx)
	}
}

// slot waits for room in flight.
func (d *Device) slot(ctx context.Context) error {
	select {
	case d.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return d.because(ctx)
	case <-d.ctx.Done():
		return ErrClosed
	}
}

// queue puts a message in flight, for which there is a slot.
func (d *Device) queue(o *outgoing, done func(error)) error {
	o.done = done
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		<-d.slots
		return ErrClosed
	}
	d.transport.number(o)
	d.pending.add(o)
	if d.cur != nil {
		d.cur.send(o)
	}
	return nil
}

// Post sends a message without any guarantee (QoS 0, or settled) and returns once
// it was handed to the connection; ErrOffline when there is none.
func (d *Device) Post(ctx context.Context, m *causeway.Message) error {
	if err := fits(m); err != nil {
		return err
	}
	d.mu.Lock()
	l := d.cur
	d.mu.Unlock()
	if l == nil {
		return ErrOffline
	}
	return l.post(ctx, m)
}

// Flush waits until everything sent so far is acknowledged or given up.
func (d *Device) Flush(ctx context.Context) error {
	// One at a time: two that hold a part of the slots each would wait for each other.
	select {
	case d.flushing <- struct{}{}:
		defer func() { <-d.flushing }()
	case <-ctx.Done():
		return d.because(ctx)
	case <-d.ctx.Done():
		return ErrClosed
	}
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
			return d.because(ctx)
		case <-d.ctx.Done():
			return ErrClosed
		}
	}
	return nil
}

// settle ends a message that is not in flight any more.
func (d *Device) settle(o *outgoing, err error) {
	<-d.slots
	if o.done != nil {
		o.done(err)
	}
}
