package obs

import "github.com/prometheus/client_golang/prometheus"

// Delivery is the metrics of the endpoints of one hub, each by "endpoint".
type Delivery struct {
	Queued  *prometheus.CounterVec   // messages stored in queues
	Sent    *prometheus.CounterVec   // messages that endpoints took
	Failed  *prometheus.CounterVec   // attempts
	Lost    *prometheus.CounterVec   // dead letters and dropped messages, by "reason"
	Latency *prometheus.HistogramVec // seconds of an attempt
}

// NewDelivery makes the metrics of the endpoints of the hub called name. A nil
// reg makes metrics that nobody sees.
func NewDelivery(reg prometheus.Registerer, name string) *Delivery {
	m := maker{reg, prometheus.Labels{"hub": name}}
	return &Delivery{
		Queued:  m.vec("causeway_endpoint_queued_total", "Messages put into the queue of an endpoint.", "endpoint"),
		Sent:    m.vec("causeway_endpoint_sent_total", "Messages that an endpoint took.", "endpoint"),
		Failed:  m.vec("causeway_endpoint_failed_total", "Attempts to send something that failed.", "endpoint"),
		Lost:    m.vec("causeway_endpoint_lost_total", "Messages that an endpoint did not get, by reason: dropped, or why they are dead letters.", "endpoint", "reason"),
		Latency: m.histogramVec("causeway_endpoint_send_seconds", "Time of an attempt to send a batch.", latencyBuckets(), "endpoint"),
	}
}

// Forget removes the metrics of an endpoint that is no more.
func (d *Delivery) Forget(endpoint string) {
	l := prometheus.Labels{"endpoint": endpoint}
	for _, v := range []*prometheus.CounterVec{d.Queued, d.Sent, d.Failed, d.Lost} {
		v.DeletePartialMatch(l)
	}
	d.Latency.DeletePartialMatch(l)
}
