// Package obs is how the platform is seen from outside: the Prometheus metrics
// of heads, hubs and logs, the keys and handlers of structured logs, and the
// health of parts.
//
// It knows names and units, and nothing of what is measured.
package obs

import "github.com/prometheus/client_golang/prometheus"

// Head is the metrics of one protocol head.
type Head struct {
	Connections prometheus.Gauge       // open now
	Connects    prometheus.Counter     // accepted since start
	Refused     *prometheus.CounterVec // by "reason"
	MessagesIn  prometheus.Counter     // device to cloud
	MessagesOut prometheus.Counter     // cloud to device, requests included
	BytesIn     prometheus.Counter     // message bodies
	BytesOut    prometheus.Counter
	AckLatency  prometheus.Histogram // seconds from reading a message to acknowledging it

	// Of heads that speak HTTP, and of registrations with the provisioning
	// service; empty for the others.
	Requests       *prometheus.CounterVec   // answered, by "route" and "status"
	RequestLatency *prometheus.HistogramVec // seconds, by "route"
}

// Hub is the metrics of one hub.
type Hub struct {
	Telemetry      prometheus.Counter     // messages stored
	TelemetryBytes prometheus.Counter     // their bodies
	Settled        *prometheus.CounterVec // cloud-to-device outcomes by "outcome"
	Methods        *prometheus.CounterVec // direct methods by "result": ok, offline, timeout, failed
	MethodLatency  prometheus.Histogram   // seconds
	TwinReads      prometheus.Counter
	TwinUpdates    *prometheus.CounterVec // by "section": desired, reported
	Sessions       prometheus.Gauge       // connected identities
	Takeovers      prometheus.Counter     // sessions replaced by a newer connection
	Refused        *prometheus.CounterVec // by "reason" (error name)

	// Of hubs with routes.
	Routed   *prometheus.CounterVec // messages by "endpoint"
	Fallback prometheus.Counter     // those that only the fallback route took
	Unrouted *prometheus.CounterVec // those that no route took, by "source"
	// BrokenRoutes are routes and enrichments that do nothing because they make no
	// sense.
	BrokenRoutes prometheus.Gauge
}

// Log is the metrics of one event log.
type Log struct {
	CommitLatency prometheus.Histogram // seconds of one group commit, sync included
	CommitRecords prometheus.Histogram // records in one group commit
	Records       prometheus.Counter
	Bytes         prometheus.Counter
	Segments      prometheus.Gauge
	DiskBytes     prometheus.Gauge
	Full          prometheus.Counter // appends refused for want of space
	Damaged       prometheus.Counter // records skipped as damaged
}

// Query is the metrics of queries over twins and jobs.
type Query struct {
	Queries *prometheus.CounterVec // pages answered, by "result": ok, invalid, canceled, failed
	Latency prometheus.Histogram   // seconds of one page
	Rows    prometheus.Counter     // rows looked at
	Items   prometheus.Counter     // items handed out
}

// Latency buckets in seconds: 50 µs to 10 s, so that both a commit on fast
// storage and a struggling disk are resolved.
func latencyBuckets() []float64 {
	return []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, .5, 1, 2.5, 5, 10}
}

// maker creates metrics with common labels and registers them, unless reg is nil.
type maker struct {
	reg    prometheus.Registerer
	labels prometheus.Labels
}

func (m maker) add(c prometheus.Collector) {
	if m.reg != nil {
		m.reg.MustRegister(c)
	}
}

func (m maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: m.labels})
	m.add(c)
	return c
}

func (m maker) gauge(name, help string) prometheus.Gauge {
	c := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: m.labels})
	m.add(c)
	return c
}

func (m maker) vec(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: m.labels}, labels)
	m.add(c)
	return c
}

func (m maker) histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	c := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: m.labels, Buckets: buckets}, labels)
	m.add(c)
	return c
}

func (m maker) histogram(name, help string, buckets []float64) prometheus.Histogram {
	c := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: m.labels, Buckets: buckets})
	m.add(c)
	return c
}

