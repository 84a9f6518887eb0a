package registry

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/causeway-iot/causeway"
)

// cache keeps the records used last, and the write lock of every identity in
// use. Records in it are never changed, only replaced.
type cache struct {
	mu       sync.Mutex
	entries  map[causeway.Identity]*entry
	front    entry // sentinel of the ring, most recently used first
	bytes    int   // of all records
	records  int   // limit of len(entries)
	capacity int   // limit of bytes
}

// entry is an identity in the cache. One that is locked or waited for stays in
// the cache, so an identity has one lock at any time.
type entry struct {
	id  causeway.Identity
	sem chan struct{}          // the write lock: full while held
	rec atomic.Pointer[Record] // written by the lock's holder and by touch; nil when not read yet

	// Guarded by cache.mu.
	pins       int // holders and waiters
	bytes      int
	prev, next *entry
}

func newCache(records, capacity int) *cache {
	c := &cache{entries: map[causeway.Identity]*entry{}, records: records, capacity: capacity}
	c.front.prev, c.front.next = &c.front, &c.front
	return c
}

// get returns the record of id if it is in memory.
func (c *cache) get(id causeway.Identity) *Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil {
		return nil
	}
	c.use(e)
	return e.rec.Load()
}

// held is a write lock being held.
type held struct {
	c *cache
	*entry
}

// lock takes the write lock of id. It waits no longer than ctx lasts.
func (c *cache) lock(ctx context.Context, id causeway.Identity) (held, error) {
	c.mu.Lock()
	e := c.entries[id]
	if e == nil {
		e = &entry{id: id, sem: make(chan struct{}, 1)}
		e.prev, e.next = e, e
		c.entries[id] = e
	}
	e.pins++
	c.use(e)
	c.mu.Unlock()

	select {
	case e.sem <- struct{}{}:
		return held{c, e}, nil
	default:
	}
	select {
	case e.sem <- struct{}{}:
		return held{c, e}, nil
	case <-ctx.Done():
		c.unpin(e)
		return held{}, wrap(ctx.Err(), "wait for other changes of", id)
	}
}

func (h held) unlock() {
	<-h.sem
	h.c.unpin(h.entry)
}

// unpin lets go of an entry and of whatever no longer fits.
func (c *cache) unpin(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.pins--
	if e.pins == 0 && e.rec.Load() == nil {
		c.remove(e) // nothing to keep, e.g. an identity that does not exist
	}
	c.evict()
}

// evict removes entries from the back until the rest fits. Pinned ones stay:
// there are as many as there are calls in progress.
func (c *cache) evict() {
	for e := c.front.prev; e != &c.front && (len(c.entries) > c.records || c.bytes > c.capacity); {
		prev := e.prev
		if e.pins == 0 {
			c.remove(e)
		}
		e = prev
	}
}

func (c *cache) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	c.bytes -= e.bytes
	delete(c.entries, e.id)
}

// use moves e to the front.
func (c *cache) use(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = &c.front, c.front.next
	e.prev.next, e.next.prev = e, e
}

// set replaces the record of an entry whose lock the caller holds; nil forgets
// it. Connection facts written down meanwhile are kept.
func (c *cache) set(e *entry, r *Record) {
	for {
		old := e.rec.Load()
		if old != nil && r != nil {
			r.Connected, r.ConnectionStateUpdated, r.LastActivity = old.Connected, old.ConnectionStateUpdated, old.LastActivity
		}
		if e.rec.CompareAndSwap(old, r) {
			break
		}
	}
	n := 0
	if r != nil {
		n = r.footprint()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes += n - e.bytes
	e.bytes = n
}

// touch writes connection facts into a record in memory.
func (c *cache) touch(f Activity) {
	c.mu.Lock()
	e := c.entries[f.ID]
	c.mu.Unlock()
	if e == nil {
		return
	}
	for {
		old := e.rec.Load()
		if old == nil {
			return
		}
		r := *old
		r.Touch(f)
		if e.rec.CompareAndSwap(old, &r) {
			return
		}
	}
}

// configure changes the configurations of a record in memory whose lock the
// caller holds.
func (c *cache) configure(e *entry, changes []ConfigurationChange) {
	for {
		old := e.rec.Load()
		if old == nil {
			return
		}
		r := *old
		r.Configure(changes...)
		if e.rec.CompareAndSwap(old, &r) { // or its connection facts have changed
			return
		}
	}
}

// forget drops the record of id. A write in progress puts its own result there.
func (c *cache) forget(id causeway.Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e == nil {
		return
	}
	e.rec.Store(nil)
	c.bytes -= e.bytes
	e.bytes = 0
	if e.pins == 0 {
		c.remove(e)
	}
}

// footprint returns about how many bytes r takes in memory.
func (r *Record) footprint() int {
	const fixed = 1 << 10 // the struct, its ids and keys, the entry
	t := &r.Twin
	return fixed + len(t.Tags) +
		len(t.Desired.Properties) + len(t.Desired.Metadata) +
		len(t.Reported.Properties) + len(t.Reported.Metadata)
}
