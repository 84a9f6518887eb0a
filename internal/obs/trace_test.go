package obs_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway/internal/obs"
)

// TestTracer shows that spans reach a collector, at the latest at shutdown.
func TestTracer(t *testing.T) {
	var mu sync.Mutex
	var got []string
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.URL.Path+" "+string(body))
	}))
	defer collector.Close()
	for _, endpoint := range []string{collector.URL, strings.TrimPrefix(collector.URL, "http://"), collector.URL + "/v1/traces"} {
		got = nil
		tp, shutdown, err := obs.NewTracer(t.Context(), endpoint, "causeway-test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, span := tp.Tracer("t").Start(t.Context(), "journey")
		span.End()
		if err := shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		if len(got) != 1 || !strings.HasPrefix(got[0], "/v1/traces ") || !strings.Contains(got[0], "journey") || !strings.Contains(got[0], "causeway-test") {
			t.Errorf("%s: collector got %q", endpoint, got)
		}
		mu.Unlock()
	}
	http.DefaultClient.CloseIdleConnections()
}

// A collector that is away is told of once, in the log and nowhere else.
func TestTracerTellsOfItsCollector(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadRequest) // that is not tried again
		}
	}))
	defer collector.Close()
	var log bytes.Buffer
	tp, shutdown, err := obs.NewTracer(t.Context(), collector.URL, "causeway-test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	export := func() {
		_, span := tp.Tracer("t").Start(t.Context(), "journey")
		span.End()
		if err := tp.(interface{ ForceFlush(context.Context) error }).ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	export()
	export()
	away.Store(false)
	export()
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "takes traces again") != 1 || strings.Count(got, "\n") != 2 {
		t.Errorf("the log is\n%s", got)
	}
}

func TestTracerOff(t *testing.T) {
	tp, shutdown, err := obs.NewTracer(t.Context(), "", "x", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, span := tp.Tracer("t").Start(t.Context(), "s"); span.IsRecording() {
		t.Error("records without an endpoint")
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"ftp://x", "http://", "::", "http://%zz"} {
		if _, _, err := obs.NewTracer(t.Context(), bad, "x", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "http://collector:4318") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
