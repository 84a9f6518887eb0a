package amqp

import (
	"context"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// link is what senders and receivers have in common. It is guarded by the
// connection's mutex.
type link struct {
	s        *Session
	name     string
	local    uint32 // handle, once it is placed
	remote   uint32 // handle, once it is attached
	ours     bool   // we asked for it
	placed   bool   // it has a handle of ours: our attach is out
	attached bool   // both sides have
	closed   bool   // our detach is out: nothing is sent, and what comes is ignored
	told     bool   // the handler was, or need not be
	cause    error
	sender   *Sender // at most one of the two; none for one that was refused
	receiver *Receiver
	answer   *answer       // the peer's, to an attach of ours
	waiting  chan struct{} // of who attached it, closed when the peer's attach or detach came
}

// answer is what the peer's answer to an attach of ours says.
type answer struct {
	address    string
	properties codec.Map
}

// linkKey tells the links of a connection apart: a name has one in each
// direction.
type linkKey struct {
	name   string
	sender bool // we send
}

func (l *link) key() linkKey { return linkKey{l.name, l.sender != nil} }

// unname gives the link's name free; the mutex is held.
func (l *link) unname() {
	if k := l.key(); l.s.c.named[k] == l {
		delete(l.s.c.named, k)
	}
}

// farewell is a link whose handler must be told that it is over, and why.
type farewell struct {
	l   *link
	err error
}

// tell tells the handlers of links; the mutex is not held.
func tell(farewells []farewell) {
	for _, f := range farewells {
		f.l.detached(f.err)
	}
}

// gone notes that the link is over and reports whether its handler must be
// told; the mutex is held.
func (l *link) gone() bool {
	news := !l.told && !l.closed && l.waiting == nil
	over := l.closed
	l.told, l.closed = true, true
	if l.waiting != nil {
		close(l.waiting)
		l.waiting = nil
	}
	if over {
		return false
	}
	if l.attached || !l.ours {
		l.unname() // else the peer's answer is still to come
	}
	if l.sender != nil {
		l.sender.wake()
		l.sender.rest = nil
		l.sender.forget()
	}
	if l.receiver != nil {
		l.receiver.forget()
	}
	return news
}

// detached tells the handler.
func (l *link) detached(err error) {
	switch {
	case l.sender != nil && l.sender.handler != nil:
		l.sender.handler.Detached(l.sender, err)
	case l.receiver != nil && l.receiver.handler != nil:
		l.receiver.handler.Detached(l.receiver, err)
	}
}

// over reports whether nothing can be said on the link any more; the mutex is
// held.
func (l *link) over() bool { return l.closed || l.s.over() }

// err returns what a call on the link that is over gets; the mutex is held.
func (l *link) err() error {
	switch {
	case l.cause != nil:
		return &endError{what: ErrDetached, cause: l.cause}
	case l.s.over():
		return l.s.err()
	}
	return ErrDetached
}

// close queues our detach; the mutex is held.
func (l *link) close(cond *codec.Condition) {
	if l.over() {
		return
	}
	l.s.sayLocked()
	if cond != nil {
		l.cause = cond
	}
	l.told = true
	l.gone()
	if !l.placed {
		return // the peer was not answered yet: it will be refused
	}
	l.s.c.pushError(l.s.channel, cond, func(cond *codec.Condition) codec.Performative {
		return &codec.Detach{Handle: l.local, Closed: true, Error: cond}
	})
}

// fail detaches a link for a fault of the peer's; the mutex is held, and the
// link must be told.
func (l *link) fail(cond *codec.Condition) []farewell {
	if l.over() || l.told {
		l.close(cond)
		return nil
	}
	l.close(cond)
	return []farewell{{l, cond}}
}

// Name returns the name of the link.
func (l *link) Name() string { return l.name }

// Session returns the session of the link.
func (l *link) Session() *Session { return l.s }

// Conn returns the connection of the link.
func (l *link) Conn() *Conn { return l.s.c }

// PeerProperties returns the properties of the peer's answer to our attach.
func (l *link) PeerProperties() codec.Map {
	if l.answer == nil {
		return codec.Map{}
	}
	return l.answer.properties
}

// PeerAddress returns the address in the peer's answer to our attach: of a
// dynamic node, the one it was given.
func (l *link) PeerAddress() string {
	if l.answer == nil {
		return ""
	}
	return l.answer.address
}

// Close detaches the link with a condition, nil for an orderly end. The
// handler is not told. It does not wait.
func (l *link) Close(cond *codec.Condition) {
	c := l.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	l.close(cond)
	c.kick()
}

// Err returns why the link is detached: nil while it is not.
func (l *link) Err() error {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	if !l.over() {
		return nil
	}
	return l.err()
}

// onDetach deals with the peer's detach (part 2 §2.6.4).
func (c *Conn) onDetach(channel uint16, p *codec.Detach) error {
	c.mu.Lock()
	s, err := c.session(channel, codec.CodeDetach)
	if s == nil {
		c.mu.Unlock()
		return err
	}
	l := s.handles.get(p.Handle)
	if l == nil {
		farewells := s.fail(Refuse(UnattachedHandle, "a detach of handle %d, which is not attached", p.Handle))
		c.mu.Unlock()
		tell(farewells)
		return nil
	}
	if p.Error != nil && l.cause == nil {
		l.cause = cloneCondition(p.Error)
	}
	news := false
	if !l.closed {
		s.sayLocked()
		news = l.gone()
		c.push(s.channel, &codec.Detach{Handle: l.local, Closed: p.Closed}, nil)
	}
	s.drop(l)
	cause := l.cause
	c.mu.Unlock()
	if news {
		l.detached(cause)
	}
	return nil
}

// drop forgets a link that both sides have detached; the mutex is held.
func (s *Session) drop(l *link) {
	s.handles.del(l.remote)
	if s.local.get(l.local) == l {
		s.local.del(l.local)
		s.c.links--
	}
}

// awaitAttach waits until the peer has attached a link of ours, or refused it.
func (l *link) awaitAttach(ctx context.Context, done <-chan struct{}) error {
	c := l.s.c
	select {
	case <-done:
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.over() {
			return l.err()
		}
		return nil
	case <-ctx.Done():
		l.Close(nil)
		return ctx.Err()
	}
}
