package dirblob_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
)

// small mounts a file system of 1 MiB.
func small(t *testing.T) (mount string) {
	t.Helper()
	mount = t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("CI") == "1" {
			t.Fatalf("mount a tmpfs: %v; CI must run this test as root", err)
		}
		t.Skipf("mounting a tmpfs is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return mount
}

// TestReserveOfSmallDisk: what is left free by default is a part of a small file
// system, not more than there is.
func TestReserveOfSmallDisk(t *testing.T) {
	mount := small(t)
	w := newWorld(t, filepath.Join(mount, "blobs"), dirblob.Options{})
	w.put("x", "old", blob.Options{})
	w.put("log", "old", blob.Options{Kind: blob.Append})
	if err := os.WriteFile(filepath.Join(mount, "ballast"), make([]byte, 920_000), 0o600); err != nil {
		t.Fatal(err)
	}
	full(t, w)
	w.holds("x", "old")
	w.holds("log", "old")
}

// TestFullTmpfs fills a real file system.
func TestFullTmpfs(t *testing.T) {
	mount := small(t)
	w := newWorld(t, filepath.Join(mount, "blobs"), dirblob.Options{ReserveBytes: -1})
	w.put("x", "old", blob.Options{})
	w.put("log", "old", blob.Options{Kind: blob.Append})
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700_000), 0o600); err != nil {
		t.Fatal(err)
	}
	full(t, w)
	w.holds("x", "old")
	w.holds("log", "old")
	if f := w.files("tmp"); len(f) != 0 {
		t.Errorf("files in tmp: %v", f)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.put("x", "new", blob.Options{})
	if _, err := w.Append(t.Context(), "log", []byte("new"), 3, nil); err != nil {
		t.Errorf("Append: %v", err)
	}
	w.holds("x", "new")
	w.holds("log", "oldnew")
}
