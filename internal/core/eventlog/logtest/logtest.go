// Package logtest is the contract of an event log, as tests that every driver
// passes, and a log in memory for the tests of those who use one.
//
// It knows the ports of package eventlog and no driver.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// Options say which log a test wants.
type Options struct {
	Partitions int
	// Dir is a directory of the test's own. A log opened again in the same Dir
	// after Close is the same log.
	Dir string
	// Reopen says that it is opened again. A driver that keeps nothing calls
	// t.Skip.
	Reopen bool
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// Run holds the logs that open returns to the contract of eventlog.Log, and of
// eventlog.Cursors when they implement it.
func Run(t *testing.T, open func(t *testing.T, o Options) eventlog.Log) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"Empty", testEmpty},
		{"Append", testAppend},
		{"Payloads", testPayloads},
		{"Times", testTimes},
		{"Partitions", testPartitions},
		{"Limit", testLimit},
		{"Wait", testWait},
		{"Cancel", testCancel},
		{"Close", testClose},
		{"Trim", testTrim},
		{"Seek", testSeek},
		{"TooLarge", testTooLarge},
		{"Concurrent", testConcurrent},
		{"Reopen", testReopen},
		{"Cursors", testCursors},
		{"CursorsReopen", testCursorsReopen},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, &suite{open: open, dir: t.TempDir()})
		})
	}
}

// suite opens the log of one test.
type suite struct {
	open func(t *testing.T, o Options) eventlog.Log
	dir  string
	used bool
}

func (s *suite) log(t *testing.T, partitions int) eventlog.Log {
	t.Helper()
	l := s.open(t, Options{Partitions: partitions, Dir: s.dir, Reopen: s.used})
	s.used = true
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if got := l.Partitions(); got != partitions {
		t.Fatalf("Partitions() = %d, want %d", got, partitions)
	}
	return l
}

// within returns a context that ends when a test has waited long enough.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustAppend(t *testing.T, l eventlog.Log, p eventlog.Partition, payloads ...string) eventlog.Offset {
	t.Helper()
	recs := make([]eventlog.Record, len(payloads))
	for i := range payloads {
		recs[i].Payload = []byte(payloads[i])
	}
	first, err := l.Append(within(t), p, recs...)
	if err != nil {
		t.Fatalf("Append(%d, %q): %v", p, payloads, err)
	}
	return first
}

// mustRead reads n records from offset on, in as many calls as it takes.
func mustRead(t *testing.T, l eventlog.Log, p eventlog.Partition, from eventlog.Offset, n int) []eventlog.Record {
	t.Helper()
	var all []eventlog.Record
	for len(all) < n {
		recs, err := l.Read(within(t), p, from, n-len(all))
		if err != nil {
			t.Fatalf("Read(%d, %d): %v", p, from, err)
		}
		if len(recs) == 0 || len(recs) > n-len(all) {
			t.Fatalf("Read(%d, %d, %d) returned %d records", p, from, n-len(all), len(recs))
		}
		for i, r := range recs {
			if r.Offset != from+eventlog.Offset(i) {
				t.Fatalf("Read(%d, %d): record %d has offset %d", p, from, i, r.Offset)
			}
		}
		from += eventlog.Offset(len(recs))
		all = append(all, recs...)
	}
	return all
}

func wantBounds(t *testing.T, l eventlog.Log, p eventlog.Partition, oldest, next eventlog.Offset) {
	t.Helper()
	gotOldest, gotNext, err := l.Bounds(within(t), p)
	if err != nil || gotOldest != oldest || gotNext != next {
		t.Fatalf("Bounds(%d) = %d, %d, %v, want %d, %d", p, gotOldest, gotNext, err, oldest, next)
	}
}

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

