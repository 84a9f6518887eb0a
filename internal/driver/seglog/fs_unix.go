//go:build unix

package seglog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isFull reports whether err says that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// SyncDir makes the directory's entries durable.
func (d osDir) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Free asks the file system, for what an unprivileged user may take.
func (d osDir) Free() (free, total int64, err error) {
	var st unix.Statfs_t
	for {
		err = unix.Statfs(string(d), &st)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: string(d), Err: err}
	}
	size := int64(st.Bsize) //nolint:unconvert // its type differs between systems
	return int64(st.Bavail) * size, int64(st.Blocks) * size, nil
}

// lockFile takes the whole of f for this process.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
