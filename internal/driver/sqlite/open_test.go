package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestGivingUp(t *testing.T) {
	db := open(t)
	fill(t, db.Registry(), 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Registry().PutTwin(ctx, device(0), twin(2), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("PutTwin: %v", err)
	}
	if _, err := db.Registry().Get(ctx, device(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
}

func TestClosed(t *testing.T) {
	db := open(t)
	fill(t, db.Registry(), 1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 { // callers in every state of a call
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, err := range []error{
					db.Registry().Touch(t.Context(), registry.Activity{ID: device(0), Connected: true}),
					func() error { _, err := db.Registry().Get(t.Context(), device(0)); return err }(),
				} {
					if err != nil && causeway.CodeOf(err) != causeway.ServiceUnavailable {
						t.Errorf("error while closing: %v", err)
					}
				}
			}
		})
	}
	for range 2 {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	err := db.Registry().Touch(t.Context(), registry.Activity{ID: device(0)})
	if causeway.CodeOf(err) != causeway.ServiceUnavailable || !strings.Contains(causeway.MessageOf(err), "shutting down") {
		t.Errorf("after Close: %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `odd name ?#%20&`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state.db")
	db := openAt(t, path, sqlite.Options{})
	fill(t, db.Registry(), 1)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if mode := fi.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %v, want 0600", fi.Name(), mode)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("after Close: %v, %v; want only the database", names, err)
	}
}

func TestRefusals(t *testing.T) {
	alter := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			raw, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if _, err := raw.ExecContext(t.Context(), statements); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := func(then func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err == nil {
				err = db.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			then(t, path)
		}
	}
	for _, tc := range []struct {
		name, want string
		prepare    func(t *testing.T, path string)
	}{
		{"newer schema", "newer release", ours(alter("PRAGMA user_version=9999"))},
		{"another program's database", "another program", alter("CREATE TABLE mine (x)")},
		{"another program's mark", "another program", ours(alter("PRAGMA application_id=7"))},
		{"not a database", "not a database", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("hello ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a directory", "open database", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"no directory", "create database", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			tc.prepare(t, path)
			db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err == nil {
				t.Fatal(db.Close(), "opened")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not say %q and where", err, tc.want)
			}
		})
	}
}

// TestLogStaysBounded writes many times the size of the write-ahead log, with
// readers at work, and watches the log's size.
func TestLogStaysBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes some 100 MB")
	}
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	s := db.Registry()
	const devices, rounds = 40, 20
	fill(t, s, devices)
	big := []byte(`{"k":"` + strings.Repeat("x", 80<<10) + `"}`)
	var wg sync.WaitGroup
	for d := range devices {
		wg.Go(func() {
			for v := int64(1); v <= rounds; v++ {
				tw := twin(v + 1)
				tw.Reported.Properties = big
				if err := s.PutTwin(t.Context(), device(d), tw, v); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Get(t.Context(), device(d)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	fi, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if written := int64(devices * rounds * len(big)); fi.Size() > 48<<20 {
		t.Errorf("after writing %d MB the log has %d MB", written>>20, fi.Size()>>20)
	}
}

// TestSharedDirectory checks that two databases of one process do not meet.
func TestSharedDirectory(t *testing.T) {
	dir := t.TempDir()
	a := openAt(t, filepath.Join(dir, "a.db"), sqlite.Options{Readers: 1})
	b := openAt(t, filepath.Join(dir, "b.db"), sqlite.Options{Readers: 1})
	fill(t, a.Registry(), 3)
	for db, want := range map[*sqlite.DB]int{a: 3, b: 0} {
		if n, err := db.Registry().Count(t.Context(), "plant"); err != nil || n.Total != want {
			t.Errorf("Count: %+v, %v; want %d", n, err, want)
		}
	}
}
