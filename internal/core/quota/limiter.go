package quota

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
)

// Limiter holds one hub to its limits. The zero value, and nil, let everything
// pass; so does one without settings, at the cost of one load. It is safe for
// concurrent use.
type Limiter struct {
	hub     string
	start   time.Time
	store   Store
	metrics *Metrics
	log     *slog.Logger
	active  atomic.Pointer[active]
}

// active is what a limiter holds to at present.
type active struct {
	limits  Limits
	buckets [NumKinds]*bucket // nil for no limit
	day     *daily            // nil for no limit
}

// Options are what a [Limiter] is made of; all but Hub may be left out.
type Options struct {
	Hub     string
	Store   Store // of the messages of a day; without one they are forgotten with the process
	Metrics *Metrics
	Log     *slog.Logger
}

// New returns a limiter that lets everything pass.
func New(o Options) *Limiter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, o.Hub)
	}
	return &Limiter{hub: o.Hub, start: time.Now(), store: o.Store, metrics: o.Metrics, log: o.Log}
}

// Set replaces what the hub is held to; nil is nothing. The messages of the day
// go on being counted; buckets begin full. Code ArgumentInvalid.
func (l *Limiter) Set(s *Settings) error {
	old := l.active.Load()
	if s == nil {
		if l.active.Store(nil); old != nil {
			old.day.save(context.Background(), l)
		}
		l.metrics.limit(0)
		return nil
	}
	limits, err := s.Limits()
	if err != nil {
		return err
	}
	a := &active{limits: limits}
	for k, r := range limits.Rates {
		if r.Count > 0 {
			a.buckets[k] = newBucket(r)
		}
	}
	if limits.DailyMessages > 0 {
		if a.day = newDaily(limits.DailyMessages); old != nil && old.day != nil {
			a.day = old.day.with(limits.DailyMessages)
		}
	}
	l.active.Store(a)
	l.metrics.limit(limits.DailyMessages)
	return nil
}

// Limits returns what the hub is held to; ok is false when it is nothing.
func (l *Limiter) Limits() (limits Limits, ok bool) {
	if l == nil {
		return limits, false
	}
	a := l.active.Load()
	if a == nil {
		return limits, false
	}
	return a.limits, true
}

// Enter waits until n operations of a kind may happen, for [Shaping] at most.
// Codes: ThrottlingException, with when to come again;
// OperationNotAvailableInCurrentTier. Errors of ctx pass through.
func (l *Limiter) Enter(ctx context.Context, k Kind, n int) error {
	if l == nil {
		return nil
	}
	a := l.active.Load()
	if a == nil {
		return nil
	}
	if a.limits.Missing[k] {
		return causeway.Errorf(causeway.OperationNotAvailableInCurrentTier, "quota", "a hub of the basic edition has no operations of the kind %q", k)
	}
	if b := a.buckets[k]; b != nil {
		return b.enter(ctx, l.start, k, n, l.metrics)
	}
	return nil
}

// Counted are messages that were counted for a day. The zero value are none.
type Counted struct {
	daily  *daily
	day, n int64
}

// Refund takes them back: they were not stored after all.
func (c Counted) Refund() {
	if c.daily != nil {
		c.daily.give(c.day, c.n)
	}
}

// Send waits until messages may be sent, and counts them for the day. Codes:
// those of [Limiter.Enter], IotHubQuotaExceeded, ServiceUnavailable (they cannot
// be counted).
func (l *Limiter) Send(ctx context.Context, msgs []causeway.Message) (Counted, error) {
	if l == nil {
		return Counted{}, nil
	}
	a := l.active.Load()
	if a == nil || len(msgs) == 0 {
		return Counted{}, nil
	}
	if err := l.Enter(ctx, Telemetry, len(msgs)); err != nil {
		return Counted{}, err
	}
	if a.day == nil {
		return Counted{}, nil
	}
	n := int64(0)
	for i := range msgs {
		n += int64(max(1, (msgs[i].Size()+a.limits.MessageUnit-1)/a.limits.MessageUnit))
	}
	day, err := a.day.take(ctx, l, n)
	if err != nil {
		return Counted{}, err
	}
	return Counted{a.day, day, n}, nil
}

// Used returns how many messages of the present day, in UTC, were counted.
func (l *Limiter) Used(ctx context.Context) (int64, error) {
	if l == nil {
		return 0, nil
	}
	if a := l.active.Load(); a != nil && a.day != nil {
		return a.day.current(ctx, l)
	}
	return 0, nil
}

// Close writes down what was counted, so that no more than that is.
func (l *Limiter) Close() {
	if a := l.active.Load(); a != nil {
		a.day.save(context.Background(), l)
	}
}
