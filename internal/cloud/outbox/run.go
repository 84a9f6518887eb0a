package outbox

import (
	"context"
	"fmt"
	"time"
)

// Run makes messages of feedback, frees messages whose locks end and forgets
// those whose time is over, until ctx ends. A store that fails is tried again.
func (s *Service) Run(ctx context.Context) error {
	var failing, recalled bool
	var expired time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		now := time.Now()
		next := now.Add(sweepInterval)
		s.sweep(now)
		var err error
		if !recalled {
			err = s.recall(ctx)
			recalled = err == nil
		}
		if err == nil {
			var due time.Time
			if due, err = s.gatherDue(ctx, now); !due.IsZero() {
				next = earliest(next, due)
			}
		}
		if err == nil && now.Sub(expired) >= expireInterval {
			if err = s.expire(ctx, now); err == nil {
				expired = now
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.Warn("the queues to back ends cannot be kept, trying again", "error", err)
		}
		failing = err != nil
		timer.Reset(max(time.Until(next), 0))
	}
}

// sweep frees messages whose locks are over at now.
func (s *Service) sweep(now time.Time) {
	s.mu.Lock()
	var all []*queue
	for _, both := range s.queues {
		all = append(all, both[:]...)
	}
	s.mu.Unlock()
	for _, q := range all {
		q.sweep(now)
	}
}

// expire deletes messages whose time was over so long ago that no receiver can
// still have one.
func (s *Service) expire(ctx context.Context, now time.Time) error {
	for {
		n, err := s.store.Expire(ctx, now.Add(-MaxLock), expireBatch)
		if err != nil {
			return fmt.Errorf("forget old messages: %w", err)
		}
		if n < expireBatch {
			return nil
		}
	}
}
