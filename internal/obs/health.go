package obs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// CheckTimeout is how long a health check may take before it counts as failing.
const CheckTimeout = 5 * time.Second

// Probe is one of the two questions asked of a process.
type Probe uint8

// The probes.
const (
	Live  Probe = iota // is it worth keeping, or should it be restarted?
	Ready              // should it be given work?
)

// String returns "live" or "ready".
func (p Probe) String() string {
	if p == Live {
		return "live"
	}
	return "ready"
}

// Health is a set of named checks. Its zero value is ready to use and healthy.
// It is safe for concurrent use.
type Health struct {
	Log *slog.Logger // told when a check changes its mind; nil for nobody

	mu     sync.Mutex
	checks map[checkKey]*check
}

type checkKey struct {
	probe Probe
	name  string
}

type check struct {
	name string
	run  func(context.Context) error

	mu      sync.Mutex
	running chan struct{} // closed when the run under way ends; nil when none
	failing bool
	last    error
	took    time.Duration
}

// CheckResult is the outcome of one check. Err is for the log; what may be shown
// to a stranger is [causeway.MessageOf] of it.
type CheckResult struct {
	Name string
	Err  error
	Took time.Duration
}

// HealthReport is the outcome of all checks of a probe, in the order of their names.
type HealthReport struct {
	OK     bool
	Checks []CheckResult
}

// Add registers a check under a name, replacing an earlier one of the same
// name. run is called for every report, never twice at once; its context ends
// after [CheckTimeout]. The returned function removes the check.
func (h *Health) Add(p Probe, name string, run func(context.Context) error) (remove func()) {
	k, c := checkKey{p, name}, &check{name: name, run: run}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = make(map[checkKey]*check)
	}
	h.checks[k] = c
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.checks[k] == c {
			delete(h.checks, k)
		}
	}
}

// Report runs the checks of p side by side and returns when all have answered,
// timed out, or ctx has ended.
func (h *Health) Report(ctx context.Context, p Probe) HealthReport {
	h.mu.Lock()
	var checks []*check
	for k, c := range h.checks {
		if k.probe == p {
			checks = append(checks, c)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(checks, func(a, b *check) int { return cmp.Compare(a.name, b.name) })

	ctx, cancel := context.WithTimeout(ctx, CheckTimeout)
	defer cancel()
	rep := HealthReport{OK: true, Checks: make([]CheckResult, len(checks))}
	// Start all before waiting for the first, so that they run side by side.
	waits := make([]func() CheckResult, len(checks))
	for i, c := range checks {
		waits[i] = c.start(ctx)
	}
	for i, wait := range waits {
		rep.Checks[i] = wait()
		rep.OK = rep.OK && rep.Checks[i].Err == nil
		h.note(p, checks[i], rep.Checks[i].Err)
	}
	return rep
}

// note logs a check that changed its mind.
func (h *Health) note(p Probe, c *check, err error) {
	c.mu.Lock()
	changed := c.failing != (err != nil)
	c.failing = err != nil
	c.mu.Unlock()
	if !changed || h.Log == nil {
		return
	}
	if err != nil {
		h.Log.Warn("health check fails", KeyCheck, c.name, "probe", p.String(), KeyError, err)
	} else {
		h.Log.Info("health check passes again", KeyCheck, c.name, "probe", p.String())
	}
}

// start begins a run, or joins the one under way: a check that hangs must not
// gather goroutines. The returned function waits for the outcome.
func (c *check) start(ctx context.Context) func() CheckResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := c.running
	if done == nil {
		done = make(chan struct{})
		c.running = done
		// The run has a context of its own: others may join it after the
		// caller that began it has gone.
		runCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CheckTimeout)
		began := time.Now()
		go func() {
			defer cancel()
			err := c.run(runCtx)
			c.mu.Lock()
			c.last, c.took, c.running = err, time.Since(began), nil
			c.mu.Unlock()
			close(done)
		}()
	}
	began := time.Now()
	return func() CheckResult {
		select {
		case <-done:
			return c.result()
		case <-ctx.Done():
		}
		select {
		case <-done: // while another check used the time up
			return c.result()
		default:
		}
		took := time.Since(began)
		return CheckResult{Name: c.name, Took: took, Err: &causeway.Error{
			Code: causeway.GenericTimeout, Op: "obs.Health", Err: ctx.Err(),
			Msg: fmt.Sprintf("no answer within %s", took.Round(time.Millisecond)),
		}}
	}
}

// result returns the outcome of the last run that ended.
func (c *check) result() CheckResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CheckResult{Name: c.name, Err: c.last, Took: c.took}
}

// Flag is a check whose answer is set by hand.
type Flag struct {
	mu  sync.Mutex
	err error
}

// Set makes the check fail with err, or pass when err is nil.
func (f *Flag) Set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// AddFlag registers a check that answers with what was last set, first initial.
func (h *Health) AddFlag(p Probe, name string, initial error) *Flag {
	f := &Flag{err: initial}
	h.Add(p, name, func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.err
	})
	return f
}
