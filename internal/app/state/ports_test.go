package state_test

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/app/state"
)

func TestPortHolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if got := state.PortHolder(port); !strings.Contains(got, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("holder of our port is %q", got)
	}
	l.Close()
	if got := state.PortHolder(port); got != "" {
		t.Errorf("holder of a free port is %q", got)
	}
}
