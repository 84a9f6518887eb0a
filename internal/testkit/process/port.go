package process

import (
	"net"
	"sync"
	"testing"
)

// ports are those that were given out. One whose server was just killed is free,
// and still not another's.
var ports struct {
	sync.Mutex
	taken map[int]bool
}

// FreePort returns a port of 127.0.0.1 that is free now, and that it has not
// returned before.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !ports.taken[port] {
			if ports.taken == nil {
				ports.taken = map[int]bool{}
			}
			ports.taken[port] = true
			return port
		}
	}
}
