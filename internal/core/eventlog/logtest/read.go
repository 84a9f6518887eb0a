package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

func testEmpty(t *testing.T, s *suite) {
	l := s.log(t, 3)
	for p := range eventlog.Partition(3) {
		wantBounds(t, l, p, 0, 0)
		if at, err := l.Seek(within(t), p, time.Now()); err != nil || at != 0 {
			t.Errorf("Seek in an empty partition = %d, %v, want 0", at, err)
		}
	}
	for _, p := range []eventlog.Partition{-1, 3} {
		if _, err := l.Append(within(t), p, eventlog.Record{}); err == nil {
			t.Errorf("Append to partition %d of 3 succeeds", p)
		}
		if _, err := l.Read(within(t), p, 0, 1); err == nil {
			t.Errorf("Read of partition %d of 3 succeeds", p)
		}
		if _, _, err := l.Bounds(within(t), p); err == nil {
			t.Errorf("Bounds of partition %d of 3 succeeds", p)
		}
		if _, err := l.Seek(within(t), p, time.Now()); err == nil {
			t.Errorf("Seek in partition %d of 3 succeeds", p)
		}
		if err := l.Trim(within(t), p, 0); err == nil {
			t.Errorf("Trim of partition %d of 3 succeeds", p)
		}
	}
	if _, err := l.Read(within(t), 0, -1, 1); err == nil {
		t.Error("Read from a negative offset succeeds")
	}
}

func testLimit(t *testing.T, s *suite) {
	l := s.log(t, 1)
	mustAppend(t, l, 0, "a", "b", "c")
	for limit := 1; limit <= 4; limit++ {
		recs, err := l.Read(within(t), 0, 0, limit)
		if err != nil || len(recs) < 1 || len(recs) > min(limit, 3) {
			t.Errorf("Read(limit %d) = %d records, %v", limit, len(recs), err)
		}
	}
}

func testWait(t *testing.T, s *suite) {
	l := s.log(t, 2)
	type result struct {
		recs []eventlog.Record
		err  error
	}
	ctx := within(t)
	read := func(p eventlog.Partition, from eventlog.Offset) chan result {
		ch := make(chan result, 1)
		go func() {
			recs, err := l.Read(ctx, p, from, 10)
			ch <- result{recs, err}
		}()
		return ch
	}
	one, two, ahead := read(0, 0), read(0, 0), read(0, 2)
	mustAppend(t, l, 1, "other partition")
	select {
	case r := <-one:
		t.Fatalf("Read of an empty partition returned %v, %v", r.recs, r.err)
	default:
	}
	mustAppend(t, l, 0, "a")
	for _, ch := range []chan result{one, two} {
		if r := <-ch; r.err != nil || len(r.recs) != 1 || string(r.recs[0].Payload) != "a" {
			t.Errorf("a waiting Read returned %v, %v", r.recs, r.err)
		}
	}
	mustAppend(t, l, 0, "b")
	mustAppend(t, l, 0, "c")
	if r := <-ahead; r.err != nil || len(r.recs) != 1 || r.recs[0].Offset != 2 || string(r.recs[0].Payload) != "c" {
		t.Errorf("a Read ahead of the end returned %v, %v", r.recs, r.err)
	}
}

func testCancel(t *testing.T, s *suite) {
	l := s.log(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.Read(ctx, 0, 0, 1)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v, want context.Canceled", err)
	}
	if _, err := l.Append(ctx, 0, eventlog.Record{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want context.Canceled", err)
	}
	wantBounds(t, l, 0, 0, 0)
	mustAppend(t, l, 0, "a")
}

func testClose(t *testing.T, s *suite) {
	l := s.log(t, 1)
	mustAppend(t, l, 0, "a")
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := l.Read(t.Context(), 0, 1, 1)
			done <- err
		}()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("a waiting Read returned %v, want ErrClosed", err)
		}
	}
	ctx := within(t)
	_, appendErr := l.Append(ctx, 0, eventlog.Record{})
	_, readErr := l.Read(ctx, 0, 0, 1)
	_, _, boundsErr := l.Bounds(ctx, 0)
	_, seekErr := l.Seek(ctx, 0, time.Now())
	for name, err := range map[string]error{
		"Append": appendErr, "Read": readErr, "Bounds": boundsErr, "Seek": seekErr, "Trim": l.Trim(ctx, 0, 1),
	} {
		if !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("%s on a closed log = %v, want ErrClosed", name, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// testTrim knows that a log may forget less than it is allowed to.
func testTrim(t *testing.T, s *suite) {
	l := s.log(t, 2)
	for i := range 10 {
		mustAppend(t, l, 0, fmt.Sprint(i))
		mustAppend(t, l, 1, fmt.Sprint(i))
	}
	if err := l.Trim(within(t), 0, 6); err != nil {
		t.Fatal(err)
	}
	oldest, next, err := l.Bounds(within(t), 0)
	if err != nil || oldest > 6 || next != 10 {
		t.Fatalf("Bounds = %d, %d, %v after Trim(6) of 10", oldest, next, err)
	}
	if oldest > 0 {
		var trimmed *eventlog.TrimmedError
		if _, err := l.Read(within(t), 0, oldest-1, 1); !errors.As(err, &trimmed) || trimmed.Oldest != oldest {
			t.Errorf("Read of a trimmed record = %v, want a TrimmedError with %d", err, oldest)
		}
		if at, err := l.Seek(within(t), 0, time.Unix(0, 0)); err != nil || at != oldest {
			t.Errorf("Seek to the beginning = %d, %v, want the oldest, %d", at, err, oldest)
		}
	}
	for _, r := range mustRead(t, l, 0, 6, 4) {
		if string(r.Payload) != fmt.Sprint(r.Offset) {
			t.Errorf("record %d is %q", r.Offset, r.Payload)
		}
	}
	wantBounds(t, l, 1, 0, 10)
	mustRead(t, l, 1, 0, 10)

	// Never backwards, and not beyond the end.
	if err := l.Trim(within(t), 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(within(t), 0, 100); err != nil {
		t.Fatal(err)
	}
	if oldest, next, err = l.Bounds(within(t), 0); err != nil || oldest > 10 || next != 10 {
		t.Errorf("Bounds = %d, %d, %v after Trim beyond the end", oldest, next, err)
	}
	if first := mustAppend(t, l, 0, "10"); first != 10 {
		t.Errorf("offset %d after Trim, want 10", first)
	}
	mustRead(t, l, 0, 10, 1)
}

func testSeek(t *testing.T, s *suite) {
	l := s.log(t, 2)
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 100 { // pairs of records of one time, ten seconds apart
		at := start.Add(time.Duration(i/2) * 10 * time.Second)
		if _, err := l.Append(within(t), 0, eventlog.Record{Time: at}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(within(t), 1, eventlog.Record{Time: at.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		at   time.Time
		want eventlog.Offset
	}{
		{start.Add(-time.Hour), 0},
		{start, 0},
		{start.Add(time.Millisecond), 2},
		{start.Add(10 * time.Second), 2},
		{start.Add(255 * time.Second), 52},
		{start.Add(490 * time.Second), 98},
		{start.Add(490*time.Second + time.Millisecond), 100},
		{start.Add(24 * time.Hour), 100},
	} {
		if got, err := l.Seek(within(t), 0, c.at); err != nil || got != c.want {
			t.Errorf("Seek(%v) = %d, %v, want %d", c.at.Sub(start), got, err, c.want)
		}
	}
}
