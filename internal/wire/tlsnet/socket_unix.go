//go:build unix

package tlsnet

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// readSocket reads from a socket that does not block. Nothing there is 0 and
// no error, the end of the stream io.EOF.
func readSocket(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// readable reports whether a read would not wait: there is data, or an end.
func readable(fd uintptr) bool {
	poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}
