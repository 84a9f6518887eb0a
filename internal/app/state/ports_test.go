package state_test

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/testkit/process"
)

func TestPortHolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	port := process.FreePort(t)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	if got := state.PortHolder(port); !strings.Contains(got, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("holder of our port is %q", got)
	}
	l.Close()
	if got := state.PortHolder(port); got != "" {
		t.Errorf("holder of a free port is %q", got)
	}
}