// NewHead makes the metrics of the head called name. A nil reg makes metrics
// that nobody sees.
func NewHead(reg prometheus.Registerer, name string) *Head {
	m := maker{reg, prometheus.Labels{"head": name}}
	return &Head{
		Connections: m.gauge("causeway_head_connections", "Open connections."),
		Connects:    m.counter("causeway_head_connects_total", "Connections accepted."),
		Refused:     m.vec("causeway_head_refused_total", "Connections and requests refused, by reason.", "reason"),
		MessagesIn:  m.counter("causeway_head_messages_in_total", "Messages received from clients."),
		MessagesOut: m.counter("causeway_head_messages_out_total", "Messages sent to clients."),
		BytesIn:     m.counter("causeway_head_message_bytes_in_total", "Bytes of message bodies received."),
		BytesOut:    m.counter("causeway_head_message_bytes_out_total", "Bytes of message bodies sent."),
		AckLatency:  m.histogram("causeway_head_ack_seconds", "Time from reading a message to acknowledging it.", latencyBuckets()),

		Requests:       m.vec("causeway_head_http_requests_total", "HTTP requests answered, by route and status.", "route", "status"),
		RequestLatency: m.histogramVec("causeway_head_http_request_seconds", "Time of an HTTP request.", latencyBuckets(), "route"),
	}
}

// NewHub makes the metrics of the hub called name. A nil reg makes metrics that
// nobody sees.
func NewHub(reg prometheus.Registerer, name string) *Hub {
	m := maker{reg, prometheus.Labels{"hub": name}}
	return &Hub{
		Telemetry:      m.counter("causeway_hub_telemetry_total", "Telemetry messages stored."),
		TelemetryBytes: m.counter("causeway_hub_telemetry_bytes_total", "Bytes of telemetry bodies stored."),
		Settled:        m.vec("causeway_hub_commands_settled_total", "Cloud-to-device messages settled, by outcome.", "outcome"),
		Methods:        m.vec("causeway_hub_methods_total", "Direct method calls, by result.", "result"),
		MethodLatency:  m.histogram("causeway_hub_method_seconds", "Time of a direct method call.", latencyBuckets()),
		TwinReads:      m.counter("causeway_hub_twin_reads_total", "Twins read by devices."),
		TwinUpdates:    m.vec("causeway_hub_twin_updates_total", "Twin updates, by section.", "section"),
		Sessions:       m.gauge("causeway_hub_sessions", "Connected devices and modules."),
		Takeovers:      m.counter("causeway_hub_takeovers_total", "Sessions replaced by a newer connection of the same identity."),
		Refused:        m.vec("causeway_hub_refused_total", "Refused requests, by error name.", "reason"),

		Routed:       m.vec("causeway_hub_routed_total", "Messages that routes took to an endpoint, by endpoint.", "endpoint"),
		Fallback:     m.counter("causeway_hub_fallback_total", "Messages that no route took but the fallback route."),
		BrokenRoutes: m.gauge("causeway_hub_routes_broken", "Routes and enrichments that do nothing because they make no sense to this version of the program."),
		Unrouted:     m.vec("causeway_hub_unrouted_total", "Messages that no route took and that were dropped, by source.", "source"),
	}
}

// NewQuery makes the metrics of queries. A nil reg makes metrics that nobody
// sees.
func NewQuery(reg prometheus.Registerer) *Query {
	m := maker{reg: reg}
	return &Query{
		Queries: m.vec("causeway_queries_total", "Pages of queries answered, by result.", "result"),
		Latency: m.histogram("causeway_query_seconds", "Time to answer one page of a query.", latencyBuckets()),
		Rows:    m.counter("causeway_query_rows_total", "Rows that queries looked at."),
		Items:   m.counter("causeway_query_items_total", "Items that queries handed out."),
	}
}

// NewLog makes the metrics of the event log of the hub called name. A nil reg
// makes metrics that nobody sees.
func NewLog(reg prometheus.Registerer, name string) *Log {
	m := maker{reg, prometheus.Labels{"hub": name}}
	return &Log{
		CommitLatency: m.histogram("causeway_log_commit_seconds", "Time of one group commit, sync included.", latencyBuckets()),
		CommitRecords: m.histogram("causeway_log_commit_records", "Records in one group commit.", []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000}),
		Records:       m.counter("causeway_log_records_total", "Records appended."),
		Bytes:         m.counter("causeway_log_bytes_total", "Bytes appended."),
		Segments:      m.gauge("causeway_log_segments", "Segment files."),
		DiskBytes:     m.gauge("causeway_log_disk_bytes", "Bytes of segment files."),
		Full:          m.counter("causeway_log_full_total", "Appends refused for want of space."),
		Damaged:       m.counter("causeway_log_damaged_total", "Damaged records skipped."),
	}
}
