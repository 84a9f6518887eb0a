package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// attackEnv makes the test binary an attacker: ADDRESS COUNT. The attacker is a
// process of its own, so that both ends of very many connections do not count
// against one limit of file descriptors.
const attackEnv = "CAUSEWAY_HOSTILE_ATTACK"

// halfOpen is how many connections are opened and left at the beginning.
const halfOpen = 10_000

// attack opens connections that stay half-open until standard input ends: every
// other one has sent the beginning of a TLS handshake.
func attack() int {
	addr, count, _ := strings.Cut(os.Getenv(attackEnv), " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	next := make(chan int)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range next {
				c, err := net.DialTimeout("tcp", addr, patience)
				if err == nil && i%2 == 1 {
					_, err = io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00")
				}
				if err != nil {
					select {
					case failed <- fmt.Errorf("connection %d: %w", i, err):
					default:
					}
				}
				held.Store(i, c) // not collected, so not closed
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	select {
	case err := <-failed:
		fmt.Println(err)
		return 1
	default:
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

var held sync.Map

// besiege starts an attacker and returns when all its connections are open.
// The siege ends with lift.
func (w *world) besiege(addr string, n int) (lift func()) {
	t := w.t
	t.Helper()
	if ok, why := descriptors(uint64(n) + 1000); !ok {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", attackEnv, addr, n))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(out).ReadString('\n')
	lift = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(lift)
	if said != "open\n" {
		t.Fatalf("the attacker failed: %s", said)
	}
	return lift
}

// TestHalfOpenMQTT leaves ten thousand connections to the MQTT port half-open.
// That each is cut after causeway.ConnectDeadline is shown, in a time of its
// own, by TestConnectDeadline and TestManyHalfOpen of internal/head/mqtt.
func TestHalfOpenMQTT(t *testing.T) {
	w := newWorld(t)
	w.holdsHalfOpen(w.mqtt)
}

// TestHalfOpenAMQP does the same to the AMQP port; that each is cut is shown by
// TestConnectDeadline and TestHandshakeDeadline of internal/head/amqp.
func TestHalfOpenAMQP(t *testing.T) {
	w := newWorld(t)
	w.holdsHalfOpen(w.amqp)
}

// holdsHalfOpen besieges a port that waits long for those that get nowhere.
func (w *world) holdsHalfOpen(addr string) {
	t := w.t
	t.Helper()
	lift := w.besiege(addr, halfOpen)
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() < w.goroutines+halfOpen {
		if time.Now().After(deadline) {
			t.Fatalf("the cloud holds %d connections, not %d", runtime.NumGoroutine()-w.goroutines, halfOpen)
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	each := (m.HeapAlloc + m.StackInuse - w.memory) / halfOpen
	t.Logf("%d bytes for each half-open connection", each)
	if each > 32<<10 {
		t.Errorf("a half-open connection takes %d bytes", each)
	}
	t.Logf("the bystander was served in %v", w.bystander())
	lift()
	w.unharmed(16 << 20)
}
