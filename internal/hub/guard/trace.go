package guard

import (
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// maxLinks bounds the device spans that one Send links to.
const maxLinks = 16

// Trace returns hub with a span for every operation in both directions. A span
// of Send links to the traces that the messages name in their Diagnostic-Id
// (W3C Trace Context, traceparent). Without a provider, or with one that
// records nothing, it returns hub itself and so costs nothing.
func Trace(hub causeway.Hub, tp trace.TracerProvider) causeway.Hub {
	if tp == nil {
		return hub
	}
	if _, off := tp.(noop.TracerProvider); off {
		return hub
	}
	return &traceHub{hub: hub, tracer: tp.Tracer("github.com/causeway-iot/causeway/internal/hub/guard")}
}

type traceHub struct {
	hub    causeway.Hub
	tracer trace.Tracer
}

// tracing is what sessions and devices need to make spans.
type tracing struct {
	tracer trace.Tracer
	id     causeway.Identity
}

func (t tracing) start(ctx context.Context, op int, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, "hub."+opNames[op], o...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("causeway.hub", t.id.Hub),
			attribute.String("causeway.device", t.id.Device),
			attribute.String("causeway.module", t.id.Module),
		)
	}
	return ctx, span
}

// finish ends a span. Only what a client may see of an error goes into it.
func finish(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetAttributes(attribute.Int("causeway.error_code", int(causeway.CodeOf(err))))
		span.SetStatus(codes.Error, causeway.MessageOf(err))
	}
	span.End()
}

// Connect opens a traced session.
func (h *traceHub) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	t := tracing{h.tracer, cred.Identity}
	ctx, span := t.start(ctx, opConnect)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("causeway.transport", string(cred.Transport)))
	}
	if dev != nil {
		dev = &traceDevice{dev, t}
	}
	s, err := h.hub.Connect(ctx, cred, dev)
	finish(span, err)
	if err != nil {
		return nil, err
	}
	t.id = s.Identity()
	return &traceSession{s, t}, nil
}

type traceSession struct {
	causeway.Session
	tracing
}

func (s *traceSession) Send(ctx context.Context, msgs ...causeway.Message) error {
	ctx, span := s.start(ctx, opSend, trace.WithLinks(links(msgs)...))
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("causeway.messages", len(msgs)))
	}
	err := s.Session.Send(ctx, msgs...)
	finish(span, err)
	return err
}

// links returns the spans that messages were sent in, as far as they say.
func links(msgs []causeway.Message) []trace.Link {
	var ls []trace.Link
	for i := range msgs {
		if msgs[i].DiagnosticID == "" || len(ls) == maxLinks {
			continue
		}
		carrier := propagation.MapCarrier{"traceparent": msgs[i].DiagnosticID}
		ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			ls = append(ls, trace.Link{SpanContext: sc})
		}
	}
	return ls
}

func (s *traceSession) Twin(ctx context.Context) (causeway.Twin, error) {
	ctx, span := s.start(ctx, opTwin)
	t, err := s.Session.Twin(ctx)
	finish(span, err)
	return t, err
}

func (s *traceSession) Report(ctx context.Context, p causeway.Patch) (int64, error) {
	ctx, span := s.start(ctx, opReport)
	v, err := s.Session.Report(ctx, p)
	finish(span, err)
	return v, err
}

func (s *traceSession) Listen(ctx context.Context, lanes causeway.Lane) error {
	ctx, span := s.start(ctx, opListen)
	err := s.Session.Listen(ctx, lanes)
	finish(span, err)
	return err
}

func (s *traceSession) Settle(ctx context.Context, lock causeway.LockToken, o causeway.Outcome) error {
	ctx, span := s.start(ctx, opSettle)
	err := s.Session.Settle(ctx, lock, o)
	finish(span, err)
	return err
}

func (s *traceSession) Renew(ctx context.Context, cred causeway.Credential) error {
	ctx, span := s.start(ctx, opRenew)
	err := s.Session.Renew(ctx, cred)
	finish(span, err)
	return err
}

type traceDevice struct {
	causeway.Device
	tracing
}

func (d *traceDevice) Deliver(ctx context.Context, m causeway.Message) error {
	ctx, span := d.start(ctx, opDeliver)
	err := d.Device.Deliver(ctx, m)
	if errors.Is(err, causeway.ErrNoCredit) {
		finish(span, nil) // as the client wants it
		return err
	}
	finish(span, err)
	return err
}

func (d *traceDevice) Desired(ctx context.Context, p causeway.Patch) error {
	ctx, span := d.start(ctx, opDesired)
	err := d.Device.Desired(ctx, p)
	finish(span, err)
	return err
}

func (d *traceDevice) Invoke(ctx context.Context, c causeway.Call) (causeway.Result, error) {
	ctx, span := d.start(ctx, opInvoke)
	r, err := d.Device.Invoke(ctx, c)
	finish(span, err)
	return r, err
}
