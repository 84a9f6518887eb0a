package guard

import (
	"context"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what [Meter] measures, of every hub behind it.
type Metrics struct {
	seconds  *prometheus.HistogramVec // by hub and operation
	failures *prometheus.CounterVec   // by hub, operation and error name
	sessions *prometheus.GaugeVec     // by hub; sending-only ones included
	mu       sync.RWMutex
	hubs     map[string]*meters
}

// NewMetrics makes the metrics and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "causeway_hub_operation_seconds", Help: "Time of an operation of the hub contract.",
			Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 5, 30},
		}, []string{"hub", "operation"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "causeway_hub_operation_failures_total", Help: "Operations of the hub contract that failed, by error name.",
		}, []string{"hub", "operation", "error"}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "causeway_hub_open_sessions", Help: "Sessions that heads have opened and not closed.",
		}, []string{"hub"}),
		hubs: make(map[string]*meters),
	}
	if reg != nil {
		reg.MustRegister(m.seconds, m.failures, m.sessions)
	}
	return m
}

// of returns the meters of one hub, looked up once per session. Clients that
// are not let in have the hub "": the name they ask for is not verified, and
// must not make a label.
func (m *Metrics) of(hub string) *meters {
	m.mu.RLock()
	x := m.hubs[hub]
	m.mu.RUnlock()
	if x != nil {
		return x
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if x = m.hubs[hub]; x == nil {
		x = &meters{sessions: m.sessions.WithLabelValues(hub), failures: m.failures.MustCurryWith(prometheus.Labels{"hub": hub})}
		for op, name := range opNames {
			x.seconds[op] = m.seconds.WithLabelValues(hub, name)
		}
		m.hubs[hub] = x
	}
	return x
}

// meters are the metrics of one hub.
type meters struct {
	seconds  [numOps]prometheus.Observer
	failures *prometheus.CounterVec
	sessions prometheus.Gauge
}

func (m *meters) done(op int, start time.Time, err error) {
	m.seconds[op].Observe(since(start))
	if err != nil {
		m.failures.WithLabelValues(opNames[op], causeway.CodeOf(err).Name()).Inc()
	}
}

// Meter returns hub with every operation timed and its failures counted.
func Meter(hub causeway.Hub, m *Metrics) causeway.Hub { return &meterHub{hub, m} }

type meterHub struct {
	hub     causeway.Hub
	metrics *Metrics
}

// Connect opens a metered session.
func (h *meterHub) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	start := time.Now()
	var md *meterDevice
	wrapped := dev
	if dev != nil {
		md = &meterDevice{Device: dev}
		// A hub may call before Connect returns; until the hub is known its
		// calls count for the hub "".
		md.meters.Store(h.metrics.of(""))
		wrapped = md
	}
	s, err := h.hub.Connect(ctx, cred, wrapped)
	if err != nil {
		h.metrics.of("").done(opConnect, start, err)
		return nil, err
	}
	m := h.metrics.of(s.Identity().Hub)
	if md != nil {
		md.meters.Store(m)
	}
	m.done(opConnect, start, nil)
	m.sessions.Inc()
	return &meterSession{Session: s, meters: m}, nil
}

type meterSession struct {
	causeway.Session
	meters *meters
	closed sync.Once
}

func (s *meterSession) Send(ctx context.Context, msgs ...causeway.Message) error {
	start := time.Now()
	err := s.Session.Send(ctx, msgs...)
	s.meters.done(opSend, start, err)
	return err
}

func (s *meterSession) Twin(ctx context.Context) (causeway.Twin, error) {
	start := time.Now()
	t, err := s.Session.Twin(ctx)
	s.meters.done(opTwin, start, err)
	return t, err
}

func (s *meterSession) Report(ctx context.Context, p causeway.Patch) (int64, error) {
	start := time.Now()
	v, err := s.Session.Report(ctx, p)
	s.meters.done(opReport, start, err)
	return v, err
}

func (s *meterSession) Listen(ctx context.Context, lanes causeway.Lane) error {
	start := time.Now()
	err := s.Session.Listen(ctx, lanes)
	s.meters.done(opListen, start, err)
	return err
}

func (s *meterSession) Settle(ctx context.Context, lock causeway.LockToken, o causeway.Outcome) error {
	start := time.Now()
	err := s.Session.Settle(ctx, lock, o)
	s.meters.done(opSettle, start, err)
	return err
}

func (s *meterSession) Renew(ctx context.Context, cred causeway.Credential) error {
	start := time.Now()
	err := s.Session.Renew(ctx, cred)
	s.meters.done(opRenew, start, err)
	return err
}

func (s *meterSession) Close(reason error) error {
	s.closed.Do(s.meters.sessions.Dec)
	return s.Session.Close(reason)
}
