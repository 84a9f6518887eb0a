//go:build interop

package interop

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// sideBySide runs each suite with a server of its own, in a process and a network
// namespace that the command unshare makes: none sees what another leaves behind,
// or waits for it. What a suite says is shown once it has ended.
func sideBySide(t *testing.T, unshare []string) {
	queue := make(chan suite, len(suites))
	for _, s := range suites {
		queue <- s
	}
	close(queue)
	var wg sync.WaitGroup
	var said sync.Mutex
	// The SDKs have little patience: a suite gets two processors.
	for range min(max(1, runtime.NumCPU()/2), len(suites)) {
		wg.Go(func() {
			for s := range queue {
				t.Run(s.name, func(t *testing.T) {
					out, err := apart(t, unshare, s.name)
					said.Lock()
					defer said.Unlock()
					_, _ = os.Stdout.Write(out)
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
	wg.Wait()
}

// apart runs this program again for one suite.
func apart(t *testing.T, unshare []string, name string) ([]byte, error) {
	args := append(append(unshare[1:len(unshare):len(unshare)], os.Args...), "-test.run=^TestSDKs$/^"+name+"$")
	cmd := exec.CommandContext(t.Context(), unshare[0], args...)
	cmd.Env = append(os.Environ(), "INTEROP_UNSHARE=", "INTEROP_NAMESPACE=1", "INTEROP_ONLY="+name)
	if log := os.Getenv("INTEROP_LOG"); log != "" {
		cmd.Env = append(cmd.Env, "INTEROP_LOG="+log+"."+name)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}
