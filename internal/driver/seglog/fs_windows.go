package seglog

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

// SyncDir does nothing: NTFS journals its directories.
func (d osDir) SyncDir() error { return nil }

// Free asks the volume, for what this user may take.
func (d osDir) Free() (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(string(d))
	if err != nil {
		return 0, 0, err
	}
	var avail, all, unused uint64
	if err := windows.GetDiskFreeSpaceEx(name, &avail, &all, &unused); err != nil {
		return 0, 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: string(d), Err: err}
	}
	return int64(avail), int64(all), nil
}

// lockFile takes the first byte of f for this process.
func lockFile(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}
