package process_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// A port stays another's until its test has ended, whether a server listens on it
// or not.
func TestFreePort(t *testing.T) {
	had := map[int]bool{}
	for range 50 {
		first := process.FreePorts(t, 2)
		for _, port := range []int{first, first + 1, process.FreePort(t)} {
			if had[port] {
				t.Errorf("port %d is given out twice", port)
			}
			had[port] = true
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The ports are none that the system gives to whoever asks for any.
func TestFreePortIsNotAnybodys(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip(err)
	}
	low, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	if low < 32768 {
		t.Skipf("this system begins at %d", low)
	}
	if port := process.FreePort(t); port >= low {
		t.Errorf("port %d is also given to who asks for any from %d on", port, low)
	}
}
