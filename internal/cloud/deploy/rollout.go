package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// rollouts are the passes over the devices of hubs that are due, under way, or
// through.
type rollouts struct {
	due chan struct{}

	mu      sync.Mutex
	started map[rollout]bool
	looks   map[string]looks // at all devices of a hub
	ended   []ending
	failed  []rollout // begun again after a pause
}

// rollout names the rollout of a configuration as it was stored once. Without an
// id it is a look at all devices of a hub, and etag counts those.
type rollout struct{ hub, id, etag string }

// looks counts the looks at all devices of a hub.
type looks struct{ asked, done int }

// ending is a rollout whose last device was looked at.
type ending struct {
	rollout
	complete bool
}

func newRollouts() rollouts {
	return rollouts{due: make(chan struct{}, 1), started: map[rollout]bool{}, looks: map[string]looks{}}
}

// look asks for a look at all devices of a hub.
func (r *rollouts) look(hub string) {
	r.mu.Lock()
	r.looks[hub] = looks{r.looks[hub].asked + 1, r.looks[hub].done}
	r.mu.Unlock()
	signal(r.due)
}

// looking returns the look at all devices of a hub that is due.
func (r *rollouts) looking(hub string) (x rollout, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.looks[hub]
	return rollout{hub: hub, etag: strconv.Itoa(n.asked)}, n.asked > n.done
}

// forget drops the passes over a hub that is gone.
func (r *rollouts) forget(hub string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.looks, hub)
	maps.DeleteFunc(r.started, func(x rollout, _ bool) bool { return x.hub == hub })
}

// begin reports whether a rollout is still to be begun, and counts it as begun.
func (r *rollouts) begin(x rollout) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started[x] {
		return false
	}
	r.started[x] = true
	return true
}

// end takes note of the end of a rollout.
func (r *rollouts) end(x rollout, complete bool) {
	r.mu.Lock()
	r.ended = append(r.ended, ending{x, complete})
	r.mu.Unlock()
	signal(r.due)
}

// retry lets rollouts that failed be begun again.
func (r *rollouts) retry() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.failed {
		delete(r.started, x)
	}
	r.failed = nil
}

func (r *rollouts) takeEnded() []ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	ended := r.ended
	r.ended = nil
	return ended
}

// idle reports whether no hub waits for a look at all its devices.
func (r *rollouts) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.looks {
		if n.asked > n.done {
			return false
		}
	}
	return true
}

// runRollouts begins and ends rollouts until ctx ends.
func (s *Service) runRollouts(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	volatile := time.NewTicker(volatileEvery)
	defer volatile.Stop()
	pause, armed := retryAfter, true
	for {
		again := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			armed = false
			s.rollouts.retry()
		case <-s.rollouts.due:
		case <-volatile.C:
			again = true
		}
		err := s.roll(ctx, again)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !armed:
			if !errors.Is(err, errPartly) {
				s.log.Warn("a rollout of configurations is held up, trying again", "error", err)
			}
			timer.Reset(pause)
			pause, armed = min(2*pause, maxRetry), true
		case err == nil && !armed:
			pause = retryAfter
		}
	}
}

