package obs_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

func TestHealth(t *testing.T) {
	var b bytes.Buffer
	h := obs.Health{Log: obs.NewLogger(&b, "text", nil)}
	if r := h.Report(t.Context(), obs.Ready); !r.OK || len(r.Checks) != 0 {
		t.Errorf("without checks: %+v", r)
	}
	h.Add(obs.Live, "alive", func(context.Context) error { return nil })
	store := h.AddFlag(obs.Ready, "store", errors.New("opening"))
	remove := h.Add(obs.Ready, "log", func(context.Context) error { return nil })
	r := h.Report(t.Context(), obs.Ready)
	if r.OK || len(r.Checks) != 2 || r.Checks[0].Name != "log" || r.Checks[0].Err != nil || r.Checks[1].Err == nil {
		t.Errorf("report: %+v", r)
	}
	if !h.Report(t.Context(), obs.Live).OK {
		t.Error("not live because not ready")
	}
	h.Report(t.Context(), obs.Ready)
	store.Set(nil)
	remove()
	if r := h.Report(t.Context(), obs.Ready); !r.OK || len(r.Checks) != 1 {
		t.Errorf("report: %+v", r)
	}
	if log := b.String(); strings.Count(log, "health check fails") != 1 || strings.Count(log, "passes again") != 1 {
		t.Errorf("a change is logged once: %s", log)
	}
	// A removed check does not take its successor along.
	again := h.Add(obs.Ready, "x", func(context.Context) error { return nil })
	h.Add(obs.Ready, "x", func(context.Context) error { return errors.New("new one") })
	again()
	if h.Report(t.Context(), obs.Ready).OK {
		t.Error("the new check is gone")
	}
}

// TestHealthHangs shows that a check that hangs counts as failing, is run once
// only, and does not hold up the others.
func TestHealthHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h obs.Health
		var runs atomic.Int32
		release := make(chan struct{})
		h.Add(obs.Ready, "hangs", func(context.Context) error {
			runs.Add(1)
			<-release
			return nil
		})
		h.Add(obs.Ready, "quick", func(context.Context) error { return nil })
		for range 3 {
			began := time.Now()
			r := h.Report(t.Context(), obs.Ready)
			if r.OK || causeway.CodeOf(r.Checks[0].Err) != causeway.GenericTimeout || r.Checks[1].Err != nil || r.Checks[1].Took != 0 {
				t.Errorf("report: %+v", r)
			}
			if took := time.Since(began); took != obs.CheckTimeout {
				t.Errorf("report took %v", took)
			}
		}
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs of a check that hangs", n)
		}
		close(release)
		synctest.Wait()
		if r := h.Report(t.Context(), obs.Ready); !r.OK {
			t.Errorf("after it came back: %+v", r)
		}
	})
}

// TestHealthTogether shows that reports at the same time share a run, also when
// the one that began it is given up.
func TestHealthTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h obs.Health
		var runs atomic.Int32
		h.Add(obs.Live, "slow", func(ctx context.Context) error {
			runs.Add(1)
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		first, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if h.Report(first, obs.Live).OK {
				t.Error("a report that was given up is good")
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if r := h.Report(t.Context(), obs.Live); !r.OK {
					t.Errorf("report: %+v", r)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}
