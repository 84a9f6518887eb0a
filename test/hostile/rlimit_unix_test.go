//go:build unix

package hostile

import (
	"fmt"
	"syscall"
)

// descriptors reports whether n file descriptors may be open, after trying to
// raise the limit.
func descriptors(n uint64) (ok bool, why string) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return false, fmt.Sprintf("read the limit of open files: %v", err)
	}
	if uint64(l.Cur) >= n {
		return true, ""
	}
	had := l.Cur
	l.Cur = max(l.Max, n)
	l.Max = l.Cur
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return false, fmt.Sprintf("%d open files are needed, %d are allowed, and that cannot be raised: %v", n, had, err)
	}
	return true, ""
}
