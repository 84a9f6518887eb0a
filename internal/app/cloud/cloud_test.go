package cloud_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/output"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Connections that idle in the pool of a client close in their own time.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
	)
}

func configFor(dir string) config.Config {
	cfg := config.Default()
	cfg.Data = dir
	cfg.Listen = config.Listen{HTTPS: "127.0.0.1:0", MQTT: "127.0.0.1:0", AMQP: "127.0.0.1:0"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 2}}
	cfg.Stop.Drain = config.Duration(2 * time.Second)
	return cfg
}

// running is a cloud under test.
type running struct {
	*cloud.Cloud
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
	log    *output.Buffer
}

// start runs a cloud until the test ends or stops it.
func start(t *testing.T, cfg config.Config, o cloud.Options) *running {
	t.Helper()
	log := &output.Buffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	c, err := cloud.New(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Cloud: c, t: t, cancel: cancel, done: make(chan error, 1), log: log}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(r.stop)
	select {
	case <-c.Ready():
	case err := <-r.done:
		r.done <- err
		t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return r
}

func (r *running) stop() {
	r.once.Do(func() {
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Errorf("stop: %v", err)
			}
		case <-time.After(patience):
			r.t.Errorf("did not stop; log:\n%s", r.log.String())
		}
	})
}

// metrics returns what a scraper gets.
func (r *running) metrics(dir string) string {
	r.t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, cloud.AdminTokenFile))
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.Connection().AdminURL+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("metrics: %s %v", res.Status, err)
	}
	return string(text)
}

