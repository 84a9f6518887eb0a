package amqp

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Session is a session of a connection. Its fields are guarded by the
// connection's mutex.
type Session struct {
	c       *Conn
	channel uint16 // ours
	remote  uint16 // the peer's
	begun   bool   // the peer's begin came
	ended   bool   // our end is out, or the session is over
	cause   error

	// Incoming transfers (part 2 §2.5.6).
	nextIncoming uint32
	window       uint32 // transfers that the peer may still send

	// Outgoing transfers.
	nextOutgoing uint32
	delivery     uint32 // next delivery-id
	remoteWindow uint32

	local    table[link]      // by our handle
	handles  table[link]      // by the peer's
	naming   map[string]*link // attached by us, not yet by the peer; by role and name
	unsettle []*Sender        // with tracked deliveries
	waiting  []*Sender        // for the window to open

	// What is said at the end of a burst.
	isDirty  bool
	flow     bool        // of the session
	pending  settlement  // of deliveries that we received
	grants   []*Receiver // whose credit is to be topped up
	beginCh  chan struct{}
	endedCh  chan struct{} // made by End; closed when the session is over
	untracks bool          // some sender forgets its deliveries
}

// settlement is a run of deliveries with the same state that waits to be said.
type settlement struct {
	any         bool
	first, last uint32
	state       codec.State
}

// clone copies a borrowed string.
func clone(s string) string { return strings.Clone(s) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// Conn returns the connection.
func (s *Session) Conn() *Conn { return s.c }

// newSession makes a session on a free channel; the mutex is held.
func (c *Conn) newSession() *Session {
	s := &Session{c: c, channel: uint16(c.sessions.free()), window: c.cfg.IncomingWindow}
	c.sessions.put(uint32(s.channel), s)
	return s
}

// pushBegin queues our begin; the mutex is held.
func (s *Session) pushBegin(answers bool) {
	b := codec.Begin{
		NextOutgoingID: s.nextOutgoing, IncomingWindow: s.window, OutgoingWindow: outgoingWindow, HandleMax: handleMax,
	}
	if answers {
		b.RemoteChannel = codec.Some(s.remote)
	}
	s.c.push(s.channel, &b, nil)
}

// onBegin deals with the peer's begin (part 2 §2.5.1).
func (c *Conn) onBegin(channel uint16, p *codec.Begin) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if channel > c.cfg.ChannelMax {
		return Refuse(NotAllowed, "channel %d is above the channel-max of %d", channel, c.cfg.ChannelMax)
	}
	if c.incoming.get(uint32(channel)) != nil {
		return Refuse(IllegalState, "a second begin on channel %d", channel)
	}
	var s *Session
	if p.RemoteChannel.OK {
		s = c.sessions.get(uint32(p.RemoteChannel.V))
		if s == nil || s.begun {
			return Refuse(IllegalState, "a begin answers one on channel %d, which there is not", p.RemoteChannel.V)
		}
	} else {
		if c.sessions.n > int(min(c.cfg.ChannelMax, c.remote.channelMax)) {
			return Refuse(ResourceLimitExceeded, "more than %d sessions", c.sessions.n)
		}
		s = c.newSession()
	}
	s.remote, s.begun = channel, true
	s.nextIncoming, s.remoteWindow = p.NextOutgoingID, p.IncomingWindow
	c.incoming.put(uint32(channel), s)
	if !p.RemoteChannel.OK {
		s.pushBegin(true)
	}
	if s.beginCh != nil {
		close(s.beginCh)
		s.beginCh = nil
	}
	return nil
}

// onEnd deals with the peer's end.
func (c *Conn) onEnd(channel uint16, p *codec.End) error {
	c.mu.Lock()
	s := c.incoming.get(uint32(channel))
	if s == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "an end on channel %d, which has not begun", channel)
	}
	if p.Error != nil && s.cause == nil {
		s.cause = cloneCondition(p.Error)
	}
	if !s.ended {
		s.settleLocked()
		s.ended = true
		c.push(s.channel, &codec.End{}, nil)
	}
	links := s.endLocked()
	cause := s.cause
	c.incoming.del(uint32(channel))
	c.sessions.del(uint32(s.channel))
	c.mu.Unlock()
	for _, l := range links {
		l.detached(cause)
	}
	return nil
}

// fail ends the session with an error of the peer's; the mutex is held, and the
// links that it had must be told.
func (s *Session) fail(cond *codec.Condition) []*link {
	if s.ended {
		return nil
	}
	s.settleLocked()
	s.ended, s.cause = true, cond
	s.c.push(s.channel, &codec.End{Error: cond}, nil)
	return s.endLocked()
}

