package presence

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/obs"
)

// The rhythm of writing facts down.
const (
	FlushInterval    = 2 * time.Second // changes of connection state
	ActivityInterval = 4 * time.Minute // last activity of those who stay connected
	finalFlush       = 10 * time.Second
	flushChunk       = 512 // facts in one Touch
)

// Registry is where facts are written down.
type Registry interface {
	Touch(ctx context.Context, facts ...registry.Activity) error
}

// Run writes facts down until ctx ends, and once more then. A registry that
// refuses is tried again at the next interval.
func (t *Table[H]) Run(ctx context.Context, to Registry, log *slog.Logger) error {
	tick := time.NewTicker(FlushInterval)
	defer tick.Stop()
	w := walk{began: time.Now()}
	for {
		select {
		case <-tick.C:
			t.noteActivity(&w, time.Now())
			if err := t.Flush(ctx, to); err != nil && ctx.Err() == nil {
				log.Warn("connection facts were not written down, trying again", obs.KeyError, err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			defer cancel()
			for i := range t.shards {
				t.noteShard(&t.shards[i], time.Now())
			}
			return t.Flush(last, to)
		}
	}
}

// walk goes round the shards once in an ActivityInterval, so that the last
// activity of many connections is written evenly over time.
type walk struct {
	began time.Time // the present round
	next  int       // shard
}

// noteActivity notes the activity of the shards whose turn has come.
func (t *Table[H]) noteActivity(w *walk, now time.Time) {
	due := min(shards, int(now.Sub(w.began)*shards/ActivityInterval))
	for ; w.next < due; w.next++ {
		t.noteShard(&t.shards[w.next], now)
	}
	if w.next == shards {
		w.began, w.next = now, 0
	}
}

// noteShard notes the activity of everybody connected since its last visit.
func (t *Table[H]) noteShard(s *shard[H], now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, h := range s.holders {
		active := h.LastActivity().UnixMilli()
		if active < s.visited {
			continue
		}
		t.note(s, k, fact{
			hub: h.Identity().Hub, connected: true, updated: h.Since().UnixMilli(),
			active: max(active, s.facts[k].active),
		})
	}
	s.visited = now.UnixMilli()
}

// Flush writes all facts down now. Facts stay in the table until they are
// written, so that [Table.State] never loses sight of them.
func (t *Table[H]) Flush(ctx context.Context, to Registry) error {
	dropped := t.dropped.Swap(0)
	w := writer[H]{t: t, to: to}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for k, f := range s.facts {
			w.keys, w.facts = append(w.keys, k), append(w.facts, f)
		}
		s.mu.RUnlock()
		for len(w.keys) >= flushChunk {
			if err := w.write(ctx, flushChunk); err != nil {
				return err
			}
		}
	}
	if err := w.write(ctx, len(w.keys)); err != nil {
		return err
	}
	if dropped > 0 {
		return fmt.Errorf("%d connection facts were dropped because more than %d waited to be written", dropped, t.limit)
	}
	return nil
}

// writer gathers facts across shards into batches.
type writer[H Holder] struct {
	t     *Table[H]
	to    Registry
	keys  []key
	facts []fact
	batch []registry.Activity
}

// write writes the first n facts down and takes them out of the table unless
// they have changed since.
func (w *writer[H]) write(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	w.batch = w.batch[:0]
	for i, k := range w.keys[:n] {
		f := w.facts[i]
		w.batch = append(w.batch, registry.Activity{
			ID:        causeway.Identity{Hub: f.hub, Device: k.device, Module: k.module},
			Connected: f.connected, StateUpdated: at(f.updated), LastActivity: at(f.active),
		})
	}
	if err := w.to.Touch(ctx, w.batch...); err != nil {
		return fmt.Errorf("write %d connection facts down: %w", n, err)
	}
	for i, k := range w.keys[:n] {
		w.t.forget(k, w.facts[i])
	}
	w.keys, w.facts = append(w.keys[:0], w.keys[n:]...), append(w.facts[:0], w.facts[n:]...)
	return nil
}

// forget drops a fact that was written unless it has changed since.
func (t *Table[H]) forget(k key, written fact) {
	s := t.shard(k.device)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.facts[k]; !ok || f != written {
		return
	}
	delete(s.facts, k)
	t.pending.Add(-1)
	if len(s.facts) == 0 {
		s.facts = nil // a map does not shrink by itself
	}
}
