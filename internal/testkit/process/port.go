package process

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are given out below those that a system picks for whoever asks for any
// (from 32768 on under Linux, from 49152 on elsewhere): neither a connection nor a
// listener of another test comes across one while its server is not there yet, or
// has just been killed.
const (
	firstPort = 20_000
	lastPort  = 32_767
)

// FreePort returns a port of 127.0.0.1 that is free, and that nobody else is given,
// in this process or another, until the test has ended.
func FreePort(t testing.TB) int {
	t.Helper()
	return FreePorts(t, 1)
}

// FreePorts returns the first of n neighbouring ports, each as with [FreePort].
func FreePorts(t testing.TB, n int) int {
	t.Helper()
	size := lastPort - firstPort + 2 - n // of where the first may be
	begin := rand.IntN(size)
	for i := range size {
		port := firstPort + (begin+i)%size
		if reserve(t, port, n) {
			return port
		}
	}
	t.Fatalf("no %d neighbouring ports of %d to %d are free", n, firstPort, lastPort)
	return 0
}

// reserve reports whether n ports are free. They are marked as taken by sockets of
// UDP, which servers of TCP can do without.
func reserve(t testing.TB, port, n int) bool {
	t.Helper()
	if n == 0 {
		return true
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	mark, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp", addr)
	if err != nil || l.Close() != nil || !reserve(t, port+1, n-1) {
		_ = mark.Close()
		return false
	}
	t.Cleanup(func() { _ = mark.Close() })
	return true
}
