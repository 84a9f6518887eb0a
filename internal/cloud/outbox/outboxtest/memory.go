package outboxtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
)

// Memory is an [outbox.Store] that forgets everything at the end of the process.
// It is for tests; it keeps the contract of [Run].
type Memory struct {
	mu       sync.Mutex
	hubs     map[string]bool
	messages []message // by position
	feedback []record
	next     int64
	writes   int
	reads    int
	fail     error
}

var _ outbox.Store = (*Memory)(nil)

type message struct {
	hub  string
	kind outbox.Kind
	outbox.Item
	file outbox.FileNotification
}

type record struct {
	hub     string
	message int64 // 0: in none yet
	outbox.FeedbackRecord
}

// NewMemory returns a store without messages of hubs.
func NewMemory(hubs ...string) *Memory {
	m := &Memory{hubs: map[string]bool{}}
	for _, h := range hubs {
		m.hubs[h] = true
	}
	return m
}

// Record adds feedback of identities of a hub.
func (m *Memory) Record(hub string, records ...outbox.FeedbackRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.feedback = append(m.feedback, record{hub, 0, r})
	}
}

// Delete drops the feedback of an identity, and with a device that of its
// modules, as a registry does.
func (m *Memory) Delete(id causeway.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.feedback = slices.DeleteFunc(m.feedback, func(r record) bool {
		return r.hub == id.Hub && r.DeviceID == id.Device && (!id.IsModule() || r.ModuleID == id.Module)
	})
}

// Calls returns how often the store was read and written.
func (m *Memory) Calls() (reads, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads, m.writes
}

// Fail makes every call fail with err until it is nil again.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// begin locks the store for one call, which counts; the caller unlocks it.
func (m *Memory) begin(ctx context.Context, calls *int) error {
	m.mu.Lock()
	*calls++
	if m.fail != nil {
		return m.fail
	}
	return ctx.Err()
}

func (m *Memory) find(hub string, k outbox.Kind, seq int64) int {
	return slices.IndexFunc(m.messages, func(x message) bool { return x.hub == hub && x.kind == k && x.Seq == seq })
}

// pending returns the records of a hub in no message.
func (m *Memory) pending(hub string, most int) (p outbox.Pending, of []*record) {
	p.Hub = hub
	for i := range m.feedback {
		r := &m.feedback[i]
		if r.hub != hub || r.message != 0 || p.Count == most {
			continue
		}
		p.Count++
		of = append(of, r)
		if p.Oldest.IsZero() || r.Time.Before(p.Oldest) {
			p.Oldest = r.Time
		}
	}
	return p, of
}

func (m *Memory) add(hub string, k outbox.Kind, it outbox.Item, n outbox.FileNotification) int64 {
	m.next++
	it.Seq = m.next
	m.messages = append(m.messages, message{hub, k, it, n})
	return it.Seq
}

// Gather implements [outbox.Store].
func (m *Memory) Gather(ctx context.Context, hub string, it outbox.Item, most int, cutoff time.Time) (int64, outbox.Pending, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.writes); err != nil {
		return 0, outbox.Pending{}, err
	}
	p, of := m.pending(hub, most)
	if p.Count == 0 || p.Count < most && p.Oldest.After(cutoff) {
		return 0, p, nil
	}
	seq := m.add(hub, outbox.Feedback, it, outbox.FileNotification{})
	for _, r := range of {
		r.message = seq
	}
	p, _ = m.pending(hub, most)
	return seq, p, nil
}

// Pending implements [outbox.Store].
func (m *Memory) Pending(ctx context.Context, most int) ([]outbox.Pending, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.reads); err != nil {
		return nil, err
	}
	all := map[string]outbox.Pending{}
	for _, r := range m.feedback {
		if p, _ := m.pending(r.hub, most); p.Count > 0 {
			all[r.hub] = p
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b outbox.Pending) int { return cmp.Compare(a.Hub, b.Hub) }), nil
}

// Add implements [outbox.Store].
func (m *Memory) Add(ctx context.Context, hub string, it outbox.Item, n outbox.FileNotification) (int64, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.writes); err != nil {
		return 0, err
	}
	if !m.hubs[hub] {
		return 0, causeway.Errorf(causeway.GenericNotFound, "memory.Add", "hub %q does not exist", hub)
	}
	n.Enqueued = it.Enqueued
	return m.add(hub, outbox.FileNotifications, it, n), nil
}

// Index implements [outbox.Store].
func (m *Memory) Index(ctx context.Context, hub string, k outbox.Kind, after int64, now time.Time, limit int) ([]outbox.Item, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.reads); err != nil {
		return nil, err
	}
	var items []outbox.Item
	for _, x := range m.messages {
		if x.hub == hub && x.kind == k && x.Seq > after && x.Expires.After(now) && len(items) < limit {
			items = append(items, x.Item)
		}
	}
	return items, nil
}

// Records implements [outbox.Store].
func (m *Memory) Records(ctx context.Context, hub string, seq int64) ([]outbox.FeedbackRecord, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.reads); err != nil {
		return nil, err
	}
	var all []outbox.FeedbackRecord
	for _, r := range m.feedback {
		if r.hub == hub && r.message == seq {
			all = append(all, r.FeedbackRecord)
		}
	}
	return all, nil
}

// File implements [outbox.Store].
func (m *Memory) File(ctx context.Context, hub string, seq int64) (outbox.FileNotification, bool, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.reads); err != nil {
		return outbox.FileNotification{}, false, err
	}
	i := m.find(hub, outbox.FileNotifications, seq)
	if i < 0 {
		return outbox.FileNotification{}, false, nil
	}
	return m.messages[i].file, true, nil
}

// remove ends the message at i.
func (m *Memory) remove(i int) {
	seq := m.messages[i].Seq
	m.messages = slices.Delete(m.messages, i, i+1)
	m.feedback = slices.DeleteFunc(m.feedback, func(r record) bool { return r.message == seq })
}

// Remove implements [outbox.Store].
func (m *Memory) Remove(ctx context.Context, hub string, k outbox.Kind, seq int64) (bool, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.writes); err != nil {
		return false, err
	}
	i := m.find(hub, k, seq)
	if i >= 0 {
		m.remove(i)
	}
	return i >= 0, nil
}

// SetDeliveryCount implements [outbox.Store].
func (m *Memory) SetDeliveryCount(ctx context.Context, hub string, k outbox.Kind, seq int64, n int) error {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.writes); err != nil {
		return err
	}
	if i := m.find(hub, k, seq); i >= 0 {
		m.messages[i].DeliveryCount = n
	}
	return nil
}

// Waiting implements [outbox.Store].
func (m *Memory) Waiting(ctx context.Context, hub string, k outbox.Kind, now time.Time, most int) (int, error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.reads); err != nil {
		return 0, err
	}
	n := 0
	for _, x := range m.messages {
		if x.hub == hub && x.kind == k && x.Expires.After(now) {
			n++
		}
	}
	return min(n, most), nil
}

// Expire implements [outbox.Store].
func (m *Memory) Expire(ctx context.Context, now time.Time, limit int) (n int, err error) {
	defer m.mu.Unlock()
	if err := m.begin(ctx, &m.writes); err != nil {
		return 0, err
	}
	for i := 0; i < len(m.messages) && n < limit; {
		if m.messages[i].Expires.After(now) {
			i++
			continue
		}
		m.remove(i)
		n++
	}
	return n, nil
}
