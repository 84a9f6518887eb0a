package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/causeway-iot/causeway/internal/core/durable"
)

// WriteFile writes a file so that a reader sees the old content or the whole
// new one, never a part, and so that a crash afterwards does not lose it.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	// Whoever waited for the file may have taken it, and the directory, away.
	if err := durable.SyncDir(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MakeDir creates a directory, and those above it, that only its owner may enter,
// so that a loss of power does not take it away with all that is put there.
func MakeDir(path string) error { return durable.MakeDir(path) }

// ReadFile reads a file that the program's configuration names, at most max bytes
// of it.
func ReadFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, max)
	}
	return b, nil
}

// Exists reports whether there is something at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Remove removes a file, durably. It is no error if there is none.
func Remove(path string) error {
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// ReadSecret reads a small file that nobody but its owner may read; it refuses
// one that others can.
func ReadSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if exposed(info.Mode()) {
		return "", fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if info.Size() > 64<<10 {
		return "", fmt.Errorf("%s is too large for a secret (%d bytes)", path, info.Size())
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// Lock is exclusive use of a directory.
type Lock struct{ f *os.File }

// LockedError says that another process uses the directory.
type LockedError struct {
	Dir    string
	Holder string // process id, as the holder wrote it; may be empty
}

func (e *LockedError) Error() string {
	who := "another causeway"
	if e.Holder != "" {
		who += " (process " + e.Holder + ")"
	}
	return fmt.Sprintf("the data directory %s is in use by %s: stop it, or choose another directory with --data", e.Dir, who)
}

var errLocked = errors.New("the file is locked by another process")

// LockDir takes the exclusive lock of a directory without waiting. The lock
// ends with the process, however it ends.
func LockDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		b := make([]byte, 16)
		n, _ := f.ReadAt(b, 0) // the holder's id is a courtesy; without it the message is shorter
		return nil, &LockedError{Dir: dir, Holder: strings.TrimSpace(string(b[:n]))}
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// Unlock gives the directory free.
func (l *Lock) Unlock() error { return l.f.Close() }
