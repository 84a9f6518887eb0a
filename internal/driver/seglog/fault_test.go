package seglog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// scenario is some life of a log: appends to all partitions, several segments,
// a cursor, a clean close and a second life. Appends may fail.
func scenario(w *world) {
	for life := range 2 {
		if err := w.open(); err != nil {
			continue // the fault struck while opening
		}
		w.check(life > 0)
		for i := range 18 {
			err := w.append(i%3, 1+i%4, 800)
			if err != nil && errors.Is(err, errDead) {
				break
			}
			if i == 7 {
				w.log.Commit(ctx, "g", 0, eventlog.Offset(life*10+1))
			}
		}
		if life == 0 {
			w.log.Close() // the fault may strike here as well
		}
	}
}

// TestFaultAtEveryStep runs the scenario with a failure at each operation that
// changes the disk, once and from then on. Nothing that was acknowledged is
// lost, nothing that failed is served, appends work again when the fault is
// gone, and all of it holds after a crash as well.
func TestFaultAtEveryStep(t *testing.T) {
	count := newMemFS()
	w := newWorld(t, count, small(t))
	scenario(w)
	w.check(false)
	w.close()
	steps := count.ops
	if steps < 100 {
		t.Fatalf("the scenario has only %d steps", steps)
	}
	kinds := []struct {
		name string
		err  error
		pass int // bytes of a write that get through
	}{
		{"EIO", syscall.EIO, 0},
		{"ENOSPC", syscall.ENOSPC, 0},
		{"short EIO", syscall.EIO, 700},
		{"short ENOSPC", syscall.ENOSPC, 1500},
	}
	for _, kind := range kinds {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lasting=%v", kind.name, lasting), func(t *testing.T) {
				for at := 1; at <= steps; at += stride {
					dir := newMemFS()
					dir.fault = func(n int, _, _ string) (int, error) {
						if n == at || lasting && n >= at && n < at+12 {
							return kind.pass, kind.err
						}
						return -1, nil
					}
					faultRun(t, dir, at, kind.err)
				}
			})
		}
	}
}

func faultRun(t *testing.T, dir *memFS, at int, cause error) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("with %v at step %d", cause, at)
		}
	}()
	w := newWorld(t, dir, small(t))
	scenario(w)
	dir.set(func() { dir.fault = nil })
	if w.log == nil || w.failing() {
		w.mustOpen()
		w.check(true)
	} else {
		w.check(false) // nothing that failed is served
	}
	for p := range 3 {
		w.mustAppend(p, 2, 100)
	}
	w.check(false)
	for round := range 2 {
		after := dir.crash(rand.New(rand.NewPCG(uint64(at), uint64(round))))
		w.log.Close()
		dir, w.dir = after, after
		w.mustOpen()
		w.check(true)
		for p := range 3 {
			w.mustAppend(p, 1, 1300)
		}
		w.check(false)
	}
	w.close()
}

// failing reports whether the last life of the log is over.
func (w *world) failing() bool {
	_, _, err := w.log.Bounds(ctx, 0)
	return errors.Is(err, eventlog.ErrClosed)
}

// TestCrashAtEveryStep pulls the plug at each operation of the scenario, and
// starts again from what may have been left.
func TestCrashAtEveryStep(t *testing.T) {
	count := newMemFS()
	w := newWorld(t, count, small(t))
	scenario(w)
	w.close()
	for at := 1; at <= count.ops; at += stride {
		for seed := range uint64(6) {
			rnd := rand.New(rand.NewPCG(uint64(at), seed))
			dir := newMemFS()
			dir.fault = func(n int, op, _ string) (int, error) {
				if n >= at {
					dir.dead = true
					return rnd.IntN(2000), errDead
				}
				return -1, nil
			}
			w := newWorld(t, dir, small(t))
			scenario(w)
			after := dir.crash(rnd)
			if seed%3 == 2 {
				after = dir.killed()
			}
			if w.log != nil {
				w.log.Close()
			}
			w.dir = after
			w.mustOpen()
			w.check(true)
			for p := range 3 {
				w.mustAppend(p, 2, 100)
			}
			w.check(false)
			w.close()
			w.mustOpen()
			w.check(false)
			w.close()
			if t.Failed() {
				t.Fatalf("crash at step %d, seed %d", at, seed)
			}
		}
	}
}
