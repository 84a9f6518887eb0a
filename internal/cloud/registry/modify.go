package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// errStale says that a record in memory is not the one in the store: another
// node wrote it. It never leaves this package.
var errStale = errors.New("record is stale")

// modify runs one change of an identity under its write lock. Try gets the
// current record and writes its successor; it must not change the record it
// gets. Fresh says that the record was read from the store just now. When try
// returns errStale the record is read again and try repeated, a few times; then
// the code is ServerBusy.
func (s *Service) modify(ctx context.Context, op string, id causeway.Identity, try func(l held, old *Record, fresh bool) error) error {
	l, err := s.cache.lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.unlock()
	for range maxAttempts {
		fresh := l.rec.Load() == nil
		old, err := s.current(ctx, l.entry)
		if err != nil {
			return err
		}
		if err = try(l, old, fresh); err == nil {
			return nil
		}
		if !errors.Is(err, errStale) {
			return err
		}
		s.cache.set(l.entry, nil)
	}
	return causeway.Errorf(causeway.ServerBusy, op, "%q is being changed by many at once, try again", id)
}

// written turns the outcome of a write to the store into the outcome of a try.
// A success puts the new record into memory. After a failure it is read anew
// next time: whether a write that was given up has happened nobody knows.
func (s *Service) written(l held, r *Record, err error, doing string) error {
	if err == nil {
		s.cache.set(l.entry, r)
		return nil
	}
	s.cache.set(l.entry, nil)
	if causeway.CodeOf(err) == causeway.PreconditionFailed {
		return errStale
	}
	return wrap(err, doing, l.id)
}

// putIdentity writes the identity part of r if its etag still is match.
func (s *Service) putIdentity(ctx context.Context, l held, r *Record, match string) error {
	sealed, err := s.keys.seal(*r)
	if err != nil {
		return err
	}
	old := l.rec.Load()
	if err := s.written(l, r, s.store.PutIdentity(ctx, sealed, match), "update"); err != nil {
		return err
	}
	if err := s.observed(ctx, Event{Kind: IdentityUpdated, At: time.Now(), Before: old, After: r}); err != nil {
		// Not the caller's: what depends on the change, hanging up above all,
		// must go on.
		s.log.WarnContext(ctx, "who follows the registry did not take an update", "id", l.id, "error", err)
	}
	return nil
}

// putTwin writes the twin of r if its version still is match.
func (s *Service) putTwin(ctx context.Context, l held, r *Record, match int64) error {
	return s.written(l, r, s.store.PutTwin(ctx, l.id, r.Twin, match), "write twin of")
}

// matches compares what a caller expects ("" and "*" are anything) with what
// there is. A record from memory may be older than what the caller knows.
func matches(op, what, match, have string, fresh bool) error {
	switch {
	case match == "" || match == "*" || match == have:
		return nil
	case !fresh:
		return errStale
	default:
		return causeway.Errorf(causeway.PreconditionFailed, op, "the etag of %s is not %q, it was changed meanwhile; read it again", what, match)
	}
}

// census knows about how many devices each hub has, so that a creation need not
// count a million of them. It is never wrong by more than what other nodes do
// within censusMaxAge, and never refuses without counting.
type census struct {
	store Store
	limit int
	mu    sync.Mutex
	hubs  map[string]*headcount
}

type headcount struct {
	devices int
	counted time.Time
}

// admit refuses one more device in a full hub.
func (c *census) admit(ctx context.Context, op, hub string) error {
	c.mu.Lock()
	h := c.hubs[hub]
	enough := h != nil && h.devices < c.limit && time.Since(h.counted) < censusMaxAge
	c.mu.Unlock()
	if enough {
		return nil
	}
	n, err := c.store.Count(ctx, hub)
	if err != nil {
		return wrap(err, "count devices before creating one", causeway.Identity{Hub: hub})
	}
	c.mu.Lock()
	c.hubs[hub] = &headcount{devices: n.Total, counted: time.Now()}
	c.mu.Unlock()
	if n.Total >= c.limit {
		return causeway.Errorf(causeway.TooManyDevices, op, "hub %s has %d devices, at most %d are allowed", hub, n.Total, c.limit)
	}
	return nil
}

// add takes note of devices that came or went.
func (c *census) add(hub string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hubs[hub]; h != nil {
		h.devices += n
	}
}
