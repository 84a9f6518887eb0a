//go:build unix

package amqp

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket reads from a socket that has no TLS, and looks at it, without waiting.
// It is for the reader only, and allocates nothing per read.
type socket struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool
	p    []byte
	n    int
	err  error
}

// newSocket returns nil when nc is no plain socket.
func newSocket(nc net.Conn) *socket {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	conn, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{conn: conn}
	s.try = func(fd uintptr) bool {
		s.n, s.err = readSocket(int(fd), s.p)
		return true // whatever came: do not wait for more
	}
	return s
}

// readNow reads what has arrived; 0 without an error means nothing has.
func (s *socket) readNow(p []byte) (int, error) {
	s.p, s.n, s.err = p, 0, nil
	err := s.conn.Read(s.try)
	s.p = nil
	if err == nil {
		err = s.err
	}
	return s.n, err
}

// wait waits until something has arrived, or the connection ended, and reads
// nothing.
func (s *socket) wait() error { return s.conn.Read(readable) }

func readSocket(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
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
