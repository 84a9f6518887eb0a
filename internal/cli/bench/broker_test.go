package bench_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/causeway-iot/causeway/internal/cli/bench"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// counter lets everybody in and counts what a broker receives.
type counter struct {
	mochi.HookBase
	mu sync.Mutex
	n  map[string]int // by topic
}

func (*counter) ID() string { return "counter" }
func (*counter) Provides(b byte) bool {
	return b == mochi.OnPublish || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*counter) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*counter) OnACLCheck(*mochi.Client, string, bool) bool              { return true }
func (c *counter) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[p.TopicName]++
	return p, nil
}

func (c *counter) total() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.n {
		n += int64(k)
	}
	return n
}

// broker starts a plain MQTT broker over TLS.
func broker(t *testing.T) (*bench.Target, *counter) {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueServer([]string{"localhost"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	c := &counter{n: map[string]int{}}
	l := listeners.NewTCP(listeners.Config{
		ID: "tls", Address: "127.0.0.1:0", TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	})
	for _, err := range []error{s.AddHook(c, nil), s.AddListener(l), s.Serve()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	return &bench.Target{Name: "mochi", Address: l.Address(), Host: "localhost", RootCAs: roots, PID: os.Getpid()}, c
}

func load() bench.Load {
	return bench.Load{
		Devices: 4, Depth: 3, Size: 100, QoS: 1, Warmup: 20 * time.Millisecond, Duration: 200 * time.Millisecond,
		Dialing: 2, Settle: time.Second, Preload: 1000, Credit: 100, Rate: 100,
	}
}

func workload(t *testing.T, name string) bench.Workload {
	t.Helper()
	for _, w := range bench.Workloads() {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no workload %s", name)
	return bench.Workload{}
}

func TestTelemetryCountsWhatTheServerGot(t *testing.T) {
	for _, qos := range []int{0, 1} {
		target, got := broker(t)
		l := load()
		l.QoS, l.Warmup, l.Duration = qos, 0, time.Second // a busy machine may do nothing for a while
		r, err := bench.Measure(t.Context(), workload(t, "d2c"), target, l, 1)
		if err != nil {
			t.Fatal(err)
		}
		m := r.Median
		// What was under way when the time was over arrived, but does not count.
		most := m.Count + int64(l.Devices*l.Depth*20)
		if n := got.total(); m.Count == 0 || n < m.Count || n > most || m.Errors != 0 {
			t.Errorf("QoS %d: counted %d (%d errors), the server got %d", qos, m.Count, m.Errors, n)
		}
		if len(got.n) != l.Devices {
			t.Errorf("QoS %d: topics %v", qos, got.n)
		}
		if m.Latency == nil || m.Latency.P50 <= 0 || m.Latency.P50 > m.Latency.P99 || m.Latency.P99 > m.Latency.Max {
			t.Errorf("QoS %d: latency %+v", qos, m.Latency)
		}
		if want := float64(m.Count) / m.Seconds; m.Rate < want*.99 || m.Rate > want*1.01 {
			t.Errorf("QoS %d: rate %v of %d in %v s", qos, m.Rate, m.Count, m.Seconds)
		}
	}
}

func TestConnectAndIdle(t *testing.T) {
	target, _ := broker(t)
	var steps sync.Map
	l := load()
	l.Progress = func(what string, done, of int) {
		if done == of {
			steps.Store(what, true)
		}
	}
	r, err := bench.Measure(t.Context(), workload(t, "connect"), target, l, 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 3 || r.Median.Count != int64(l.Devices) || r.Median.Latency == nil {
		t.Errorf("connect: %+v", r)
	}
	if _, ok := steps.Load("connections"); !ok {
		t.Error("progress was not told")
	}
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	if _, err = bench.Measure(t.Context(), workload(t, "idle"), target, l, 1); err != nil {
		t.Fatal(err)
	}
	target.PID = 0
	if _, err := bench.Measure(t.Context(), workload(t, "idle"), target, l, 1); err == nil || !strings.Contains(err.Error(), "--pid") {
		t.Errorf("without a process: %v", err)
	}
}

func TestMeasureErrors(t *testing.T) {
	target, _ := broker(t)
	for want, l := range map[string]func(*bench.Load){
		"devices are not within":  func(l *bench.Load) { l.Devices = 0 },
		"a depth of 0":            func(l *bench.Load) { l.Depth = 0 },
		"a size of -1":            func(l *bench.Load) { l.Size = -1 },
		"QoS 2":                   func(l *bench.Load) { l.QoS = 2 },
		"cannot be measured":      func(l *bench.Load) { l.Duration = 0 },
		"cannot connect anything": func(l *bench.Load) { l.Dialing = 0 },
		"0 events to read":        func(l *bench.Load) { l.Preload = 0 },
		"a credit of 0":           func(l *bench.Load) { l.Credit = 0 },
		"a rate of 0":             func(l *bench.Load) { l.Rate = 0 },
	} {
		x := load()
		l(&x)
		if _, err := bench.Measure(t.Context(), workload(t, "d2c"), target, x, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := bench.Measure(t.Context(), workload(t, "twin"), target, load(), 1); err == nil || !strings.Contains(err.Error(), "needs a hub") {
		t.Errorf("twin against a broker: %v", err)
	}
	if _, err := bench.Measure(t.Context(), workload(t, "amqp-d2c"), target, load(), 1); err == nil || !strings.Contains(err.Error(), "needs AMQP") {
		t.Errorf("AMQP against a broker of MQTT: %v", err)
	}

	// Not the broker: a connection that was given up while it was being
	// accepted races with mochi's Close.
	stranger := httptest.NewUnstartedServer(nil)
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail, as they must
	stranger.StartTLS()
	defer stranger.Close()
	target.Address, target.RootCAs = stranger.Listener.Addr().String(), x509.NewCertPool()
	if _, err := bench.Measure(t.Context(), workload(t, "d2c"), target, load(), 1); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("an unknown authority: %v", err)
	}
}