// endLocked takes all links from the session and wakes who waits; the mutex is
// held. It returns the links whose handlers must be told.
func (s *Session) endLocked() []*link {
	s.ended = true
	var tell []*link
	for _, l := range s.local.all() {
		if l.gone() {
			tell = append(tell, l)
		}
		s.c.links--
	}
	s.local, s.handles, s.naming = table[link]{}, table[link]{}, nil
	s.unsettle, s.grants, s.pending = nil, nil, settlement{}
	for _, w := range s.waiting {
		w.wake()
	}
	s.waiting = nil
	if s.beginCh != nil {
		close(s.beginCh)
		s.beginCh = nil
	}
	if s.endedCh != nil {
		close(s.endedCh)
		s.endedCh = nil
	}
	return tell
}

// err returns what a call on the ended session gets; the mutex is held.
func (s *Session) err() error {
	switch {
	case s.c.dead || s.c.closed:
		return s.c.ended()
	case s.cause != nil:
		return &endError{what: ErrEnded, cause: s.cause}
	}
	return ErrEnded
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
	if s.ended {
		return
	}
	s.sayLocked()
	flow := s.flow
	for i, r := range s.grants {
		s.grants[i] = nil
		r.listed = false
		if r.topUp() {
			flow = false // a link's flow carries the session's
		}
	}
	s.grants = s.grants[:0]
	if flow && s.window <= s.c.cfg.IncomingWindow/2 {
		s.pushFlow(nil)
	}
	s.flow = false
}

// sayLocked queues the disposition that is pending.
func (s *Session) sayLocked() {
	p := &s.pending
	if !p.any {
		return
	}
	d := codec.Disposition{Role: codec.Receiver, First: p.first, Settled: true, State: p.state}
	if p.last != p.first {
		d.Last = codec.Some(p.last)
	}
	s.c.push(s.channel, &d, nil)
	*p = settlement{}
}

// settle adds a delivery to the pending run; the mutex is held.
func (s *Session) settle(id uint32, state *codec.State) {
	p := &s.pending
	if p.any && id == p.last+1 && sameState(&p.state, state) {
		p.last = id
		return
	}
	s.sayLocked()
	*p = settlement{any: true, first: id, last: id, state: *state}
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
	s := c.incoming.get(uint32(channel))
	if s == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "a flow on channel %d, which has not begun", channel)
	}
	if s.ended {
		c.mu.Unlock()
		return nil
	}
	// Until it has seen our begin the peer counts from our first id, which is 0.
	was := s.remoteWindow
	s.remoteWindow = p.NextIncomingID.Or(0) + p.IncomingWindow - s.nextOutgoing
	if s.remoteWindow > math.MaxInt32 {
		s.remoteWindow = 0 // what is under way already fills the window, or more
	}
	if was == 0 && s.remoteWindow > 0 {
		for _, w := range s.waiting {
			w.wake()
		}
		s.waiting = s.waiting[:0]
	}
	if !p.Handle.OK {
		if p.Echo {
			s.pushFlow(nil)
		}
		c.mu.Unlock()
		return nil
	}
	l := s.handles.get(p.Handle.V)
	if l == nil {
		tell := s.fail(Refuse(UnattachedHandle, "a flow on handle %d, which is not attached", p.Handle.V))
		c.mu.Unlock()
		detachAll(tell)
		return nil
	}
	var notify *Sender
	switch {
	case l.closed:
	case l.sender != nil:
		if l.sender.onFlow(p) {
			notify = l.sender
		}
	default:
		l.receiver.onFlow(p)
	}
	c.mu.Unlock()
	if notify != nil && notify.handler != nil {
		notify.handler.Flow(notify)
	}
	return nil
}

func detachAll(links []*link) {
	for _, l := range links {
		l.detached(l.s.cause)
	}
}

// Begin begins a session. It waits for the peer.
func (c *Conn) Begin(ctx context.Context) (*Session, error) {
	c.mu.Lock()
	if c.closed || c.dead {
		defer c.mu.Unlock()
		return nil, c.ended()
	}
	if c.sessions.n > int(min(c.cfg.ChannelMax, c.remote.channelMax)) {
		defer c.mu.Unlock()
		return nil, ErrFull
	}
	s := c.newSession()
	begun := make(chan struct{})
	s.beginCh = begun
	s.pushBegin(false)
	c.flushLocked()
	c.mu.Unlock()
	select {
	case <-begun:
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.ended {
			return nil, s.err()
		}
		return s, nil
	case <-ctx.Done():
		_ = s.End(nil)
		return nil, ctx.Err()
	}
}

// End ends the session, with all its links, whose handlers are not told. It
// does not wait for the peer.
func (s *Session) End(cond *codec.Condition) error {
	c := s.c
	c.mu.Lock()
	if s.ended {
		defer c.mu.Unlock()
		return s.err()
	}
	for _, l := range s.local.all() {
		l.closed = true
	}
	s.fail(cond)
	c.mu.Unlock()
	c.flush()
	return nil
}
