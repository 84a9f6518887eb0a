package amqp

import (
	"context"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Sender is a link that we send on. It is safe for concurrent use.
type Sender struct {
	link
	handler   SenderHandler
	untracked bool
	most      int // tracked deliveries

	// Guarded by the connection's mutex.
	settled  bool   // the link carries settled deliveries only
	mostSize uint64 // of a message, in bytes; 0 is no limit
	credit   uint32
	count    uint32        // delivery-count
	drain    bool          // the peer wants no credit to be left
	due      bool          // Drained was called, and waits for those in Send
	sends    int           // calls of Send that have begun
	sending  bool          // one of them is at it, so that messages stay whole and in order
	queued   bool          // in session.waiting
	rest     []byte        // of a message that was sent in part, of a sender in conn.rests; else nil
	made     [4]byte       // the latest tag that was made
	open     int           // tracked deliveries that are not settled
	woken    chan struct{} // closed when sending may go on; nil when nobody waits
}

func newSender(s *Session, o SenderOptions) *Sender {
	snd := &Sender{handler: o.Handler, untracked: o.Untracked, most: o.Unsettled}
	def(&snd.most, defaultUnsettled)
	snd.s, snd.sender = s, snd
	return snd
}

// Credit returns how many messages the peer will take now.
func (s *Sender) Credit() uint32 {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	return s.credit
}

// Draining reports whether the peer wants all that can be sent, and then no
// credit left.
func (s *Sender) Draining() bool {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	return s.drain
}

// MaxMessageSize returns how large a message the peer takes, in bytes; 0 is no
// limit.
func (s *Sender) MaxMessageSize() uint64 {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	return s.mostSize
}

// Unsettled returns how many tracked deliveries are not settled.
func (s *Sender) Unsettled() int {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	return s.open
}

// onFlow takes credit from a flow (part 2 §2.6.7); the mutex is held.
func (s *Sender) onFlow(p *codec.Flow) {
	if p.LinkCredit.OK {
		// Unsigned arithmetic does what the standard's serial numbers want.
		s.credit = p.DeliveryCount.Or(0) + p.LinkCredit.V - s.count
		if s.credit > p.LinkCredit.V {
			s.credit = 0 // what is under way already uses it up, or more
		}
	}
	s.drain, s.due = p.Drain, false
	switch {
	case s.drain && (s.credit == 0 || s.drainsAlone() && s.sends == 0):
		s.drainedLocked()
	case p.Echo:
		s.pushState()
	}
	s.wake()
}

// drainsAlone reports whether nobody else calls Drained.
func (s *Sender) drainsAlone() bool {
	if s.handler == nil {
		return true
	}
	_, ok := s.handler.(Outcomes)
	return ok
}

// pushState queues a flow with the state of the link; the mutex is held.
func (s *Sender) pushState() {
	s.s.pushFlow(func(f *codec.Flow) {
		f.Handle, f.DeliveryCount, f.LinkCredit = codec.Some(s.local), codec.Some(s.count), codec.Some(s.credit)
		f.Drain = s.drain
	})
}

// Drained uses up the credit that is left, if the peer wants the link drained.
// Messages that are in Send by now go first: what waits for credit can be sent. A
// sender without a handler, or with [Outcomes], does so by itself when no Send is
// under way.
func (s *Sender) Drained() {
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.due = s.drain
	if s.drains(s.sends == 0) {
		c.kick()
	} else if s.due {
		s.wake() // they may wait for something else than credit
	}
}

// drains ends a drain if there is no credit left, or, with over, nothing else to be
// sent by who is in Send, and reports whether it did; the mutex is held.
func (s *Sender) drains(over bool) bool {
	if !s.drain || s.over() || s.credit > 0 && (!over || !s.due && !s.drainsAlone()) {
		return false
	}
	s.drainedLocked()
	return true
}

func (s *Sender) drainedLocked() {
	s.count += s.credit
	s.credit = 0
	s.pushState()
	s.drain, s.due = false, false
}

// wake lets who waits look again; the mutex is held.
func (s *Sender) wake() {
	if s.woken != nil {
		close(s.woken)
		s.woken = nil
	}
}

// Await waits until there is credit, or the peer wants the link drained.
func (s *Sender) Await(ctx context.Context) error {
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for !s.over() && s.credit == 0 && !s.drain {
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	if s.over() {
		return s.err()
	}
	return nil
}

// pause waits for the next change; the mutex is held, and is not meanwhile.
func (s *Sender) pause(ctx context.Context) error {
	if s.over() {
		return s.err()
	}
	if s.woken == nil {
		s.woken = make(chan struct{})
	}
	woken := s.woken
	c := s.s.c
	c.kick()
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