func (r *running) options() client.Options {
	r.t.Helper()
	conn := r.Connection()
	text, err := os.ReadFile(conn.CAFile)
	if err != nil {
		r.t.Fatal(err)
	}
	roots, err := client.LoadCA(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return client.Options{RootCAs: roots, HTTPSPort: conn.HTTPSPort, MQTTPort: conn.MQTTPort, Address: "127.0.0.1"}
}

func (r *running) service() *client.Service {
	r.t.Helper()
	s, err := client.NewService(r.Connection().OwnerConnectionString, r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	return s
}

func (r *running) admin(dir string) *client.Admin {
	r.t.Helper()
	token, err := state.ReadSecret(filepath.Join(dir, cloud.AdminTokenFile))
	if err != nil {
		r.t.Fatal(err)
	}
	a, err := client.NewAdmin(r.Connection().AdminURL, token, r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(a.Close)
	return a
}

func (r *running) device(cs string, o client.DeviceOptions) *client.Device {
	r.t.Helper()
	o.ConnectionString, o.Options = cs, r.options()
	d, err := client.Connect(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { d.Close() })
	return d
}

func (r *running) bodies(device string, n int) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var got []string
	err := r.service().Events(ctx, client.EventsQuery{Device: device, From: "earliest", Max: n}, func(e client.Event) error {
		got = append(got, e.Text())
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestStartStopAndContinue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	o := cloud.Options{Devices: []string{"d1"}, Hostname: "Machine."}

	r := start(t, cfg, o)
	first := r.Connection()
	if first.Hub != "localhost" || first.AMQPPort == 0 || !strings.HasPrefix(first.EventHubsConnectionString, "Endpoint=sb://localhost:") || !strings.Contains(first.DeviceConnectionString, ";DeviceId=d1;SharedAccessKey=") {
		t.Errorf("connection %+v", first)
	}
	// How long it may take is a matter of the machine; docs/performance.md has it.
	if r.StartTime() <= 0 {
		t.Errorf("start took %v", r.StartTime())
	}
	d := r.device(first.DeviceConnectionString, client.DeviceOptions{})
	if err := d.Send(t.Context(), &causeway.Message{Body: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Report(t.Context(), []byte(`{"x":1}`)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		cloud.AdminTokenFile: 0o600, cloud.ConnectionFile: 0o600, cloud.KeyFile: 0o600, cloud.DatabaseFile: 0, cloud.LockFile: 0o600,
		"hubs/localhost/log": fs.ModeDir, "ca/ca.pem": 0,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || mode.IsRegular() && mode != 0 && info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	var file cloud.Connection
	text, err := os.ReadFile(filepath.Join(dir, cloud.ConnectionFile))
	if err != nil || json.Unmarshal(text, &file) != nil || file != first {
		t.Errorf("connection.json: %s, %v", text, err)
	}
	block, _ := pem.Decode(readFile(t, filepath.Join(dir, "ca", "server.pem")))
	if block == nil || !bytes.Contains(block.Bytes, []byte("machine")) {
		t.Error("the certificate does not name the machine")
	}
	r.stop()

	r = start(t, cfg, o)
	second := r.Connection()
	if second.OwnerConnectionString != first.OwnerConnectionString || second.DeviceConnectionString != first.DeviceConnectionString {
		t.Error("keys changed over a restart")
	}
	d2 := r.device(second.DeviceConnectionString, client.DeviceOptions{WebSocket: true})
	if err := d2.Send(t.Context(), &causeway.Message{Body: []byte("after")}); err != nil {
		t.Fatal(err)
	}
	if got := r.bodies("d1", 2); got[0] != "before" || got[1] != "after" {
		t.Errorf("events %v", got)
	}
	if tw, err := d2.Twin(t.Context()); err != nil || !strings.Contains(string(tw.Reported), `"x":1`) {
		t.Errorf("twin %s, %v", tw.Reported, err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHubsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	// The host is not known before the hub is made: the certificate follows.
	r := start(t, configFor(dir), cloud.Options{})
	a := r.admin(dir)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for round := range 2 { // the same name again: nothing of the first is left
		h, err := a.CreateHub(ctx, client.Hub{Name: "second", Hosts: []string{"second.test"}, Partitions: 1})
		if err != nil || h.Name != "second" || h.Partitions != 1 {
			t.Fatalf("round %d: %+v, %v", round, h, err)
		}
		cs, err := a.ConnectionString(ctx, "second", "iothubowner")
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.NewService(cs, r.options())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Device(ctx, "d"); causeway.CodeOf(err) != causeway.DeviceNotFound {
			t.Errorf("round %d: device of a new hub: %v", round, err)
		}
		id, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d"})
		if err != nil {
			t.Fatal(err)
		}
		lost := make(chan error, 10)
		d := r.device(client.ConnectionString("second.test", "d", "", id.Authentication), client.DeviceOptions{Online: func(err error) {
			if err != nil {
				lost <- err
			}
		}})
		if err := d.Send(ctx, &causeway.Message{Body: []byte("hi")}); err != nil {
			t.Fatal(err)
		}
		n := 0
		err = a.Events(ctx, "second", client.EventsQuery{From: "earliest", Device: "d", Max: 1}, func(e client.Event) error {
			n++
			if e.Offset != 0 && round > 0 {
				t.Errorf("the log goes on at %d", e.Offset)
			}
			return nil
		})
		if err != nil || n != 1 {
			t.Errorf("%d events, %v", n, err)
		}
		if err := a.DeleteHub(ctx, "second"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-lost:
		case <-ctx.Done():
			t.Fatal("the device of a deleted hub is still connected")
		}
		if _, err := os.Stat(filepath.Join(dir, "hubs", "second")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("telemetry was left behind: %v", err)
		}
		d.Close()
	}
}

func TestErrors(t *testing.T) {
	base := configFor(t.TempDir())
	for _, c := range []struct {
		name  string
		wreck func(*config.Config)
		want  string
	}{
		{"invalid", func(c *config.Config) { c.Listen.HTTPS = "443" }, "listen.https"},
		{"no address", func(c *config.Config) { c.Listen.HTTPS = "203.0.113.1:443" }, "this machine has no such address. Choose another one with --https"},
		{"no directory", func(c *config.Config) { c.Data = "/dev/null/data" }, "make data directory"},
		{"no certificate", func(c *config.Config) { c.TLS = config.TLS{Certificate: "/none", Key: "/none"} }, "load certificate"},
		{"trace", func(c *config.Config) { c.Trace.Endpoint = "ftp://x" }, "trace.endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := base
			c.wreck(&cfg)
			if _, err := cloud.New(t.Context(), cfg, cloud.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	// Whatever failed has given everything back.
	start(t, base, cloud.Options{})
	if _, err := cloud.New(t.Context(), base, cloud.Options{}); err == nil || !strings.Contains(err.Error(), "in use by another causeway") {
		t.Errorf("a second cloud on the same data: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := configFor(filepath.Join(t.TempDir(), "data"))
	cfg.Listen.MQTT = l.Addr().String()
	_, err = cloud.New(t.Context(), cfg, cloud.Options{})
	if listen, ok := errors.AsType[*cloud.ListenError](err); !ok || listen.What != "MQTT" {
		t.Fatal(err)
	}
	for _, want := range []string{l.Addr().String(), "for MQTT", "in use by", "process", "--mqtt :0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a data directory was left behind: %v", err)
	}
}

// forbid listens anywhere but on ports that need a right.
func forbid(ctx context.Context, network, addr string) (net.Listener, error) {
	if strings.HasSuffix(addr, ":443") {
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", syscall.EACCES)}
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, "127.0.0.1:0")
}

func TestPortNotPermitted(t *testing.T) {
	cfg := configFor(t.TempDir())
	cfg.Listen.HTTPS = ":443"
	_, err := cloud.New(t.Context(), cfg, cloud.Options{Listen: forbid})
	if err == nil || !strings.Contains(err.Error(), "sudo setcap cap_net_bind_service=+ep") || !strings.Contains(err.Error(), "--https :8443") {
		t.Errorf("without fallback: %v", err)
	}
	r := start(t, cfg, cloud.Options{Listen: forbid, Fallback: true})
	if !r.FellBack() || r.Connection().HTTPSPort == 443 {
		t.Errorf("with fallback: %+v", r.Connection())
	}
}

func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.LoadOrCreateCA(filepath.Join(dir, "ca"), "own")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.ServerCertificate(filepath.Join(dir, "ca"), []string{"hub.example"}); err != nil {
		t.Fatal(err)
	}
	cfg := configFor(filepath.Join(dir, "data"))
	cfg.TLS = config.TLS{Certificate: filepath.Join(dir, "ca", "server.pem"), Key: filepath.Join(dir, "ca", "server.key")}
	r := start(t, cfg, cloud.Options{})
	if r.Connection().CAFile != "" {
		t.Errorf("an authority is named that was not used: %s", r.Connection().CAFile)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "ca")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a local authority was made for nothing: %v", err)
	}
}

func TestCertificateInsteadOfKey(t *testing.T) {
	r := start(t, configFor(t.TempDir()), cloud.Options{})
	cert, err := pki.SelfSigned("pump", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, thumb := pki.Thumbprints(cert.Leaf)
	_, err = r.service().CreateDevice(t.Context(), client.DeviceIdentity{DeviceID: "pump", Authentication: &client.Authentication{
		Type: "selfSigned", X509Thumbprint: &client.X509Thumbprint{PrimaryThumbprint: thumb},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ws := range []bool{false, true} {
		d := r.device("HostName=localhost;DeviceId=pump;x509=true", client.DeviceOptions{Certificate: &cert, WebSocket: ws})
		if err := d.Send(t.Context(), &causeway.Message{Body: []byte("hi")}); err != nil {
			t.Errorf("WebSocket %v: %v", ws, err)
		}
		if _, err := d.Twin(t.Context()); err != nil {
			t.Errorf("WebSocket %v: %v", ws, err)
		}
	}
	other, err := pki.SelfSigned("pump", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Connect(t.Context(), client.DeviceOptions{
		Options: r.options(), ConnectionString: "HostName=localhost;DeviceId=pump;x509=true", Certificate: &other,
	})
	if causeway.CodeOf(err) != causeway.IotHubUnauthorized {
		t.Errorf("another certificate: %v", err)
	}
}

func TestStopSaysGoodbyeToDevices(t *testing.T) {
	r := start(t, configFor(t.TempDir()), cloud.Options{Devices: []string{"d1"}})
	gone := make(chan error, 10)
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{
		Online: func(err error) {
			if err != nil {
				gone <- err
			}
		},
	})
	if err := d.Send(t.Context(), &causeway.Message{Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the device was not told")
	}
}

func TestStopBeforeReady(t *testing.T) {
	c, err := cloud.New(t.Context(), configFor(t.TempDir()), cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNeverRun(t *testing.T) {
	cfg := configFor(t.TempDir())
	c, err := cloud.New(t.Context(), cfg, cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, cfg, cloud.Options{})
}

func TestAdministration(t *testing.T) {
	dir := t.TempDir()
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"a", "b"}})
	hubs, err := r.admin(dir).Hubs(t.Context())
	if err != nil || len(hubs) != 1 || hubs[0].Name != "localhost" {
		t.Errorf("hubs %+v, %v", hubs, err)
	}
	h, err := r.admin(dir).Hub(t.Context(), "localhost")
	if err != nil || h.Devices == nil || h.Devices.Total != 2 {
		t.Errorf("hub %+v, %v", h, err)
	}
	if err := r.service().SendCommand(t.Context(), "a", "", &causeway.Message{Body: []byte("x")}); err != nil {
		t.Error(err)
	}
	if _, err := r.service().UpdateTwin(t.Context(), "a", "", client.TwinPatch{Desired: json.RawMessage(`{"x":1}`)}, client.AnyVersion); err != nil {
		t.Error(err)
	}
	text := r.metrics(dir)
	for _, want := range []string{
		`causeway_hub_commands_waiting{hub="localhost"} 1`,
		`causeway_hub_twin_updates_total{hub="localhost",section="desired"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics have no %s:\n%s", want, text)
		}
	}
	st, err := r.service().Statistics(t.Context())
	if err != nil || st.TotalDeviceCount != 2 || st.ConnectedDeviceCount != 0 {
		t.Errorf("statistics %+v, %v", st, err)
	}
}

// TestHTTPVersions: whatever a client offers it is spoken HTTP/1.1 to, which has
// header names as the service spells them. HTTP/2 has them in lower case.
func TestHTTPVersions(t *testing.T) {
	r := start(t, configFor(t.TempDir()), cloud.Options{})
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}, Protocols: protocols}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.Connection().AdminURL+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.Proto != "HTTP/1.1" || res.StatusCode != http.StatusOK {
		t.Errorf("%s %s, want HTTP/1.1", res.Proto, res.Status)
	}
}
