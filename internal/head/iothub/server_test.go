package iothub_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/head/iothub"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs the head on a connection in memory and returns the client's end.
func (w *world) serve(t *testing.T) io.ReadWriter {
	t.Helper()
	l := memnet.Listen("hub")
	srv := &http.Server{Handler: w.handler}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	conn, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

func requestLine(method, path, extra string) string {
	return method + " " + path + "?" + version + " HTTP/1.1\r\nHost: " + hubHost + "\r\nAuthorization: " + token("iothubowner") + "\r\n" + extra + "\r\n"
}

// TestSlowBody shows that a client that does not send its body is given up,
// also when its request is refused before the body is looked at.
func TestSlowBody(t *testing.T) {
	for path, want := range map[string]string{"/devices/d": "RequestTimedOut", "/devices/a%20b": "ArgumentInvalid"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			conn := w.serve(t)
			began := time.Now()
			if _, err := io.WriteString(conn, requestLine("PUT", path, "Content-Length: 100\r\n")+`{"status`); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != 400 || res.Header.Get("iothub-errorcode") != want {
				t.Errorf("%s %s", res.Status, res.Header.Get("iothub-errorcode"))
			}
			if _, err := io.Copy(io.Discard, r); err != nil { // until the server closes
				t.Error(err)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("closed after %v", took)
			}
		})
	}
}

// TestLongMethod shows that a method call may last as long as it is allowed to:
// no deadline of the body or of the reply is in its way.
func TestLongMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.answer = func(ctx context.Context, _ causeway.Identity, _ causeway.Call, connect, response time.Duration) (causeway.Result, error) {
			select {
			case <-time.After(connect + response):
				return causeway.Result{Status: 7}, nil
			case <-ctx.Done():
				return causeway.Result{}, ctx.Err()
			}
		}
		conn := w.serve(t)
		r := bufio.NewReader(conn)
		body := `{"methodName":"m","responseTimeoutInSeconds":300,"connectTimeoutInSeconds":300}`
		for range 2 { // twice on one connection
			if _, err := io.WriteString(conn, requestLine("POST", "/twins/d/methods", fmt.Sprintf("Content-Length: %d\r\n", len(body)))+body); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(got) != `{"status":7,"payload":null}` {
				t.Errorf("%s %s %v", res.Status, got, err)
			}
		}
	})
}

// TestSeenFromOutside shows metrics, spans and log lines of requests.
func TestSeenFromOutside(t *testing.T) {
	w := newWorld(t)
	spans := tracetest.NewSpanRecorder()
	var logged bytes.Buffer
	metrics := obs.NewHead(prometheus.NewRegistry(), "iothub")
	w.handler = (&iothub.Server{
		Hubs: w.hubs, Registry: w.registry, Commands: w.commands, Metrics: metrics,
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Log:    obs.NewLogger(&logged, obs.FormatText, slog.LevelDebug),
	}).Handler()
	w.put("/devices/d", `{}`, "traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01").want(200)
	w.get("/devices/ghost").refused(causeway.DeviceNotFound)
	w.get("/nothing").want(404)

	for labels, want := range map[[2]string]float64{{"putDevice", "200"}: 1, {"getDevice", "404"}: 1, {"unknown", "404"}: 1} {
		if got := count(t, metrics.Requests.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("requests %v: %v, want %v", labels, got, want)
		}
	}
	if got := count(t, metrics.Refused.WithLabelValues("DeviceNotFound")); got != 1 {
		t.Errorf("refused: %v", got)
	}
	ended := spans.Ended()
	if len(ended) != 3 || ended[0].Name() != "iothub.putDevice" || ended[0].Parent().TraceID().String() != "0123456789abcdef0123456789abcdef" {
		t.Errorf("spans: %v", ended)
	}
	text := logged.String()
	for _, want := range []string{`msg="identity created"`, `by="policy iothubowner"`, "id.device=d", "route=getDevice", "status=404", "code=DeviceNotFound"} {
		if !strings.Contains(text, want) {
			t.Errorf("log has no %q:\n%s", want, text)
		}
	}
	if k := w.get("/devices/d").text("authentication", "symmetricKey", "primaryKey"); strings.Contains(text, k) || strings.Contains(text, "sig=") {
		t.Errorf("log has secrets:\n%s", text)
	}
}

