package obs

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// NewTracer returns a provider that exports spans over OTLP/HTTP to endpoint: a
// URL such as "http://collector:4318", or host:port, which means plain HTTP. An
// empty endpoint gives a provider that records nothing. shutdown sends what is
// still waiting and ends the exporter; it must be called once.
//
// Spans are exported in the background: an unreachable collector costs spans,
// never requests. log hears when that begins and when it is over.
func NewTracer(ctx context.Context, endpoint, serviceName string, log *slog.Logger) (tp trace.TracerProvider, shutdown func(context.Context) error, err error) {
	if endpoint == "" {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	u, err := traceURL(endpoint)
	if err != nil {
		return nil, nil, err
	}
	exp, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u))
	if err != nil {
		return nil, nil, fmt.Errorf("open trace exporter to %s: %w", endpoint, err)
	}
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&toldExporter{SpanExporter: exp, log: log}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", serviceName))),
	)
	return sdk, sdk.Shutdown, nil
}

// toldExporter tells a log of what the library would write to the standard error
// by itself, every five seconds.
type toldExporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

func (e *toldExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	switch err := e.SpanExporter.ExportSpans(ctx, spans); {
	case err != nil && !e.failing.Swap(true):
		e.log.Warn("the collector does not take traces; spans are lost until it does", "error", err)
	case err == nil && e.failing.Swap(false):
		e.log.Info("the collector takes traces again")
	}
	return nil
}

// traceURL completes an endpoint to the URL spans are posted to.
func traceURL(endpoint string) (string, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("trace endpoint %q is not an http or https URL such as http://collector:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}
