package amqp

import (
	"context"
	"crypto/rand"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// answered notes the peer's answer to an attach of ours; the mutex is held.
func (s *Session) answered(l *link, p *codec.Attach) {
	l.remote, l.attached = p.Handle, true
	s.handles.put(p.Handle, l)
	if l.closed { // nobody waits for it any more
		l.unname()
		return
	}
	if p.Role == codec.Sender && p.Source == nil || p.Role == codec.Receiver && p.Target == nil {
		return // the peer's detach follows, as a rule, and says why
	}
	l.answer = &answer{properties: p.Properties.Clone()}
	if l.sender != nil {
		l.answer.address = clone(p.Target.Address.V)
		l.sender.mostSize = p.MaxMessageSize
	} else {
		l.answer.address = clone(p.Source.Address.V)
		l.receiver.count = p.InitialDeliveryCount.V
		l.receiver.limit = l.receiver.count
		l.receiver.begin()
	}
	close(l.waiting)
	l.waiting = nil
}

// LinkConfig is a link that we attach.
type LinkConfig struct {
	Name   string // unique between the two containers; a random one by default
	Source string // address; for a receiver the node to receive from
	Target string // address; for a sender the node to send to
	// Dynamic asks the peer for a node of its own, for a reply for example. The
	// node's address, Source or Target, is left out then; PeerAddress of the link
	// has the one that the peer gave it.
	Dynamic bool
	Filter  codec.Map

	SndSettleMode codec.SenderSettleMode // default SendUnsettled
	RcvSettleMode codec.ReceiverSettleMode
}

// attach asks for a link. The channel is closed when the peer has answered.
func (s *Session) attach(l *link, role codec.Role, cfg LinkConfig, fill func(*codec.Attach)) (<-chan struct{}, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over() {
		return nil, s.err()
	}
	l.name = cfg.Name
	if l.name == "" {
		l.name = rand.Text()
	}
	if c.named[l.key()] != nil {
		return nil, Refuse(NotAllowed, "the name %q is in use", l.name)
	}
	if c.links >= c.cfg.Links || !s.place(l) {
		return nil, ErrFull
	}
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
	if cfg.Dynamic && role == codec.Receiver {
		p.Source.Dynamic = true
	} else if cfg.Dynamic {
		p.Target.Dynamic = true
	}
	fill(&p)
	if !c.push(s.channel, &p, nil) {
		s.local.del(l.local)
		c.links--
		return nil, Refuse(FrameSizeTooSmall, "the attach does not fit into a frame of %d bytes", c.remote.maxFrame)
	}
	l.ours = true
	l.waiting = make(chan struct{})
	c.name(l)
	c.kick()
	return l.waiting, nil
}

// AttachSender attaches a link to send on. It waits for the peer.
func (s *Session) AttachSender(ctx context.Context, cfg LinkConfig, o SenderOptions) (*Sender, error) {
	snd := newSender(s, o)
	snd.settled = cfg.SndSettleMode == codec.SendSettled
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
	r.second = cfg.RcvSettleMode == codec.SettleSecond
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
