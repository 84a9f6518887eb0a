//go:build unix

package dirblob

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isFull reports whether err says that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// syncDir makes the entries of a directory durable.
func syncDir(r *os.Root, dir string) error {
	f, err := r.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// space returns the bytes an unprivileged user may still take, and the size of
// the file system.
func space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		size := int64(st.Bsize) //nolint:unconvert // its type differs between systems
		return int64(st.Bavail) * size, int64(st.Blocks) * size, nil
	}
}
