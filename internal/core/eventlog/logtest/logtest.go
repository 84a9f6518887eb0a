// Package logtest is the contract of an event log, as tests that every driver
// passes, and a log in memory for the tests of those who use one.
//
// It knows the ports of package eventlog and no driver.
package logtest

import (
	"context"
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