// count reads a counter.
func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// broken is a registry whose store fails.
type broken struct{ iothub.Registry }

func (broken) Get(context.Context, causeway.Identity) (registry.Record, error) {
	return registry.Record{}, errors.New("read page 7 of db: disk on fire")
}

// TestInternalError shows that the cause of a fault goes to the log alone.
func TestInternalError(t *testing.T) {
	w := newWorld(t)
	var logged bytes.Buffer
	w.handler = (&iothub.Server{Hubs: w.hubs, Registry: broken{}, Commands: w.commands, Log: obs.NewLogger(&logged, obs.FormatJSON, nil)}).Handler()
	a := w.get("/devices/d").refused(causeway.ServerError)
	if strings.Contains(string(a.body), "fire") {
		t.Errorf("shown to the client: %s", a.body)
	}
	if !strings.Contains(logged.String(), "disk on fire") || !strings.Contains(logged.String(), a.header.Get("x-ms-request-id")) {
		t.Errorf("not in the log: %s", logged.String())
	}
}

// busy is a registry where another writer is always a step ahead.
type busy struct {
	iothub.Registry
	t     *testing.T
	other func() error
	tries int
}

func (b *busy) Update(ctx context.Context, r registry.Record, match string) (registry.Record, error) {
	if b.tries--; b.tries >= 0 {
		if err := b.other(); err != nil {
			b.t.Error(err)
		}
	}
	return b.Registry.Update(ctx, r, match)
}

// TestUpdateAnyMeanwhile shows that an unconditional update does not undo what
// another writer changed meanwhile.
func TestUpdateAnyMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	id := causeway.Identity{Hub: "myhub", Device: "d"}
	b := &busy{Registry: w.registry, t: t, tries: 3}
	b.other = func() error {
		r, err := w.registry.Get(t.Context(), id)
		if err != nil {
			return err
		}
		r.Auth.Primary, r.Auth.Secondary = registry.NewKey, registry.NewKey
		_, err = w.registry.Update(t.Context(), r, "*")
		return err
	}
	w.handler = (&iothub.Server{Hubs: w.hubs, Registry: b, Commands: w.commands}).Handler()
	a := w.put("/devices/d", `{"status":"disabled"}`, "If-Match", "*").want(200)
	r, err := w.registry.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if a.text("authentication", "symmetricKey", "primaryKey") != string(r.Auth.Primary) || r.Enabled {
		t.Errorf("answered %s, holds %+v", a.body, r.Auth.Type)
	}
	b.tries = 1000
	w.put("/devices/d", `{}`, "If-Match", "*").refused(causeway.PreconditionFailed)
}

// TestFallback shows that paths of others are passed on, and only those.
func TestFallback(t *testing.T) {
	w := newWorld(t)
	h := (&iothub.Server{Hubs: w.hubs, Registry: w.registry, Commands: w.commands, Fallback: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusTeapot)
	})}).Handler()
	for path, want := range map[string]int{"/other": 418, "/": 418, "/devices/d/files": 418, "/devices/d": 400, "/statistics/devices/": 400} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Host = hubHost
		h.ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("GET %s: %d, want %d", path, rec.Code, want)
		}
	}
}

func BenchmarkGetTwin(b *testing.B) {
	w := newWorld(&testing.T{})
	create := httptest.NewRequest("PUT", "/devices/d?"+version, strings.NewReader("{}"))
	create.Host = hubHost
	create.Header.Set("Authorization", token("iothubowner"))
	w.handler.ServeHTTP(httptest.NewRecorder(), create)
	r := httptest.NewRequest("GET", "/twins/d?"+version, nil)
	r.Host = hubHost
	r.Header.Set("Authorization", token("service"))
	b.ReportAllocs()
	for b.Loop() {
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code != 200 {
			b.Fatal(rec.Body)
		}
	}
}
