package amqp

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Sender is a link that we send on. It is safe for concurrent use.
type Sender struct {
	link
	handler   SenderHandler
	untracked bool
	most      int // tracked deliveries

	sending sync.Mutex // held for a whole Send, so that messages stay whole and in order

	// Guarded by the connection's mutex.
	settled  bool   // the link carries settled deliveries only
	mostSize uint64 // of a message, in bytes; 0 is no limit
	credit   uint32
	count    uint32 // delivery-count
	drain    bool
	moving   bool // a message was sent in part
	pending  []sent
	open     int           // of pending that are not settled
	listed   bool          // in session.unsettle
	woken    chan struct{} // closed when sending may go on; nil when nobody waits
}

// sent is a delivery that may not be settled yet.
type sent struct {
	id    uint32
	done  bool
	token any
}

// Link facts that do not change.

// Name returns the name of the link.
func (l *link) Name() string { return l.name }

// Session returns the session of the link.
func (l *link) Session() *Session { return l.s }

// Conn returns the connection of the link.
func (l *link) Conn() *Conn { return l.s.c }

// Close detaches the link with a condition, nil for an orderly end. The
// handler is not told. It does not wait.
func (l *link) Close(cond *codec.Condition) { l.shut(cond) }

// Err returns why the link is detached: nil while it is not.
func (l *link) Err() error {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	if !l.closed && !l.s.ended {
		return nil
	}
	return l.err()
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

// onFlow takes credit from a flow (part 2 §2.6.7) and reports whether the
// handler must hear of it; the mutex is held.
func (s *Sender) onFlow(p *codec.Flow) bool {
	if p.LinkCredit.OK {
		// Unsigned arithmetic does what the standard's serial numbers want.
		s.credit = p.DeliveryCount.Or(0) + p.LinkCredit.V - s.count
		if s.credit > p.LinkCredit.V {
			s.credit = 0 // what is under way already uses it up, or more
		}
	}
	s.drain = p.Drain
	if s.drain && s.credit == 0 {
		s.drainedLocked()
	} else if p.Echo {
		s.pushState()
	}
	s.wake()
	return true
}

// pushState queues a flow with the state of the link; the mutex is held.
func (s *Sender) pushState() {
	s.s.pushFlow(func(f *codec.Flow) {
		f.Handle, f.DeliveryCount, f.LinkCredit = codec.Some(s.local), codec.Some(s.count), codec.Some(s.credit)
		f.Drain = s.drain
	})
}

// Drained uses up the credit that is left, if the peer wants the link drained.
func (s *Sender) Drained() {
	c := s.s.c
	c.mu.Lock()
	if s.drain && !s.closed {
		s.drainedLocked()
	}
	c.mu.Unlock()
	c.flush()
}

func (s *Sender) drainedLocked() {
	s.count += s.credit
	s.credit = 0
	s.pushState()
	s.drain = false
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
	for s.credit == 0 && !s.drain {
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for the next change; the mutex is held, and is not meanwhile.
func (s *Sender) pause(ctx context.Context) error {
	if s.closed || s.s.ended {
		return s.err()
	}
	if s.woken == nil {
		s.woken = make(chan struct{})
	}
	woken := s.woken
	c := s.s.c
	c.flushLocked()
	c.mu.Unlock()
	select {
	case <-woken:
		c.mu.Lock()
	case <-ctx.Done():
		c.mu.Lock()
		return ctx.Err()
	}
	if s.closed || s.s.ended {
		return s.err()
	}
	return nil
}

// Send sends messages in their order: it waits for credit, for the session's
// window and for room in the queue, while ctx lasts. It returns how many were
// handed to the connection, and why not all were. Payloads and tags are
// borrowed until it returns. A message of several frames that ctx cuts short is
// aborted. It must not be called by the connection's reader.
func (s *Sender) Send(ctx context.Context, messages ...Transfer) (n int, err error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(messages) {
		m := &messages[n]
		for s.credit == 0 || !s.mayTrack(m) {
			if err = s.pause(ctx); err != nil {
				return n, err
			}
		}
		if err = c.awaitRoom(ctx); err != nil {
			return n, err
		}
		if s.closed || s.s.ended {
			return n, s.err()
		}
		if s.credit == 0 {
			continue // taken back while we waited for room
		}
		if err = s.put(ctx, m); err != nil {
			return n, err
		}
		n++
	}
	c.flushLocked()
	return n, nil
}

// TrySend sends a message if that is possible without waiting. Else it returns
// ErrNoCredit or ErrFull, and the message was not sent. It writes as Push does:
// the connection's reader at the end of the burst.
func (s *Sender) TrySend(m Transfer) error {
	if !s.sending.TryLock() {
		return ErrFull
	}
	defer s.sending.Unlock()
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.closed || s.s.ended:
		return s.err()
	case s.credit == 0:
		return ErrNoCredit
	case !s.mayTrack(&m) || len(c.out) >= c.cfg.Outbound || s.frames(len(m.Payload)) > s.s.remoteWindow:
		return ErrFull
	}
	return s.put(background, &m)
}

// frames returns how many frames a payload takes, or some more.
func (s *Sender) frames(n int) uint32 { return uint32(n)/(s.s.c.remote.maxFrame-transferRoom) + 1 }

// transferRoom is what the performative of a transfer takes at most: its
// header, and a tag.
const transferRoom = 96

// mayTrack reports whether another delivery can be remembered.
func (s *Sender) mayTrack(m *Transfer) bool {
	return s.untracked || s.settled || m.Settled || s.open < s.most
}

// put queues the frames of a message; the mutex is held, there is credit, and
// s.sending is held.
func (s *Sender) put(ctx context.Context, m *Transfer) error {
	if len(m.Tag) > codec.MaxDeliveryTag {
		return fmt.Errorf("amqp: a delivery tag of %d bytes, at most %d are possible", len(m.Tag), codec.MaxDeliveryTag)
	}
	if s.mostSize > 0 && uint64(len(m.Payload)) > s.mostSize {
		return Refuse(MessageSizeExceeded, "the message has %d bytes, the peer takes %d", len(m.Payload), s.mostSize)
	}
	ss, c := s.s, s.s.c
	if err := s.awaitWindow(ctx); err != nil {
		return err
	}
	id := ss.delivery
	ss.delivery++
	s.credit--
	s.count++
	settled := s.settled || m.Settled
	if !settled && !s.untracked {
		s.track(id, m.Token)
	}
	var made [4]byte
	tag := m.Tag
	if len(tag) == 0 {
		binary.BigEndian.PutUint32(made[:], id)
		tag = made[:]
	}
	t := codec.Transfer{
		Handle: s.local, DeliveryID: codec.Some(id), DeliveryTag: tag,
		MessageFormat: codec.Some(m.Format), Settled: codec.Some(settled),
	}
	room := int(c.remote.maxFrame) - transferRoom
	for rest := m.Payload; ; {
		part := rest
		if len(part) > room {
			part = rest[:room]
		}
		rest = rest[len(part):]
		t.More = len(rest) > 0
		ss.nextOutgoing++
		ss.remoteWindow--
		c.push(ss.channel, &t, part)
		if !t.More {
			return nil
		}
		t = codec.Transfer{Handle: s.local}
		err := c.awaitRoom(ctx)
		if err == nil {
			err = s.awaitWindow(ctx)
		}
		if err != nil {
			s.abort(id)
			return err
		}
	}
}

// abort gives up a message that was sent in part; the mutex is held.
func (s *Sender) abort(id uint32) {
	s.settleSent(id)
	if s.closed || s.s.ended || s.s.c.dead {
		return
	}
	// Its frame may exceed the window: an aborted delivery must end somehow, and
	// peers take one frame more rather than half a message for ever.
	s.s.nextOutgoing++
	s.s.c.push(s.s.channel, &codec.Transfer{Handle: s.local, Aborted: true}, nil)
	s.s.c.flushLocked()
}

// awaitWindow waits until the peer's window takes a frame; the mutex is held,
// and is not meanwhile.
func (s *Sender) awaitWindow(ctx context.Context) error {
	for s.s.remoteWindow == 0 {
		s.s.waiting = append(s.s.waiting, s)
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	if s.closed || s.s.ended {
		return s.err()
	}
	return nil
}
