package amqp

import (
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// defaultMessageSize bounds a message unless options say otherwise.
const defaultMessageSize = 1 << 20

// Receiver is a link that we receive on. It is safe for concurrent use.
type Receiver struct {
	link
	handler ReceiverHandler
	window  uint32 // credit that is kept up; 0 when Grant gives it
	most    uint64
	peer    codec.Map // properties of the peer's attach, when we asked

	// Guarded by the connection's mutex.
	credit    uint32
	count     uint32 // delivery-count
	unsettled uint32
	listed    bool // in session.grants
	draining  chan struct{}

	// A message that has arrived in part.
	more    bool
	id      uint32
	tag     []byte
	format  uint32
	settled bool
	buf     []byte
}

func newReceiver(s *Session, o ReceiverOptions) *Receiver {
	r := &Receiver{handler: o.Handler, window: o.Credit, most: o.MaxMessageSize}
	def(&r.most, defaultMessageSize)
	r.s, r.receiver = s, r
	return r
}

// PeerProperties returns the properties of the peer's answer to our attach.
func (r *Receiver) PeerProperties() codec.Map { return r.peer }

// onTransfer deals with a transfer (part 2 §2.6.12).
func (c *Conn) onTransfer(channel uint16, p *codec.Transfer, payload []byte) error {
	c.mu.Lock()
	s := c.incoming.get(uint32(channel))
	if s == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "a transfer on channel %d, which has not begun", channel)
	}
	if s.ended {
		c.mu.Unlock()
		return nil
	}
	s.nextIncoming++
	l := s.handles.get(p.Handle)
	var fault *codec.Condition
	switch {
	case s.window == 0:
		fault = Refuse(WindowViolation, "more than the window of %d transfers", c.cfg.IncomingWindow)
	case l == nil || l.receiver == nil:
		fault = Refuse(UnattachedHandle, "a transfer on handle %d, on which nothing is received", p.Handle)
	}
	if fault != nil {
		tell := s.fail(fault)
		c.mu.Unlock()
		detachAll(tell)
		return nil
	}
	s.window--
	if s.window <= c.cfg.IncomingWindow/2 {
		s.flow = true
		s.dirtyLocked()
	}
	if l.closed {
		c.mu.Unlock()
		return nil
	}
	r := l.receiver
	d, whole, fault := r.take(p, payload)
	if fault != nil {
		tell := r.failLocked(fault)
		c.mu.Unlock()
		if tell {
			r.detached(fault)
		}
		return nil
	}
	c.mu.Unlock()
	if whole {
		c.handed++
		r.handler.Transfer(r, d)
	}
	return nil
}

// take adds a frame to the message under way; the mutex is held. The fault is
// what the link must be detached with.
func (r *Receiver) take(p *codec.Transfer, payload []byte) (d Delivery, whole bool, fault *codec.Condition) {
	c := r.s.c
	if !r.more {
		switch {
		case !p.DeliveryID.OK:
			return d, false, Refuse(InvalidField, "delivery-id is missing in the first transfer of a delivery")
		case r.credit == 0:
			return d, false, Refuse(TransferLimitExceeded, "there is no credit for another message")
		}
		r.credit--
		r.count++
		r.list()
		if !p.More && !p.Aborted {
			settled := p.Settled.V
			if uint64(len(payload)) > r.most {
				return d, false, tooLarge(len(payload), r.most)
			}
			if !settled {
				r.unsettled++
			}
			return Delivery{ID: p.DeliveryID.V, Tag: p.DeliveryTag, Format: p.MessageFormat.V, Settled: settled, Payload: payload}, true, nil
		}
		r.more, r.id, r.format, r.settled = true, p.DeliveryID.V, p.MessageFormat.V, false
		r.tag = append(r.tag[:0], p.DeliveryTag...)
	} else if p.DeliveryID.OK && p.DeliveryID.V != r.id {
		return d, false, Refuse(InvalidField, "delivery %d begins before delivery %d has ended", p.DeliveryID.V, r.id)
	}
	r.settled = r.settled || p.Settled.V
	if p.Aborted {
		r.forget()
		return d, false, nil
	}
	switch size := len(r.buf) + len(payload); {
	case uint64(size) > r.most:
		return d, false, tooLarge(size, r.most)
	case c.partial+len(payload) > c.cfg.Partial:
		return d, false, Refuse(ResourceLimitExceeded, "messages that have arrived in part have more than %d bytes", c.cfg.Partial)
	}
	if need := len(r.buf) + len(payload); need > cap(r.buf) {
		grown := append(getBuffer(need), r.buf...)
		putBuffer(r.buf)
		r.buf = grown
	}
	r.buf = append(r.buf, payload...)
	c.partial += len(payload)
	if p.More {
		return d, false, nil
	}
	d = Delivery{ID: r.id, Tag: r.tag, Format: r.format, Settled: r.settled, Payload: r.buf}
	if !d.Settled {
		r.unsettled++
	}
	c.partial -= len(r.buf)
	c.assembled = append(c.assembled, r.buf) // the reader's own, and it is the reader
	r.more, r.buf, r.tag = false, nil, nil
	return d, true, nil
}

