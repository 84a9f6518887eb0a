// Package presence knows which devices and modules of one hub are connected to
// this process, through which holder, since when, and when they were last
// heard of; and it writes these facts down in the registry, in batches.
//
// An identity has at most one holder. A newer claim replaces an older one, and
// what the older one does afterwards changes nothing: [Table.Release] counts
// only for the present holder. The package does not know sessions or
// protocols: a holder is whatever can name its identity and its times.
//
// # Facts
//
// A change of connection state is written down within [FlushInterval], the
// last activity of a connected identity within [ActivityInterval], and both
// when [Table.Run] ends. Until then [Table.State] answers from memory. A crash
// loses what was not yet written: the state of a hub after a crash is that
// nobody is connected, which is what State says.
package presence

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
)

// Holder is one connection of an identity. Its methods must be cheap, safe for
// concurrent use, and not call the table.
type Holder interface {
	comparable
	// Identity returns whom the connection belongs to.
	Identity() causeway.Identity
	// Generation returns the registry generation the connection was
	// authenticated against.
	Generation() string
	// Since returns when it connected.
	Since() time.Time
	// LastActivity returns when the client was last heard of.
	LastActivity() time.Time
}

// State is what is known about the connection of an identity. Connected is
// authoritative; a zero Updated or LastActivity means that this process knows
// nothing newer than what the registry holds.
type State struct {
	Connected    bool
	Updated      time.Time // when Connected changed
	LastActivity time.Time
}

// shards is how many parts a table is locked in. A device and its modules
// share one.
const shards = 64

// MaxPending bounds the facts of one table that wait to be written. As only
// identities of the registry have facts, it takes as many as a hub has; facts
// beyond it are dropped, which the next flush reports.
const MaxPending = 1 << 20

// Table is the presence of one hub. It is safe for concurrent use.
type Table[H Holder] struct {
	// Changed, when it is set before the table is used, hears of every identity
	// that somebody came to hold or nobody holds any more, in that order for
	// one identity. It is called under a lock: it must not block, and not call
	// the table.
	Changed func(id causeway.Identity, connected bool, at time.Time)

	shards  [shards]shard[H]
	devices atomic.Int64 // connected devices, without modules
	all     atomic.Int64 // connected devices and modules
	pending atomic.Int64 // facts in all shards
	dropped atomic.Int64 // facts given up since the last flush
	limit   int64        // of pending
}

// key names an identity within the table's hub.
type key struct{ device, module string }

type shard[H Holder] struct {
	mu      sync.RWMutex
	holders map[key]H
	modules map[string][]string // device → its connected modules
	facts   map[key]fact        // to be written
	visited int64               // when activity was last looked at, Unix milliseconds
}

// fact is what is to be written about an identity. While somebody holds the
// identity the times come from the holder.
type fact struct {
	hub       string
	connected bool
	updated   int64 // Unix milliseconds
	active    int64 // Unix milliseconds
}

// New returns an empty table.
func New[H Holder]() *Table[H] { return &Table[H]{limit: MaxPending} }

// shard returns the shard of a device: FNV-1a, folded.
func (t *Table[H]) shard(device string) *shard[H] {
	h := uint32(2166136261)
	for i := range len(device) {
		h = (h ^ uint32(device[i])) * 16777619
	}
	return &t.shards[(h^h>>16)%shards]
}

func keyOf(id causeway.Identity) key { return key{id.Device, id.Module} }

// Claim makes h the holder of its identity and returns the holder it replaced,
// if any; the caller ends that one. Unless force is set, ok is false and
// nothing changes when the present holder was authenticated against another
// generation: one of the two is stale, and the caller must find out which.
func (t *Table[H]) Claim(h H, force bool) (replaced H, had, ok bool) {
	id := h.Identity()
	k, s := keyOf(id), t.shard(id.Device)
	s.mu.Lock()
	defer s.mu.Unlock()
	replaced, had = s.holders[k]
	if had && !force && replaced.Generation() != h.Generation() {
		return replaced, true, false
	}
	if s.holders == nil {
		s.holders = make(map[key]H)
	}
	s.holders[k] = h
	if !had {
		t.all.Add(1)
		if id.IsModule() {
			if s.modules == nil {
				s.modules = make(map[string][]string)
			}
			s.modules[id.Device] = append(s.modules[id.Device], id.Module)
		} else {
			t.devices.Add(1)
		}
	}
	since := h.Since().UnixMilli()
	t.note(s, k, fact{hub: id.Hub, connected: true, updated: since, active: since})
	if !had && t.Changed != nil {
		t.Changed(id, true, h.Since())
	}
	return replaced, had, true
}

