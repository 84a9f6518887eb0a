package amqp

import (
	"bytes"
	"context"
	"sync"
)

// Inbox keeps what arrives on a receiver for a goroutine that asks for it. It
// holds no more messages than the credit that the link was given: what nobody
// has asked for counts as if it were unsettled. The zero value is ready for use,
// for one receiver.
type Inbox struct {
	mu    sync.Mutex
	r     *Receiver
	queue []Delivery
	err   error
	over  bool
	woken chan struct{}
}

var _ ReceiverHandler = (*Inbox)(nil)

// Transfer keeps a copy of the message.
func (b *Inbox) Transfer(r *Receiver, d Delivery) {
	if d.Settled {
		r.hold()
	}
	d.Tag, d.Payload = bytes.Clone(d.Tag), bytes.Clone(d.Payload)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = r
	b.queue = append(b.queue, d)
	b.wake()
}

// Detached ends Receive once the inbox is empty.
func (b *Inbox) Detached(_ *Receiver, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.over = err, true
	b.wake()
}

func (b *Inbox) wake() {
	if b.woken != nil {
		close(b.woken)
		b.woken = nil
	}
}

// Receive waits for the next message, which the caller owns. After the link was
// detached by the peer it returns what had arrived, then an error that wraps
// ErrDetached.
func (b *Inbox) Receive(ctx context.Context) (Delivery, error) {
	d, r, err := b.next(ctx)
	if err == nil && d.Settled {
		r.release()
	}
	return d, err
}

// next returns the next message and the receiver that it came on.
func (b *Inbox) next(ctx context.Context) (Delivery, *Receiver, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if len(b.queue) > 0 {
			d := b.queue[0]
			b.queue[0] = Delivery{}
			if b.queue = b.queue[1:]; len(b.queue) == 0 {
				b.queue = nil
			}
			return d, b.r, nil
		}
		if b.over {
			if b.err == nil {
				return Delivery{}, nil, ErrDetached
			}
			return Delivery{}, nil, &endError{what: ErrDetached, cause: b.err}
		}
		if b.woken == nil {
			b.woken = make(chan struct{})
		}
		woken := b.woken
		b.mu.Unlock()
		select {
		case <-woken:
			b.mu.Lock()
		case <-ctx.Done():
			b.mu.Lock()
			return Delivery{}, nil, ctx.Err()
		}
	}
}
