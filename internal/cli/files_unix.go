//go:build unix

package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// enoughFiles says when the system does not let this process have so many
// connections. The Go runtime has raised the limit as far as it may already.
func enoughFiles(devices int) error {
	const others = 64 // files that are not connections of devices
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return nil //nolint:nilerr // a system without limits
	}
	if want := uint64(devices + others); lim.Cur < want {
		lim.Cur = min(want, lim.Max)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < want {
			return fmt.Errorf("%d connections need %d open files, but this process may have %d: raise the limit with 'ulimit -n %d'", devices, want, lim.Max, want)
		}
	}
	return nil
}