func testAppend(t *testing.T, s *suite) {
	l := s.log(t, 1)
	if first := mustAppend(t, l, 0, "a"); first != 0 {
		t.Errorf("the first record got offset %d", first)
	}
	if first := mustAppend(t, l, 0, "b", "c", "d"); first != 1 {
		t.Errorf("the second batch got offset %d, want 1", first)
	}
	if first := mustAppend(t, l, 0, "", "e"); first != 4 {
		t.Errorf("the third batch got offset %d, want 4", first)
	}
	if first := mustAppend(t, l, 0); first != 6 {
		t.Errorf("an empty batch got offset %d, want the next one, 6", first)
	}
	wantBounds(t, l, 0, 0, 6)
	for from := range eventlog.Offset(6) {
		for i, r := range mustRead(t, l, 0, from, int(6-from)) {
			if want := []string{"a", "b", "c", "d", "", "e"}[int(from)+i]; string(r.Payload) != want {
				t.Errorf("record %d is %q, want %q", r.Offset, r.Payload, want)
			}
		}
	}
}

// testPayloads checks who owns the bytes: the log borrows them until Append
// returns, and gives them away in Read.
func testPayloads(t *testing.T, s *suite) {
	l := s.log(t, 1)
	buf := []byte("first")
	if _, err := l.Append(within(t), 0, eventlog.Record{Payload: buf}, eventlog.Record{Payload: []byte("second")}); err != nil {
		t.Fatal(err)
	}
	copy(buf, "XXXXX")
	got := mustRead(t, l, 0, 0, 2)
	if string(got[0].Payload) != "first" {
		t.Errorf("the log kept the caller's buffer: %q", got[0].Payload)
	}
	copy(got[0].Payload, "YYYYY")
	_ = append(got[0].Payload, "ZZZZZZ"...)
	if string(got[1].Payload) != "second" {
		t.Errorf("appending to one payload changed the next: %q", got[1].Payload)
	}
	if again := mustRead(t, l, 0, 0, 2); string(again[0].Payload) != "first" || string(again[1].Payload) != "second" {
		t.Errorf("a reader's changes reached the log: %q, %q", again[0].Payload, again[1].Payload)
	}
}

func testTimes(t *testing.T, s *suite) {
	l := s.log(t, 1)
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_000_000, time.FixedZone("x", 3600))
	before := time.Now().Add(-time.Millisecond)
	if _, err := l.Append(within(t), 0, eventlog.Record{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(within(t), 0, eventlog.Record{Time: at}); err != nil {
		t.Fatal(err)
	}
	recs := mustRead(t, l, 0, 0, 2)
	if got := recs[0].Time; got.Before(before) || got.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("a record without a time got %v", got)
	}
	if got := recs[1].Time; !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("time %v, want %v", got, at.UTC())
	}
}

func testPartitions(t *testing.T, s *suite) {
	l := s.log(t, 4)
	for i := range 20 {
		for p := range eventlog.Partition(3) {
			if first := mustAppend(t, l, p, fmt.Sprint(p, i)); first != eventlog.Offset(i) {
				t.Fatalf("partition %d: offset %d, want %d", p, first, i)
			}
		}
	}
	for p := range eventlog.Partition(3) {
		for i, r := range mustRead(t, l, p, 0, 20) {
			if want := fmt.Sprint(p, i); string(r.Payload) != want {
				t.Errorf("partition %d, record %d is %q, want %q", p, i, r.Payload, want)
			}
		}
	}
	wantBounds(t, l, 3, 0, 0)
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

// testTooLarge allows a log without a limit, but not one that stores half.
func testTooLarge(t *testing.T, s *suite) {
	l := s.log(t, 1)
	mustAppend(t, l, 0, "a")
	_, err := l.Append(within(t), 0, eventlog.Record{Payload: []byte("b")}, eventlog.Record{Payload: make([]byte, 80<<20)})
	if err == nil {
		t.Skip("the log has no limit below 80 MiB")
	}
	if !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("Append of 80 MiB = %v, want ErrTooLarge", err)
	}
	wantBounds(t, l, 0, 0, 1)
	if first := mustAppend(t, l, 0, "c"); first != 1 {
		t.Errorf("offset %d after a refused batch, want 1", first)
	}
}

