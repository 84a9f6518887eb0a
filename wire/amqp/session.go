package amqp

import (
	"context"
	"strings"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Session is a session of a connection. Its fields are guarded by the
// connection's mutex.
type Session struct {
	c         *Conn
	channel   uint16 // ours
	remote    uint16 // the peer's
	begun     bool   // the peer's begin came
	ended     bool   // our end is out, or the session is over
	handleMax uint32 // the peer's
	cause     error

	// Incoming transfers (part 2 §2.5.6).
	nextIncoming uint32
	window       uint32 // transfers that the peer may still send

	// Outgoing transfers.
	nextOutgoing uint32
	remoteWindow uint32
	delivery     uint64    // number of the next delivery; its id has the lower 32 bits
	lastAt       uint64    // bytes that had been queued after the last transfer
	sent         sentQueue // tracked deliveries
	waiting      []*Sender // for the window to open

	local   table[link] // by our handle
	handles table[link] // by the peer's

	// What is said at the end of a burst.
	isDirty  bool
	flow     bool        // of the session
	untracks bool        // some sender forgets its deliveries
	pending  settlement  // of deliveries that we received
	grants   []*Receiver // whose credit is to be topped up

	beginCh chan struct{} // of Begin, closed when the peer's begin came
}

// clone copies a borrowed string.
func clone(s string) string { return strings.Clone(s) }

// Conn returns the connection.
func (s *Session) Conn() *Conn { return s.c }

// newSession makes a session on a free channel; the mutex is held.
func (c *Conn) newSession() *Session {
	s := &Session{c: c, channel: uint16(c.sessions.free()), window: c.cfg.IncomingWindow}
	c.sessions.put(uint32(s.channel), s)
	return s
}

// maxSessions is how many sessions the two sides can have.
func (c *Conn) maxSessions() int { return int(min(c.cfg.ChannelMax, c.remote.channelMax)) + 1 }

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

// session returns the session that a frame is for, or nil when nobody listens to
// it any more. The mutex is held.
func (c *Conn) session(channel uint16, code codec.Code) (*Session, error) {
	if c.closed {
		return nil, nil
	}
	if channel > c.cfg.ChannelMax {
		return nil, Refuse(FramingError, "channel %d is above the channel-max of %d", channel, c.cfg.ChannelMax)
	}
	s := c.incoming.get(uint32(channel))
	if s == nil {
		return nil, Refuse(IllegalState, "%v on channel %d, which has not begun", code, channel)
	}
	if s.ended && code != codec.CodeEnd {
		return nil, nil
	}
	return s, nil
}

// onBegin deals with the peer's begin (part 2 §2.5.1).
func (c *Conn) onBegin(channel uint16, p *codec.Begin) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil
	case channel > c.cfg.ChannelMax:
		return Refuse(FramingError, "channel %d is above the channel-max of %d", channel, c.cfg.ChannelMax)
	case c.incoming.get(uint32(channel)) != nil:
		return Refuse(IllegalState, "a second begin on channel %d", channel)
	}
	var s *Session
	if p.RemoteChannel.OK {
		s = c.sessions.get(uint32(p.RemoteChannel.V))
		if s == nil || s.begun {
			return Refuse(IllegalState, "a begin answers one on channel %d, which there is not", p.RemoteChannel.V)
		}
	} else {
		if c.sessions.n >= c.maxSessions() {
			return Refuse(ResourceLimitExceeded, "more than %d sessions", c.sessions.n)
		}
		s = c.newSession()
	}
	s.remote, s.begun = channel, true
	s.nextIncoming, s.remoteWindow, s.handleMax = p.NextOutgoingID, p.IncomingWindow, p.HandleMax
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
	s, err := c.session(channel, codec.CodeEnd)
	if s == nil {
		c.mu.Unlock()
		return err
	}
	if p.Error != nil && s.cause == nil {
		s.cause = cloneCondition(p.Error)
	}
	if !s.ended {
		s.settleLocked()
		c.push(s.channel, &codec.End{}, nil)
	}
	farewells := s.endLocked()
	c.incoming.del(uint32(channel))
	c.sessions.del(uint32(s.channel))
	c.mu.Unlock()
	tell(farewells)
	return nil
}

// fail ends the session with an error of the peer's; the mutex is held, and the
// links that it had must be told.
func (s *Session) fail(cond *codec.Condition) []farewell {
	if s.ended {
		return nil
	}
	s.settleLocked()
	if cond != nil {
		s.cause = cond
	}
	s.c.pushError(s.channel, cond, func(cond *codec.Condition) codec.Performative { return &codec.End{Error: cond} })
	return s.endLocked()
}

// pushEnd queues the end of a session whose connection is about to be closed with a
// condition. Those of connections are none for sessions, and applications that know
// only the ones of links would not come back. The session itself goes on until the
// connection is over, which its links are told of. The mutex is held.
func (s *Session) pushEnd(cond *codec.Condition) {
	if s.ended {
		return
	}
	s.settleLocked()
	if cond != nil && (cond.Name == ConnectionForced || cond.Name == ConnectionRedirect) {
		cond = &codec.Condition{Name: DetachForced, Description: cond.Description, Info: cond.Info}
	}
	s.c.pushError(s.channel, cond, func(cond *codec.Condition) codec.Performative { return &codec.End{Error: cond} })
}

// endLocked takes all links from the session and wakes who waits; the mutex is
// held. It returns the links whose handlers must be told.
func (s *Session) endLocked() []farewell {
	s.ended = true
	s.sent.drop(nil)
	var farewells []farewell
	for _, l := range s.local.all() {
		if l.gone() {
			farewells = append(farewells, farewell{l, s.cause})
		}
		l.unname()
		s.c.links--
	}
	s.local, s.handles = table[link]{}, table[link]{}
	s.grants, s.pending, s.waiting = nil, settlement{}, nil
	if s.beginCh != nil {
		close(s.beginCh)
		s.beginCh = nil
	}
	return farewells
}

// wakeSenders lets who waits for something find out that it will not come; the
// mutex is held.
func (s *Session) wakeSenders() {
	for _, l := range s.local.all() {
		if l.sender != nil {
			l.sender.wake()
		}
	}
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

// over reports whether nothing can be said on the session any more; the mutex
// is held.
func (s *Session) over() bool { return s.ended || s.c.closed || s.c.dead }

// Begin begins a session. It waits for the peer.
func (c *Conn) Begin(ctx context.Context) (*Session, error) {
	c.mu.Lock()
	s, begun, err := c.beginLocked()
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-begun:
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.over() {
			return nil, s.err()
		}
		return s, nil
	case <-ctx.Done():
		_ = s.End(nil)
		return nil, ctx.Err()
	}
}

func (c *Conn) beginLocked() (*Session, <-chan struct{}, error) {
	switch {
	case c.closed || c.dead:
		return nil, nil, c.ended()
	case c.phase != opened:
		return nil, nil, ErrNotOpen
	case c.sessions.n >= c.maxSessions():
		return nil, nil, ErrFull
	}
	s := c.newSession()
	begun := make(chan struct{})
	s.beginCh = begun
	s.pushBegin(false)
	c.kick()
	return s, begun, nil
}

// End ends the session with a condition, nil for an orderly end. All its links
// end with it; their handlers are not told. It does not wait for the peer.
func (s *Session) End(cond *codec.Condition) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over() {
		return s.err()
	}
	for _, l := range s.local.all() {
		l.told = true
	}
	s.fail(cond)
	c.kick()
	return nil
}
