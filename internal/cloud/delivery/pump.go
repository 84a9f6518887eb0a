package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// pump sends what is in one partition of a queue, in order.
type pump struct {
	q    *Queue
	part *part
	sink plugin.Sink
}

// item is a message that waits.
type item struct {
	offset eventlog.Offset
	queued time.Time
	msg    causeway.Message
}

// run sends until ctx ends or the log is closed.
func (p *pump) run(ctx context.Context) error {
	if a, ok := p.sink.(plugin.Archiver); ok {
		return (&archive{pump: p, to: a, window: a.Window()}).run(ctx)
	}
	most := defaultBatch
	if b, ok := p.sink.(plugin.Batcher); ok {
		most = max(1, min(b.Batch(), maxBatch))
	}
	for {
		items, next, err := p.read(ctx, p.part.next, most)
		if err != nil {
			return err
		}
		if len(items) > 0 {
			p.q.pulse.headed(int(p.part.id), items[0].queued)
			if err := p.deliver(ctx, items); err != nil {
				return err
			}
		}
		if err := p.advance(ctx, next); err != nil {
			return err
		}
	}
}

// read waits for messages from an offset on, and returns them with the offset
// after the last. Those that cannot be read are left out.
func (p *pump) read(ctx context.Context, from eventlog.Offset, most int) (items []item, next eventlog.Offset, err error) {
	recs, err := p.q.log.Read(ctx, p.part.id, from, most)
	if trimmed, ok := errors.AsType[*eventlog.TrimmedError](err); ok {
		return nil, trimmed.Oldest, nil
	}
	if err != nil {
		return nil, from, err
	}
	bytes := uint64(0)
	for _, r := range recs {
		_, m, err := p.q.read(r)
		if err != nil {
			p.q.out.Error("a queued message cannot be read and is left out", obs.KeyPartition, int(p.part.id), obs.KeyOffset, int64(r.Offset), obs.KeyError, err)
			next = r.Offset + 1
			continue
		}
		if bytes += weight(&m); bytes > maxBatchBytes && len(items) > 0 {
			break
		}
		items = append(items, item{r.Offset, r.Time, m})
		next = r.Offset + 1
	}
	return items, next, nil
}

// advance stores that all before an offset is done, and gives space back now
// and then.
func (p *pump) advance(ctx context.Context, to eventlog.Offset) error {
	pt := p.part
	if to <= pt.next {
		return nil
	}
	// What was sent is sent: a stop does not make it be sent again.
	ctx = context.WithoutCancel(ctx)
	if err := p.q.log.Commit(ctx, group, pt.id, to); err != nil {
		return err
	}
	p.q.messages.Add(-int64(to - pt.next))
	pt.next = to
	_, end, err := p.q.log.Bounds(ctx, pt.id)
	if err != nil {
		return err
	}
	if idle := pt.next >= end; idle {
		p.q.pulse.headed(int(pt.id), time.Time{})
	} else if pt.next-pt.trim < trimEvery {
		return nil
	}
	if err := p.q.trim(ctx, pt); err != nil && !errors.Is(err, eventlog.ErrClosed) {
		p.q.out.Warn("space of sent messages was not given back; it is tried again", obs.KeyPartition, int(pt.id), obs.KeyError, err)
	}
	return nil
}

