package c2d

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// queue is what is known of one identity's queue. Its mutex is held across
// calls of the store, so that what is known stays true: operations on one
// queue follow each other, those on different queues run side by side.
type queue struct {
	id   causeway.Identity
	refs int // users; guarded by tracker.mu

	mu sync.Mutex
	// loaded says that entries are what the store holds. Otherwise the queue
	// may hold anything.
	loaded  bool
	entries []entry // oldest first
}

// entry is one queued item and who has it, if anyone.
type entry struct {
	Entry
	lock *lock
}

// locked reports whether a client has the item at now.
func (e *entry) locked(now time.Time) bool { return e.lock != nil && now.Before(e.lock.deadline) }

func (e *entry) expired(now time.Time) bool { return !now.Before(e.Expires) }

// find returns the index of the entry that token locks at now, or -1.
func (q *queue) find(token causeway.LockToken, now time.Time) int {
	return slices.IndexFunc(q.entries, func(e entry) bool { return e.locked(now) && e.lock.token == token })
}

// load reads the entries of a queue that is not loaded.
func (q *queue) load(ctx context.Context, s Store) error {
	if q.loaded {
		return nil
	}
	entries, err := s.Index(ctx, q.id)
	if err != nil {
		return err
	}
	q.entries = make([]entry, len(entries))
	for i, e := range entries {
		q.entries[i].Entry = e
	}
	q.loaded = true
	return nil
}

// busy reports whether a client has an item, or may still settle one.
func (q *queue) busy() bool {
	return slices.ContainsFunc(q.entries, func(e entry) bool { return e.lock != nil })
}

// tracker remembers which queues are not empty, so that the many devices
// without messages cost no look into the store when they connect, and it keeps
// the locks. It holds a queue while it has entries, may have some, or is in use.
type tracker struct {
	limit int // queues kept when nobody uses them

	mu       sync.Mutex
	devices  map[causeway.Identity][]*queue // by device: its own queue and its modules'
	size     int                            // queues in devices
	complete bool                           // every queue that is not here is empty
	dropped  int                            // queues forgotten though they are not empty, ever
	locks    lockHeap
}

// empty reports whether the queue of id is known to be empty.
func (t *tracker) empty(id causeway.Identity) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.complete && t.find(id) == nil
}

// find returns the queue of id, nil when it is not here. The caller holds mu.
func (t *tracker) find(id causeway.Identity) *queue {
	for _, q := range t.devices[id.Parent()] {
		if q.id == id {
			return q
		}
	}
	return nil
}

// acquire returns the queue of id locked for the caller, who releases it.
func (t *tracker) acquire(id causeway.Identity) *queue {
	t.mu.Lock()
	q := t.find(id)
	if q == nil {
		// A queue that is not here is empty, if all others are here.
		q = &queue{id: id, loaded: t.complete}
		t.devices[id.Parent()] = append(t.devices[id.Parent()], q)
		t.size++
	}
	q.refs++
	t.mu.Unlock()
	q.mu.Lock()
	return q
}

// known is acquire for a queue that is here; nil otherwise.
func (t *tracker) known(id causeway.Identity) *queue {
	t.mu.Lock()
	q := t.find(id)
	if q != nil {
		q.refs++
	}
	t.mu.Unlock()
	if q != nil {
		q.mu.Lock()
	}
	return q
}

// family returns the queues that are here of id and, for a device, of its
// modules. They are referenced, not locked.
func (t *tracker) family(id causeway.Identity) []*queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*queue
	for _, q := range t.devices[id.Parent()] {
		if !id.IsModule() || q.id == id {
			q.refs++
			all = append(all, q)
		}
	}
	return all
}

// release ends the use of a queue: it is unlocked, and forgotten when it is
// empty or too many are remembered.
func (t *tracker) release(q *queue) {
	q.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	q.refs--
	if q.refs > 0 {
		return // whoever is left looks again
	}
	switch {
	case q.loaded && len(q.entries) == 0:
	case t.size > t.limit && !q.busy():
		t.complete = false
		t.dropped++
	default:
		return
	}
	rest := slices.DeleteFunc(t.devices[q.id.Parent()], func(x *queue) bool { return x == q })
	if len(rest) == 0 {
		delete(t.devices, q.id.Parent())
	} else {
		t.devices[q.id.Parent()] = rest
	}
	t.size--
}

// lockEntry gives an item to a client until a deadline.
func (t *tracker) lockEntry(q *queue, e *entry, deadline time.Time) causeway.LockToken {
	l := &lock{token: uuid.New(), queue: q, deadline: deadline}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.lock != nil {
		t.locks.remove(e.lock)
	}
	t.locks.add(l)
	e.lock = l
	return l.token
}

// unlock frees an item.
func (t *tracker) unlock(e *entry) {
	if e.lock == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.locks.remove(e.lock)
	e.lock = nil
}

// drop removes the entry at i, which is no longer in the store.
func (t *tracker) drop(q *queue, i int) {
	t.unlock(&q.entries[i])
	q.entries = slices.Delete(q.entries, i, i+1)
}

// dueLocks returns the locks that are over at now. Their queues are referenced.
func (t *tracker) dueLocks(now time.Time) []*lock {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*lock
	for l := t.locks.due(now); l != nil; l = t.locks.due(now) {
		l.queue.refs++
		all = append(all, l)
	}
	return all
}

// idle reports whether it is known that there is nothing in any queue.
func (t *tracker) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.complete && t.size == 0
}

// unload frees the memory of queues that nobody uses. They stay known as not
// empty.
func (t *tracker) unload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, queues := range t.devices {
		for _, q := range queues {
			if q.refs == 0 && q.loaded && !q.busy() {
				q.loaded, q.entries = false, nil
			}
		}
	}
}
