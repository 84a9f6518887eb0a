package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// open returns a database in a directory of the test, closed at its end.
func open(tb testing.TB) *sqlite.DB {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "state.db"), sqlite.Options{})
}

// empty is the file of a database with nothing in it. Making one takes as long as
// many a test of what is in it.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "causeway-sqlite")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "state.db")
	db, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// openAt opens the database at path, an empty one when there is none.
func openAt(tb testing.TB, path string, o sqlite.Options) *sqlite.DB {
	tb.Helper()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		file, err := empty()
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	db, err := sqlite.Open(tb.Context(), path, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func device(n int) causeway.Identity {
	return causeway.Identity{Hub: "plant", Device: fmt.Sprintf("device-%05d", n)}
}

// record returns a record as a device of some weeks has it: keys, a few tags,
// desired and reported properties with metadata.
func record(id causeway.Identity) registry.Record {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	return registry.Record{
		ID: id, GenerationID: "638400000000000000", ETag: "NzM0NTY3", Enabled: true, Created: now, StatusUpdated: now,
		Auth: registry.Authentication{
			Type:    auth.SAS,
			Primary: causeway.Secret("v1." + strings.Repeat("k", 96)), Secondary: causeway.Secret("v1." + strings.Repeat("q", 96)),
		},
		Twin: twin(1),
	}
}

const stampText = `{"$lastUpdated":"2026-03-01T12:00:00.0000000Z"}`

func twin(version int64) registry.Twin {
	return registry.Twin{
		Version: version, ETag: 1,
		Tags: []byte(`{"site":"north","line":4,"owner":"maintenance"}`),
		Desired: registry.Section{
			Properties: []byte(`{"interval":30,"threshold":{"low":2.5,"high":80}}`),
			Metadata:   []byte(`{"$lastUpdated":"2026-03-01T12:00:00.0000000Z","$lastUpdatedVersion":1,"interval":` + stampText + `,"threshold":{"low":` + stampText + `,"high":` + stampText + `}}`),
			Version:    1,
		},
		Reported: registry.Section{
			Properties: fmt.Appendf(nil, `{"firmware":"1.4.2","uptime":%d,"battery":87.5}`, version),
			Metadata:   []byte(`{"$lastUpdated":"2026-03-01T12:00:00.0000000Z","firmware":` + stampText + `,"uptime":` + stampText + `,"battery":` + stampText + `}`),
			Version:    version,
		},
	}
}

func fill(tb testing.TB, s registry.Store, n int) {
	tb.Helper()
	const chunk = 500
	for from := 0; from < n; from += chunk {
		var recs []registry.Record
		for i := from; i < min(from+chunk, n); i++ {
			recs = append(recs, record(device(i)))
		}
		if err := s.Create(tb.Context(), recs...); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkPutTwin has 200 devices report, each one change after the other,
// among 10,000 that are registered.
func BenchmarkPutTwin(b *testing.B) {
	const devices, callers = 10_000, 200
	var groups, changes atomic.Int64
	db := openAt(b, filepath.Join(b.TempDir(), "state.db"), sqlite.Options{
		Observe: func(n int, _ time.Duration, _ error) { groups.Add(1); changes.Add(int64(n)) },
	})
	s := db.Registry()
	fill(b, s, devices)
	ctx := context.Background()
	var next, left atomic.Int64
	left.Store(int64(b.N))
	groups.Store(0)
	changes.Store(0)
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, callers)
	for range callers {
		go func() {
			id := device(int(next.Add(1)-1) * (devices / callers))
			version := int64(1)
			for left.Add(-1) >= 0 {
				if err := s.PutTwin(ctx, id, twin(version+1), version); err != nil {
					done <- err
					return
				}
				version++
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "twins/s")
	b.ReportMetric(float64(changes.Load())/float64(max(groups.Load(), 1)), "changes/commit")
}

// BenchmarkPush queues commands for 10,000 devices from 200 callers.
func BenchmarkPush(b *testing.B) {
	const devices, callers = 10_000, 200
	db := open(b)
	fill(b, db.Registry(), devices)
	s := db.Commands()
	ctx := context.Background()
	it := c2d.Item{Message: causeway.Message{ID: "0f0e6c1a", Body: make([]byte, 256), Ack: causeway.AckFull}, Expires: time.Now().Add(time.Hour)}
	var next, left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, callers)
	for range callers {
		go func() {
			for n := int(next.Add(1) - 1); left.Add(-1) >= 0; n += callers {
				id := device(n % devices)
				if _, err := s.Push(ctx, id, it, 1<<30); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

// BenchmarkGet reads records that are not in the registry's cache.
func BenchmarkGet(b *testing.B) {
	const devices = 10_000
	db := open(b)
	s := db.Registry()
	fill(b, s, devices)
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Get(ctx, device(i*7%devices)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutTwinLarge is BenchmarkPutTwin for twins near the limits: 30 kB
// desired with as much metadata, of which a device reports one small change.
func BenchmarkPutTwinLarge(b *testing.B) {
	const callers = 200
	db := open(b)
	s := db.Registry()
	fill(b, s, callers)
	ctx := context.Background()
	large := fmt.Appendf(nil, `{"table":%q}`, strings.Repeat("0123456789", 3000))
	var next, left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, callers)
	for range callers {
		go func() {
			id := device(int(next.Add(1) - 1))
			for v := int64(1); left.Add(-1) >= 0; v++ {
				t := twin(v + 1)
				t.Desired.Properties, t.Desired.Metadata = large, large
				if err := s.PutTwin(ctx, id, t, v); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "twins/s")
}

// BenchmarkOpen opens and closes an empty database, schema and all.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		db, err := sqlite.Open(b.Context(), filepath.Join(dir, fmt.Sprintf("%d.db", i)), sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
