package dirblob_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
)

// world is a store with a container, in a directory that tests look into.
type world struct {
	*testing.T
	dir   string
	store *dirblob.Store
	blob.Bucket
}

func newWorld(t *testing.T, dir string, o dirblob.Options) *world {
	t.Helper()
	s := open(t, dir, o)
	if err := s.Create(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	return &world{T: t, dir: dir, store: s, Bucket: s.Container("first")}
}

func (w *world) put(name, content string, o blob.Options) {
	w.Helper()
	if _, err := w.Put(w.Context(), name, strings.NewReader(content), o); err != nil {
		w.Fatalf("Put(%q): %v", name, err)
	}
}

func (w *world) holds(name, want string) {
	w.Helper()
	r, _, err := w.Get(w.Context(), name, 0, -1)
	if err != nil {
		w.Fatalf("Get(%q): %v", name, err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(b) != want {
		w.Fatalf("%q holds %q, %v; want %q", name, b, err, want)
	}
}

// files lists the files below a directory of the container.
func (w *world) files(sub string) (all []string) {
	w.Helper()
	root := filepath.Join(w.dir, "first", sub)
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			p, _ = filepath.Rel(root, p)
			all = append(all, filepath.ToSlash(p))
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// reopen opens the directory again, as after a crash.
func (w *world) reopen() *world {
	w.Helper()
	s := open(w.T, w.dir, dirblob.Options{})
	return &world{T: w.T, dir: w.dir, store: s, Bucket: s.Container("first")}
}

// TestLeftovers opens a store that a crash has left in the middle of everything.
func TestLeftovers(t *testing.T) {
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	w.put("x", "kept", blob.Options{})
	w.put("log", "one", blob.Options{Kind: blob.Append})
	w.put("gone", "two", blob.Options{Kind: blob.Append})
	bytesOf := w.files("appends")
	if len(bytesOf) != 2 {
		t.Fatalf("files in appends: %v", bytesOf)
	}
	for _, f := range []string{"first/tmp/half", "first/appends/short", ".new-1/tree/x", ".gone-2/tree/y%b"} {
		p := filepath.Join(w.dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte{0}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The attributes went, the bytes did not.
	if err := os.Remove(filepath.Join(w.dir, "first/tree/gone%b")); err != nil {
		t.Fatal(err)
	}
	// An append that did not come to its end.
	for _, f := range bytesOf {
		p := filepath.Join(w.dir, "first/appends", f)
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, append(b, "torn append"...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w = w.reopen()
	w.holds("x", "kept")
	w.holds("log", "one")
	if _, err := w.Append(t.Context(), "log", []byte("2"), 3, nil); err != nil {
		t.Fatal(err)
	}
	w.holds("log", "one2")
	if f := w.files("appends"); len(f) != 1 {
		t.Errorf("files in appends: %v", f)
	}
	if f := w.files("tmp"); len(f) != 0 {
		t.Errorf("files in tmp: %v", f)
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}

// TestTidy checks that nothing stays behind in the course of ordinary work.
func TestTidy(t *testing.T) {
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	ctx := t.Context()
	for range 2 {
		w.put("a/b/c", "x", blob.Options{})
		w.put("log", "x", blob.Options{Kind: blob.Append})
		if _, err := w.Append(ctx, "log", []byte("y"), -1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Put(ctx, "x", iotest.ErrReader(io.ErrUnexpectedEOF), blob.Options{}); err == nil {
		t.Error("a reader that fails was stored")
	}
	if _, err := w.Put(ctx, "log", strings.NewReader("x"), blob.Options{Kind: blob.Append, Check: blob.Absent}); err == nil {
		t.Error("an append blob was replaced")
	}
	if f := w.files("appends"); len(f) != 1 {
		t.Errorf("files in appends: %v", f)
	}
	for _, n := range []string{"a/b/c", "log"} {
		if err := w.Delete(ctx, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"tree", "tmp", "staged", "appends"} {
		entries, err := os.ReadDir(filepath.Join(w.dir, "first", d))
		if err != nil || len(entries) != 0 {
			t.Errorf("%s holds %v, %v", d, entries, err)
		}
	}
}

// TestSweep forgets blocks that nobody commits.
func TestSweep(t *testing.T) {
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	ctx := t.Context()
	for _, n := range []string{"old", "new"} {
		if err := w.Stage(ctx, n, "AAAA", strings.NewReader("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, "first/staged"))
	if err != nil || len(entries) != 2 {
		t.Fatalf("staged: %v, %v", entries, err)
	}
	long := time.Now().Add(-blob.StagedFor - time.Hour)
	if err := os.Chtimes(filepath.Join(w.dir, "first/staged", entries[0].Name()), long, long); err != nil {
		t.Fatal(err)
	}
	ctx2, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- w.store.Run(ctx2) }()
	for {
		if entries, err = os.ReadDir(filepath.Join(w.dir, "first/staged")); err != nil || len(entries) == 1 {
			break
		}
		if t.Context().Err() != nil {
			break
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if len(entries) != 1 {
		t.Errorf("staged after the sweep: %v, %v", entries, err)
	}
}

// TestDamage reads files that are not what was written.
func TestDamage(t *testing.T) {
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	w.put("x", "content", blob.Options{})
	p := filepath.Join(w.dir, "first/tree/x%b")
	good, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":            {},
		"cut":              good[:len(good)-5],
		"bytes missing":    good[3:],
		"bytes added":      append([]byte("more"), good...),
		"attributes":       append(append([]byte{}, good[:20]...), append([]byte{good[20] ^ 1}, good[21:]...)...),
		"length of a lie":  append(append([]byte{}, good[:len(good)-8]...), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
		"zeros":            make([]byte, len(good)),
		"footer of blocks": append(append([]byte{}, good[:len(good)-12]...), append([]byte{0, 0, 0, 3}, good[len(good)-8:]...)...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(p, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Head(t.Context(), "x"); err == nil || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("Head: %v", err)
			}
		})
	}
	// Whoever has the content again may write it over.
	if err := os.WriteFile(p, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.holds("x", "content")
}

// TestNoEscape follows no link out of the store.
func TestNoEscape(t *testing.T) {
	outside := t.TempDir()
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	if err := os.Symlink(outside, filepath.Join(w.dir, "first/tree/out")); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if err := os.Symlink(outside, filepath.Join(w.dir, "linked")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Put(t.Context(), "out/x", strings.NewReader("x"), blob.Options{}); err == nil {
		t.Error("Put followed a link")
	}
	if _, err := w.store.Container("linked").Put(t.Context(), "x", strings.NewReader("x"), blob.Options{}); err == nil {
		t.Error("Put followed the link of a container")
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 0 {
		t.Errorf("outside is %v, %v", entries, err)
	}
}
