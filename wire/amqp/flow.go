package amqp

import (
	"math"
	"sync"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// settlement is a run of deliveries with the same state that waits to be said.
type settlement struct {
	any         bool
	settled     bool
	first, last uint32
	state       codec.State
}

// dirtyLocked has settleLocked called at the end of the burst.
func (s *Session) dirtyLocked() {
	if !s.isDirty {
		s.isDirty = true
		s.c.dirty = append(s.c.dirty, s)
	}
}

// settleLocked queues what is due to be said: settlements first, so that credit
// comes after what earned it.
func (s *Session) settleLocked() {
	s.isDirty = false
	if s.over() {
		return
	}
	s.sayLocked()
	flow := s.flow
	for i, r := range s.grants {
		s.grants[i] = nil
		r.listed = false
		if r.review() {
			flow = false // a link's flow carries the session's
		}
	}
	s.grants = s.grants[:0]
	if flow && s.window <= s.c.cfg.IncomingWindow/2 {
		s.pushFlow(nil)
	}
	s.flow = false
}

// mostDirty is how many entries of a list of what is due are kept.
const mostDirty = 64

// settleLocked queues the dispositions and flows that are due.
func (c *Conn) settleLocked() {
	for i, s := range c.dirty {
		s.settleLocked()
		c.dirty[i] = nil
	}
	if c.dirty = c.dirty[:0]; cap(c.dirty) > mostDirty {
		c.dirty = nil
	}
}

// sayLocked queues the disposition that is pending.
func (s *Session) sayLocked() {
	p := &s.pending
	if !p.any {
		return
	}
	d := dispositions.Get().(*codec.Disposition)
	*d = codec.Disposition{Role: codec.Receiver, First: p.first, Settled: p.settled, State: p.state}
	if p.last != p.first {
		d.Last = codec.Some(p.last)
	}
	s.pushDisposition(d)
	*p = settlement{}
	*d = codec.Disposition{}
	dispositions.Put(d)
}

// dispositions holds idle *codec.Disposition: what is written through an
// interface would be allocated for every burst.
var dispositions = sync.Pool{New: func() any { return new(codec.Disposition) }}

// pushDisposition queues a disposition. What its state has to add is shortened,
// or left out, when the peer takes no frames of that size.
func (s *Session) pushDisposition(d *codec.Disposition) {
	c := s.c
	if c.push(s.channel, d, nil) {
		return
	}
	st := codec.State{Kind: d.State.Kind, DeliveryFailed: d.State.DeliveryFailed, UndeliverableHere: d.State.UndeliverableHere}
	cond := d.State.Error
	c.pushError(s.channel, cond, func(cond *codec.Condition) codec.Performative {
		d.State = st
		d.State.Error = cond
		return d
	})
}

// settle adds a delivery to the pending run; the mutex is held.
func (s *Session) settle(id uint32, state *codec.State, settled bool) {
	p := &s.pending
	if p.any && p.settled == settled && id == p.last+1 && sameState(&p.state, state) {
		p.last = id
		return
	}
	s.sayLocked()
	*p = settlement{any: true, settled: settled, first: id, last: id, state: *state}
	s.dirtyLocked()
}

// sameState reports whether two states are said alike. Those that carry more
// than their kind are taken to differ.
func sameState(a, b *codec.State) bool {
	return a.Kind == b.Kind && (a.Kind == codec.CodeAccepted || a.Kind == codec.CodeReleased)
}

// pushFlow queues a flow, with what a link adds to it; the mutex is held.
func (s *Session) pushFlow(add func(*codec.Flow)) {
	s.window = s.c.cfg.IncomingWindow
	f := codec.Flow{
		IncomingWindow: s.window, NextOutgoingID: s.nextOutgoing, OutgoingWindow: outgoingWindow,
	}
	if s.begun {
		f.NextIncomingID = codec.Some(s.nextIncoming)
	}
	if add != nil {
		add(&f)
	}
	s.c.push(s.channel, &f, nil)
}

// onFlow deals with a flow (part 2 §2.5.6, §2.6.7).
func (c *Conn) onFlow(channel uint16, p *codec.Flow) error {
	c.mu.Lock()
	s, err := c.session(channel, codec.CodeFlow)
	if s == nil {
		c.mu.Unlock()
		return err
	}
	s.openWindow(p)
	if !p.Handle.OK {
		if p.Echo {
			s.pushFlow(nil)
		}
		c.mu.Unlock()
		return nil
	}
	l := s.handles.get(p.Handle.V)
	if l == nil {
		farewells := s.fail(Refuse(UnattachedHandle, "a flow on handle %d, which is not attached", p.Handle.V))
		c.mu.Unlock()
		tell(farewells)
		return nil
	}
	var notify *Sender
	switch {
	case l.closed:
	case l.sender != nil:
		if l.waiting != nil { // who gives credit has not refused, whatever its attach lacks
			close(l.waiting)
			l.waiting = nil
		}
		notify = l.sender
		notify.onFlow(p)
	case l.receiver != nil:
		l.receiver.onFlow(p)
	}
	c.mu.Unlock()
	if notify != nil && notify.handler != nil {
		notify.handler.Flow(notify)
	}
	return nil
}

// openWindow takes what a flow says about the session's window; the mutex is
// held.
func (s *Session) openWindow(p *codec.Flow) {
	// Until it has seen our begin the peer counts from our first id, which is 0.
	underway := s.nextOutgoing - p.NextIncomingID.Or(0)
	if underway > math.MaxInt32 {
		underway = 0 // it claims to have seen more than was sent
	}
	if underway == 0 {
		s.c.readTo = max(s.c.readTo, s.lastAt)
	}
	s.remoteWindow = p.IncomingWindow - min(p.IncomingWindow, underway)
	s.c.finishRests()
	if s.remoteWindow > 0 && len(s.waiting) > 0 {
		for i, w := range s.waiting {
			w.queued = false
			w.wake()
			s.waiting[i] = nil
		}
		s.waiting = s.waiting[:0]
	}
}
