package guard_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/guard"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFake(t testing.TB) *hubtest.Fake {
	f := hubtest.NewFake("plant.example")
	t.Cleanup(f.Close)
	return f
}

func newTracer(t testing.TB) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	rec := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	t.Cleanup(func() {
		if err := tp.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tp, rec
}

// TestContract: a decorated hub is still a hub.
func TestContract(t *testing.T) {
	hubtest.Run(t, func(t *testing.T) (causeway.Hub, hubtest.Admin) {
		f := newFake(t)
		tp, _ := newTracer(t)
		return guard.Trace(guard.Meter(f, guard.NewMetrics(prometheus.NewRegistry())), tp), f
	})
}

// gather returns the value, or for a histogram the count, of a metric with labels.
func gather(t *testing.T, reg prometheus.Gatherer, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
				want, ok := labels[l.GetName()]
				return ok && want != l.GetValue()
			}) {
				continue
			}
			if m.Histogram != nil {
				return float64(m.GetHistogram().GetSampleCount())
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func TestMeter(t *testing.T) {
	f := newFake(t)
	reg := prometheus.NewRegistry()
	hub := guard.Meter(f, guard.NewMetrics(reg))
	cred := f.Add(t, "d1", "")
	stranger := cred
	stranger.Identity = causeway.Identity{Hub: "made-up", Device: "nobody"}
	if _, err := hub.Connect(t.Context(), stranger, nil); err == nil {
		t.Fatal("a stranger was let in")
	}
	r := hubtest.NewRecorder()
	s, err := hub.Connect(t.Context(), cred, r)
	if err != nil {
		t.Fatal(err)
	}
	f.OnSend = func(_ context.Context, _ causeway.Identity, msgs []causeway.Message) error {
		if len(msgs) > 1 {
			return causeway.Errorf(causeway.ServiceUnavailable, "test", "full")
		}
		return nil
	}
	if err := s.Send(t.Context(), causeway.Message{}); err != nil {
		t.Fatal(err)
	}
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}, causeway.Message{}), causeway.ServiceUnavailable)
	if err := s.Listen(t.Context(), causeway.LaneMethods); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Invoke(t.Context(), cred.Identity, causeway.Call{Method: "m"}, 0, time.Second); err != nil {
		t.Fatal(err)
	}
	const seconds, failures, sessions = "causeway_hub_operation_seconds", "causeway_hub_operation_failures_total", "causeway_hub_open_sessions"
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{seconds, map[string]string{"hub": "plant", "operation": "connect"}, 1},
		{seconds, map[string]string{"hub": "plant", "operation": "send"}, 2},
		{seconds, map[string]string{"hub": "plant", "operation": "listen"}, 1},
		{seconds, map[string]string{"hub": "plant", "operation": "invoke"}, 1},
		{failures, map[string]string{"hub": "plant", "operation": "send", "error": "ServiceUnavailable"}, 1},
		{failures, map[string]string{"hub": "", "operation": "connect", "error": "IotHubUnauthorized"}, 1},
		{failures, map[string]string{"hub": "made-up"}, 0},
		{sessions, map[string]string{"hub": "plant"}, 1},
	} {
		if got := gather(t, reg, c.name, c.labels); got != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	s.Close(nil)
	s.Close(nil)
	if got := gather(t, reg, sessions, map[string]string{"hub": "plant"}); got != 0 {
		t.Errorf("%v sessions are open after the only one was closed twice", got)
	}
}

func TestTraceOff(t *testing.T) {
	f := newFake(t)
	for _, h := range []causeway.Hub{guard.Trace(f, nil), guard.Trace(f, noop.NewTracerProvider())} {
		if h != causeway.Hub(f) {
			t.Errorf("without a tracer the hub is wrapped in a %T", h)
		}
	}
}

func TestTrace(t *testing.T) {
	f := newFake(t)
	tp, rec := newTracer(t)
	hub := guard.Trace(f, tp)
	cred := f.Add(t, "d1", "")
	r := hubtest.NewRecorder()
	s, err := hub.Connect(t.Context(), cred, r)
	if err != nil {
		t.Fatal(err)
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if err := s.Send(t.Context(), causeway.Message{DiagnosticID: parent}, causeway.Message{DiagnosticID: "0123"}); err != nil {
		t.Fatal(err)
	}
	f.OnTwin = func(context.Context, causeway.Identity) error {
		return &causeway.Error{Code: causeway.ServerBusy, Msg: "busy", Err: errors.New("internal detail")}
	}
	_, err = s.Twin(t.Context())
	hubtest.WantCode(t, err, causeway.ServerBusy)
	if err := s.Listen(t.Context(), causeway.LaneCommands|causeway.LaneDesired); err != nil {
		t.Fatal(err)
	}
	f.Enqueue(t, cred.Identity, causeway.Message{Body: []byte("x")})
	r.Message(t)
	f.SetDesired(t, cred.Identity, `{"a":1}`)
	r.Patch(t)

	spans := map[string]sdktrace.ReadOnlySpan{}
	hubtest.Eventually(t, "all spans", func() bool {
		for _, sp := range rec.Ended() {
			spans[sp.Name()] = sp
		}
		return len(spans) == 6
	})
	for _, name := range []string{"hub.connect", "hub.send", "hub.twin", "hub.listen", "hub.deliver", "hub.desired"} {
		if spans[name] == nil {
			t.Fatalf("no span %s among %v", name, spans)
		}
	}
	if ls := spans["hub.send"].Links(); len(ls) != 1 || ls[0].SpanContext.TraceID().String() != parent[3:35] {
		t.Errorf("links of send: %+v", ls)
	}
	if st := spans["hub.twin"].Status(); st.Code != codes.Error || st.Description != "busy" {
		t.Errorf("status of a failed read: %+v", st)
	}
	if st := spans["hub.send"].Status(); st.Code != codes.Unset {
		t.Errorf("status of a send: %+v", st)
	}
}

// null is a hub whose sessions do nothing.
type null struct{ causeway.Session }

func (n null) Connect(context.Context, causeway.Credential, causeway.Device) (causeway.Session, error) {
	return n, nil
}

func (null) Identity() causeway.Identity                     { return causeway.Identity{Hub: "h", Device: "d"} }
func (null) Send(context.Context, ...causeway.Message) error { return nil }

func BenchmarkMeterSend(b *testing.B) {
	s, err := guard.Meter(null{}, guard.NewMetrics(nil)).Connect(b.Context(), causeway.Credential{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	msgs := make([]causeway.Message, 1)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Send(b.Context(), msgs...)
	}
}

func TestMeterDoesNotAllocate(t *testing.T) {
	s, err := guard.Meter(null{}, guard.NewMetrics(nil)).Connect(t.Context(), causeway.Credential{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	msgs := make([]causeway.Message, 1)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = s.Send(ctx, msgs...) }); n != 0 {
		t.Errorf("a metered Send allocates %v times", n)
	}
}
