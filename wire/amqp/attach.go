package amqp

import (
	"context"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Attach is a peer's wish for a link, for [Handler.Attach] to grant. What it
// embeds is borrowed until that returns.
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
	a.l = &r.link
	a.answer.MaxMessageSize = r.most
	a.answer.RcvSettleMode = codec.SettleFirst
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
	c.mu.Lock()
	s := c.incoming.get(uint32(channel))
	if s == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "an attach on channel %d, which has not begun", channel)
	}
	if s.ended {
		c.mu.Unlock()
		return nil
	}
	var tell []*link
	switch {
	case p.Handle > handleMax:
		tell = s.fail(Refuse(NotAllowed, "handle %d is above the handle-max of %d", p.Handle, handleMax))
	case s.handles.get(p.Handle) != nil:
		tell = s.fail(Refuse(HandleInUse, "handle %d is attached to link %q", p.Handle, s.handles.get(p.Handle).name))
	default:
		if l := s.naming[nameKey(!p.Role, p.Name)]; l != nil {
			s.answered(l, p)
			c.mu.Unlock()
			return nil
		}
		if c.links >= c.cfg.Links {
			s.refuse(p, Refuse(ResourceLimitExceeded, "the connection has %d links already", c.links))
			c.mu.Unlock()
			return nil
		}
		if p.Role == codec.Sender && !p.InitialDeliveryCount.OK {
			s.refuse(p, Refuse(InvalidField, "initial-delivery-count is missing in the attach of a sender"))
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		s.wish(p)
		return nil
	}
	c.mu.Unlock()
	detachAll(tell)
	return nil
}

