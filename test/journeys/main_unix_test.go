//go:build unix

package journeys

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the runtime remember which goroutine started which, so that a
// stack tells the whole descent. It reads that setting only when a process
// starts, so this one starts again.
func TestMain(m *testing.M) {
	if v := os.Getenv("GODEBUG"); !strings.Contains(v, ancestry) {
		exe, err := os.Executable()
		if err == nil {
			env := append(os.Environ(), "GODEBUG="+strings.TrimPrefix(v+","+ancestry, ","))
			err = syscall.Exec(exe, os.Args, env)
		}
		fmt.Fprintln(os.Stderr, "start again with ancestors:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
