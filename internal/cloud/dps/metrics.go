package dps

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
)

// Metrics are what the provisioning services of a cloud count.
type Metrics struct {
	registrations *prometheus.CounterVec // ended, by service, attestation and outcome
	refused       *prometheus.CounterVec // by service and reason
	throttles     *prometheus.CounterVec
	assigned      *prometheus.CounterVec // by service and hub
	latency       prometheus.Histogram
	webhook       *prometheus.HistogramVec
	waiting       prometheus.GaugeFunc
	hubs          *prometheus.GaugeVec
	audit         *prometheus.CounterVec
}

// NewMetrics makes the metrics, and registers them unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "causeway_dps_" + name, Help: help}, labels)
	}
	m := &Metrics{
		registrations: counter("registrations_total", "Registrations that have ended, by attestation and outcome: assigned, failed, disabled.", "service", "attestation", "outcome"),
		refused:       counter("refused_total", "Requests of devices that were refused, by the code they were told.", "service", "code"),
		throttles:     counter("throttled_total", "Calls that came too often, by limit.", "service", "limit"),
		assigned:      counter("assigned_total", "Devices that were assigned, by hub.", "service", "hub"),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "causeway_dps_assign_seconds", Help: "From the registration of a device until it is on its hub.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60},
		}),
		webhook: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "causeway_dps_webhook_seconds", Help: "Answers of the webhooks of custom allocations, by result: ok, failed.",
			Buckets: []float64{.005, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"service", "result"}),
		hubs:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "causeway_dps_hub_healthy", Help: "Whether a linked hub that was used takes devices: 1, or 0 after failures."}, []string{"hub"}),
		audit: counter("audit_skipped_total", "Refused devices that were not put on record because there were too many.", "service"),
	}
	if reg != nil {
		reg.MustRegister(m.registrations, m.refused, m.throttles, m.assigned, m.latency, m.webhook, m.hubs, m.audit)
	}
	return m
}

// watch adds the gauge of registrations that wait, unless reg is nil.
func (m *Metrics) watch(reg prometheus.Registerer, waiting func() float64) {
	m.waiting = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "causeway_dps_registrations_under_way", Help: "Registrations that wait for their assignment or are being assigned."}, waiting)
	if reg != nil {
		reg.MustRegister(m.waiting)
	}
}

func (m *Metrics) throttled(service string, l Limit) {
	m.throttles.WithLabelValues(service, l.String()).Inc()
}

// ended counts the end of a registration, which began at a time.
func (m *Metrics) ended(service string, r *Registration, began time.Time) {
	m.registrations.WithLabelValues(service, string(r.Kind), string(r.Status)).Inc()
	if r.Status == Assigned {
		m.assigned.WithLabelValues(service, r.Hub).Inc()
		m.latency.Observe(time.Since(began).Seconds())
	}
}

// refuse counts a refusal of a device.
func (m *Metrics) refuse(service string, err error) {
	m.refused.WithLabelValues(service, causeway.CodeOf(err).String()).Inc()
}

// asked counts a call of a webhook.
func (m *Metrics) asked(service string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.webhook.WithLabelValues(service, result).Observe(took.Seconds())
}

// hub notes whether a linked hub takes devices.
func (m *Metrics) hub(host string, healthy bool) {
	v := 0.0
	if healthy {
		v = 1
	}
	m.hubs.WithLabelValues(host).Set(v)
}
