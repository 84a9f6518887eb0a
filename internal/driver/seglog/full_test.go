package seglog_test

import (
	"errors"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// fillUp appends until the log is full, and checks what it says then.
func fillUp(t *testing.T, w *world) {
	t.Helper()
	for i := range 10_000 {
		err := w.append(i%3, 1, 1000)
		if err == nil {
			continue
		}
		if !errors.Is(err, eventlog.ErrFull) {
			t.Fatalf("append to a full disk: %v, want ErrFull", err)
		}
		return
	}
	t.Fatal("the disk is never full")
}

// full is what must hold while the disk is full, and after it was.
func full(t *testing.T, w *world, free func()) {
	t.Helper()
	fillUp(t, w)
	if err := w.append(0, 3, 1300); !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("append: %v, want ErrFull", err)
	}
	w.check(false) // reading goes on, nothing is lost, nothing else is there
	for i := range eventlog.Offset(20) {
		if err := w.log.Commit(ctx, "g", 0, i); err != nil {
			t.Fatalf("commit on a full disk: %v", err)
		}
	}
	w.close() // and it survives a restart on the full disk
	w.mustOpen()
	w.check(true)
	if next, ok, err := w.log.Committed(ctx, "g", 0); err != nil || !ok || next != 19 {
		t.Errorf("Committed = %d, %v, %v, want 19", next, ok, err)
	}
	if err := w.append(0, 3, 15_000); !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("append after a restart: %v, want ErrFull", err)
	}
	free()
	for p := range 3 {
		w.mustAppend(p, 2, 1000) // resumes by itself
	}
	w.check(false)
	w.close()
	w.mustOpen()
	w.check(false)
	w.close()
}

func TestFull(t *testing.T) {
	for name, reserve := range map[string]int64{"no reserve": -1, "default reserve": 0, "large reserve": 25_000} {
		t.Run(name, func(t *testing.T) {
			dir := newMemFS()
			dir.size = 125_000
			o := small(t)
			o.ReserveBytes = reserve
			m := obs.NewLog(nil, "")
			o.Metrics = m
			w := newWorld(t, dir, o)
			w.mustOpen()
			full(t, w, func() {
				if free, _, _ := dir.Free(); free < reserve {
					t.Errorf("%d bytes are free, %d were to be kept in reserve", free, reserve)
				}
				dir.set(func() { dir.size *= 2 })
			})
			var out dto.Metric
			if err := m.Full.Write(&out); err != nil || out.GetCounter().GetValue() < 3 {
				t.Errorf("%v appends are counted as refused, %v", out.GetCounter().GetValue(), err)
			}
		})
	}
}

// TestFullRetention: retention makes the space that appends need.
func TestFullRetention(t *testing.T) {
	dir := newMemFS()
	dir.size = 125_000
	w := newWorld(t, dir, small(t))
	w.mustOpen()
	fillUp(t, w)
	w.log.SetRetention(0, 50_000)
	for i := 0; ; i++ {
		err := w.append(0, 1, 1000)
		if err == nil {
			break
		}
		if !errors.Is(err, eventlog.ErrFull) || i > 100_000 {
			t.Fatalf("append after retention: %v", err)
		}
	}
	for p := range w.trimmed {
		w.trimmed[p] = w.next[p]
	}
	w.check(false)
	w.close()
}

// TestFullToBegin: there is not even space to make a log.
func TestFullToBegin(t *testing.T) {
	dir := newMemFS()
	dir.size = 10_000
	l, err := seglog.OpenFS(dir, small(t))
	if err != nil {
		t.Fatalf("a small disk will do for an empty log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir = newMemFS()
	dir.size = 100
	_, err = seglog.OpenFS(dir, small(t))
	if !errors.Is(err, eventlog.ErrFull) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("open: %v, want ErrFull", err)
	}
	dir.size = 100_000
	l, err = seglog.OpenFS(dir, small(t))
	if err != nil {
		t.Fatalf("open with space: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
