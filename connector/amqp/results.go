package amqp

import (
	"errors"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// flight is a batch of which not all is accepted yet.
type flight struct {
	mu     sync.Mutex
	states []state
	left   int
	err    error // of the link
	done   chan struct{}
}

// slot is the place of a message in a flight.
type slot struct {
	f *flight
	i int
}

// settle notes what the broker said of a message.
func (sl slot) settle(st state) {
	f := sl.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.states[sl.i].kind != 0 || f.left == 0 {
		return
	}
	f.states[sl.i] = st
	if f.left--; f.left == 0 {
		close(f.done)
	}
}

// fail ends a flight: nothing more will be heard of it.
func (f *flight) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left, f.err = 0, err
		close(f.done)
	}
}

// results hears what the broker says of messages.
type results struct {
	mu      sync.Mutex
	flights map[*flight]struct{}
	ended   error
}

var _ amqp.SenderHandler = (*results)(nil)

func (r *results) add(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flights == nil {
		r.flights = map[*flight]struct{}{}
	}
	r.flights[f] = struct{}{}
	if r.ended != nil {
		f.fail(r.ended)
	}
}

func (r *results) remove(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, f)
}

// Flow has nothing to do: who sends waits for credit.
func (*results) Flow(s *amqp.Sender) {
	if s.Draining() {
		s.Drained()
	}
}

// Disposition notes an outcome.
func (*results) Disposition(s *amqp.Sender, d amqp.Sent, st *codec.State, settled bool) {
	sl, ok := d.Token.(slot)
	if !ok {
		return
	}
	if !settled {
		if !st.Terminal() {
			return
		}
		s.Settle(d.ID, *st)
	}
	got := state{kind: st.Kind, undeliverable: st.UndeliverableHere}
	if st.Error != nil {
		got.condition, got.description = strings.Clone(st.Error.Name), strings.Clone(st.Error.Description)
	}
	if got.kind == 0 {
		got.kind = codec.CodeReleased // settled without an outcome
	}
	sl.settle(got)
}

// Detached ends all flights.
func (r *results) Detached(_ *amqp.Sender, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended = err; err == nil {
		r.ended = errors.New("the broker detached the link")
	}
	for f := range r.flights {
		f.fail(r.ended)
	}
}
