package client

import (
	"context"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// arena is events one after the other, as they came.
type arena struct {
	data []byte
	ends []int
}

func (a *arena) len() int { return len(a.ends) }

func (a *arena) at(i int) []byte {
	from := 0
	if i > 0 {
		from = a.ends[i-1]
	}
	return a.data[from:a.ends[i]:a.ends[i]]
}

// keptArena is how large an arena may be that is used again.
const keptArena = 4 << 20

func (a *arena) reset() {
	if cap(a.data) > keptArena {
		a.data = nil
	}
	a.data, a.ends = a.data[:0], a.ends[:0]
}

// feed takes what arrives on a link into one arena while the reader goes through
// another, and gives credit as they are exchanged.
type feed struct {
	link   *amqp.Receiver // nil until begin
	window int            // events that may be under way, if they are small

	mu   sync.Mutex
	in   *arena
	left int           // of the credit that was given
	wake chan struct{} // something came, or the end; capacity 1
	room chan struct{} // closed when the arenas are exchanged; nil when nobody waits
	over bool
	err  error
	life context.Context // of the reader
}

var _ amqp.ReceiverHandler = (*feed)(nil)

func newFeed(life context.Context, window int) *feed {
	return &feed{life: life, window: window, in: &arena{}, wake: make(chan struct{}, 1)}
}

// begin gives the first credit: of the largest events, as much as may wait.
func (f *feed) begin(link *amqp.Receiver) {
	f.mu.Lock()
	f.link, f.left = link, min(f.window, maxAhead/causeway.MaxMessageSize)
	n := f.left
	f.mu.Unlock()
	link.Grant(uint32(n))
	link.Conn().Push()
}

// due returns the credit to give after a was taken, 0 for none yet: for events of
// the size that it had, as much as may wait. The mutex is held.
func (f *feed) due(a *arena) int {
	size := max(1, len(a.data)/a.len())
	n := min(f.window, max(1, maxAhead/2/size))
	if f.over || f.left > n/2 {
		return 0
	}
	f.left = n
	return n
}

func (f *feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Transfer copies an event. While too much waits the connection is not read: no
// credit can stop what is under way.
func (f *feed) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	f.mu.Lock()
	for len(f.in.data) > 0 && len(f.in.data)+len(d.Payload) > maxAhead {
		if f.room == nil {
			f.room = make(chan struct{})
		}
		room := f.room
		f.mu.Unlock()
		select {
		case <-room:
		case <-f.life.Done():
			return
		}
		f.mu.Lock()
	}
	f.in.data = append(f.in.data, d.Payload...)
	f.in.ends = append(f.in.ends, len(f.in.data))
	f.left--
	first := len(f.in.ends) == 1
	f.mu.Unlock()
	if first {
		f.poke()
	}
}

// Detached ends swap once everything was taken.
func (f *feed) Detached(_ *amqp.Receiver, err error) {
	if err == nil {
		err = amqp.ErrDetached
	}
	f.mu.Lock()
	f.over, f.err = true, err
	f.mu.Unlock()
	f.poke()
}

// swap gives *a what has come, in exchange for what was in it. It waits for
// something to come.
func (f *feed) swap(ctx context.Context, a **arena) error {
	for {
		f.mu.Lock()
		if f.in.len() > 0 {
			(*a).reset()
			*a, f.in = f.in, *a
			if f.room != nil {
				close(f.room)
				f.room = nil
			}
			n := f.due(*a)
			f.mu.Unlock()
			if n > 0 {
				f.link.Grant(uint32(n))
				f.link.Conn().Push()
			}
			return nil
		}
		over, err := f.over, f.err
		f.mu.Unlock()
		if over {
			return err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.life.Done():
			return ErrClosed
		}
	}
}
