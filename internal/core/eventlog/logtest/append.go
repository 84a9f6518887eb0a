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
