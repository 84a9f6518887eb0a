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
	local    uint32 // handle
	remote   uint32
	attached bool // both sides have
	closed   bool // our detach is out: nothing is sent, and what comes is ignored
	told     bool // the handler was, or need not be
	cause    error
	sender   *Sender // exactly one of the two
	receiver *Receiver
	waiting  chan struct{} // of who attached it, closed when the peer's attach or detach came
}

// gone notes that the link is over and reports whether its handler must be
// told; the mutex is held.
func (l *link) gone() bool {
	tell := !l.told && !l.closed
	l.told, l.closed = true, true
	if l.waiting != nil {
		close(l.waiting)
		l.waiting = nil
	}
	if l.sender != nil {
		l.sender.wake()
		l.sender.forget()
	} else {
		l.receiver.forget()
	}
	return tell
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

// err returns what a call on the detached link gets; the mutex is held.
func (l *link) err() error {
	switch {
	case l.cause != nil:
		return &endError{what: ErrDetached, cause: l.cause}
	case l.s.ended || l.s.c.dead || l.s.c.closed:
		return l.s.err()
	}
	return ErrDetached
}

// close queues our detach; the mutex is held.
func (l *link) close(cond *codec.Condition) bool {
	if l.closed || l.s.ended {
		return false
	}
	l.s.sayLocked()
	if cond != nil {
		l.cause = cond
	}
	l.told = true
	l.gone()
	if l.s.local.get(l.local) != l {
		return false // the peer was not answered yet: it will be refused
	}
	l.s.c.push(l.s.channel, &codec.Detach{Handle: l.local, Closed: true, Error: cond}, nil)
	return true
}

// shut is close for the exported methods.
func (l *link) shut(cond *codec.Condition) {
	c := l.s.c
	c.mu.Lock()
	queued := l.close(cond)
	c.mu.Unlock()
	if queued {
		c.spawnFlush()
	}
}

// failLocked detaches a link for a fault of the peer's; the caller tells the
// handler when it returns true.
func (l *link) failLocked(cond *codec.Condition) bool {
	if l.closed {
		return false
	}
	tell := !l.told
	l.close(cond)
	return tell
}

// onDetach deals with the peer's detach (part 2 §2.6.4).
func (c *Conn) onDetach(channel uint16, p *codec.Detach) error {
	c.mu.Lock()
	s := c.incoming.get(uint32(channel))
	if s == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "a detach on channel %d, which has not begun", channel)
	}
	l := s.handles.get(p.Handle)
	if s.ended || l == nil {
		var tell []*link
		if !s.ended {
			tell = s.fail(Refuse(UnattachedHandle, "a detach of handle %d, which is not attached", p.Handle))
		}
		c.mu.Unlock()
		detachAll(tell)
		return nil
	}
	if p.Error != nil && l.cause == nil {
		l.cause = cloneCondition(p.Error)
	}
	tell := false
	if !l.closed {
		s.sayLocked()
		tell = l.gone()
		c.push(s.channel, &codec.Detach{Handle: l.local, Closed: p.Closed}, nil)
	}
	s.drop(l)
	cause := l.cause
	c.mu.Unlock()
	if tell {
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

// nameKey tells the links of a name apart: one in each direction.
func nameKey(ours codec.Role, name string) string {
	if ours == codec.Sender {
		return "s" + name
	}
	return "r" + name
}

// awaitAttach waits until the peer has attached a link of ours, or refused it.
func (l *link) awaitAttach(ctx context.Context, done <-chan struct{}) error {
	c := l.s.c
	select {
	case <-done:
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.closed || l.s.ended {
			return l.err()
		}
		return nil
	case <-ctx.Done():
		l.shut(nil)
		return ctx.Err()
	}
}
