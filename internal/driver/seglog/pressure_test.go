package seglog_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// TestBackPressure has a disk that hangs: memory is bounded, those who wait for
// room can give up, those who are queued learn their fate when it goes on, and
// readers notice nothing.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newMemFS()
		l, err := seglog.OpenFS(dir, seglog.Options{Partitions: 2, ReserveBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), 1, eventlog.Record{Payload: []byte("before")}); err != nil {
			t.Fatal(err)
		}
		hang, hangs := make(chan struct{}), false
		dir.set(func() {
			dir.fault = func(_ int, op, _ string) (int, error) {
				if op == "sync" && !hangs {
					hangs = true
					dir.mu.Unlock() // the disk hangs, not the test
					<-hang
					dir.mu.Lock()
				}
				return -1, nil
			}
		})
		const producers = 20
		mib := eventlog.Record{Payload: make([]byte, 1<<20)}
		done := make(chan error, producers)
		for range producers {
			go func() {
				_, err := l.Append(t.Context(), 0, mib)
				done <- err
			}()
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Errorf("%d appends are acknowledged by a disk that hangs", len(done))
		}
		hurry, cancel := context.WithCancel(t.Context())
		gave := make(chan error, 1)
		go func() {
			_, err := l.Append(hurry, 0, mib)
			gave <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gave; !errors.Is(err, context.Canceled) {
			t.Errorf("an append that waited for room: %v, want context.Canceled", err)
		}
		if recs, err := l.Read(t.Context(), 1, 0, 1); err != nil || string(recs[0].Payload) != "before" {
			t.Errorf("reading while the disk hangs: %v", err)
		}
		if _, next := bounds(t, l, 0); next != 0 {
			t.Errorf("next is %d while nothing is durable", next)
		}
		close(hang)
		for range producers {
			if err := <-done; err != nil {
				t.Errorf("append: %v", err)
			}
		}
		if _, next := bounds(t, l, 0); next != producers {
			t.Errorf("next is %d, want %d", next, producers)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
