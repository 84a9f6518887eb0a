// Package httpanswer is what heads that speak HTTP do around every request
// alike: they give it an id, trace it, refuse one that leads nowhere, and answer
// before a slow client holds them up.
//
// It knows neither routes nor forms of errors.
package httpanswer

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// RequestID returns a new id of a request, in hex, as x-ms-request-id has it.
func RequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Misrouted refuses a request that no route takes. Allow are the methods that
// routes of its path take, nil when there are none, and go into a header of the
// answer. Codes: GenericMethodNotAllowed, GenericNotFound.
func Misrouted(op string, w http.ResponseWriter, r *http.Request, allow []string) error {
	if allow == nil {
		return causeway.Errorf(causeway.GenericNotFound, op, "no such operation: %s %s", hubhttp.Clip(r.Method), hubhttp.Clip(r.URL.EscapedPath()))
	}
	methods := strings.Join(allow, ", ")
	w.Header().Set("Allow", methods)
	return causeway.Errorf(causeway.GenericMethodNotAllowed, op, "method %s is not allowed here, allowed: %s", hubhttp.Clip(r.Method), methods)
}

// Send writes status and body. A client that does not take them within some time
// loses its connection. An error is for the log: there is nobody to tell.
func Send(w http.ResponseWriter, status int, body []byte, within time.Duration) error {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(within))
	w.WriteHeader(status)
	if len(body) == 0 {
		return nil
	}
	_, err := w.Write(body)
	return err
}

// Trace starts a span for a request, which continues the trace of its caller, and
// returns the request in it. End takes whom the request was about and how it was
// answered. A nil tracer traces nothing.
func Trace(tracer trace.Tracer, r *http.Request, name, request string) (traced *http.Request, end func(id causeway.Identity, status int, err error)) {
	if tracer == nil {
		return r, func(causeway.Identity, int, error) {}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("causeway.request", request)))
	return r.WithContext(ctx), func(id causeway.Identity, status int, err error) {
		span.SetAttributes(attribute.Int("http.response.status_code", status),
			attribute.String("causeway.hub", id.Hub), attribute.String("causeway.device", id.Device))
		if err != nil && status >= 500 {
			span.SetStatus(codes.Error, causeway.CodeOf(err).Name())
		}
		span.End()
	}
}