// deliver sends items until each was taken or became a dead letter. It returns
// an error only when ctx ended or the log is closed.
func (p *pump) deliver(ctx context.Context, items []item) error {
	batch := make([]causeway.Message, len(items))
	for i := range items {
		batch[i] = items[i].msg
	}
	var pause backoff
	refused, alone := 0, 0 // attempts of the first; how many are sent one by one
	for len(items) > 0 {
		policy := p.q.policy.Load()
		if n := expired(items, policy.TTL); n > 0 {
			if err := p.bury(ctx, obituary{reason: ReasonExpired, detail: p.q.pulse.lastError()}, items[:n]); err != nil {
				return err
			}
			items, batch, refused, alone = items[n:], batch[n:], 0, max(0, alone-n)
			continue
		}
		size := len(batch)
		if alone > 0 {
			size = 1
		}
		err := p.send(ctx, batch[:size])
		if err == nil {
			p.q.pulse.succeeded(int(p.part.id), size)
			if err := p.taken(ctx, items[:size]); err != nil {
				return err
			}
			items, batch, refused, alone = items[size:], batch[size:], 0, max(0, alone-size)
			pause = backoff{}
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := plugin.FailureOf(err)
		n := max(0, min(f.Sent, size-1)) // an error for none of them is a mistake of the sink
		p.q.pulse.failed(int(p.part.id), n, err)
		p.q.metrics.Failed.WithLabelValues(p.q.name).Inc()
		p.q.out.Debug("an endpoint did not take messages", obs.KeyPartition, int(p.part.id), obs.KeyCount, size-n, obs.KeyError, err)
		if n > 0 {
			if err := p.taken(ctx, items[:n]); err != nil {
				return err
			}
			items, batch, refused, alone = items[n:], batch[n:], 0, max(0, alone-n)
			pause = backoff{}
		}
		if f.Permanent {
			if size-n > 1 && !f.Exact {
				alone = size - n // find out which
				continue
			}
			if refused++; refused >= policy.MaxAttempts {
				if err := p.bury(ctx, obituary{reason: ReasonRefused, detail: clip(err.Error()), attempts: refused}, items[:1]); err != nil {
					return err
				}
				p.q.pulse.settled(int(p.part.id))
				items, batch, refused, alone = items[1:], batch[1:], 0, max(0, alone-1)
				pause = backoff{}
				continue
			}
		}
		if err := pause.wait(ctx, f.After, policy.MaxBackoff, expiry(items[0], policy.TTL)); err != nil {
			return err
		}
	}
	return nil
}

// send makes one attempt.
func (p *pump) send(ctx context.Context, batch []causeway.Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	began := time.Now()
	err := p.sink.Send(ctx, batch)
	p.q.metrics.Latency.WithLabelValues(p.q.name).Observe(time.Since(began).Seconds())
	return err
}

// taken notes that the endpoint took items.
func (p *pump) taken(ctx context.Context, items []item) error {
	p.q.metrics.Sent.WithLabelValues(p.q.name).Add(float64(len(items)))
	return p.done(ctx, items)
}

// done stores that items need no more be sent.
func (p *pump) done(ctx context.Context, items []item) error {
	bytes := uint64(0)
	for i := range items {
		bytes += weight(&items[i].msg)
	}
	if err := p.advance(ctx, items[len(items)-1].offset+1); err != nil {
		return err
	}
	p.q.release(0, bytes)
	return nil
}

// bury makes dead letters of items, however long that takes: until it is done
// they stay in the queue.
func (p *pump) bury(ctx context.Context, o obituary, items []item) error {
	o.endpoint = p.q.name
	msgs := make([]*causeway.Message, len(items))
	for i := range items {
		msgs[i] = &items[i].msg
	}
	var pause backoff
	for {
		err := p.q.bury(ctx, o, msgs...)
		if err == nil {
			return p.done(ctx, items)
		}
		if ctx.Err() != nil || errors.Is(err, eventlog.ErrClosed) {
			return err
		}
		p.q.out.Error("dead letters cannot be stored; it is tried again", obs.KeyCount, len(items), obs.KeyError, err)
		if err := pause.wait(ctx, 0, DefaultMaxBackoff, time.Time{}); err != nil {
			return err
		}
	}
}

// expiry returns when an item has waited for too long.
func expiry(i item, ttl time.Duration) time.Time { return i.queued.Add(ttl) }

// expired returns how many of items, from the front, have waited for too long.
func expired(items []item, ttl time.Duration) int {
	now, n := time.Now(), 0
	for n < len(items) && !now.Before(expiry(items[n], ttl)) {
		n++
	}
	return n
}

// backoff is the pause between attempts, which doubles.
type backoff struct{ next time.Duration }

// wait pauses: as long as the other side asked for, else for about a doubling
// time of at most most; but not past until, unless that is zero.
func (b *backoff) wait(ctx context.Context, asked, most time.Duration, until time.Time) error {
	b.next = min(max(2*b.next, minBackoff), most)
	// Half of it is left to chance, so that partitions do not come back together.
	d := b.next/2 + rand.N(b.next/2+1) //nolint:gosec // no secret
	if asked > 0 {
		d = min(asked, maxAsked)
	}
	if !until.IsZero() {
		d = min(d, max(0, time.Until(until)))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
