package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

const (
	// childDatabase makes the test binary the writing child of TestKill.
	childDatabase = "CAUSEWAY_SQLITE_TEST_CHILD"
	childDevices  = 20
)

// child writes twins until it is killed and reports each acknowledged version
// on its output as "device version".
func child(path string) int {
	db, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for d := range childDevices {
		wg.Go(func() {
			for {
				rec, err := db.Registry().Get(context.Background(), device(d))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				v := rec.Twin.Version
				if err := db.Registry().PutTwin(context.Background(), device(d), twin(v+1), v); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				mu.Lock()
				// One write per line: a line is whole or not there.
				_, _ = os.Stdout.WriteString(fmt.Sprintf("%d %d\n", d, v+1))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 1
}

// TestKill kills a writing process again and again: what it acknowledged must
// be there, and what is there must be whole.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db.Registry(), childDevices)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]int64{}
	for round := range 4 {
		lines := 150 + 200*round
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDatabase+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for sc := bufio.NewScanner(out); sc.Scan(); seen++ {
			d, v, ok := strings.Cut(sc.Text(), " ")
			n, err1 := strconv.Atoi(d)
			version, err2 := strconv.ParseInt(v, 10, 64)
			if !ok || err1 != nil || err2 != nil {
				t.Fatalf("child wrote %q", sc.Text())
			}
			acknowledged[n] = max(acknowledged[n], version)
			if seen == lines {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || seen < lines {
			t.Fatalf("child ended by itself after %d lines: %v", seen, err)
		}
		check := openAt(t, path, sqlite.Options{})
		for d := range childDevices {
			rec, err := check.Registry().Get(t.Context(), device(d))
			if err != nil {
				t.Fatal(err)
			}
			if rec.Twin.Version < acknowledged[d] {
				t.Errorf("round %d: device %d is at version %d, %d was acknowledged", round, d, rec.Twin.Version, acknowledged[d])
			}
			if rec.Twin.Version > 1 && string(rec.Twin.Reported.Properties) != string(twin(rec.Twin.Version).Reported.Properties) {
				t.Errorf("round %d: device %d: twin is torn: %s", round, d, rec.Twin.Reported.Properties)
			}
		}
		if err := check.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull fills a small file system under a database that is written to.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("mount a small file system: %v", err)
		}
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "state.db")
	db := openAt(t, path, sqlite.Options{})
	s := db.Registry()
	const devices = 40
	fill(t, s, devices)
	versions := make([]int64, devices)
	for i := range versions {
		versions[i] = 1
	}
	put := func(d int) error {
		tw := twin(versions[d] + 1)
		tw.Tags = []byte(`{"pad":"` + strings.Repeat("p", 8<<10) + `"}`)
		err := s.PutTwin(t.Context(), device(d), tw, versions[d])
		if err == nil {
			versions[d]++
		}
		return err
	}
	check := func(when string) {
		t.Helper()
		for d, want := range versions {
			rec, err := s.Get(t.Context(), device(d))
			if err != nil {
				t.Fatalf("%s: reading: %v", when, err)
			}
			if rec.Twin.Version != want {
				t.Errorf("%s: device %d is at version %d, %d was acknowledged", when, d, rec.Twin.Version, want)
			}
		}
	}

	ballast := filepath.Join(dir, "ballast")
	for round := range 3 {
		if err := fillDisk(ballast); err != nil {
			t.Fatal(err)
		}
		var refused error
		for i := 0; i < 2000 && refused == nil; i++ {
			refused = put(i % devices)
		}
		if refused == nil {
			t.Fatalf("round %d: the disk is full and every change was accepted", round)
		}
		if causeway.CodeOf(refused) != causeway.ServiceUnavailable {
			t.Errorf("round %d: code %v: %v", round, causeway.CodeOf(refused), refused)
		}
		if m := causeway.MessageOf(refused); !strings.Contains(m, "space") || strings.Contains(m, dir) {
			t.Errorf("round %d: message %q", round, m)
		}
		for d := range devices { // it goes on refusing, and answering
			if err := put(d); err != nil && causeway.CodeOf(err) != causeway.ServiceUnavailable {
				t.Errorf("round %d: %v", round, err)
			}
		}
		check("full")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		for d := range devices {
			if err := put(d); err != nil {
				t.Fatalf("round %d: space is back and a change is refused: %v", round, err)
			}
		}
		check("recovered")
	}
	// A crash right after being full loses nothing either.
	after := openAt(t, crash(t, path), sqlite.Options{})
	for d, want := range versions {
		rec, err := after.Registry().Get(t.Context(), device(d))
		if err != nil || rec.Twin.Version != want {
			t.Errorf("after a crash: device %d is at version %d (%v), want %d", d, rec.Twin.Version, err, want)
		}
	}
}

// fillDisk writes a file until there is no space left.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(err, f.Close())
		}
		err = nil
	}
	return f.Close()
}
