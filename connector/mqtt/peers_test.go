package mqtt_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// mosquitto starts a broker of its own and returns its port.
func mosquitto(t *testing.T) string {
	t.Helper()
	program := "/usr/sbin/mosquitto"
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("Debian's mosquitto is not installed")
	}
	port := strconv.Itoa(process.FreePort(t))
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 20\nmax_queued_messages 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", conf) //nolint:noctx // ended below
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for until := time.Now().Add(20 * time.Second); ; {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port) //nolint:noctx // this machine
		if err == nil {
			_ = nc.Close()
			return port
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestMosquitto(t *testing.T) {
	sub, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed")
	}
	port := mosquitto(t)
	for _, version := range []string{"5", "3.1.1"} {
		cmd := exec.CommandContext(t.Context(), sub, "-p", port, "-V", map[string]string{"5": "5", "3.1.1": "311"}[version], "-q", "1", "-t", "causeway/#", "-F", "%t %p", "-W", "120")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		s := open(t, map[string]any{"url": "mqtt://127.0.0.1:" + port, "version": version})
		probe := open(t, map[string]any{"url": "mqtt://127.0.0.1:" + port, "topic": "causeway/probe", "clientId": "probe"})
		// The subscriber is there when it has heard of something.
		heard := make(chan bool, 1)
		go func() { heard <- lines.Scan() }()
	there:
		for {
			if err := probe.Send(t.Context(), batch(0, 1)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-heard:
				break there
			case <-time.After(50 * time.Millisecond):
			}
		}
		for i := range 5 {
			if err := s.Send(t.Context(), batch(i*100, 100)); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for n < 500 && lines.Scan() {
			text := lines.Text()
			if strings.HasPrefix(text, "causeway/probe") {
				continue
			}
			if text != fmt.Sprintf("causeway/plant/a%%2Bb %d", n) {
				t.Fatalf("version %s, message %d: %s", version, n, text)
			}
			n++
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if n != 500 {
			t.Errorf("version %s: %d messages", version, n)
		}
	}
}
