package amqp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// transferRoom is what the performative of a transfer takes at most: its
// header, and a tag.
const transferRoom = 96

// Send sends messages in their order: it waits for credit, for the session's
// window and for room in the queue, while ctx lasts. It returns how many were
// handed to the connection, and why not all were. Payloads and tags are
// borrowed until it returns. A message of which ctx lets a part be sent only is
// handed to the connection as a whole: the rest follows as soon as it can. (It
// is not aborted, because not every client knows that there is such a thing.) It
// must not be called by the connection's reader.
func (s *Sender) Send(ctx context.Context, messages ...Transfer) (n int, err error) {
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.sends++
	for s.sending && err == nil {
		err = s.pause(ctx)
	}
	if err == nil {
		s.sending = true
		for n < len(messages) {
			if err = s.sendOne(ctx, &messages[n]); err != nil {
				break
			}
			n++
		}
		s.sending = false
		s.wake()
	}
	s.sends--
	s.drains(s.sends == 0)
	c.flushLocked(c.unread())
	return n, err
}

// sendOne waits for what a message needs, and queues it; the mutex is held, and
// is not meanwhile.
func (s *Sender) sendOne(ctx context.Context, m *Transfer) error {
	if err := s.check(m); err != nil {
		return err
	}
	c := s.s.c
	for {
		switch {
		case s.over():
			return s.err()
		case s.credit == 0 || !s.mayTrack(m) || s.rest != nil:
			s.drains(s.rest == nil) // there is no more for this one now
			if err := s.pause(ctx); err != nil {
				return err
			}
		case c.waiting() >= c.cfg.Outbound:
			if err := c.awaitRoom(ctx, c.cfg.Outbound); err != nil {
				return err
			}
		case s.s.remoteWindow == 0:
			if err := s.awaitWindow(ctx); err != nil {
				return err
			}
		default:
			return s.put(ctx, m, true)
		}
	}
}

// TrySend sends a message if that is possible without waiting. Else it returns
// ErrNoCredit or ErrFull, and the message was not sent. It writes as Push does:
// the connection's reader at the end of the burst. Who gets ErrFull is not told
// when that ends; a goroutine of its own that calls Send waits for it.
func (s *Sender) TrySend(m Transfer) error {
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.check(&m); err != nil {
		return err
	}
	switch {
	case s.over():
		return s.err()
	case s.sending || s.rest != nil:
		return ErrFull
	case s.credit == 0:
		return ErrNoCredit
	case !s.mayTrack(&m) || c.waiting() >= c.cfg.Outbound || s.frames(len(m.Payload)) > s.s.remoteWindow:
		return ErrFull
	}
	return s.put(background, &m, false)
}

// check reports what will never be sent.
func (s *Sender) check(m *Transfer) error {
	if len(m.Tag) > codec.MaxDeliveryTag {
		return fmt.Errorf("amqp: a delivery tag of %d bytes, at most %d are possible", len(m.Tag), codec.MaxDeliveryTag)
	}
	if s.mostSize > 0 && uint64(len(m.Payload)) > s.mostSize {
		return Refuse(MessageSizeExceeded, "the message has %d bytes, the peer takes %d", len(m.Payload), s.mostSize)
	}
	return nil
}

// room returns how much of a message fits into a frame.
func (s *Sender) room() int { return int(s.s.c.remote.maxFrame) - transferRoom }

// frames returns how many frames a payload takes.
func (s *Sender) frames(n int) uint32 { return uint32(max(n-1, 0)/s.room()) + 1 }

// mayTrack reports whether another delivery can be remembered.
func (s *Sender) mayTrack(m *Transfer) bool {
	return s.untracked || s.settled || m.Settled || s.open < s.most
}

// put queues the frames of a message, for whose first one all that it needs is
// there; the mutex is held. If it may wait, it does so for room and window between
// frames, and the mutex is not held meanwhile.
func (s *Sender) put(ctx context.Context, m *Transfer, wait bool) error {
	ss, c := s.s, s.s.c
	number := ss.delivery
	id := uint32(number)
	ss.delivery++
	s.credit--
	s.count++
	settled := s.settled || m.Settled
	if !settled && !s.untracked {
		s.track(number, m.Token)
	}
	tag := m.Tag
	if len(tag) == 0 {
		tag = s.made[:] // and not on the stack, from where it would escape
		binary.BigEndian.PutUint32(tag, id)
	}
	t := codec.Transfer{
		Handle: s.local, DeliveryID: codec.Some(id), DeliveryTag: tag,
		MessageFormat: codec.Some(m.Format), Settled: codec.Some(settled),
	}
	room := s.room()
	for rest := m.Payload; ; {
		part := rest[:min(len(rest), room)]
		rest = rest[len(part):]
		t.More = len(rest) > 0
		ss.pushTransfer(&t, part)
		if !t.More {
			return nil
		}
		t = codec.Transfer{Handle: s.local}
		if !wait {
			continue
		}
		err := c.awaitRoom(ctx, c.cfg.Outbound)
		if err == nil {
			err = s.awaitWindow(ctx)
		}
		switch {
		case err == nil:
		case s.over():
			return err
		default:
			s.rest = bytes.Clone(rest)
			c.rests = append(c.rests, s)
			return nil
		}
	}
}

