package amqp

import (
	"math"
	"slices"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// sent is a tracked delivery.
type sent struct {
	number uint64  // its id with the upper bits that the wire leaves out
	s      *Sender // nil once it is settled
	token  any
	said   bool // the handler was told a terminal state
}

// sentQueue has the tracked deliveries of a session in their order. What is
// settled lies around until it is in front, or is half of all.
type sentQueue struct {
	all  []sent
	head int // those before are over
	done int // settled ones from head on
}

// mostSent is how many entries an empty queue keeps room for.
const mostSent = 64

func (q *sentQueue) add(e sent) {
	if len(q.all) == cap(q.all) && (q.head+q.done) > len(q.all)/2 {
		live := slices.DeleteFunc(q.all[q.head:], func(e sent) bool { return e.s == nil })
		n := copy(q.all, live)
		clear(q.all[n:])
		q.all, q.head, q.done = q.all[:n], 0, 0
	}
	q.all = append(q.all, e)
}

// find returns the index of the first delivery from number on.
func (q *sentQueue) find(number uint64) int {
	i, _ := slices.BinarySearchFunc(q.all[q.head:], number, func(e sent, number uint64) int {
		switch {
		case e.number < number:
			return -1
		case e.number > number:
			return 1
		}
		return 0
	})
	return q.head + i
}

// at settles the delivery with index i. The caller trims.
func (q *sentQueue) at(i int) {
	e := &q.all[i]
	e.s.open--
	e.s, e.token = nil, nil
	q.done++
}

// settle forgets a delivery of s, and reports whether it was known.
func (q *sentQueue) settle(s *Sender, number uint64) bool {
	i := q.find(number)
	if i == len(q.all) || q.all[i].number != number || q.all[i].s != s {
		return false
	}
	q.at(i)
	q.trim()
	s.wake() // there is room for another delivery
	return true
}

// trim lets go of what is settled in front.
func (q *sentQueue) trim() {
	for q.head < len(q.all) && q.all[q.head].s == nil {
		q.head++
		q.done--
	}
	if q.head == len(q.all) {
		q.all, q.head = q.all[:0], 0
		if cap(q.all) > mostSent {
			q.all = nil
		}
	}
}

// drop forgets the deliveries of s, or of all for nil, and tells who waits in
// Deliver.
func (q *sentQueue) drop(s *Sender) {
	for i := q.head; i < len(q.all); i++ {
		e := &q.all[i]
		if e.s == nil || s != nil && e.s != s {
			continue
		}
		if o, ok := e.token.(*outcome); ok {
			close(o.done)
		}
		q.at(i)
	}
	q.trim()
}

// track remembers a delivery; the mutex is held.
func (s *Sender) track(number uint64, token any) {
	s.s.sent.add(sent{number: number, s: s, token: token})
	s.open++
}

// forget drops the deliveries of a link that is over; the mutex is held.
func (s *Sender) forget() {
	if s.open > 0 {
		s.s.sent.drop(s)
	}
}

// number returns the number of the delivery that an id is about: the last one
// that had it. It is not valid for one that was not sent yet.
func (s *Session) number(id uint32) (number uint64, ok bool) {
	ago := uint32(s.delivery) - id // the next one to be sent is 0 ago
	if ago == 0 || ago > math.MaxInt32 || uint64(ago) > s.delivery {
		return 0, false
	}
	return s.delivery - uint64(ago), true
}

// Settle answers the state of a delivery that the peer did not settle, and
// forgets the delivery.
func (s *Sender) Settle(id uint32, state codec.State) {
	c, ss := s.s.c, s.s
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over() {
		return
	}
	if number, ok := ss.number(id); !ok || !ss.sent.settle(s, number) {
		return
	}
	ss.pushDisposition(&codec.Disposition{Role: codec.Sender, First: id, Settled: true, State: state})
	if !c.busy {
		c.kick()
	}
}

// news is what a disposition says of one delivery.
type news struct {
	s *Sender
	d Sent
}

// onDisposition deals with a disposition (part 2 §2.7.6). What it says of
// deliveries that are not known is ignored: they are settled.
func (c *Conn) onDisposition(channel uint16, p *codec.Disposition) error {
	c.mu.Lock()
	s, err := c.session(channel, codec.CodeDisposition)
	// What a sender says of its deliveries changes nothing: they are settled with
	// the first word from us.
	if s == nil || p.Role == codec.Sender {
		c.mu.Unlock()
		return err
	}
	heard := s.hear(p, c.work.heard[:0])
	c.mu.Unlock()
	for i, n := range heard {
		if n.s.handler != nil {
			n.s.handler.Disposition(n.s, n.d, &p.State, p.Settled)
		}
		heard[i] = news{}
	}
	c.work.heard = heard[:0]
	return nil
}

// hear takes a disposition and appends what it says of which delivery; the
// mutex is held.
func (s *Session) hear(p *codec.Disposition, heard []news) []news {
	first, ok := s.number(p.First)
	if !ok {
		return heard
	}
	last := s.delivery - 1
	if n, ok := s.number(p.Last.Or(p.First)); ok {
		last = n
	}
	if last == s.delivery-1 {
		s.c.readTo = max(s.c.readTo, s.lastAt)
	}
	q := &s.sent
	next := first // that nothing was said about
	for i := q.find(first); i < len(q.all) && q.all[i].number <= last; i++ {
		e := &q.all[i]
		if e.s == nil {
			continue
		}
		s.forgotten(p, next, e.number)
		next = e.number + 1
		// A peer that repeats itself while the first word is dealt with is not to
		// have it dealt with once more.
		if !e.said {
			e.said = p.State.Terminal()
			heard = append(heard, news{e.s, Sent{ID: uint32(e.number), Token: e.token}})
		}
		if p.Settled {
			e.s.wake() // there is room for another delivery
			q.at(i)
		}
	}
	s.forgotten(p, next, last+1)
	if p.Settled {
		q.trim()
	}
	return heard
}

// forgotten settles deliveries that nobody tracks, from a number up to another,
// as the peer says; the mutex is held.
func (s *Session) forgotten(p *codec.Disposition, from, to uint64) {
	if !s.untracks || p.Settled || !p.State.Terminal() || from >= to {
		return
	}
	d := codec.Disposition{Role: codec.Sender, First: uint32(from), Settled: true, State: p.State}
	if to-from > 1 {
		d.Last = codec.Some(uint32(to - 1))
	}
	s.pushDisposition(&d)
}
