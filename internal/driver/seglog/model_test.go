package seglog_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// TestModel lives through random lives of a log: appends alone and together,
// trims, cursors, restarts, kills, power failures and failing disks.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := newMemFS()
		o := seglog.Options{Partitions: 2, SegmentBytes: seglog.MinSegmentBytes, ReserveBytes: -1}
		w := newWorld(t, dir, o)
		w.mustOpen()
		defer func() { w.log.Close() }()                                 // also when it failed
		cursor, tried := eventlog.Offset(-1), map[eventlog.Offset]bool{} // tried since the last that was acknowledged
		faulty := false
		again := func(next *memFS) {
			dir, w.dir = next, next
			faulty = false
			w.mustOpen()
			w.check(true)
			got, ok, err := w.log.Committed(ctx, "g", 0)
			if err != nil || ok && got != cursor && !tried[got] || !ok && cursor >= 0 {
				t.Fatalf("Committed = %d, %v, %v; last acknowledged %d, then tried %v", got, ok, err, cursor, tried)
			}
			if ok {
				cursor = got
			}
			clear(tried)
		}
		part, count, size := rapid.IntRange(0, 1), rapid.IntRange(1, 6), rapid.IntRange(0, 2500)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				err := w.append(part.Draw(t, "partition"), count.Draw(t, "records"), size.Draw(t, "bytes"))
				if err != nil && !faulty {
					t.Fatalf("append: %v", err)
				}
			},
			"append together": func(t *rapid.T) {
				var wg sync.WaitGroup
				var mu sync.Mutex
				for range rapid.IntRange(2, 5).Draw(t, "producers") {
					p := part.Draw(t, "partition")
					recs := w.batch(count.Draw(t, "records"), size.Draw(t, "bytes"))
					wg.Go(func() {
						first, err := w.log.Append(context.Background(), eventlog.Partition(p), recs...)
						mu.Lock()
						defer mu.Unlock()
						if err == nil {
							w.ack(p, first, recs)
							return
						}
						for _, r := range recs {
							w.failed[p][string(r.Payload)] = len(recs)
						}
						if !faulty {
							t.Errorf("append: %v", err)
						}
					})
				}
				wg.Wait()
			},
			"trim": func(t *rapid.T) {
				p := part.Draw(t, "partition")
				before := eventlog.Offset(rapid.IntRange(0, int(w.next[p])).Draw(t, "before"))
				w.trimmed[p] = max(w.trimmed[p], before) // also when it fails: it may be found on disk
				if err := w.log.Trim(ctx, eventlog.Partition(p), before); err != nil && !faulty {
					t.Fatalf("trim: %v", err)
				}
			},
			"commit": func(t *rapid.T) {
				next := eventlog.Offset(rapid.IntRange(0, 1000).Draw(t, "next"))
				tried[next] = true
				err := w.log.Commit(ctx, "g", 0, next)
				if err != nil && !faulty {
					t.Fatalf("commit: %v", err)
				}
				if err == nil {
					cursor = next
					clear(tried)
				}
			},
			"check": func(*rapid.T) { w.check(false) },
			"disk fails": func(t *rapid.T) {
				faulty = true
				from := rapid.IntRange(0, 10).Draw(t, "steps until")
				n := rapid.IntRange(1, 6).Draw(t, "steps")
				err := rapid.SampledFrom([]error{syscall.EIO, syscall.ENOSPC}).Draw(t, "error")
				pass := rapid.IntRange(0, 6000).Draw(t, "bytes that pass")
				dir.set(func() {
					from += dir.ops
					dir.fault = func(at int, _, _ string) (int, error) {
						if at > from && at <= from+n {
							return pass, err
						}
						return -1, nil
					}
				})
			},
			"disk works": func(*rapid.T) {
				dir.set(func() { dir.fault = nil })
				faulty = false
				w.mustAppend(0, 1, 10)
				w.check(false)
			},
			"restart": func(*rapid.T) {
				dir.set(func() { dir.fault = nil })
				w.close()
				again(dir)
			},
			"kill": func(*rapid.T) {
				next := dir.killed()
				w.log.Close()
				again(next)
			},
			"crash while appending": func(t *rapid.T) {
				dies := rapid.IntRange(1, 12).Draw(t, "steps until")
				pass := rapid.IntRange(0, 6000).Draw(t, "bytes that pass")
				dir.set(func() {
					dies += dir.ops
					dir.fault = func(at int, _, _ string) (int, error) {
						if at < dies {
							return -1, nil
						}
						dir.dead = true
						return pass, errDead
					}
				})
				faulty = true
				var wg sync.WaitGroup
				var mu sync.Mutex
				for i := range 4 {
					recs := w.batch(1+i, size.Draw(t, "bytes"))
					wg.Go(func() {
						first, err := w.log.Append(context.Background(), eventlog.Partition(i%2), recs...)
						mu.Lock()
						defer mu.Unlock()
						if err == nil {
							w.ack(i%2, first, recs)
							return
						}
						for _, r := range recs {
							w.failed[i%2][string(r.Payload)] = len(recs)
						}
					})
				}
				wg.Wait()
				next := dir.crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)))
				w.log.Close()
				again(next)
			},
			"crash": func(t *rapid.T) {
				next := dir.crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
				w.log.Close()
				again(next)
			},
		})
		dir.set(func() { dir.fault = nil })
		w.check(false)
		w.close()
	})
}
