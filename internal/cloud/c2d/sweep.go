package c2d

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-iot/causeway"
)

// Run frees messages whose locks end and ends messages whose time is over, until
// ctx ends. A store that fails is tried again.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	var failing bool
	var tidied, loaded time.Time
	for {
		now := time.Now()
		err := s.sweep(ctx, now)
		if err == nil && now.Sub(tidied) >= settleInterval {
			s.tracker.unload()
			tidied = now
		}
		if err == nil && now.Sub(loaded) >= reloadInterval {
			if err = s.tracker.fill(ctx, s.store); err == nil {
				loaded = now
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.Warn("cloud-to-device queues cannot be swept, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// fill makes the tracker know every queue that is not empty, unless there are
// too many of them.
func (t *tracker) fill(ctx context.Context, s Store) error {
	t.mu.Lock()
	done, dropped := t.complete, t.dropped
	t.mu.Unlock()
	if done {
		return nil
	}
	var after causeway.Identity
	for {
		ids, err := s.Queues(ctx, after, queuePage)
		if err != nil {
			return fmt.Errorf("list queues: %w", err)
		}
		t.mu.Lock()
		for _, id := range ids {
			if t.find(id) == nil {
				t.devices[id.Parent()] = append(t.devices[id.Parent()], &queue{id: id})
				t.size++
			}
		}
		full := t.size > t.limit
		// Queues that messages came to meanwhile are here since then, unless
		// they were forgotten again.
		if !full && len(ids) < queuePage && t.dropped == dropped {
			t.complete = true
		}
		t.mu.Unlock()
		if full || len(ids) < queuePage {
			return nil
		}
		after = ids[len(ids)-1]
	}
}

// sweep frees messages whose locks are over at now and ends those whose time
// is.
func (s *Service) sweep(ctx context.Context, now time.Time) error {
	for _, l := range s.tracker.dueLocks(now) {
		q := l.queue
		q.mu.Lock()
		freed := false
		for i := range q.entries {
			if q.entries[i].lock == l {
				q.entries[i].lock = nil
				freed = true
			}
		}
		s.tracker.release(q)
		if freed {
			s.notify(q.id)
		}
	}
	if s.tracker.idle() {
		return nil
	}
	// Messages that a client has stay, so the same ones may come again: ask
	// for so many more.
	kept := 0
	for {
		limit := expiryBatch + kept
		due, err := s.store.Expired(ctx, now, limit)
		if err != nil {
			return fmt.Errorf("list expired messages: %w", err)
		}
		ended, err := s.endDue(ctx, due, now)
		if err != nil {
			return err
		}
		if kept = max(len(due)-ended, 0); len(due) < limit || ended == 0 {
			return nil
		}
	}
}

// endDue ends messages whose time is over and returns how many.
func (s *Service) endDue(ctx context.Context, due []Due, now time.Time) (int, error) {
	counts := map[causeway.Identity]int{}
	for _, d := range due {
		counts[d.ID]++
	}
	results := make(chan int, len(counts))
	var g errgroup.Group
	g.SetLimit(expiryWorkers)
	for id := range counts {
		g.Go(func() error {
			q := s.tracker.acquire(id)
			defer s.tracker.release(q)
			// One that was unknown until now must be read even if it would
			// count as empty: the store has just said that it is not.
			if len(q.entries) == 0 {
				q.loaded = false
			}
			if err := q.load(ctx, s.store); err != nil {
				return fmt.Errorf("read queue of %s: %w", id, err)
			}
			n, err := s.endAll(context.WithoutCancel(ctx), q, Expired, now, func(e *entry) bool { return e.expired(now) && !e.locked(now) })
			if err != nil {
				return fmt.Errorf("end expired messages of %s: %w", id, err)
			}
			results <- n
			return nil
		})
	}
	err := g.Wait()
	close(results)
	ended := 0
	for n := range results {
		ended += n
	}
	return ended, err
}