// testConcurrent has producers with batches of all sizes and readers that
// follow, and checks that each batch lies together where Append said.
func testConcurrent(t *testing.T, s *suite) {
	const partitions, producers, batches = 3, 8, 40
	l := s.log(t, partitions)
	ctx := within(t)
	var (
		mu    sync.Mutex
		total [partitions]int
		wants [partitions]map[eventlog.Offset]string
		wg    sync.WaitGroup
	)
	for p := range wants {
		wants[p] = make(map[eventlog.Offset]string)
	}
	for w := range producers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for b := range batches {
				p := rnd.IntN(partitions)
				recs := make([]eventlog.Record, 1+rnd.IntN(7))
				for i := range recs {
					recs[i].Payload = fmt.Appendf(nil, "%d/%d/%d/%0*d", w, b, i, rnd.IntN(500), 0)
				}
				first, err := l.Append(ctx, eventlog.Partition(p), recs...)
				if err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				total[p] += len(recs)
				for i := range recs {
					wants[p][first+eventlog.Offset(i)] = string(recs[i].Payload)
				}
				mu.Unlock()
			}
		})
	}
	// Readers follow while there is writing, until the log is closed.
	var readers sync.WaitGroup
	read := make([]map[eventlog.Offset]string, partitions)
	stop, cancel := context.WithCancel(ctx)
	for p := range partitions {
		read[p] = make(map[eventlog.Offset]string)
		readers.Go(func() {
			for from := eventlog.Offset(0); ; {
				recs, err := l.Read(stop, eventlog.Partition(p), from, 13)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("Read: %v", err)
					}
					return
				}
				for _, r := range recs {
					if r.Offset != from {
						t.Errorf("partition %d: offset %d, want %d", p, r.Offset, from)
					}
					read[p][r.Offset] = string(r.Payload)
					from++
				}
				mu.Lock()
				done := from == eventlog.Offset(total[p]) && stop.Err() != nil
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
	for p := range partitions {
		wantBounds(t, l, eventlog.Partition(p), 0, eventlog.Offset(total[p]))
		for off, got := range read[p] {
			mu.Lock()
			want, ok := wants[p][off]
			mu.Unlock()
			if !ok || got != want {
				t.Errorf("partition %d: a follower read %q at %d, appended was %q", p, got, off, want)
			}
		}
		for _, r := range mustRead(t, l, eventlog.Partition(p), 0, total[p]) {
			if string(r.Payload) != wants[p][r.Offset] {
				t.Errorf("partition %d: record %d is %q, want %q", p, r.Offset, r.Payload, wants[p][r.Offset])
			}
		}
	}
}

func testReopen(t *testing.T, s *suite) {
	l := s.log(t, 2)
	for i := range 5 {
		mustAppend(t, l, 0, fmt.Sprint(i), "x")
	}
	if err := l.Trim(within(t), 0, 3); err != nil {
		t.Fatal(err)
	}
	oldest, _, err := l.Bounds(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = s.log(t, 2)
	again, next, err := l.Bounds(within(t), 0)
	if err != nil || again > oldest || next != 10 {
		t.Fatalf("Bounds = %d, %d, %v, want at most %d, 10", again, next, err, oldest)
	}
	wantBounds(t, l, 1, 0, 0)
	for _, r := range mustRead(t, l, 0, oldest, int(10-oldest)) {
		want := "x"
		if r.Offset%2 == 0 {
			want = fmt.Sprint(r.Offset / 2)
		}
		if string(r.Payload) != want {
			t.Errorf("record %d is %q, want %q", r.Offset, r.Payload, want)
		}
	}
	if first := mustAppend(t, l, 0, "next"); first != 10 {
		t.Errorf("offset %d, want 10", first)
	}
	if first := mustAppend(t, l, 1, "next"); first != 0 {
		t.Errorf("offset %d, want 0", first)
	}
}

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
