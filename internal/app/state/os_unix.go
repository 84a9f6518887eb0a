//go:build unix

package state

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes f for this process; errLocked says that another one has it.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// exposed reports whether others than the owner may use a file of that mode.
func exposed(mode fs.FileMode) bool { return mode.Perm()&0o077 != 0 }
