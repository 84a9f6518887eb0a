package outbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// queue is what is known of one queue of one hub: a window on its oldest
// messages. Its mutex is held across reads of the store that move the window
// on, but not across writes: receivers of a hub do not wait for each other's
// settlements.
type queue struct {
	hub  string
	kind Kind

	mu      sync.Mutex
	entries []*entry // oldest first; at most MaxLocked
	last    int64    // position of the newest message ever seen
	more    bool     // the store may hold messages after last
	waiters map[*waiter]struct{}
}

// entry is one message and who has it, if anyone.
type entry struct {
	Item
	token    causeway.LockToken
	deadline time.Time // of the lock; zero when the message is free
	settling bool      // the lock is being turned into an outcome, whatever the time
}

// waiter is one subscriber.
type waiter struct{ ready chan struct{} }

func newQueue(hub string, k Kind) *queue {
	return &queue{hub: hub, kind: k, more: true, waiters: map[*waiter]struct{}{}}
}

// locked reports whether a receiver has the message at now.
func (e *entry) locked(now time.Time) bool { return e.settling || now.Before(e.deadline) }

// take locks the oldest free message for a receiver; nil when there is none.
func (q *queue) take(ctx context.Context, s Store, p Policy) (*entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		now := time.Now()
		// One whose time is over is deleted from the store by the sweep.
		q.entries = slices.DeleteFunc(q.entries, func(e *entry) bool { return !e.locked(now) && !now.Before(e.Expires) })
		for _, e := range q.entries {
			if !e.locked(now) {
				e.token, e.deadline = uuid.New(), now.Add(p.Lock)
				return e, nil
			}
		}
		room := MaxLocked - len(q.entries)
		if !q.more || room <= 0 {
			return nil, nil
		}
		limit := min(indexPage, room)
		items, err := s.Index(ctx, q.hub, q.kind, q.last, now, limit)
		if err != nil {
			return nil, fmt.Errorf("read %s queue of hub %s: %w", q.kind, q.hub, err)
		}
		for _, it := range items {
			q.entries = append(q.entries, &entry{Item: it})
			q.last = it.Seq
		}
		q.more = len(items) == limit
	}
}

// settle begins to turn a lock into an outcome. It returns the message, nil
// when the lock is over.
func (q *queue) settle(token causeway.LockToken) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, e := range q.entries {
		if e.token == token && !e.settling && now.Before(e.deadline) {
			e.settling = true
			return e
		}
	}
	return nil
}

// drop forgets a message that is no longer in the store.
func (q *queue) drop(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries = slices.DeleteFunc(q.entries, func(x *entry) bool { return x == e })
	if q.more { // there is room for those after it
		q.signal()
	}
}

// keep ends what settle began without an outcome: the lock stays.
func (q *queue) keep(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.settling = false
}

// abandon frees a message with a new delivery count.
func (q *queue) abandon(e *entry, count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.DeliveryCount = count
	q.release(e)
}

// release frees a message. The caller holds mu.
func (q *queue) release(e *entry) {
	e.token, e.deadline, e.settling = causeway.LockToken{}, time.Time{}, false
	q.signal()
}

// unlock frees messages by their locks.
func (q *queue) unlock(tokens []causeway.LockToken) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if !e.deadline.IsZero() && !e.settling && slices.Contains(tokens, e.token) {
			q.release(e)
		}
	}
}

// sweep frees the messages whose locks are over at now.
func (q *queue) sweep(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if !e.deadline.IsZero() && !e.locked(now) {
			q.release(e)
		}
	}
}

// grew notes that the store has a new message.
func (q *queue) grew() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more = true
	q.signal()
}

// reset forgets all messages, whose hub is gone, and returns how many
// subscribers there are.
func (q *queue) reset() (waiters int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries, q.last, q.more = nil, 0, true
	return len(q.waiters)
}

// signal wakes the subscribers. The caller holds mu.
func (q *queue) signal() {
	for w := range q.waiters {
		select {
		case w.ready <- struct{}{}:
		default: // it has not yet looked since the last time
		}
	}
}

// subscribe adds a waiter.
func (q *queue) subscribe() (<-chan struct{}, func()) {
	w := &waiter{ready: make(chan struct{}, 1)}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiters[w] = struct{}{}
	return w.ready, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.waiters, w)
	}
}