// Release withdraws h at a point in time and reports whether it was still the
// holder of its identity. It may be called any number of times.
func (t *Table[H]) Release(h H, now time.Time) bool {
	id := h.Identity()
	k, s := keyOf(id), t.shard(id.Device)
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.holders[k]; !ok || held != h {
		return false
	}
	delete(s.holders, k)
	t.all.Add(-1)
	if id.IsModule() {
		s.dropModule(id.Device, id.Module)
	} else {
		t.devices.Add(-1)
	}
	active := max(h.LastActivity().UnixMilli(), s.facts[k].active)
	t.note(s, k, fact{hub: id.Hub, updated: now.UnixMilli(), active: active})
	if t.Changed != nil {
		t.Changed(id, false, now)
	}
	return true
}

func (s *shard[H]) dropModule(device, module string) {
	names := s.modules[device]
	for i, n := range names {
		if n == module {
			names[i] = names[len(names)-1]
			names[len(names)-1] = ""
			names = names[:len(names)-1]
			break
		}
	}
	if len(names) == 0 {
		delete(s.modules, device)
		return
	}
	s.modules[device] = names
}

// Seen notes that id was heard of at now without being connected, as over
// HTTP. known is when the registry last saw its connection state change; it is
// written back unless something newer is known.
func (t *Table[H]) Seen(id causeway.Identity, now, known time.Time) {
	k, s := keyOf(id), t.shard(id.Device)
	f := fact{hub: id.Hub, active: now.UnixMilli()}
	if !known.IsZero() {
		f.updated = known.UnixMilli()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.holders[k]; ok {
		f.connected, f.updated = true, h.Since().UnixMilli()
	} else if old, ok := s.facts[k]; ok {
		f.updated = old.updated
		f.active = max(f.active, old.active)
	}
	t.note(s, k, f)
}

// note records a fact to be written; s is locked.
func (t *Table[H]) note(s *shard[H], k key, f fact) {
	if _, ok := s.facts[k]; !ok {
		if t.pending.Load() >= t.limit {
			t.dropped.Add(1)
			return
		}
		t.pending.Add(1)
		if s.facts == nil {
			s.facts = make(map[key]fact)
		}
	}
	s.facts[k] = f
}

// Holder returns the present holder of id.
func (t *Table[H]) Holder(id causeway.Identity) (H, bool) {
	s := t.shard(id.Device)
	s.mu.RLock()
	h, ok := s.holders[keyOf(id)]
	s.mu.RUnlock()
	return h, ok
}

// Family returns the present holders of a device and of its modules.
func (t *Table[H]) Family(device causeway.Identity) []H {
	s := t.shard(device.Device)
	s.mu.RLock()
	defer s.mu.RUnlock()
	var hs []H
	if h, ok := s.holders[key{device: device.Device}]; ok {
		hs = append(hs, h)
	}
	for _, m := range s.modules[device.Device] {
		hs = append(hs, s.holders[key{device.Device, m}])
	}
	return hs
}

// All returns every present holder.
func (t *Table[H]) All() []H {
	hs := make([]H, 0, t.all.Load())
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, h := range s.holders {
			hs = append(hs, h)
		}
		s.mu.RUnlock()
	}
	return hs
}

// State returns what is known of id.
func (t *Table[H]) State(id causeway.Identity) State {
	k, s := keyOf(id), t.shard(id.Device)
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, noted := s.facts[k]
	if h, ok := s.holders[k]; ok {
		st := State{Connected: true, Updated: h.Since().UTC(), LastActivity: h.LastActivity().UTC()}
		if seen := at(f.active); seen.After(st.LastActivity) {
			st.LastActivity = seen
		}
		return st
	}
	if !noted {
		return State{}
	}
	return State{Updated: at(f.updated), LastActivity: at(f.active)}
}

// at is the inverse of UnixMilli with 0 for the zero time.
func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Count returns how many devices and modules are connected.
func (t *Table[H]) Count() int { return int(t.all.Load()) }

// Devices returns how many devices are connected, modules not counted.
func (t *Table[H]) Devices() int { return int(t.devices.Load()) }
