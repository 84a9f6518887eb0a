package obs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
		tp, shutdown, err := obs.NewTracer(t.Context(), endpoint, "causeway-test")
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

func TestTracerOff(t *testing.T) {
	tp, shutdown, err := obs.NewTracer(t.Context(), "", "x")
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
		if _, _, err := obs.NewTracer(t.Context(), bad, "x"); err == nil || !strings.Contains(err.Error(), "http://collector:4318") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
