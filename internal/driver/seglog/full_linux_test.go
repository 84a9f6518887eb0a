package seglog_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// TestFullTmpfs fills a real file system.
func TestFullTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("mount a tmpfs: %v; CI must run this test as root", err)
		}
		t.Skipf("mounting a tmpfs is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	o := small(t)
	o.ReserveBytes = 0
	fsys, err := seglog.OpenDir(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	// Something else fills part of the disk, and goes away later.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 300_000), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, fsys, o)
	w.mustOpen()
	full(t, w, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})

	// Now with nothing left at all: others take the reserve as well.
	w.mustOpen()
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := bytes.Repeat([]byte{1}, 4096); ; {
		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	full(t, w, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
}
