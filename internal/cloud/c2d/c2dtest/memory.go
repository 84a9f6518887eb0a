package c2dtest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
)

// Memory is a [c2d.Store] that forgets everything at the end of the process. It
// is for tests; it keeps the contract of [Run].
type Memory struct {
	mu       sync.Mutex
	known    map[causeway.Identity]bool // nil: every identity is
	queues   map[causeway.Identity][]stored
	feedback []record
	next     int64
	reads    int
	fail     error
}

var _ c2d.Store = (*Memory)(nil)

type stored struct {
	seq  int64
	item c2d.Item
}

type record struct {
	hub string
	c2d.Feedback
}

// NewMemory returns an empty store. Given identities, only these are
// registered; given none, all are.
func NewMemory(ids ...causeway.Identity) *Memory {
	m := &Memory{queues: map[causeway.Identity][]stored{}}
	if len(ids) > 0 {
		m.known = map[causeway.Identity]bool{}
		for _, id := range ids {
			m.known[id] = true
		}
	}
	return m
}

// Delete removes an identity with its queue and feedback, and with a device
// its modules, as a registry does.
func (m *Memory) Delete(id causeway.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := func(x causeway.Identity) bool { return x == id || !id.IsModule() && x.Parent() == id }
	for x := range m.known {
		if gone(x) {
			delete(m.known, x)
		}
	}
	for x := range m.queues {
		if gone(x) {
			delete(m.queues, x)
		}
	}
	m.feedback = slices.DeleteFunc(m.feedback, func(f record) bool {
		return gone(causeway.Identity{Hub: f.hub, Device: f.Device, Module: f.Module})
	})
}

// Feedback returns the records of a hub, oldest first.
func (m *Memory) Feedback(hub string) []c2d.Feedback {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []c2d.Feedback
	for _, f := range m.feedback {
		if f.hub == hub {
			all = append(all, f.Feedback)
		}
	}
	return all
}

// Reads returns how often a queue was read: Index, Item and Queues.
func (m *Memory) Reads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// Fail makes every call fail with err until it is nil again.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// begin locks the store for one call; the caller unlocks it.
func (m *Memory) begin(ctx context.Context) error {
	m.mu.Lock()
	if m.fail != nil {
		return m.fail
	}
	return ctx.Err()
}

func (m *Memory) missing(id causeway.Identity) error {
	if id.IsModule() && m.known[id.Parent()] {
		return causeway.Errorf(causeway.ModuleNotFound, "memory.Push", "module %q does not exist on device %q", id.Module, id.Device)
	}
	return causeway.Errorf(causeway.DeviceNotFound, "memory.Push", "device %q does not exist", id.Device)
}

// Push implements [c2d.Store].
func (m *Memory) Push(ctx context.Context, id causeway.Identity, it c2d.Item, limit int) (int64, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	if m.known != nil && !m.known[id] {
		return 0, m.missing(id)
	}
	if len(m.queues[id]) >= limit {
		return 0, causeway.Errorf(causeway.DeviceMaximumQueueDepthExceeded, "memory.Push", "the queue of %q holds %d messages, the most it may", id, limit)
	}
	m.next++
	it.Message = it.Message.Clone()
	it.Message.From.Hub = ""
	it.Message.Lock, it.Message.DeliveryCount, it.Message.Sequence = causeway.LockToken{}, 0, m.next
	m.queues[id] = append(m.queues[id], stored{m.next, it})
	return m.next, nil
}

func entryOf(s stored) c2d.Entry {
	return c2d.Entry{
		Seq: s.seq, Expires: s.item.Expires.UTC(), DeliveryCount: s.item.DeliveryCount,
		Ack: s.item.Message.Ack, MessageID: s.item.Message.ID, GenerationID: s.item.Message.GenerationID,
	}
}

// Index implements [c2d.Store].
func (m *Memory) Index(ctx context.Context, id causeway.Identity) ([]c2d.Entry, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	m.reads++
	var entries []c2d.Entry
	for _, s := range m.queues[id] {
		entries = append(entries, entryOf(s))
	}
	return entries, nil
}

// Item implements [c2d.Store].
func (m *Memory) Item(ctx context.Context, id causeway.Identity, seq int64) (c2d.Item, bool, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return c2d.Item{}, false, err
	}
	m.reads++
	i := m.find(id, seq)
	if i < 0 {
		return c2d.Item{}, false, nil
	}
	it := m.queues[id][i].item
	it.Message = it.Message.Clone()
	return it, true, nil
}

func (m *Memory) find(id causeway.Identity, seq int64) int {
	return slices.IndexFunc(m.queues[id], func(s stored) bool { return s.seq == seq })
}

// Remove implements [c2d.Store].
func (m *Memory) Remove(ctx context.Context, id causeway.Identity, ends ...c2d.End) (n int, err error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	for _, e := range ends {
		i := m.find(id, e.Seq)
		if i < 0 {
			continue
		}
		n++
		m.queues[id] = slices.Delete(m.queues[id], i, i+1)
		if e.Feedback != nil {
			m.feedback = append(m.feedback, record{id.Hub, *e.Feedback})
		}
	}
	if len(m.queues[id]) == 0 {
		delete(m.queues, id)
	}
	return n, nil
}

// SetDeliveryCount implements [c2d.Store].
func (m *Memory) SetDeliveryCount(ctx context.Context, id causeway.Identity, seq int64, n int) error {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	if i := m.find(id, seq); i >= 0 {
		m.queues[id][i].item.DeliveryCount = n
	}
	return nil
}

func compare(a, b causeway.Identity) int {
	return cmp.Or(cmp.Compare(a.Hub, b.Hub), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Module, b.Module))
}

// Queues implements [c2d.Store].
func (m *Memory) Queues(ctx context.Context, after causeway.Identity, limit int) ([]causeway.Identity, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	m.reads++
	var ids []causeway.Identity
	for id := range m.queues {
		if compare(id, after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compare)
	return ids[:min(len(ids), limit)], nil
}

// Waiting implements [c2d.Store].
func (m *Memory) Waiting(ctx context.Context, hub string, most int) (int, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	n := 0
	for id, q := range m.queues {
		if id.Hub == hub {
			n += len(q)
		}
	}
	return min(n, most), nil
}

// Expired implements [c2d.Store].
func (m *Memory) Expired(ctx context.Context, now time.Time, limit int) ([]c2d.Due, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	var due []c2d.Due
	for id, q := range m.queues {
		for _, s := range q {
			if !s.item.Expires.After(now) {
				due = append(due, c2d.Due{ID: id, Entry: entryOf(s)})
			}
		}
	}
	slices.SortFunc(due, func(a, b c2d.Due) int { return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Seq, b.Seq)) })
	return due[:min(len(due), limit)], nil
}
