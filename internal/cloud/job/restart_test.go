package job_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

var errDown = errors.New("no storage")

// flaky is a store that dies, as a process does, at a write: the write happens or
// not, and nothing after it does.
type flaky struct {
	job.Store
	mu    sync.Mutex
	left  int  // writes until it dies; negative: never
	after bool // the last write happens
	die   func()
	dead  bool
}

func (f *flaky) write(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDown
	}
	if f.left == 0 {
		f.dead = true
		f.die()
		if f.after {
			_ = do()
		}
		return errDown
	}
	f.left--
	return do()
}

func (f *flaky) Advance(ctx context.Context, hub, id string, from job.Status, to job.State) (ok bool, err error) {
	err = f.write(func() (err error) { ok, err = f.Store.Advance(ctx, hub, id, from, to); return err })
	return ok, err
}

func (f *flaky) AddRows(ctx context.Context, hub, id string, at time.Time, targets ...causeway.Identity) error {
	return f.write(func() error { return f.Store.AddRows(ctx, hub, id, at, targets...) })
}

func (f *flaky) SetRows(ctx context.Context, hub, id string, rows ...job.Row) (n int, err error) {
	err = f.write(func() (err error) { n, err = f.Store.SetRows(ctx, hub, id, rows...); return err })
	return n, err
}

func (f *flaky) CloseRows(ctx context.Context, hub, id string, from job.RowStatus, end job.Row, limit int) (n int, err error) {
	err = f.write(func() (err error) { n, err = f.Store.CloseRows(ctx, hub, id, from, end, limit); return err })
	return n, err
}

func (f *flaky) DropRows(ctx context.Context, hub, id string, limit int) (n int, err error) {
	err = f.write(func() (err error) { n, err = f.Store.DropRows(ctx, hub, id, limit); return err })
	return n, err
}

// TestRestarts kills the service at every write of a job, before and after it,
// and starts it again: no twin goes without its update, no method is called
// twice, and every device has one outcome.
func TestRestarts(t *testing.T) {
	for _, kind := range []struct {
		name string
		edit func(*job.Request)
	}{{"twins", none}, {"methods", window(30, method)}} {
		t.Run(kind.name, func(t *testing.T) {
			for at := 0; at < 40; at++ {
				for _, after := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) { killAt(t, at, after, kind.name == "methods", kind.edit) })
				}
			}
		})
	}
}

func killAt(t *testing.T, at int, after, methods bool, edit func(*job.Request)) {
	const devices = 730
	w := newWorld(t, devices)
	for i, d := range w.devices {
		if i%5 != 4 {
			w.setOnline(true, d)
		}
	}
	w.answer = func(ctx context.Context, _ causeway.Identity, _ causeway.Call, _ time.Duration) (causeway.Result, error) {
		select {
		case <-time.After(time.Duration(rand.IntN(5000)) * time.Millisecond):
			return causeway.Result{Status: 200}, nil
		case <-ctx.Done():
			return causeway.Result{}, ctx.Err()
		}
	}
	memory := w.store
	f := &flaky{Store: memory, left: at, after: after}
	w.store = f
	w.start()
	died := make(chan struct{})
	stop := w.stop
	f.die = func() { go func() { stop(); close(died) }() }
	w.create("j", edit)
	select {
	case <-died:
	case <-time.After(time.Hour):
		stop()
	}
	// The set is fixed once a device was touched.
	if w.selects > 0 && (len(w.updates) > 0 || len(w.calls) > 0) {
		w.devices = append(w.devices, "late")
	}
	w.store = memory
	w.start()
	defer w.stop()
	time.Sleep(2 * time.Hour) //nolint:forbidigo // simulated time
	synctest.Wait()
	j := w.get("j")
	s := j.Statistics
	if j.Status != job.Completed || !j.Settled || s.Devices != devices || s.Succeeded+s.Failed != devices {
		t.Fatalf("killed at write %d (after: %v): %s %+v", at, after, j.Status, s)
	}
	for i, d := range w.devices[:devices] {
		switch {
		case !methods && w.updates[d] < 1:
			t.Fatalf("killed at write %d: %s was not updated", at, d)
		case methods && w.calls[d] > 1:
			t.Fatalf("killed at write %d: %s was called %d times", at, d, w.calls[d])
		case methods && i%5 == 4 && w.calls[d] != 0:
			t.Fatalf("killed at write %d: %s was called though it is away", at, d)
		}
	}
	if !methods && s.Failed > 0 {
		t.Fatalf("killed at write %d: %d twins failed", at, s.Failed)
	}
}

// TestFlakyStore: a store that fails for a while delays a job, no more.
func TestFlakyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 300)
		f := &flaky{Store: w.store, left: 5, die: func() {}}
		w.store = f
		w.start()
		defer w.stop()
		w.create("j", none)
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		synctest.Wait()
		f.mu.Lock()
		f.dead, f.left = false, -1
		f.mu.Unlock()
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		w.want("j", job.Completed, job.Statistics{Devices: 300, Succeeded: 300})
	})
}

// TestCancelledAndKilled: what a cancelled job leaves is closed after a restart.
func TestCancelledAndKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3000)
		memory := w.store
		f := &flaky{Store: memory, left: -1}
		w.store = f
		w.start()
		w.create("j", method)
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		died := make(chan struct{})
		stop := w.stop
		f.die = func() { go func() { stop(); close(died) }() }
		f.mu.Lock()
		f.left = 2 // the status, and one batch of rows
		f.mu.Unlock()
		if _, err := w.service.Cancel(context.Background(), hubName, "j"); err != nil {
			t.Fatal(err)
		}
		<-died
		w.store = memory
		w.start()
		defer w.stop()
		if j := w.want("j", job.Cancelled, job.Statistics{Devices: 3000}); !j.Settled {
			t.Error("not settled")
		}
	})
}
