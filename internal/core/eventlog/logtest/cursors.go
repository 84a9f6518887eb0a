package logtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

func wantCommitted(t *testing.T, c eventlog.Cursors, group string, p eventlog.Partition, want eventlog.Offset, wantOK bool) {
	t.Helper()
	next, ok, err := c.Committed(within(t), group, p)
	if err != nil || ok != wantOK || next != want {
		t.Errorf("Committed(%q, %d) = %d, %v, %v, want %d, %v", group, p, next, ok, err, want, wantOK)
	}
}

func testCursors(t *testing.T, s *suite) {
	l := s.log(t, 3)
	c, ok := l.(eventlog.Cursors)
	if !ok {
		t.Skip("the log does not keep cursors")
	}
	ctx := within(t)
	for range 10 {
		mustAppend(t, l, 0, "a")
	}
	wantCommitted(t, c, "g", 0, 0, false)
	for _, next := range []eventlog.Offset{0, 5, 3} { // a group may go back
		if err := c.Commit(ctx, "g", 0, next); err != nil {
			t.Fatal(err)
		}
		wantCommitted(t, c, "g", 0, next, true)
	}
	wantCommitted(t, c, "g", 1, 0, false)
	wantCommitted(t, c, "other", 0, 0, false)
	if err := c.Commit(ctx, "g", 3, 0); err == nil {
		t.Error("Commit to partition 3 of 3 succeeds")
	}
	if err := c.Commit(ctx, "g", 0, -1); err == nil {
		t.Error("Commit of a negative offset succeeds")
	}
	if err := c.Commit(ctx, "", 0, 1); err == nil {
		t.Error("Commit of a group without a name succeeds")
	}

	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range eventlog.Offset(10) {
				for p := range eventlog.Partition(3) {
					if err := c.Commit(ctx, fmt.Sprint("group-", g), p, i+eventlog.Offset(g)); err != nil {
						t.Errorf("Commit: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for g := range 8 {
		for p := range eventlog.Partition(3) {
			wantCommitted(t, c, fmt.Sprint("group-", g), p, eventlog.Offset(9+g), true)
		}
	}
	// A cursor outlives the records it stands on.
	if err := l.Trim(ctx, 0, 10); err != nil {
		t.Fatal(err)
	}
	wantCommitted(t, c, "g", 0, 3, true)
}

func testCursorsReopen(t *testing.T, s *suite) {
	l := s.log(t, 2)
	c, ok := l.(eventlog.Cursors)
	if !ok {
		t.Skip("the log does not keep cursors")
	}
	for i := range eventlog.Offset(7) {
		mustAppend(t, l, 1, "a")
		if err := c.Commit(within(t), "g", 1, i+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(within(t), "g", 1, 0); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("Commit on a closed log = %v, want ErrClosed", err)
	}
	l = s.log(t, 2)
	c = l.(eventlog.Cursors)
	wantCommitted(t, c, "g", 1, 7, true)
	wantCommitted(t, c, "g", 0, 0, false)
	wantBounds(t, l, 1, 0, 7)
}