func tooLarge(n int, most uint64) *codec.Condition {
	return Refuse(MessageSizeExceeded, "the message has %d bytes or more, the limit is %d", n, most)
}

// forget drops a message that arrived in part; the mutex is held.
func (r *Receiver) forget() {
	if r.more {
		r.s.c.partial -= len(r.buf)
		putBuffer(r.buf)
		r.more, r.buf, r.tag = false, nil, nil
	}
	if r.draining != nil {
		close(r.draining)
		r.draining = nil
	}
}

// list has the link's credit looked at when the burst ends; the mutex is held.
func (r *Receiver) list() {
	if !r.listed && r.window > 0 {
		r.listed = true
		r.s.grants = append(r.s.grants, r)
		r.s.dirtyLocked()
	}
}

// topUp gives the credit that is due, once it is much, and reports whether it
// did; the mutex is held.
func (r *Receiver) topUp() bool {
	if r.window == 0 || r.closed || !r.attached {
		return false
	}
	most := r.window - min(r.window, r.unsettled)
	if most <= r.credit || r.credit > r.window/2 {
		return false
	}
	r.credit = most
	r.pushCredit(false)
	return true
}

func (r *Receiver) pushCredit(drain bool) {
	r.s.pushFlow(func(f *codec.Flow) {
		f.Handle, f.DeliveryCount, f.LinkCredit = codec.Some(r.local), codec.Some(r.count), codec.Some(r.credit)
		f.Drain = drain
	})
}

// onFlow takes what a sender says about its link; the mutex is held.
func (r *Receiver) onFlow(p *codec.Flow) {
	if r.s == nil {
		return // a link that was refused
	}
	if p.DeliveryCount.OK && int32(p.DeliveryCount.V-r.count) > 0 {
		// The sender has used credit up without messages.
		used := p.DeliveryCount.V - r.count
		r.credit -= min(r.credit, used)
		r.count = p.DeliveryCount.V
		if r.credit == 0 && r.draining != nil {
			close(r.draining)
			r.draining = nil
		}
		r.list()
	}
	if p.Echo {
		r.pushCredit(false)
	}
}

// Settle settles a delivery with an outcome. It is said with the next Push, or
// at the end of the burst; neighbours with the same outcome are said together.
func (r *Receiver) Settle(id uint32, state codec.State) {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.closed || r.s.ended {
		return
	}
	if r.unsettled > 0 {
		r.unsettled--
	}
	r.s.settle(id, &state)
	r.list()
}

// Grant sets how many messages the peer may send from now on, for a link
// without automatic credit. It is said with the next Push.
func (r *Receiver) Grant(n uint32) {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.closed || r.s.ended {
		return
	}
	r.credit = n
	r.pushCredit(false)
}

// Drain asks the peer to send what it has, up to the credit it was given, and
// to use up the rest. The channel is closed when that is done, or the link is
// detached.
func (r *Receiver) Drain() <-chan struct{} {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan struct{})
	if r.closed || r.s.ended || r.credit == 0 {
		close(ch)
		return ch
	}
	if r.draining != nil {
		return r.draining
	}
	r.draining = ch
	r.pushCredit(true)
	c.flushLocked()
	return ch
}

// Unsettled returns how many deliveries wait to be settled.
func (r *Receiver) Unsettled() int {
	r.s.c.mu.Lock()
	defer r.s.c.mu.Unlock()
	return int(r.unsettled)
}
