// Package faults kills the server, fills its disk and starves it, and checks
// that what was acknowledged is still there. The load comes from independent
// clients (Eclipse Paho for MQTT, Azure/go-amqp for AMQP), and over AMQP from our
// own engine beside, which keeps more under way.
package faults

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// patience is how long anything may take, also on a machine that has much to do
// beside; what takes longer hangs.
const patience = 5 * time.Minute

var build struct {
	sync.Once
	dir, bin string
	err      error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// binary builds the server once per test process.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the server: not with -short")
	}
	build.Do(func() {
		if build.bin = os.Getenv("FAULTS_BINARY"); build.bin != "" {
			return
		}
		if build.dir, build.err = os.MkdirTemp("", "causeway-faults"); build.err != nil {
			return
		}
		build.bin = filepath.Join(build.dir, "causeway")
		args := []string{"build", "-o", build.bin}
		if raceEnabled {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/causeway-iot/causeway/cmd/causeway")...).CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.bin
}

// rounds returns how often a test does something that takes n rounds, half as
// often under the race detector: what it finds it finds in few rounds, and each
// takes several times as long.
func rounds(n int) int {
	if raceEnabled {
		return (n + 1) / 2
	}
	return n
}

// world is a server under test and what a client needs to talk to it.
type world struct {
	*process.Server
	log  *bytes.Buffer
	lock sync.Mutex
	http *http.Client
	tls  *tls.Config
}

// Write collects the server's output.
func (w *world) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.log.Len() > 1<<20 {
		w.log.Reset()
	}
	return w.log.Write(p)
}

// newWorld starts a server on data, on ports that stay the same over restarts,
// with more arguments if there are some.
func newWorld(t *testing.T, data string, args ...string) *world {
	t.Helper()
	w := &world{log: new(bytes.Buffer)}
	w.Server = &process.Server{
		Binary: binary(t), Data: data, Output: w, Args: args,
		Env: []string{
			fmt.Sprintf("CAUSEWAY_LISTEN_HTTPS=127.0.0.1:%d", process.FreePort(t)),
			fmt.Sprintf("CAUSEWAY_LISTEN_MQTT=127.0.0.1:%d", process.FreePort(t)),
			fmt.Sprintf("CAUSEWAY_LISTEN_AMQP=127.0.0.1:%d", process.FreePort(t)),
		},
	}
	t.Cleanup(func() {
		err := w.Stop()
		w.lock.Lock()
		defer w.lock.Unlock()
		if err != nil {
			t.Errorf("stop the server: %v", err)
		}
		if t.Failed() || bytes.Contains(w.log.Bytes(), []byte("DATA RACE")) {
			b := w.log.Bytes()
			t.Errorf("the end of the server's output:\n%s", b[max(0, len(b)-20000):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Start(ctx); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(w.Ready().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate in the CA file")
	}
	w.tls = &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	w.http = &http.Client{Transport: &http.Transport{TLSClientConfig: w.tls.Clone()}, Timeout: patience}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

func (w *world) ownerToken(t *testing.T) string {
	t.Helper()
	cs, err := sas.ParseConnectionString(w.Ready().OwnerConnectionString)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(cs.SharedAccessKey)
	if err != nil {
		t.Fatal(err)
	}
	return sas.Sign(w.Ready().Hub, key, cs.SharedAccessKeyName, time.Now().Add(time.Hour))
}

// rest makes a request to the service API and returns status and body.
func (w *world) rest(t *testing.T, method, path string, body any) (int, []byte, error) {
	t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	u := fmt.Sprintf("https://localhost:%d%s%sapi-version=2021-04-12", w.Ready().HTTPSPort, path, sep)
	req, err := http.NewRequestWithContext(t.Context(), method, u, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.ownerToken(t))
	res, err := w.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, b, err
}

// identity is a device under test.
type identity struct {
	id  string
	key []byte
}

func (w *world) createDevice(t *testing.T, id string) identity {
	t.Helper()
	status, body, err := w.rest(t, "PUT", "/devices/"+id, map[string]any{"deviceId": id})
	if err != nil || status != 200 {
		t.Fatalf("create %s: %d %s %v", id, status, body, err)
	}
	var d struct {
		Authentication struct {
			SymmetricKey struct{ PrimaryKey string }
		}
	}
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.PrimaryKey)
	if err != nil {
		t.Fatal(err)
	}
	return identity{id, key}
}

// dial connects a Paho client as the device. It does not reconnect by itself.
func (w *world) dial(d identity, onMessage paho.MessageHandler) (paho.Client, error) {
	r := w.Ready()
	o := paho.NewClientOptions().
		AddBroker(fmt.Sprintf("ssl://localhost:%d", r.MQTTPort)).
		SetClientID(d.id).
		SetUsername(fmt.Sprintf("%s/%s/?api-version=2021-04-12", r.Hub, d.id)).
		SetPassword(sas.Sign(r.Hub+"/devices/"+d.id, d.key, "", time.Now().Add(time.Hour))).
		SetTLSConfig(w.tls.Clone()).
		SetProtocolVersion(4).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectTimeout(5 * time.Second).
		SetWriteTimeout(10 * time.Second).
		SetOrderMatters(true)
	if onMessage != nil {
		o.SetDefaultPublishHandler(onMessage)
	}
	c := paho.NewClient(o)
	tok := c.Connect()
	if !tok.WaitTimeout(10 * time.Second) {
		c.Disconnect(0)
		return nil, fmt.Errorf("connect %s: timed out", d.id)
	}
	if err := tok.Error(); err != nil {
		return nil, fmt.Errorf("connect %s: %w", d.id, err)
	}
	return c, nil
}

// event is one line of the live event stream.
type event struct {
	DeviceID string          `json:"deviceId"`
	Offset   json.RawMessage `json:"offset"`
	Body     json.RawMessage `json:"body"`
}

// stored calls fn with every stored message from the start of the log until fn
// returns false.
func (w *world) stored(t *testing.T, fn func(e event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	u := w.Ready().AdminURL + "/api/v1/hubs/localhost/events?" + url.Values{"from": {"earliest"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.ownerToken(t))
	stream := &http.Client{Transport: w.http.Transport}
	res, err := stream.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		t.Fatalf("event stream: %d %s", res.StatusCode, b)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("event stream: %v: %s", err, lines.Bytes())
		}
		if e.DeviceID != "" && !fn(e) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("event stream ended before everything was seen: %v", err)
	}
}