// roll does what is due.
func (s *Service) roll(ctx context.Context, volatile bool) error {
	var errs []error
	for _, e := range s.rollouts.takeEnded() {
		if err := s.finish(ctx, e); err != nil {
			errs = append(errs, err)
		}
	}
	for _, hub := range s.queue.takeLost() {
		s.rollouts.look(hub)
	}
	for hub, f := range *s.fleets.Load() {
		for _, c := range s.pending(f) {
			x := rollout{hub, c.ID, c.ETag}
			if !s.rollouts.begin(x) {
				continue
			}
			if err := s.pass(ctx, f, x); err != nil {
				errs = append(errs, fmt.Errorf("configuration %s of hub %s: %w", c.ID, hub, err))
			}
		}
		if x, due := s.rollouts.looking(hub); due && s.rollouts.begin(x) {
			if err := s.pass(ctx, f, x); err != nil {
				errs = append(errs, fmt.Errorf("all devices of hub %s: %w", hub, err))
			}
		}
		if volatile {
			if err := s.volatile(ctx, f); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// pending returns the configurations of a hub that are to be rolled out.
func (s *Service) pending(f *fleet) []Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Stored
	for _, id := range sortedNames(f.stored) {
		if c := f.stored[id]; c.Pending {
			all = append(all, *c)
		}
	}
	return all
}

// finish writes down that a rollout is through; one that was not complete is
// begun again.
func (s *Service) finish(ctx context.Context, e ending) error {
	if e.complete && e.id != "" {
		if err := s.o.Store.Settled(ctx, e.hub, e.id, e.etag); err != nil {
			s.rollouts.mu.Lock()
			s.rollouts.ended = append(s.rollouts.ended, e) // for the next try
			s.rollouts.mu.Unlock()
			return fmt.Errorf("write down that configuration %s of hub %s is rolled out: %w", e.id, e.hub, err)
		}
		s.mu.Lock()
		if f := s.fleet(e.hub); f != nil {
			if c := f.stored[e.id]; c != nil && c.ETag == e.etag {
				if c.Leaving {
					delete(f.stored, e.id)
				} else {
					next := *c
					next.Pending = false
					f.stored[e.id] = &next
				}
			}
		}
		s.mu.Unlock()
	}
	s.rollouts.mu.Lock()
	defer s.rollouts.mu.Unlock()
	if !e.complete {
		s.rollouts.failed = append(s.rollouts.failed, e.rollout)
		return errPartly
	}
	delete(s.rollouts.started, e.rollout)
	if asked, err := strconv.Atoi(e.etag); err == nil && e.id == "" {
		n := s.rollouts.looks[e.hub]
		n.done = max(n.done, asked)
		s.rollouts.looks[e.hub] = n
	}
	return nil
}

// errPartly says that a pass did not get to all devices and is to be made again.
var errPartly = errors.New("not all devices were looked at")

// pass marks the devices that a rollout is about.
func (s *Service) pass(ctx context.Context, f *fleet, x rollout) error {
	b := &batch{finish: func(complete bool) { s.rollouts.end(x, complete) }}
	b.hold()
	emit := func(id causeway.Identity, m mark) error {
		if !s.queue.room(ctx.Done()) {
			return ctx.Err()
		}
		b.hold()
		m.batches = []*batch{b}
		s.queue.add(id, m)
		return nil
	}
	var err error
	if x.id == "" {
		if err = s.passTraces(ctx, f, emit); err == nil {
			err = s.passAll(ctx, f, emit)
		}
	} else {
		err = s.passOne(ctx, f, x.id, emit)
	}
	if err != nil {
		b.lose() // it will be begun again
		return err
	}
	b.done()
	return nil
}

// passOne marks what a configuration targets and what it is written down on.
func (s *Service) passOne(ctx context.Context, f *fleet, id string, emit func(causeway.Identity, mark) error) error {
	b := f.book.Load()
	c := b.byID[id]
	if c != nil && c.cond != nil {
		err := s.o.Query.Each(ctx, f.hub, c.cond, func(r registry.Record) error {
			if c.kind == Edge && !r.Edge {
				return nil
			}
			return emit(r.ID.Parent(), markOf(b, c, r.ID))
		})
		if err != nil {
			return err
		}
	}
	for _, from := range []string{"", "FROM devices.modules WHERE "} {
		on, err := hubquery.ParseCondition(from + "IS_DEFINED(configurations.[[" + id + "]])")
		if err != nil {
			return fmt.Errorf("find where it is: %w", err)
		}
		err = s.o.Query.Each(ctx, f.hub, on, func(r registry.Record) error { return emit(r.ID.Parent(), markOf(b, c, r.ID)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// markOf marks an identity that a configuration targets, or is written down on;
// c is nil when it is deleted.
func markOf(b *book, c *compiled, id causeway.Identity) mark {
	m := mark{book: b}
	var bits bitset
	if c != nil {
		bits = bits.with(c.ord)
	}
	switch {
	case c != nil && c.kind == Edge, id.Module == registry.EdgeAgent:
		m.device, m.edge = bits, true
	case !id.IsModule():
		m.device, m.drift = bits, true
	}
	if id.IsModule() {
		m.module = map[string]moduleMark{id.Module: {bits: bits, drift: true}}
	}
	return m
}

// passAll marks every device that a configuration targets, or ought to.
func (s *Service) passAll(ctx context.Context, f *fleet, emit func(causeway.Identity, mark) error) error {
	b := f.book.Load()
	for _, x := range []struct {
		text  string
		kinds []Kind
	}{{"*", []Kind{Device, Edge}}, {"FROM devices.modules", []Kind{Module}}} {
		any := false
		for _, k := range x.kinds {
			any = any || len(b.of[k]) > 0
		}
		if !any {
			continue
		}
		all, err := hubquery.ParseCondition(x.text)
		if err != nil {
			return err
		}
		err = s.o.Query.Each(ctx, f.hub, all, func(r registry.Record) error {
			row := s.o.Query.Row(ctx, &r)
			concerned := len(r.Configurations) > 0 || r.Edge && len(b.of[Edge]) > 0
			for _, k := range x.kinds {
				for _, c := range b.of[k] {
					concerned = concerned || c.matches(&r, row)
				}
			}
			if !concerned {
				return nil
			}
			m := mark{book: b, all: true}
			if r.ID.IsModule() {
				m = mark{book: b, module: map[string]moduleMark{r.ID.Module: {bits: b.bits[Module], drift: true}}}
			}
			return emit(r.ID.Parent(), m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// passTraces marks every device on which something was set: one that a crash
// left half done may be targeted by nothing any more.
func (s *Service) passTraces(ctx context.Context, f *fleet, emit func(causeway.Identity, mark) error) error {
	var after causeway.Identity
	for {
		ids, err := s.o.Store.Traced(ctx, f.hub, after, tracesPage)
		if err != nil {
			return fmt.Errorf("find where something is set: %w", err)
		}
		for _, id := range ids {
			if err := emit(id.Parent(), mark{all: true}); err != nil {
				return err
			}
			after = id
		}
		if len(ids) < tracesPage {
			return nil
		}
	}
}

// volatile marks what conditions on connections and activity target, and have
// targeted: nobody tells of their changes.
func (s *Service) volatile(ctx context.Context, f *fleet) error {
	b := f.book.Load()
	bits := bitset(nil).join(b.devices.volatile).join(b.modules.volatile)
	emit := func(id causeway.Identity, m mark) error {
		if !s.queue.room(ctx.Done()) {
			return ctx.Err()
		}
		s.queue.add(id, m)
		return nil
	}
	for _, c := range b.all {
		if !bits.has(c.ord) {
			continue
		}
		if err := s.passOne(ctx, f, c.ID, emit); err != nil {
			return fmt.Errorf("configuration %s of hub %s: %w", c.ID, f.hub, err)
		}
	}
	return nil
}
