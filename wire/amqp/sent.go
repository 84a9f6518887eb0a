package amqp

import (
	"context"
	"slices"
	"sort"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// track remembers a delivery; the mutex is held.
func (s *Sender) track(id uint32, token any) {
	if len(s.pending) >= 2*s.most {
		s.pending = slices.DeleteFunc(s.pending, func(e sent) bool { return e.done })
	}
	s.pending = append(s.pending, sent{id: id, token: token})
	s.open++
	if !s.listed {
		s.listed = true
		s.s.unsettle = append(s.s.unsettle, s)
	}
}

// find returns the index of the first delivery from id on, in the order of
// serial numbers.
func (s *Sender) find(id uint32) int {
	return sort.Search(len(s.pending), func(i int) bool { return int32(s.pending[i].id-id) >= 0 })
}

// settleSent forgets a delivery and reports whether it was known; the mutex is
// held.
func (s *Sender) settleSent(id uint32) bool {
	i := s.find(id)
	if i == len(s.pending) || s.pending[i].id != id || s.pending[i].done {
		return false
	}
	s.settleAt(i)
	s.trim()
	return true
}

func (s *Sender) settleAt(i int) {
	s.pending[i].done, s.pending[i].token = true, nil
	s.open--
}

// trim lets go of what is settled in front; the mutex is held.
func (s *Sender) trim() {
	i := 0
	for i < len(s.pending) && s.pending[i].done {
		i++
	}
	if i == len(s.pending) {
		s.pending = s.pending[:0]
		if cap(s.pending) > 64 {
			s.pending = nil
		}
	} else {
		s.pending = s.pending[i:]
	}
	s.wake() // there may be room for another delivery
}

// forget drops the deliveries of a link that is over, and tells who waits in
// Deliver; the mutex is held.
func (s *Sender) forget() {
	for _, e := range s.pending {
		if o, ok := e.token.(*outcome); ok {
			close(o.done)
		}
	}
	s.pending, s.open = nil, 0
}

// Settle answers the state of a delivery that the peer did not settle, and
// forgets the delivery.
func (s *Sender) Settle(id uint32, state codec.State) {
	c := s.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed || s.s.ended || !s.settleSent(id) {
		return
	}
	c.push(s.s.channel, &codec.Disposition{Role: codec.Sender, First: id, Settled: true, State: state}, nil)
	if !c.busy {
		c.flushLocked()
	}
}

// news is what a disposition says of one delivery.
type news struct {
	s *Sender
	d Sent
}

// onDisposition deals with a disposition (part 2 §2.7.6).
func (c *Conn) onDisposition(channel uint16, p *codec.Disposition) error {
	c.mu.Lock()
	ss := c.incoming.get(uint32(channel))
	if ss == nil {
		c.mu.Unlock()
		return Refuse(IllegalState, "a disposition on channel %d, which has not begun", channel)
	}
	if ss.ended || p.Role == codec.Sender {
		// What a sender says of its deliveries changes nothing: they are settled
		// with the first word from us.
		c.mu.Unlock()
		return nil
	}
	last := p.Last.Or(p.First)
	var heard []news
	kept := ss.unsettle[:0]
	for _, s := range ss.unsettle {
		i := s.find(p.First)
		from := i
		for ; i < len(s.pending) && int32(last-s.pending[i].id) >= 0; i++ {
			if e := &s.pending[i]; !e.done {
				heard = append(heard, news{s, Sent{ID: e.id, Token: e.token}})
				if p.Settled {
					s.settleAt(i)
				}
			}
		}
		if p.Settled && i > from {
			s.trim()
		}
		if s.open > 0 {
			kept = append(kept, s)
		} else {
			s.listed = false
		}
	}
	clear(ss.unsettle[len(kept):])
	ss.unsettle = kept
	if len(heard) == 0 && !p.Settled && ss.untracks && p.State.Terminal() {
		c.push(ss.channel, &codec.Disposition{Role: codec.Sender, First: p.First, Last: p.Last, Settled: true, State: p.State}, nil)
	}
	c.mu.Unlock()
	for _, n := range heard {
		if n.s.handler != nil {
			n.s.handler.Disposition(n.s, n.d, &p.State, p.Settled)
		}
	}
	return nil
}

// outcome is the Token of a delivery that somebody waits for.
type outcome struct{ done chan codec.State }

// Deliver sends a message and waits for its outcome, which is a copy. The
// sender's handler must be [Outcomes], or pass on to it.
func (s *Sender) Deliver(ctx context.Context, m Transfer) (codec.State, error) {
	o := &outcome{done: make(chan codec.State, 1)}
	m.Token = o
	if _, err := s.Send(ctx, m); err != nil {
		return codec.State{}, err
	}
	if m.Settled || s.isSettled() {
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

func (s *Sender) isSettled() bool {
	s.s.c.mu.Lock()
	defer s.s.c.mu.Unlock()
	return s.settled
}

// Outcomes is the handler of a sender whose messages are sent by
// [Sender.Deliver]. The zero value is ready for use.
type Outcomes struct{}

var _ SenderHandler = Outcomes{}

// Flow does nothing.
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
