package delivery

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// archive writes what is in one partition down in chunks. The messages of a
// chunk stay in the queue until it is complete, and are read from there when it
// is written, so that a chunk takes no memory however large it is.
type archive struct {
	*pump
	to     plugin.Archiver
	window plugin.Window
}

// chunk is a chunk that is being gathered: the messages in [first, next).
type chunk struct {
	first, next eventlog.Offset
	began       time.Time // when the first arrived
	ended       time.Time // when the last did
	bytes       uint64
	count       int
}

// followedGroup is the name of the positions that are the times, in microseconds
// since 1970, of the last messages that were written.
const followedGroup = "followed"

// archiveBatch is how many records are looked at together.
const archiveBatch = 256

func (a *archive) run(ctx context.Context) error {
	for {
		c, err := a.gather(ctx)
		if err != nil {
			return err
		}
		if c.count > 0 {
			if err := a.store(ctx, c); err != nil {
				return err
			}
		}
		if err := a.advance(ctx, c.next); err != nil {
			return err
		}
		a.q.release(0, c.bytes)
	}
}

// gather waits until a chunk is complete.
func (a *archive) gather(ctx context.Context) (chunk, error) {
	c := chunk{first: a.part.next, next: a.part.next}
	var deadline time.Time
	for {
		items, next, err := a.more(ctx, c, deadline)
		if err != nil || len(items) == 0 && c.count > 0 && next == c.next {
			return c, err
		}
		if c.count == 0 {
			c.next = next
		}
		for _, it := range items {
			if c.count == 0 {
				c.first, c.began = it.offset, it.queued
				a.q.pulse.headed(int(a.part.id), c.began)
				deadline = a.deadline(c.began)
			} else if it.queued.Sub(c.began) >= a.window.Age {
				return c, nil
			}
			c.bytes += weight(&it.msg)
			c.count++
			c.next, c.ended = it.offset+1, it.queued
			if c.bytes >= uint64(a.window.Bytes) { //nolint:gosec // a size
				return c, nil
			}
		}
		if c.count > 0 {
			c.next = max(c.next, next)
		}
	}
}

// deadline returns when a chunk is complete that began at a time. Should that be
// yet to come, since the clock was set back, the chunk began now.
func (a *archive) deadline(began time.Time) time.Time {
	now := time.Now()
	if began.After(now) {
		began = now
	}
	return began.Add(a.window.Age)
}

// more reads what follows a chunk. It waits for it, but not past the deadline of
// the chunk: then it returns what is there, or none.
func (a *archive) more(ctx context.Context, c chunk, deadline time.Time) ([]item, eventlog.Offset, error) {
	if deadline.IsZero() {
		return a.read(ctx, c.next, archiveBatch)
	}
	if !time.Now().Before(deadline) {
		if _, end, err := a.q.log.Bounds(ctx, a.part.id); err != nil || c.next >= end {
			return nil, c.next, err
		}
		return a.read(ctx, c.next, archiveBatch)
	}
	wait, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	items, next, err := a.read(wait, c.next, archiveBatch)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return a.more(ctx, c, deadline)
	}
	return items, next, err
}

// store writes a chunk, however often that must be tried, until its messages are
// too old and become dead letters.
func (a *archive) store(ctx context.Context, c chunk) error {
	var pause backoff
	for {
		policy := a.q.policy.Load()
		until := c.began.Add(policy.TTL)
		if !time.Now().Before(until) {
			return a.give(ctx, c)
		}
		err := a.attempt(ctx, c)
		if err == nil {
			a.q.pulse.succeeded(int(a.part.id), c.count)
			a.q.metrics.Sent.WithLabelValues(a.q.name).Add(float64(c.count))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.q.pulse.failed(int(a.part.id), 0, err)
		a.q.metrics.Failed.WithLabelValues(a.q.name).Inc()
		a.q.out.Debug("a chunk was not written", obs.KeyPartition, int(a.part.id), obs.KeyCount, c.count, obs.KeyError, err)
		if err := pause.wait(ctx, plugin.FailureOf(err).After, policy.MaxBackoff, until); err != nil {
			return err
		}
	}
}

func (a *archive) attempt(ctx context.Context, c chunk) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	began := time.Now()
	follows, err := a.before(ctx)
	if err == nil {
		err = a.to.Archive(ctx, plugin.Chunk{
			Partition: int(a.part.id), First: int64(c.first), Time: c.began, Follows: follows, Messages: a.messages(ctx, c),
		})
	}
	if err == nil {
		err = a.written(ctx, c)
	}
	a.q.metrics.Latency.WithLabelValues(a.q.name).Observe(time.Since(began).Seconds())
	return err
}

// before returns when the message before a chunk arrived; zero for not known.
func (a *archive) before(ctx context.Context) (time.Time, error) {
	at, ok, err := a.q.log.Committed(ctx, followedGroup, a.part.id)
	if err != nil || !ok {
		return time.Time{}, err
	}
	return time.UnixMicro(int64(at)), nil
}

// written stores when the last message of a chunk arrived, for the name of the
// next one. Should it be the last that is stored before a crash, the chunk is
// written again, under another name maybe, but none is lost for it.
func (a *archive) written(ctx context.Context, c chunk) error {
	ctx = context.WithoutCancel(ctx)
	return a.q.log.Commit(ctx, followedGroup, a.part.id, eventlog.Offset(max(0, c.ended.UnixMicro())))
}

// messages reads the messages of a chunk.
func (a *archive) messages(ctx context.Context, c chunk) iter.Seq2[*causeway.Message, error] {
	return func(yield func(*causeway.Message, error) bool) {
		for at := c.first; at < c.next; {
			items, next, err := a.read(ctx, at, archiveBatch)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range items {
				if items[i].offset >= c.next {
					return
				}
				if !yield(&items[i].msg, nil) {
					return
				}
			}
			at = next
		}
	}
}

// give makes dead letters of a chunk.
func (a *archive) give(ctx context.Context, c chunk) error {
	o := obituary{endpoint: a.q.name, reason: ReasonExpired, detail: a.q.pulse.lastError()}
	var pause backoff
	for m, err := range a.messages(ctx, c) {
		if err != nil {
			return err
		}
		for {
			if err = a.q.bury(ctx, o, m); err == nil {
				break
			}
			if ctx.Err() != nil || errors.Is(err, eventlog.ErrClosed) {
				return err
			}
			a.q.out.Error("dead letters cannot be stored; it is tried again", obs.KeyError, err)
			if err := pause.wait(ctx, 0, DefaultMaxBackoff, time.Time{}); err != nil {
				return err
			}
		}
	}
	return nil
}