// wish has the handler decide about an attach.
func (s *Session) wish(p *codec.Attach) {
	c := s.c
	a := &Attach{Attach: p, s: s}
	var err error
	if p.Coordinator != nil {
		err = Refuse(NotImplemented, "transactions are not supported")
	} else {
		err = c.h.Attach(a)
	}
	if err == nil && a.l == nil {
		err = Refuse(NotFound, "there is no node %q", a.Address())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || c.dead {
		if a.l != nil {
			a.l.closed, a.l.told = true, true
		}
		return
	}
	if err != nil {
		if a.l != nil {
			a.l.closed, a.l.told = true, true
		}
		s.refuse(p, conditionOf(err))
		return
	}
	l := a.l
	if l.closed { // closed by the handler meanwhile
		s.refuse(p, conditionOf(l.cause))
		return
	}
	s.put(l)
	l.remote, l.attached = p.Handle, true
	s.handles.put(p.Handle, l)
	a.answer.Name, a.answer.Handle, a.answer.Role = p.Name, l.local, !p.Role
	a.answer.Source, a.answer.Target = p.Source, p.Target
	c.push(s.channel, &a.answer, nil)
	if l.receiver != nil {
		l.receiver.topUp()
	}
}

// put gives a link a handle of ours; the mutex is held.
func (s *Session) put(l *link) {
	l.local = s.local.free()
	s.local.put(l.local, l)
	s.c.links++
	if l.sender != nil && l.sender.untracked {
		s.untracks = true
	}
}

// refuse answers a wish with an attach that lacks what was wished for, and a
// detach that says why; the mutex is held.
func (s *Session) refuse(p *codec.Attach, cond *codec.Condition) {
	l := &link{s: s, name: clone(p.Name), closed: true, told: true}
	l.receiver = &Receiver{}
	answer := codec.Attach{
		Name: p.Name, Role: !p.Role, SndSettleMode: p.SndSettleMode, RcvSettleMode: p.RcvSettleMode,
	}
	if p.Role == codec.Receiver {
		answer.Target = p.Target
		answer.InitialDeliveryCount = codec.Some(uint32(0))
	} else {
		answer.Source = p.Source
	}
	s.put(l)
	l.remote = p.Handle
	s.handles.put(p.Handle, l)
	answer.Handle = l.local
	s.c.push(s.channel, &answer, nil)
	s.c.push(s.channel, &codec.Detach{Handle: l.local, Closed: true, Error: cond}, nil)
}

// answered notes the peer's answer to an attach of ours; the mutex is held.
func (s *Session) answered(l *link, p *codec.Attach) {
	delete(s.naming, nameKey(!p.Role, p.Name))
	l.remote, l.attached = p.Handle, true
	s.handles.put(p.Handle, l)
	refused := p.Role == codec.Sender && p.Source == nil || p.Role == codec.Receiver && p.Target == nil && p.Coordinator == nil
	if l.closed || refused {
		return // the peer's detach follows, and says why
	}
	if l.sender != nil {
		l.sender.settled = p.SndSettleMode == codec.SendSettled
		l.sender.mostSize = p.MaxMessageSize
	} else {
		l.receiver.count = p.InitialDeliveryCount.V
		l.receiver.topUp()
	}
	l.properties(p)
	if l.waiting != nil {
		close(l.waiting)
		l.waiting = nil
	}
}

// properties keeps what the peer's answer says about itself.
func (l *link) properties(p *codec.Attach) {
	if l.receiver != nil {
		l.receiver.peer = p.Properties.Clone()
	}
}

// LinkConfig is a link that we attach.
type LinkConfig struct {
	Name   string // unique between the two containers; a random one by default
	Source string // address; for a receiver the node to receive from
	Target string // address; for a sender the node to send to
	Filter codec.Map

	SndSettleMode codec.SenderSettleMode // default SendUnsettled
	RcvSettleMode codec.ReceiverSettleMode
}

func (s *Session) attach(l *link, role codec.Role, cfg LinkConfig, fill func(*codec.Attach)) (done <-chan struct{}, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended {
		return nil, s.err()
	}
	if c.links >= c.cfg.Links {
		return nil, ErrFull
	}
	l.name = cfg.Name
	if l.name == "" {
		l.name = Prepare(Config{}).ContainerID
	}
	if s.naming == nil {
		s.naming = make(map[string]*link)
	}
	ch := make(chan struct{})
	l.waiting = ch
	s.naming[nameKey(role, l.name)] = l
	s.put(l)
	p := codec.Attach{
		Name: l.name, Handle: l.local, Role: role, SndSettleMode: cfg.SndSettleMode, RcvSettleMode: cfg.RcvSettleMode,
		Source: &codec.Source{Filter: cfg.Filter}, Target: &codec.Target{},
	}
	if cfg.Source != "" {
		p.Source.Address = codec.Some(cfg.Source)
	}
	if cfg.Target != "" {
		p.Target.Address = codec.Some(cfg.Target)
	}
	fill(&p)
	c.push(s.channel, &p, nil)
	c.flushLocked()
	return ch, nil
}

// AttachSender attaches a link to send on. It waits for the peer.
func (s *Session) AttachSender(ctx context.Context, cfg LinkConfig, o SenderOptions) (*Sender, error) {
	snd := newSender(s, o)
	done, err := s.attach(&snd.link, codec.Sender, cfg, func(p *codec.Attach) {
		p.InitialDeliveryCount = codec.Some(uint32(0))
		p.Properties = o.Properties
		p.OfferedCapabilities = codec.NewSymbols(o.OfferedCapabilities...)
		p.DesiredCapabilities = codec.NewSymbols(o.DesiredCapabilities...)
	})
	if err != nil {
		return nil, err
	}
	if err := snd.awaitAttach(ctx, done); err != nil {
		return nil, err
	}
	return snd, nil
}

// AttachReceiver attaches a link to receive on. It waits for the peer.
func (s *Session) AttachReceiver(ctx context.Context, cfg LinkConfig, o ReceiverOptions) (*Receiver, error) {
	r := newReceiver(s, o)
	done, err := s.attach(&r.link, codec.Receiver, cfg, func(p *codec.Attach) {
		p.MaxMessageSize = r.most
		p.Properties = o.Properties
		p.OfferedCapabilities = codec.NewSymbols(o.OfferedCapabilities...)
		p.DesiredCapabilities = codec.NewSymbols(o.DesiredCapabilities...)
	})
	if err != nil {
		return nil, err
	}
	if err := r.awaitAttach(ctx, done); err != nil {
		return nil, err
	}
	return r, nil
}
