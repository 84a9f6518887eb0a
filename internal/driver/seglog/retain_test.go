package seglog_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// segments returns the number of segment files and their bytes.
func segments(m *memFS) (n int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.files {
		if strings.HasSuffix(name, ".seg") {
			n++
			bytes += int64(len(f.live))
		}
	}
	return n, bytes
}

func bounds(t *testing.T, l *seglog.Log, p eventlog.Partition) (oldest, next eventlog.Offset) {
	t.Helper()
	oldest, next, err := l.Bounds(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return oldest, next
}

// wantTrimmed checks that everything before oldest is gone and the rest is not.
func wantTrimmed(t *testing.T, l *seglog.Log, p eventlog.Partition, oldest, next eventlog.Offset) {
	t.Helper()
	var trimmed *eventlog.TrimmedError
	for _, from := range []eventlog.Offset{0, oldest - 1} {
		if _, err := l.Read(t.Context(), p, from, 1); !errors.As(err, &trimmed) || trimmed.Oldest != oldest {
			t.Errorf("Read(%d, %d) = %v, want a TrimmedError with %d", p, from, err, oldest)
		}
	}
	if at, err := l.Seek(t.Context(), p, time.Unix(0, 0)); err != nil || at != oldest {
		t.Errorf("Seek to the beginning of %d = %d, %v, want %d", p, at, err, oldest)
	}
	if oldest < next {
		if recs, err := l.Read(t.Context(), p, oldest, 1); err != nil || recs[0].Offset != oldest {
			t.Errorf("Read(%d, %d) = %v, %v", p, oldest, recs, err)
		}
	}
}

func TestRetentionByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 8 * seglog.MinSegmentBytes
		dir := newMemFS()
		o := small(t)
		o.RetentionBytes = keep
		l, err := seglog.OpenFS(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, 2500)
		for i := range 300 {
			if _, err := l.Append(t.Context(), eventlog.Partition(i%2), eventlog.Record{Payload: payload}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		_, bytes := segments(dir)
		if bytes > keep || bytes < keep/2 {
			t.Errorf("%d bytes are kept, want up to %d", bytes, keep)
		}
		oldest, next := bounds(t, l, 0)
		if oldest == 0 || next != 150 {
			t.Fatalf("Bounds = %d, %d", oldest, next)
		}
		wantTrimmed(t, l, 0, oldest, next)

		// Less, without a restart.
		l.SetRetention(0, keep/4)
		synctest.Wait()
		again, _ := bounds(t, l, 0)
		if _, bytes := segments(dir); bytes > keep/4 || again <= oldest {
			t.Errorf("%d bytes from %d on are kept after SetRetention(%d)", bytes, again, keep/4)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = seglog.OpenFS(dir, o); err != nil {
			t.Fatal(err)
		}
		if oldest, next := bounds(t, l, 0); oldest != again || next != 150 {
			t.Errorf("Bounds = %d, %d after a restart, want %d, 150", oldest, next, again)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRetentionByAge also checks that little traffic does not keep records for
// ever because their segment is never full.
func TestRetentionByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFS()
		o := small(t)
		o.RetentionTime = time.Hour
		l, err := seglog.OpenFS(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		start := time.Now()
		for range 180 { // one a minute, a few bytes
			if _, err := l.Append(t.Context(), 1, eventlog.Record{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		}
		synctest.Wait()
		oldest, next := bounds(t, l, 1)
		if next != 180 || oldest > 120 || oldest < 120-10 {
			t.Errorf("Bounds = %d, %d after three hours, want 110 to 120, 180", oldest, next)
		}
		wantTrimmed(t, l, 1, oldest, next)
		if at, err := l.Seek(t.Context(), 1, start.Add(150*time.Minute)); err != nil || at != 150 {
			t.Errorf("Seek(150 min) = %d, %v", at, err)
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // simulated time
		synctest.Wait()
		if oldest, next := bounds(t, l, 1); oldest != 180 || next != 180 {
			t.Errorf("Bounds = %d, %d after a long silence, want 180, 180", oldest, next)
		}
		if oldest, next := bounds(t, l, 0); oldest != 0 || next != 0 {
			t.Errorf("Bounds of an unused partition = %d, %d", oldest, next)
		}
		if n, _ := segments(dir); n != 1 {
			t.Errorf("%d segments are left of an empty log", n)
		}
		if first, err := l.Append(t.Context(), 1, eventlog.Record{}); err != nil || first != 180 {
			t.Errorf("Append = %d, %v, want 180", first, err)
		}
	})
}

// TestRetentionOfWrongClock: the age of a record is how long it has been there,
// also when the clock was far off as it came.
func TestRetentionOfWrongClock(t *testing.T) {
	for name, off := range map[string]time.Duration{"behind": -30 * 365 * 24 * time.Hour, "ahead": 10 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := newMemFS()
				o := small(t)
				o.RetentionTime = time.Hour
				open := func() *seglog.Log {
					t.Helper()
					l, err := seglog.OpenFS(dir, o)
					if err != nil {
						t.Fatal(err)
					}
					return l
				}
				l := open()
				fill := func(n int) {
					t.Helper()
					for range n { // one a minute
						if _, err := l.Append(t.Context(), 1, eventlog.Record{Time: time.Now().Add(off), Payload: make([]byte, 500)}); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Minute) //nolint:forbidigo // simulated time
					}
					synctest.Wait()
				}
				fill(45)
				if oldest, next := bounds(t, l, 1); oldest != 0 || next != 45 {
					t.Errorf("Bounds = %d, %d after 45 minutes, want all", oldest, next)
				}
				fill(135)
				if oldest, next := bounds(t, l, 1); next != 180 || oldest > 120 || oldest < 120-10 {
					t.Errorf("Bounds = %d, %d after three hours, want 110 to 120, 180", oldest, next)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				// After a restart there is only what the records say. What is of
				// a time to come is as old as the process that finds it.
				l = open()
				time.Sleep(3 * time.Hour) //nolint:forbidigo // simulated time
				synctest.Wait()
				if oldest, next := bounds(t, l, 1); oldest != 180 || next != 180 {
					t.Errorf("Bounds = %d, %d in the end, want 180, 180", oldest, next)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTrimFreesSpace: a queue that was worked off takes no space, and offsets
// go on behind it, also after a restart.
func TestTrimFreesSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFS()
		w := newWorld(t, dir, small(t))
		w.mustOpen()
		for i := range 60 {
			w.mustAppend(i%3, 1, 2000)
		}
		trim := func(p eventlog.Partition, before eventlog.Offset) {
			t.Helper()
			if err := w.log.Trim(t.Context(), p, before); err != nil {
				t.Fatal(err)
			}
			w.trimmed[p] = before
			synctest.Wait()
		}
		before, _ := segments(dir)
		trim(0, 20)
		trim(1, 20)
		if n, _ := segments(dir); n != before {
			t.Errorf("%d of %d segments are left, though partition 2 wants all", n, before)
		}
		trim(2, 10)
		if n, _ := segments(dir); n >= before || n < before/2 {
			t.Errorf("%d of %d segments are left, though half may go", n, before)
		}
		w.check(false)
		trim(2, 20)
		if n, bytes := segments(dir); n != 1 || bytes > seglog.MinSegmentBytes/2 {
			t.Errorf("%d segments with %d bytes are left, though nothing is wanted", n, bytes)
		}
		w.close()
		w.mustOpen()
		for p := range eventlog.Partition(3) {
			if oldest, next := bounds(t, w.log, p); oldest != 20 || next != 20 {
				t.Errorf("Bounds(%d) = %d, %d after a restart, want 20, 20", p, oldest, next)
			}
		}
		w.mustAppend(0, 2, 10)
		w.check(false)
		w.close()
	})
}

// TestReadWhileDropped drops segments under readers.
func TestReadWhileDropped(t *testing.T) {
	l, err := seglog.Open(t.TempDir(), seglog.Options{Partitions: 1, RetentionBytes: 8 * seglog.MinSegmentBytes, Log: quiet(t)})
	if err != nil {
		t.Fatal(err)
	}
	const total = 2000
	done := make(chan error, 3)
	for range cap(done) {
		go func() {
			from := eventlog.Offset(0)
			for from < total {
				recs, err := l.Read(ctx, 0, from, 10)
				var trimmed *eventlog.TrimmedError
				switch {
				case errors.As(err, &trimmed):
					if trimmed.Oldest <= from {
						done <- errors.New("trimmed, but the oldest record is not behind")
						return
					}
					from = trimmed.Oldest
					continue
				case err != nil:
					done <- err
					return
				case recs[0].Offset != from:
					done <- errors.New("a gap")
					return
				}
				from += eventlog.Offset(len(recs))
			}
			done <- nil
		}()
	}
	payload := make([]byte, 3000)
	for range total {
		if _, err := l.Append(t.Context(), 0, eventlog.Record{Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
