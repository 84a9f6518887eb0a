package seglog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// world is a log together with what must be in it.
type world struct {
	t       failer
	dir     seglog.FS
	opt     seglog.Options
	log     *seglog.Log
	acked   []map[eventlog.Offset]string // per partition: acknowledged
	next    []eventlog.Offset            // per partition, behind the last acknowledged
	failed  []map[string]int             // per partition: payloads of batches that failed, with the size of their batch
	trimmed []eventlog.Offset
	count   int
}

func newWorld(t failer, dir seglog.FS, o seglog.Options) *world {
	w := &world{t: t, dir: dir, opt: o}
	for range o.Partitions {
		w.acked = append(w.acked, map[eventlog.Offset]string{})
		w.failed = append(w.failed, map[string]int{})
	}
	w.next = make([]eventlog.Offset, o.Partitions)
	w.trimmed = make([]eventlog.Offset, o.Partitions)
	return w
}

func (w *world) open() error {
	var err error
	w.log, err = seglog.OpenFS(w.dir, w.opt)
	return err
}

func (w *world) mustOpen() {
	w.t.Helper()
	if err := w.open(); err != nil {
		w.t.Fatalf("open: %v", err)
	}
}

// batch makes n payloads of about that size, all different.
func (w *world) batch(n, size int) []eventlog.Record {
	recs := make([]eventlog.Record, n)
	for i := range recs {
		w.count++
		recs[i].Payload = []byte(fmt.Sprintf("%d/%d:%d;", w.count, i, n) + strings.Repeat("x", size))
	}
	return recs
}

// append appends a batch and remembers the outcome.
func (w *world) append(p, n, size int) error {
	recs := w.batch(n, size)
	first, err := w.log.Append(context.Background(), eventlog.Partition(p), recs...)
	if err != nil {
		for _, r := range recs {
			w.failed[p][string(r.Payload)] = n
		}
		return err
	}
	w.ack(p, first, recs)
	return nil
}

func (w *world) ack(p int, first eventlog.Offset, recs []eventlog.Record) {
	w.t.Helper()
	for i, r := range recs {
		off := first + eventlog.Offset(i)
		if old, ok := w.acked[p][off]; ok {
			w.t.Fatalf("partition %d: offset %d was given twice: %.20q and %.20q", p, off, old, r.Payload)
		}
		w.acked[p][off] = string(r.Payload)
		w.next[p] = max(w.next[p], off+1)
	}
}

// check reads everything. In a running log there is exactly what was
// acknowledged. After a restart whole batches that failed may follow; they are
// then as good as acknowledged.
func (w *world) check(restarted bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for p := range w.acked {
		part := eventlog.Partition(p)
		oldest, next, err := w.log.Bounds(ctx, part)
		if err != nil {
			w.t.Fatalf("partition %d: Bounds: %v", p, err)
		}
		if oldest > w.trimmed[p] {
			w.t.Fatalf("partition %d: oldest %d, but only %d were trimmed", p, oldest, w.trimmed[p])
		}
		if next != w.next[p] && (!restarted || next < w.next[p]) {
			w.t.Fatalf("partition %d: next %d, acknowledged up to %d", p, next, w.next[p])
		}
		batch := 0 // records left of a failed batch
		for from := oldest; from < next; {
			recs, err := w.log.Read(ctx, part, from, 7)
			if err != nil {
				w.t.Fatalf("partition %d: Read(%d): %v", p, from, err)
			}
			for _, r := range recs {
				if r.Offset != from {
					w.t.Fatalf("partition %d: read %d, want %d", p, r.Offset, from)
				}
				from++
				got := string(r.Payload)
				if want, ok := w.acked[p][r.Offset]; ok {
					if got != want {
						w.t.Fatalf("partition %d: record %d is %.20q, acknowledged was %.20q", p, r.Offset, got, want)
					}
					continue
				}
				n, ok := w.failed[p][got]
				if r.Offset < w.next[p] || !ok {
					w.t.Fatalf("partition %d: record %d is %.20q, which nobody was promised", p, r.Offset, got)
				}
				delete(w.failed[p], got)
				w.acked[p][r.Offset] = got
				if batch == 0 {
					batch = n
				}
				batch--
			}
		}
		if batch != 0 {
			w.t.Fatalf("partition %d: half of a batch was kept, %d more belong to it", p, batch)
		}
		w.next[p] = next
	}
	if restarted {
		for p := range w.failed {
			clear(w.failed[p]) // what did not come back now never will
		}
	}
}

// mustAppend retries until the log has recovered from a failure.
func (w *world) mustAppend(p, n, size int) {
	w.t.Helper()
	if err := w.append(p, n, size); err != nil {
		w.t.Fatalf("append: %v", err)
	}
}

func (w *world) close() {
	w.t.Helper()
	if err := w.log.Close(); err != nil && !errors.Is(err, errDead) {
		w.t.Errorf("close: %v", err)
	}
}

func small(t testing.TB) seglog.Options {
	return seglog.Options{Partitions: 3, SegmentBytes: seglog.MinSegmentBytes, ReserveBytes: -1, Log: quiet(t)}
}
