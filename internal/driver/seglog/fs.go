package seglog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/causeway-iot/causeway/internal/core/durable"
)

// fsys is the directory of a log as the log uses it. The tests put a directory
// in its place that fails, or forgets what was not synced.
type fsys interface {
	// Open opens a file for reading and writing. With create it must not exist.
	Open(name string, create bool) (file, error)
	Remove(name string) error
	Rename(from, to string) error
	List() ([]string, error)
	// SyncDir makes creations, removals and renames durable.
	SyncDir() error
	// Free returns the bytes that may still be written and the size of the
	// file system; zero sizes when that is not known.
	Free() (free, total int64, err error)
	// Lock keeps other processes out until the result is closed.
	Lock() (io.Closer, error)
}

// file is an open file of a log.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the contents durable, and of the metadata what is needed to
	// read them again.
	Sync() error
	Size() (int64, error)
}

// errLocked says that another process has the log open.
var errLocked = errors.New("another process has the log open")

// osDir is a directory of the operating system.
type osDir string

// openDir makes the directory, durably, if it does not exist.
func openDir(dir string) (osDir, error) {
	if err := durable.MakeDir(dir); err != nil {
		return "", fmt.Errorf("make the directory of the log: %w", err)
	}
	return osDir(dir), nil
}

func (d osDir) path(name string) string { return filepath.Join(string(d), name) }

func (d osDir) Open(name string, create bool) (file, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Remove(name string) error     { return os.Remove(d.path(name)) }
func (d osDir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osDir) Lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path("LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return syncData(f.File) }
