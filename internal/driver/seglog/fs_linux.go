package seglog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes the contents of f durable with fdatasync, which leaves out the
// time of modification.
func syncData(f *os.File) error {
	fd := int(f.Fd())
	for {
		err := unix.Fdatasync(fd)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
