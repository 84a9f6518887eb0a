package quota

import (
	"context"
	"sync/atomic"
	"time"
)

// bucket is a token bucket without a lock. It holds what comes in one period of
// its rate, and may be overdrawn by what comes in [Shaping]: who overdraws it
// waits.
//
// It is kept as the time at which the bucket will be full again: a token taken
// moves that on, and what has passed by itself is the refill.
type bucket struct {
	rate     Rate
	interval time.Duration // between two tokens
	depth    time.Duration // of a full bucket
	full     atomic.Int64  // when it will be full, nanoseconds after start
	waiting  atomic.Int64
}

func newBucket(r Rate) *bucket {
	interval := max(time.Duration(float64(r.Per)/r.Count), 1)
	return &bucket{rate: r, interval: interval, depth: max(r.Per, interval)}
}

// take takes n tokens at now, and returns how long to wait before using them. It
// takes none and ok is false when that would be longer than longest; wait is then
// when it will not be. More tokens than the bucket can ever give count as all of
// those.
func (b *bucket) take(now time.Duration, n int, longest time.Duration) (wait time.Duration, ok bool) {
	cost := time.Duration(min(float64(n)*float64(b.interval), float64(b.depth+longest)))
	for {
		old := b.full.Load()
		full := max(time.Duration(old), now) + cost
		wait = full - now - b.depth
		if wait > longest {
			return wait - longest, false
		}
		if b.full.CompareAndSwap(old, int64(full)) {
			return max(wait, 0), true
		}
	}
}

// give puts n tokens back that were not used.
func (b *bucket) give(n int) {
	b.full.Add(-int64(min(float64(n)*float64(b.interval), float64(b.depth+Shaping))))
}

// enter waits until n operations of the kind may happen.
func (b *bucket) enter(ctx context.Context, start time.Time, k Kind, n int, m *Metrics) error {
	wait, ok := b.take(time.Since(start), n, Shaping)
	if ok && wait == 0 {
		return nil
	}
	if ok && b.waiting.Add(1) > MaxWaiting {
		b.waiting.Add(-1)
		b.give(n)
		ok = false
	}
	if !ok {
		m.throttled(k, n)
		return throttled(k, b.rate, wait)
	}
	defer b.waiting.Add(-1)
	m.delayed(k, n)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		b.give(n)
		return ctx.Err()
	}
}
