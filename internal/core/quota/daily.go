package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Store keeps the number of messages that a hub took on a day, durably: Save
// returns when it is on stable storage. Days are like "2024-01-31", in UTC.
// Loading what was not saved is 0.
type Store interface {
	Load(ctx context.Context, hub, day string) (int64, error)
	Save(ctx context.Context, hub, day string, n int64) error
}

// Messages are reserved in blocks: what is written down is never less than what
// was taken, so that a crash gives nobody more than the day's messages, and a
// block is written at most every so many of them.
const (
	minBlock   = 10
	maxBlock   = 10_000
	blockShare = 1000 // of the day's messages
)

// daily counts the messages of a day.
type daily struct {
	limit int64
	block int64

	mu       sync.Mutex
	day      int64 // since 1970; 0 before the first
	used     int64 // taken
	reserved int64 // written down
}

func newDaily(limit int64) *daily {
	return &daily{limit: limit, block: min(max(limit/blockShare, minBlock), maxBlock)}
}

// with returns a counter of another limit that goes on from where d is.
func (d *daily) with(limit int64) *daily {
	n := newDaily(limit)
	d.mu.Lock()
	defer d.mu.Unlock()
	n.day, n.used, n.reserved = d.day, d.used, d.reserved
	return n
}

const secondsOfDay = 24 * 3600

// today returns the present day, in UTC, since 1970.
func today() int64 { return time.Now().Unix() / secondsOfDay }

// nameOf returns a day as stores know it.
func nameOf(day int64) string { return time.Unix(day*secondsOfDay, 0).UTC().Format(time.DateOnly) }

// begin makes day the one that is counted; d.mu is held.
func (d *daily) begin(ctx context.Context, l *Limiter, day int64) error {
	if d.day == day {
		return nil
	}
	var n int64
	if l.store != nil {
		var err error
		if n, err = l.store.Load(ctx, l.hub, nameOf(day)); err != nil {
			return &causeway.Error{Code: causeway.ServiceUnavailable, Op: "quota", Msg: "the messages of the day could not be read; try again", Err: err}
		}
	}
	d.day, d.used, d.reserved = day, n, n
	l.metrics.used(n)
	return nil
}

// take counts n messages, and returns the day they were counted for.
func (d *daily) take(ctx context.Context, l *Limiter, n int64) (day int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, l, today()); err != nil {
		return 0, err
	}
	if d.used+n > d.limit {
		l.metrics.refused(n)
		midnight := time.Unix((d.day+1)*secondsOfDay, 0).UTC()
		return 0, &Error{
			causeway.Errorf(causeway.IotHubQuotaExceeded, "quota",
				"the hub has taken %d of the %d messages that it has for the day; it takes more from %s on", d.used, d.limit, midnight.Format("2006-01-02 15:04 UTC")),
			time.Until(midnight),
		}
	}
	if d.used+n > d.reserved {
		reserve := min(max(d.used+n, d.reserved+d.block), d.limit)
		if err := d.write(ctx, l, reserve); err != nil {
			return 0, &causeway.Error{Code: causeway.ServiceUnavailable, Op: "quota", Msg: "the messages of the day could not be counted; try again", Err: err}
		}
	}
	d.used += n
	l.metrics.used(d.used)
	return d.day, nil
}

func (d *daily) write(ctx context.Context, l *Limiter, n int64) error {
	if l.store != nil {
		if err := l.store.Save(context.WithoutCancel(ctx), l.hub, nameOf(d.day), n); err != nil {
			return fmt.Errorf("save the messages of hub %s on %s: %w", l.hub, nameOf(d.day), err)
		}
	}
	d.reserved = n
	return nil
}

// give takes n messages back that were counted for a day.
func (d *daily) give(day, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.day == day {
		d.used = max(d.used-n, 0)
	}
}

func (d *daily) current(ctx context.Context, l *Limiter) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, l, today()); err != nil {
		return 0, err
	}
	return d.used, nil
}

// save writes down exactly what was taken.
func (d *daily) save(ctx context.Context, l *Limiter) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.day == 0 || d.used == d.reserved {
		return
	}
	if err := d.write(ctx, l, d.used); err != nil {
		l.log.Warn("some messages of the day will count that were not sent", obs.KeyHub, l.hub, obs.KeyError, err)
	}
}
