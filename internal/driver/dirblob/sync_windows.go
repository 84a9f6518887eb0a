package dirblob

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// isFull reports whether err says that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// syncDir does nothing: NTFS journals its directories.
func syncDir(*os.Root, string) error { return nil }

// space returns the bytes this user may still take, and the size of the file
// system for this user.
func space(dir string) (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var avail, size uint64
	if err := windows.GetDiskFreeSpaceEx(name, &avail, &size, nil); err != nil {
		return 0, 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	return int64(avail), int64(size), nil
}