// finishRests queues what there is room and window for of messages that were
// sent in part and that nobody waits for; the mutex is held.
func (c *Conn) finishRests() {
	if len(c.rests) == 0 {
		return
	}
	c.rests = slices.DeleteFunc(c.rests, func(s *Sender) bool {
		for len(s.rest) > 0 && !s.over() && s.s.remoteWindow > 0 && c.waiting() < c.cfg.Outbound {
			part := s.rest[:min(len(s.rest), s.room())]
			s.rest = s.rest[len(part):]
			s.s.pushTransfer(&codec.Transfer{Handle: s.local, More: len(s.rest) > 0}, part)
		}
		if len(s.rest) > 0 && !s.over() {
			return false
		}
		s.rest = nil
		s.wake()
		return true
	})
}

// pushTransfer queues a transfer, for which the peer's window has room; the
// mutex is held.
func (s *Session) pushTransfer(t *codec.Transfer, payload []byte) {
	c := s.c
	if s.over() {
		return
	}
	s.nextOutgoing++
	s.remoteWindow--
	c.out = c.out.reserve(transferRoom+len(payload), math.MaxInt)
	had := len(c.out.b)
	c.out.b = codec.AppendTransfer(c.out.b, s.channel, t, payload)
	c.queued += uint64(len(c.out.b) - had)
	s.lastAt, c.lastData = c.queued, c.queued
	if len(c.out.b) >= early {
		c.kick()
	}
}

// awaitWindow waits until the peer's window takes a frame; the mutex is held,
// and is not meanwhile.
func (s *Sender) awaitWindow(ctx context.Context) error {
	for !s.over() && s.s.remoteWindow == 0 {
		if !s.queued {
			s.queued = true
			s.s.waiting = append(s.s.waiting, s)
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
	}
	if s.over() {
		return s.err()
	}
	return nil
}

// outcome is the Token of a delivery that somebody waits for.
type outcome struct{ done chan codec.State }

var errUntracked = errors.New("amqp: a sender that does not track its deliveries has no outcomes")

// Deliver sends a message and waits for its outcome, which is a copy. The
// sender's handler must be [Outcomes], or pass on to it.
func (s *Sender) Deliver(ctx context.Context, m Transfer) (codec.State, error) {
	if s.untracked {
		return codec.State{}, errUntracked
	}
	o := &outcome{done: make(chan codec.State, 1)}
	m.Token = o
	if _, err := s.Send(ctx, m); err != nil {
		return codec.State{}, err
	}
	if m.Settled || s.settled {
		return codec.Accepted(), nil
	}
	select {
	case st, ok := <-o.done:
		if !ok {
			return codec.State{}, s.Err()
		}
		return st, nil
	case <-ctx.Done():
		return codec.State{}, ctx.Err()
	}
}

// Outcomes is the handler of a sender whose messages are sent by
// [Sender.Deliver]. The zero value is ready for use.
type Outcomes struct{}

var _ SenderHandler = Outcomes{}

// Flow does nothing: Send waits for credit, and drains the link when the peer
// wants that.
func (Outcomes) Flow(*Sender) {}

// Disposition gives the outcome to who waits for it.
func (Outcomes) Disposition(s *Sender, d Sent, state *codec.State, settled bool) {
	if !state.Terminal() && !settled {
		return
	}
	if !settled {
		s.Settle(d.ID, *state)
	}
	if o, ok := d.Token.(*outcome); ok {
		st := cloneState(state)
		if !state.Terminal() {
			st = codec.Released() // settled without an outcome: nobody knows
		}
		o.done <- st
	}
}

// Detached does nothing: who waits finds out.
func (Outcomes) Detached(*Sender, error) {}

func cloneState(s *codec.State) codec.State {
	c := *s
	c.Error = cloneCondition(s.Error)
	c.Annotations = s.Annotations.Clone()
	c.Extension = s.Extension.Clone()
	return c
}
