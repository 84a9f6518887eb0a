package httpanswer_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/httpanswer"
)

func TestRequestID(t *testing.T) {
	a, b := httpanswer.RequestID(), httpanswer.RequestID()
	if len(a) != 32 || strings.Trim(a, "0123456789abcdef") != "" || a == b {
		t.Errorf("%q, %q", a, b)
	}
}

func TestMisrouted(t *testing.T) {
	r := httptest.NewRequest("BREW", "/pot/"+strings.Repeat("x", 500), nil)
	for _, x := range []struct {
		allow []string
		want  causeway.Code
		text  string
	}{
		{nil, causeway.GenericNotFound, "no such operation: BREW /pot/xxx"},
		{[]string{"GET", "PUT"}, causeway.GenericMethodNotAllowed, "method BREW is not allowed here, allowed: GET, PUT"},
	} {
		w := httptest.NewRecorder()
		err := httpanswer.Misrouted("test", w, r, x.allow)
		if causeway.CodeOf(err) != x.want || !strings.HasPrefix(causeway.MessageOf(err), x.text) || len(causeway.MessageOf(err)) > 400 {
			t.Errorf("%v: %v", x.allow, err)
		}
		if got := w.Header().Get("Allow"); got != strings.Join(x.allow, ", ") {
			t.Errorf("%v: Allow is %q", x.allow, got)
		}
	}
}

// broken is a connection whose client has gone.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestSend(t *testing.T) {
	w := httptest.NewRecorder()
	if err := httpanswer.Send(w, http.StatusAccepted, []byte("x"), time.Second); err != nil {
		t.Error(err)
	}
	if h := w.Header(); w.Code != http.StatusAccepted || w.Body.String() != "x" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %s %v", w.Code, w.Body, h)
	}
	if err := httpanswer.Send(broken{httptest.NewRecorder()}, http.StatusOK, []byte("x"), time.Second); err == nil {
		t.Error("nobody has it, and there is no error")
	}
	if err := httpanswer.Send(broken{httptest.NewRecorder()}, http.StatusNoContent, nil, time.Second); err != nil {
		t.Errorf("without a body: %v", err)
	}
}

func TestTrace(t *testing.T) {
	rec := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	defer func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	r := httptest.NewRequest(http.MethodPut, "/x", nil)
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traced, end := httpanswer.Trace(p.Tracer("test"), r, "head.route", "id")
	if traced == r {
		t.Error("the request is not in the span")
	}
	end(causeway.Identity{Hub: "h", Device: "d"}, 503, causeway.Errorf(causeway.ServiceUnavailable, "test", "no"))
	spans := rec.Ended()
	if len(spans) != 1 || spans[0].Name() != "head.route" || spans[0].SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" ||
		spans[0].Status().Description != "ServiceUnavailable" || len(spans[0].Attributes()) != 5 {
		t.Errorf("%+v", spans)
	}
	same, end := httpanswer.Trace(nil, r, "head.route", "id")
	if end(causeway.Identity{}, 200, nil); same != r {
		t.Error("without a tracer the request is another")
	}
}
