package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Every directory that was made is named durably by the one above it.
func TestMakeDir(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct{ make, want []string }{
		{[]string{"a", "b", "c"}, []string{"a/b", "a", "."}},
		{[]string{"a", "b", "c"}, []string{"a/b"}}, // there already: by whom is not known
		{[]string{"a", "b", "d"}, []string{"a/b"}},
		{[]string{"x"}, []string{"."}},
	} {
		var synced []string
		path := filepath.Join(append([]string{root}, c.make...)...)
		err := makeDir(path, func(d string) error {
			rel, err := filepath.Rel(root, d)
			synced = append(synced, filepath.ToSlash(rel))
			if _, statErr := os.Stat(path); statErr != nil {
				t.Errorf("%s is synced before it names anything", rel)
			}
			return err
		})
		if err != nil || !slices.Equal(synced, c.want) {
			t.Errorf("making %v synced %v, want %v: %v", c.make, synced, c.want, err)
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%v: %v, %v", c.make, info, err)
		}
	}
	if err := makeDir(filepath.Join(root, "y"), func(string) error { return fs.ErrPermission }); err != nil {
		t.Errorf("below a directory that may not be read: %v", err)
	}
	broken := errors.New("input/output error")
	if err := makeDir(filepath.Join(root, "z"), func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("on a broken disk: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(filepath.Join(root, "file", "x")); err == nil {
		t.Error("a directory was made in a file")
	}
}

func TestDiscardAndSweep(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"plant/log", "plant/blobs", "other"} {
		if err := MakeDir(filepath.Join(root, d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "plant", "log", "1.seg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Discard(filepath.Join(root, "plant")); err != nil {
		t.Fatal(err)
	}
	if err := Discard(filepath.Join(root, "plant")); err != nil {
		t.Errorf("a second time: %v", err)
	}
	// One that died before it was through.
	if err := os.MkdirAll(filepath.Join(root, gonePrefix+"X", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := Sweep(root)
	if err != nil || !slices.Equal(names, []string{"other"}) {
		t.Errorf("Sweep = %v, %v", names, err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if names, err := Sweep(filepath.Join(root, "nowhere")); err != nil || names != nil {
		t.Errorf("Sweep of nothing = %v, %v", names, err)
	}
}
