// Package durable makes and takes away directories so that neither a crash nor a
// loss of power leaves half of it: what is in a directory outlasts only with the
// directory's own name, and a directory goes file by file.
//
// It knows names and their order on stable storage, and nothing of what is in
// the directories.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// gonePrefix begins the names of directories that are being taken away.
const gonePrefix = ".gone-"

// MakeDir makes a directory, and those above it that are missing, which only
// their owner may enter. It returns once their names are on stable storage; those
// of one that was there too, since whoever made it may not have lived to see that.
func MakeDir(path string) error { return makeDir(path, SyncDir) }

func makeDir(path string, syncDir func(string) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	above := []string{filepath.Dir(path)} // directories that name one of them, the innermost first
	for d := path; ; d = filepath.Dir(d) {
		_, err := os.Stat(d)
		if err == nil || d == filepath.Dir(d) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d != path {
			above = append(above, filepath.Dir(d))
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, d := range above {
		// Who may make something in a directory without reading it cannot sync it.
		if err := syncDir(d); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("sync directory %s: %w", d, err)
		}
	}
	return nil
}

// Discard takes away a directory with all that is in it. From the first moment on
// nothing is left under its name, however it ends; what is left elsewhere is the
// business of Sweep. It is no error if there is none.
func Discard(path string) error {
	parent := filepath.Dir(path)
	gone := filepath.Join(parent, gonePrefix+rand.Text())
	if err := os.Rename(path, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := SyncDir(parent); err != nil {
		return fmt.Errorf("sync directory %s: %w", parent, err)
	}
	return os.RemoveAll(gone)
}

// Sweep removes from a directory what a Discard that did not come to its end has
// left, and returns the names of the directories in it. It is no error if it
// does not exist.
func Sweep(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), gonePrefix):
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		case e.IsDir():
			names = append(names, e.Name())
		}
	}
	return names, nil
}
