package sqlite_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childDatabase); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

func TestRegistryContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) registry.Store { return open(t).Registry() })
}

func TestRegistryDurable(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T) (registry.Store, func(*testing.T) registry.Store) {
		path := filepath.Join(t.TempDir(), "state.db")
		db := openAt(t, path, sqlite.Options{})
		return db.Registry(), func(t *testing.T) registry.Store { return openAt(t, crash(t, path), sqlite.Options{}).Registry() }
	})
}

// crash returns a copy of a database as the disk would hold it after the
// program was killed: the file and its write-ahead log, without the index that
// lives in memory.
func crash(t *testing.T, path string) string {
	t.Helper()
	file := func(suffix string) []byte {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// Both are of one moment only if neither was begun anew meanwhile: a
	// checkpoint writes to the first, and after it the log starts from its head.
	data, wal := file(""), file("-wal")
	for !bytes.Equal(data, file("")) || !bytes.HasPrefix(file("-wal"), wal) {
		data, wal = file(""), file("-wal")
	}
	copied := filepath.Join(t.TempDir(), "crashed.db")
	for suffix, b := range map[string][]byte{"": data, "-wal": wal} {
		if err := os.WriteFile(copied+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

func TestCommandsContract(t *testing.T) {
	c2dtest.Run(t, func(t *testing.T, ids ...causeway.Identity) c2dtest.Fixture {
		path := filepath.Join(t.TempDir(), "state.db")
		db := openAt(t, path, sqlite.Options{})
		var recs []registry.Record
		fresh := map[causeway.Identity]bool{}
		for _, id := range ids {
			for _, id := range []causeway.Identity{id.Parent(), id} {
				if !fresh[id] {
					fresh[id] = true
					recs = append(recs, record(id))
				}
			}
		}
		if err := db.Registry().Create(t.Context(), recs...); err != nil {
			t.Fatal(err)
		}
		return c2dtest.Fixture{Store: db.Commands(), Delete: func(id causeway.Identity) {
			if err := db.Registry().Delete(t.Context(), id, "*"); err != nil {
				t.Fatal(err)
			}
		}, Feedback: func(hub string) []c2d.Feedback { return feedbackOf(t, path, hub) }}
	})
}

func TestDirectoryContract(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directory.Store { return open(t).Directory() })
}

// TestGroups checks that changes that fail do not touch those committed with
// them: many callers race for few versions, and exactly one wins each.
func TestGroups(t *testing.T) {
	var mu sync.Mutex
	largest := 0
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{Observe: func(n int, _ time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, n)
	}})
	const devices, rounds, callers = 10, 8, 6
	s := db.Registry()
	fill(t, s, devices)
	var wg sync.WaitGroup
	var won sync.Map
	for d := range devices {
		for caller := range callers {
			wg.Go(func() {
				for v := int64(1); v <= rounds; v++ {
					tw := twin(v + 1)
					tw.Tags = fmt.Appendf(nil, `{"caller":%d}`, caller)
					err := s.PutTwin(t.Context(), device(d), tw, v)
					switch causeway.CodeOf(err) {
					case 0:
						if by, dup := won.LoadOrStore([2]int64{int64(d), v}, caller); dup {
							t.Errorf("device %d: version %d was replaced by caller %d and %v", d, v, caller, by)
						}
					case causeway.PreconditionFailed:
					default:
						t.Errorf("PutTwin: %v", err)
					}
					// A change of several statements that fails at its second.
					err = s.Create(t.Context(), record(causeway.Identity{Hub: "plant", Device: fmt.Sprintf("new-%d-%d-%d", d, caller, v)}), record(device(d)))
					if causeway.CodeOf(err) != causeway.DeviceAlreadyExists {
						t.Errorf("Create: %v", err)
					}
				}
			})
		}
	}
	wg.Wait()
	for d := range devices {
		// Only a version that somebody reached can have been replaced.
		last := int64(1)
		var by any
		for ; ; last++ {
			v, ok := won.Load([2]int64{int64(d), last})
			if !ok {
				break
			}
			by = v
		}
		rec, err := s.Get(t.Context(), device(d))
		if err != nil || rec.Twin.Version != last {
			t.Errorf("device %d is at version %d (%v), want %d", d, rec.Twin.Version, err, last)
		}
		if want := fmt.Sprintf(`{"caller":%v}`, by); last > 1 && string(rec.Twin.Tags) != want {
			t.Errorf("device %d: tags %s, want %s", d, rec.Twin.Tags, want)
		}
	}
	if n, err := s.Count(t.Context(), "plant"); err != nil || n.Total != devices {
		t.Errorf("Count: %+v, %v; want %d: a failed Create left something behind", n, err, devices)
	}
	mu.Lock()
	defer mu.Unlock()
	if largest < 2 {
		t.Errorf("the largest group has %d changes: nothing was grouped", largest)
	}
}
