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
	second  bool // it is the sender who settles first

	// Guarded by the connection's mutex.
	credit    uint32
	count     uint32 // delivery-count
	limit     uint32 // delivery-count up to which the peer may ever have been told to send
	unsettled uint32
	held      uint32        // settled ones that lie in an inbox
	listed    bool          // in session.grants
	draining  chan struct{} // closed when the peer has used its credit up; nil when it was not asked to
	part      *part         // a message that has arrived in part
}

// part is a message that has arrived in part.
type part struct {
	id, format uint32
	settled    bool
	skip       bool // the rest is not of interest
	tagged     uint8
	tag        [codec.MaxDeliveryTag]byte
	buf        *buffer
}

func newReceiver(s *Session, o ReceiverOptions) *Receiver {
	r := &Receiver{handler: o.Handler, window: min(o.Credit, mostCredit), most: o.MaxMessageSize}
	def(&r.most, defaultMessageSize)
	r.s, r.receiver = s, r
	return r
}

// onTransfer deals with a transfer (part 2 §2.6.12).
func (c *Conn) onTransfer(channel uint16, p *codec.Transfer, payload []byte) error {
	c.mu.Lock()
	s, err := c.session(channel, codec.CodeTransfer)
	if s == nil {
		c.mu.Unlock()
		return err
	}
	l := s.handles.get(p.Handle)
	var fault *codec.Condition
	switch {
	case s.window == 0:
		fault = Refuse(WindowViolation, "more than the window of %d transfers", c.cfg.IncomingWindow)
	case l == nil || l.receiver == nil && !l.closed:
		fault = Refuse(UnattachedHandle, "a transfer on handle %d, on which nothing is received", p.Handle)
	}
	if fault != nil {
		farewells := s.fail(fault)
		c.mu.Unlock()
		tell(farewells)
		return nil
	}
	s.nextIncoming++
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
		farewells := r.fail(fault)
		c.mu.Unlock()
		tell(farewells)
		return nil
	}
	c.mu.Unlock()
	if whole {
		c.work.handed++
		r.handler.Transfer(r, d)
	}
	return nil
}

// take adds a frame to the message under way; the mutex is held. The fault is
// what the link must be detached with.
func (r *Receiver) take(p *codec.Transfer, payload []byte) (d Delivery, whole bool, fault *codec.Condition) {
	if r.part == nil {
		switch {
		case !p.DeliveryID.OK:
			return d, false, Refuse(InvalidField, "delivery-id is missing in the first transfer of a delivery")
		case int32(r.limit-r.count) <= 0:
			return d, false, Refuse(TransferLimitExceeded, "there is no credit for another message")
		}
		r.count++
		r.credit -= min(r.credit, 1)
		r.list()
		if !p.More && !p.Aborted && !p.Resume {
			if uint64(len(payload)) > r.most {
				return d, false, tooLarge(len(payload), r.most)
			}
			if !p.Settled.V {
				r.unsettled++
			}
			return Delivery{ID: p.DeliveryID.V, Tag: p.DeliveryTag, Format: p.MessageFormat.V, Settled: p.Settled.V, Payload: payload}, true, nil
		}
		// A link that keeps no state does not know what would be resumed, and
		// must ignore it (§2.7.5).
		r.part = &part{id: p.DeliveryID.V, format: p.MessageFormat.V, skip: p.Resume}
		r.part.tagged = uint8(copy(r.part.tag[:], p.DeliveryTag))
	} else if p.DeliveryID.OK && p.DeliveryID.V != r.part.id {
		return d, false, Refuse(InvalidField, "delivery %d begins before delivery %d has ended", p.DeliveryID.V, r.part.id)
	}
	if r.part.settled = r.part.settled || p.Settled.V; p.Aborted || r.part.skip && !p.More {
		r.dropPart()
		return d, false, nil
	}
	if fault = r.add(payload); fault != nil || p.More {
		return d, false, fault
	}
	m := r.part
	d = Delivery{ID: m.id, Tag: m.tag[:m.tagged], Format: m.format, Settled: m.settled}
	if !d.Settled {
		r.unsettled++
	}
	if m.buf != nil {
		d.Payload = m.buf.b
		c := r.s.c // its reader is who calls
		c.work.assembled = append(c.work.assembled, m.buf)
		c.partial -= cap(m.buf.b)
	}
	r.part = nil
	return d, true, nil
}

// add adds a payload to the message that has arrived in part.
func (r *Receiver) add(payload []byte) *codec.Condition {
	c, m := r.s.c, r.part
	if m.skip || len(payload) == 0 {
		return nil
	}
	size, had := len(payload), 0
	if m.buf != nil {
		size, had = size+len(m.buf.b), cap(m.buf.b)
	}
	if uint64(size) > r.most {
		return tooLarge(size, r.most)
	}
	// What counts is the memory, not the bytes.
	m.buf = m.buf.reserve(len(payload), int(min(r.most, uint64(c.parts))))
	c.partial += cap(m.buf.b) - had
	if c.partial > c.parts {
		return Refuse(ResourceLimitExceeded, "messages that have arrived in part take more than %d bytes", c.parts)
	}
	m.buf.b = append(m.buf.b, payload...)
	return nil
}

func tooLarge(n int, most uint64) *codec.Condition {
	return Refuse(MessageSizeExceeded, "the message has %d bytes or more, the limit is %d", n, most)
}

// dropPart drops a message that arrived in part; the mutex is held.
func (r *Receiver) dropPart() {
	if r.part == nil {
		return
	}
	if b := r.part.buf; b != nil {
		r.s.c.partial -= cap(b.b)
		b.free()
	}
	r.part = nil
}

// forget ends what is under way on a link that is over; the mutex is held.
func (r *Receiver) forget() {
	r.dropPart()
	r.drained()
}

// Settle settles a delivery with an outcome. It is said with the next Push, or
// at the end of the burst; neighbours with the same outcome are said together.
// A delivery that the sender had settled must not be settled. On a link with
// [codec.SettleSecond] the outcome is said, and the sender settles, unless
// SettleAtOnce was asked for; nothing depends on whether it does.
func (r *Receiver) Settle(id uint32, state codec.State) {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.over() {
		return
	}
	if r.unsettled > 0 {
		r.unsettled--
	}
	r.s.settle(id, &state, !r.second)
	r.list()
}

// hold counts a settled delivery that nobody has asked for yet.
func (r *Receiver) hold() {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	r.held++
}

// release ends hold, and gives the credit that is due.
func (r *Receiver) release() {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.held--; !r.over() && r.topUp() && !c.busy {
		c.kick()
	}
}

// Unsettled returns how many deliveries wait to be settled.
func (r *Receiver) Unsettled() int {
	r.s.c.mu.Lock()
	defer r.s.c.mu.Unlock()
	return int(r.unsettled)
}
