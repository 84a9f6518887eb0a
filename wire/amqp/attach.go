package amqp

import (
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Attach is a peer's wish for a link, for [Handler.Attach] to grant. What it
// embeds is borrowed until that returns, and is what the peer will be answered:
// a handler that grants less than was asked for, another filter for example, or
// that gives a dynamic node its address, changes Source or Target.
type Attach struct {
	*codec.Attach
	s      *Session
	answer codec.Attach
	l      *link
}

// Conn returns the connection that the link is wanted on.
func (a *Attach) Conn() *Conn { return a.s.c }

// Session returns the session that the link is wanted on.
func (a *Attach) Session() *Session { return a.s }

// Address returns the address of the node that the peer wants to send to, or
// to receive from. It is borrowed.
func (a *Attach) Address() string {
	switch {
	case a.Role == codec.Sender && a.Target != nil:
		return a.Target.Address.V
	case a.Role == codec.Receiver && a.Source != nil:
		return a.Source.Address.V
	}
	return ""
}

// Receive grants a link on which the peer sends. Credit is given after the
// peer was answered.
func (a *Attach) Receive(o ReceiverOptions) *Receiver {
	r := newReceiver(a.s, o)
	r.name = clone(a.Name)
	r.count = a.InitialDeliveryCount.V
	r.limit = r.count
	r.second = a.RcvSettleMode == codec.SettleSecond && !o.SettleAtOnce
	a.l = &r.link
	a.answer.MaxMessageSize = r.most
	a.answer.RcvSettleMode = a.RcvSettleMode
	a.answer.SndSettleMode = a.SndSettleMode
	a.grant(o.Properties, o.OfferedCapabilities, o.DesiredCapabilities)
	return r
}

// Send grants a link on which the peer receives. The link has no credit before
// the peer was answered, and gives some.
func (a *Attach) Send(o SenderOptions) *Sender {
	s := newSender(a.s, o)
	s.name = clone(a.Name)
	s.settled = a.SndSettleMode == codec.SendSettled
	s.mostSize = a.MaxMessageSize
	a.l = &s.link
	a.answer.SndSettleMode = a.SndSettleMode
	a.answer.RcvSettleMode = a.RcvSettleMode
	a.answer.InitialDeliveryCount = codec.Some(uint32(0))
	a.grant(o.Properties, o.OfferedCapabilities, o.DesiredCapabilities)
	return s
}

func (a *Attach) grant(properties codec.Map, offered, desired []string) {
	a.answer.Properties = properties
	a.answer.OfferedCapabilities = codec.NewSymbols(offered...)
	a.answer.DesiredCapabilities = codec.NewSymbols(desired...)
}

// onAttach deals with an attach (part 2 §2.6.3): the answer to one of ours, or
// a wish.
func (c *Conn) onAttach(channel uint16, p *codec.Attach) error {
	if p.Handle > handleMax {
		return Refuse(FramingError, "handle %d is above the handle-max of %d", p.Handle, handleMax)
	}
	c.mu.Lock()
	s, err := c.session(channel, codec.CodeAttach)
	if s == nil {
		c.mu.Unlock()
		return err
	}
	farewells, wish := s.admit(p)
	c.mu.Unlock()
	tell(farewells)
	if wish {
		tell(s.wish(p))
	}
	return nil
}

// admit deals with an attach as far as the handler need not be asked, and
// reports whether it is a wish; the mutex is held. Handlers of links that are
// over must be told.
func (s *Session) admit(p *codec.Attach) (farewells []farewell, wish bool) {
	c := s.c
	if l := s.handles.get(p.Handle); l != nil {
		return s.fail(Refuse(HandleInUse, "handle %d is attached to link %q", p.Handle, l.name)), false
	}
	if l := c.named[linkKey{p.Name, p.Role == codec.Receiver}]; l != nil {
		switch {
		case l.ours && !l.attached && l.s == s:
			s.answered(l, p)
			return nil, false
		case l.ours && l.s == s:
			return s.fail(Refuse(IllegalState, "link %q is attached already", l.name)), false
		case l.ours:
			return s.refuse(p, Refuse(NotAllowed, "the name %q is in use", l.name)), false
		}
		// Who attaches a link anew takes it away from itself (§2.6.1).
		farewells = l.fail(Refuse(LinkStolen, "the link was attached anew"))
	}
	switch {
	case c.links >= c.cfg.Links+mostRefused:
		return append(farewells, s.fail(Refuse(ResourceLimitExceeded, "the connection has %d links", c.links))...), false
	case c.links >= c.cfg.Links:
		return append(farewells, s.refuse(p, Refuse(ResourceLimitExceeded, "the connection has %d links already", c.links))...), false
	case len(p.Name) > maxName:
		return append(farewells, s.refuse(p, Refuse(InvalidField, "the name of the link has %d bytes, at most %d are possible", len(p.Name), maxName))...), false
	case p.Role == codec.Sender && !p.InitialDeliveryCount.OK:
		return append(farewells, s.refuse(p, Refuse(InvalidField, "initial-delivery-count is missing in the attach of a sender"))...), false
	}
	return farewells, true
}

// wish has the handler decide about an attach.
func (s *Session) wish(p *codec.Attach) []farewell {
	c := s.c
	a := &Attach{Attach: p, s: s}
	var err error
	if p.Coordinator != nil {
		err = Refuse(NotImplemented, "transactions are not supported")
	} else {
		if err = c.h.Attach(a); err != nil && conditionOf(err).Name == InternalError {
			c.cfg.Log.Error("a link could not be granted", "address", a.Address(), "err", err)
		}
	}
	if err == nil && a.l == nil {
		err = Refuse(NotFound, "there is no node %q", a.Address())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := a.l
	switch {
	case err != nil: // the handler knows
		if l != nil {
			l.told, l.closed = true, true
		}
		if s.over() {
			return nil
		}
		return s.refuse(p, conditionOf(err))
	case s.over():
		return l.abandon(s.err())
	case l.closed: // by the handler, meanwhile
		return s.refuse(p, conditionOf(l.cause))
	case c.named[l.key()] != nil:
		cond := Refuse(NotAllowed, "the name %q is in use", l.name)
		return append(l.abandon(cond), s.refuse(p, cond)...)
	}
	return s.grant(l, a)
}

// abandon ends a link of which the peer has not heard, and whose handler must
// hear of that; the mutex is held.
func (l *link) abandon(err error) []farewell {
	if l.told {
		return nil
	}
	l.told, l.closed, l.cause = true, true, err
	return []farewell{{l, err}}
}

// grant answers the wish for a link; the mutex is held.
func (s *Session) grant(l *link, a *Attach) []farewell {
	c, p := s.c, a.Attach
	if !s.place(l) {
		return append(l.abandon(errHandles), s.fail(errHandles)...)
	}
	a.answer.Name, a.answer.Handle, a.answer.Role = p.Name, l.local, !p.Role
	a.answer.Source, a.answer.Target = p.Source, p.Target
	modest(&a.answer)
	if !c.push(s.channel, &a.answer, nil) {
		s.local.del(l.local)
		c.links--
		l.placed = false
		cond := Refuse(FrameSizeTooSmall, "the answer does not fit into a frame of %d bytes", c.remote.maxFrame)
		return append(l.abandon(cond), s.refuse(p, cond)...)
	}
	l.remote, l.attached = p.Handle, true
	s.handles.put(p.Handle, l)
	c.name(l)
	if l.receiver != nil {
		l.receiver.begin()
	}
	return nil
}

// modest takes back what was asked for and is not kept: links have no state
// that survives them.
func modest(a *codec.Attach) {
	if a.Source != nil {
		a.Source.Durable = codec.DurableNone
	}
	if a.Target != nil {
		a.Target.Durable = codec.DurableNone
	}
}

var errHandles = Refuse(ResourceLimitExceeded, "there are as many links as the handle-max of the peer allows")

// place gives a link a handle of ours, if the peer allows for one more; the
// mutex is held.
func (s *Session) place(l *link) bool {
	h := s.local.free()
	if h > s.handleMax {
		return false
	}
	l.local, l.placed = h, true
	s.local.put(h, l)
	s.c.links++
	if l.sender != nil && l.sender.untracked {
		s.untracks = true
	}
	return true
}

// name notes the name of a link; the mutex is held.
func (c *Conn) name(l *link) {
	if c.named == nil {
		c.named = make(map[linkKey]*link)
	}
	c.named[l.key()] = l
}

// refuse answers a wish with an attach that lacks what was wished for, and a
// detach that says why; the mutex is held.
func (s *Session) refuse(p *codec.Attach, cond *codec.Condition) []farewell {
	l := &link{s: s, name: clone(cut(p.Name, shortName)), closed: true, told: true}
	if !s.place(l) {
		return s.fail(errHandles)
	}
	answer := codec.Attach{
		Name: p.Name, Handle: l.local, Role: !p.Role, SndSettleMode: p.SndSettleMode, RcvSettleMode: p.RcvSettleMode,
	}
	if p.Role == codec.Receiver {
		answer.Target = p.Target
		answer.InitialDeliveryCount = codec.Some(uint32(0))
	} else {
		answer.Source = p.Source
	}
	modest(&answer)
	if !s.c.push(s.channel, &answer, nil) {
		answer.Source, answer.Target = nil, nil
		if !s.c.push(s.channel, &answer, nil) {
			return s.fail(Refuse(FrameSizeTooSmall, "the name of a link does not fit into a frame of %d bytes", s.c.remote.maxFrame))
		}
	}
	l.remote, l.attached = p.Handle, true
	s.handles.put(p.Handle, l)
	s.c.pushError(s.channel, cond, func(cond *codec.Condition) codec.Performative {
		return &codec.Detach{Handle: l.local, Closed: true, Error: cond}
	})
	return nil
}
