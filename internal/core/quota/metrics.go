package quota

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a limiter counts.
type Metrics struct {
	throttle, delay [NumKinds]prometheus.Counter
	dayUsed         prometheus.Gauge
	dayLimit        prometheus.Gauge
	dayRefused      prometheus.Counter
}

// NewMetrics makes the metrics of the hub called name, and registers them unless
// reg is nil.
func NewMetrics(reg prometheus.Registerer, name string) *Metrics {
	labels := prometheus.Labels{"hub": name}
	throttle := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "causeway_hub_throttled_total", Help: "Operations refused because they came too often, by kind.", ConstLabels: labels,
	}, []string{"kind"})
	delay := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "causeway_hub_delayed_total", Help: "Operations delayed because they came too often, by kind.", ConstLabels: labels,
	}, []string{"kind"})
	m := &Metrics{
		dayUsed:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "causeway_hub_daily_messages_used", Help: "Messages counted on this day, in UTC; 0 while nothing limits them.", ConstLabels: labels}),
		dayLimit:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "causeway_hub_daily_messages_limit", Help: "Messages that the hub has for a day; 0 for no limit.", ConstLabels: labels}),
		dayRefused: prometheus.NewCounter(prometheus.CounterOpts{Name: "causeway_hub_daily_messages_refused_total", Help: "Messages refused because those of the day were used up.", ConstLabels: labels}),
	}
	for k := range NumKinds {
		m.throttle[k], m.delay[k] = throttle.WithLabelValues(k.String()), delay.WithLabelValues(k.String())
	}
	if reg != nil {
		reg.MustRegister(throttle, delay, m.dayUsed, m.dayLimit, m.dayRefused)
	}
	return m
}

func (m *Metrics) throttled(k Kind, n int) { m.throttle[k].Add(float64(n)) }
func (m *Metrics) delayed(k Kind, n int)   { m.delay[k].Add(float64(n)) }
func (m *Metrics) used(n int64)            { m.dayUsed.Set(float64(n)) }
func (m *Metrics) limit(n int64)           { m.dayLimit.Set(float64(n)) }
func (m *Metrics) refused(n int64)         { m.dayRefused.Add(float64(n)) }
