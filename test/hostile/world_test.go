// Package hostile attacks a whole cloud over real sockets: connections that
// never get anywhere, bytes that mean nothing, traffic that is almost right. It
// knows what a client can do, and nothing of how the cloud defends itself; the
// answers to single kinds of bad input are tested where they are given, and are
// listed in docs/bad-input.md, which a test here keeps true.
package hostile

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/testkit/output"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(attackEnv) != "" {
		os.Exit(attack())
	}
	goleak.VerifyTestMain(m)
}

// world is a cloud under attack, with a device attacker whose key the attacker
// has, and a device bystander that must not notice.
type world struct {
	*cloud.Cloud
	t     *testing.T
	log   *output.Buffer
	owner string
	tls   *tls.Config
	mqtt  string // addresses
	https string
	amqp  string

	goroutines int // when at rest
	memory     uint64
	sent       int // by the bystander
}

// newWorld starts a cloud. When the test ends the cloud must have gone back to
// what it was, and stop in order.
func newWorld(t *testing.T, change ...func(*config.Config)) *world {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Listen = config.Listen{HTTPS: "127.0.0.1:0", MQTT: "127.0.0.1:0", AMQP: "127.0.0.1:0"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 2}}
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	cfg.Stop.Drain = config.Duration(2 * time.Second)
	for _, f := range change {
		f(&cfg)
	}
	log := &output.Buffer{}
	c, err := cloud.New(t.Context(), cfg, cloud.Options{
		Log:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Devices: []string{"attacker", "bystander"}, Group: "devices",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("stop: %v", err)
			}
		case <-time.After(patience):
			t.Error("the cloud does not stop")
		}
		if faults := log.Faults(); faults != "" {
			t.Errorf("the log tells of a fault:\n%s", faults)
		}
	})
	select {
	case <-c.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	ca, err := os.ReadFile(c.Connection().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := client.LoadCA(ca)
	if err != nil {
		t.Fatal(err)
	}
	a := c.Addresses()
	w := &world{
		Cloud: c, t: t, log: log, owner: c.Connection().OwnerConnectionString,
		tls:  &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
		mqtt: a.MQTT.String(), https: a.HTTPS.String(), amqp: a.AMQP.String(),
	}
	w.bystander() // pools and caches are filled
	w.goroutines, w.memory = w.measure(1 << 30)
	return w
}

func (w *world) options() client.Options {
	conn := w.Connection()
	return client.Options{RootCAs: w.tls.RootCAs, HTTPSPort: conn.HTTPSPort, MQTTPort: conn.MQTTPort, Address: "127.0.0.1"}
}

// service calls f with a client of the service API.
func (w *world) service(f func(ctx context.Context, s *client.Service) error) {
	w.t.Helper()
	s, err := client.NewService(w.owner, w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := f(ctx, s); err != nil {
		w.t.Fatal(err)
	}
}

// key returns the primary key of a device.
func (w *world) key(device string) []byte {
	w.t.Helper()
	var key []byte
	w.service(func(ctx context.Context, s *client.Service) error {
		d, err := s.Device(ctx, device)
		if err != nil {
			return err
		}
		key, err = base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.PrimaryKey)
		return err
	})
	return key
}

// bystander lets the device connect, publish, get its acknowledgement and
// change its twin, and the service read the twin over HTTPS: what must work
// whatever happens elsewhere. It returns how long that took.
func (w *world) bystander() time.Duration {
	w.t.Helper()
	cs := client.ConnectionString("localhost", "bystander", "", &client.Authentication{
		SymmetricKey: &client.SymmetricKey{PrimaryKey: base64.StdEncoding.EncodeToString(w.key("bystander"))},
	})
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	d, err := client.Connect(ctx, client.DeviceOptions{Options: w.options(), ConnectionString: cs})
	if err != nil {
		w.t.Fatalf("the bystander cannot connect: %v", err)
	}
	defer d.Close()
	if err := d.Send(ctx, &causeway.Message{Body: fmt.Appendf(nil, "message %d", w.sent)}); err != nil {
		w.t.Fatalf("the bystander cannot send: %v", err)
	}
	w.sent++
	if _, err := d.Report(ctx, fmt.Appendf(nil, `{"sent":%d}`, w.sent)); err != nil {
		w.t.Fatalf("the bystander cannot report: %v", err)
	}
	w.service(func(ctx context.Context, s *client.Service) error {
		tw, err := s.Twin(ctx, "bystander", "")
		if want := fmt.Sprintf(`"sent":%d`, w.sent); err == nil && !strings.Contains(string(tw.Properties.Reported), want) {
			return fmt.Errorf("twin %s has no %s", tw.Properties.Reported, want)
		}
		return err
	})
	return time.Since(began)
}

// unharmed checks that the hub holds of the bystander what it sent, and that
// the cloud uses no more goroutines than at rest, and not much more memory.
func (w *world) unharmed(more uint64) {
	w.t.Helper()
	w.bystander()
	w.service(func(ctx context.Context, s *client.Service) error {
		n := 0
		return s.Events(ctx, client.EventsQuery{Device: "bystander", From: "earliest", Max: w.sent}, func(e client.Event) error {
			if want := fmt.Sprintf("message %d", n); e.Text() != want {
				return fmt.Errorf("event %d of the bystander is %q", n, e.Text())
			}
			n++
			return nil
		})
	})
	goroutines, memory := w.measure(w.memory + more)
	if goroutines > w.goroutines {
		buf := make([]byte, 1<<20)
		w.t.Errorf("%d goroutines, %d before:\n%s", goroutines, w.goroutines, buf[:runtime.Stack(buf, true)])
	}
	if memory > w.memory+more {
		w.t.Errorf("%d KiB in use, %d before", memory>>10, w.memory>>10)
	}
}

// measure waits until the process has come to rest and returns what it uses.
func (w *world) measure(enough uint64) (goroutines int, memory uint64) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	calm := 0
	for {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		n, used := runtime.NumGoroutine(), m.HeapAlloc+m.StackInuse
		if w.goroutines == 0 {
			// At the start: until two looks see the same.
			if n == goroutines {
				calm++
			}
			if calm == 3 {
				return n, used
			}
		} else if n <= w.goroutines && used <= enough {
			return n, used
		}
		goroutines, memory = n, used
		if time.Now().After(deadline) {
			return goroutines, memory
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // polls with a deadline
	}
}

// dial opens a TCP connection that is closed with the test at the latest.
func (w *world) dial(addr string) net.Conn {
	w.t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// dialTLS opens a TLS connection that is closed with the test at the latest.
func (w *world) dialTLS(addr string, protocols ...string) *tls.Conn {
	w.t.Helper()
	cfg := w.tls.Clone()
	cfg.NextProtos = protocols
	c := tls.Client(w.dial(addr), cfg)
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := c.HandshakeContext(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Time{})
	return c
}

// proof is what the attacker proves itself by.
func proof(key []byte) string {
	return sas.Sign("localhost/devices/attacker", key, "", time.Now().Add(time.Hour))
}
