package deploy

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// mark says what of a device is to be looked at.
type mark struct {
	book *book // that the bits are of
	all  bool  // everything, whatever the bits say
	// device are configurations and deployments whose conditions may have
	// changed for the device.
	device bitset
	drift  bool // the desired properties of the device twin were changed
	edge   bool // something that deployments keep was changed
	module map[string]moduleMark
	// batches are the rollouts that wait for this look.
	batches []*batch
}

// moduleMark is the part of a mark about one module.
type moduleMark struct {
	bits  bitset
	drift bool
}

// join adds another mark to m.
func (m *mark) join(o mark) {
	if m.book != o.book {
		// Bits of different books do not go together.
		m.all = m.all || m.book != nil
		m.book = o.book
		m.device = nil
		for id := range m.module {
			m.module[id] = moduleMark{drift: true}
		}
	}
	m.all = m.all || o.all
	m.drift = m.drift || o.drift
	m.edge = m.edge || o.edge
	m.device = m.device.join(o.device)
	for id, mm := range o.module {
		if m.module == nil {
			m.module = map[string]moduleMark{}
		}
		have := m.module[id]
		m.module[id] = moduleMark{bits: have.bits.join(mm.bits), drift: have.drift || mm.drift}
	}
	for _, b := range o.batches {
		if !slices.Contains(m.batches, b) {
			m.batches = append(m.batches, b)
		} else {
			b.done()
		}
	}
}

// entry is a device in the queue.
type entry struct {
	id      causeway.Identity
	mark    mark
	running bool
	again   bool          // marked while running
	pause   time.Duration // after the last failure
}

// queue holds the devices to look at, each once. A device is given to one
// worker at a time.
type queue struct {
	limit int
	ahead int // devices that a pass puts into it

	mu      sync.Mutex
	entries map[causeway.Identity]*entry
	ready   []*entry // in the order in which they came
	lost    map[string]bool
	wake    chan struct{} // something is ready
	space   chan struct{} // there is room for a rollout
}

func newQueue(limit int) *queue {
	return &queue{
		limit: limit, ahead: min(rolloutAhead, (limit+1)/2), entries: map[causeway.Identity]*entry{}, lost: map[string]bool{},
		wake: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add marks a device. It never waits: when the queue is full, the hub is to be
// looked at as a whole later.
func (q *queue) add(id causeway.Identity, m mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	if e == nil {
		if len(q.entries) >= q.limit {
			q.lost[id.Hub] = true
			for _, b := range m.batches {
				b.lose()
			}
			signal(q.wake)
			return
		}
		e = &entry{id: id}
		q.entries[id] = e
		q.ready = append(q.ready, e)
		signal(q.wake)
	} else if e.running {
		e.again = true
	}
	e.mark.join(m)
}

// take gives out the next device and what is to be looked at; nil when there is
// none now.
func (q *queue) take() (*entry, mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return nil, mark{}
	}
	e := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	if len(q.ready) > 0 {
		signal(q.wake) // for another worker
	}
	m := e.mark
	e.mark, e.running, e.again = mark{}, true, false
	return e, m
}

// done takes a device back that was looked at.
func (q *queue) done(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.running, e.pause = false, 0
	if q.entries[e.id] != e {
		return // its hub is gone
	}
	if e.again {
		e.again = false
		q.ready = append(q.ready, e)
		signal(q.wake)
		return
	}
	delete(q.entries, e.id)
	if len(q.entries) < q.ahead {
		signal(q.space)
	}
}

// later takes a device back that is to be looked at again after a pause.
func (q *queue) later(e *entry, m mark, pause time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh := e.mark
	e.mark = m
	e.mark.join(fresh)
	e.running, e.again = true, true // nobody else takes it meanwhile
	time.AfterFunc(pause, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.entries[e.id] != e {
			return // its hub is gone
		}
		e.running, e.again = false, false
		q.ready = append(q.ready, e)
		signal(q.wake)
	})
}

// keep takes a device back that nobody is to look at any more, as work ends.
func (q *queue) keep(e *entry, m mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh := e.mark
	e.mark = m
	e.mark.join(fresh)
}

// room waits until a rollout may put more into the queue.
func (q *queue) room(stop <-chan struct{}) bool {
	for {
		q.mu.Lock()
		ok := len(q.entries) < q.ahead
		q.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-q.space:
		case <-stop:
			return false
		}
	}
}

// forget drops the devices of a hub. Those a worker has stay until it is done.
func (q *queue) forget(hub string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.lost, hub)
	kept := q.ready[:0]
	for _, e := range q.ready {
		if e.id.Hub != hub {
			kept = append(kept, e)
		}
	}
	clear(q.ready[len(kept):])
	q.ready = kept
	maps.DeleteFunc(q.entries, func(id causeway.Identity, e *entry) bool { return id.Hub == hub })
	signal(q.space)
}

// takeLost returns the hubs whose devices did not all fit.
func (q *queue) takeLost() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := sortedNames(q.lost)
	clear(q.lost)
	return lost
}

// waiting returns the devices in the queue.
func (q *queue) waiting() (ids []causeway.Identity, complete bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.entries {
		ids = append(ids, id)
	}
	return ids, len(q.lost) == 0
}

// batch counts the devices that a rollout still waits for.
type batch struct {
	finish func(complete bool)

	mu   sync.Mutex
	left int
	lost bool
}

// hold counts one more.
func (b *batch) hold() {
	b.mu.Lock()
	b.left++
	b.mu.Unlock()
}

// lose takes note of a device that did not fit into the queue.
func (b *batch) lose() {
	b.mu.Lock()
	b.lost = true
	b.mu.Unlock()
	b.done()
}

// done counts one less; the last one ends the rollout.
func (b *batch) done() {
	b.mu.Lock()
	b.left--
	last, complete := b.left == 0, !b.lost
	b.mu.Unlock()
	if last {
		b.finish(complete)
	}
}
