// Package bench drives a hub, or any MQTT or AMQP 1.0 broker, from outside as many
// devices would, and measures what it does: how fast devices connect, what an
// idle connection costs, how much telemetry is taken, how long direct methods,
// commands and twin patches take, how fast events are read and how long they are
// under way.
//
// Devices are a generator of its own instead of the Go SDK: one goroutine and a few
// hundred bytes of state per connection, packets prepared in advance, and one
// write for whatever a connection may send at once, so that the server and not
// the generator is what is measured. It knows protocols and nothing of command
// lines.
package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// Limits of the generator.
const (
	MaxConnections = 60_000 // ports of one address towards one server
	MaxDepth       = 10_000 // messages in flight on one connection
	MaxPreload     = 10_000_000
	MaxRate        = 100_000
	dialTimeout    = 30 * time.Second
	replyTimeout   = 60 * time.Second // for an answer before a connection counts as stuck
)

// Target is the server under load.
type Target struct {
	Name    string // for reports
	Address string // host:port of MQTT over TLS
	Host    string // name in its certificate, and host name of the hub
	RootCAs *x509.CertPool
	// Service is the service side of the hub; nil when the target is a plain
	// broker, which has no identities, twins and methods.
	Service *client.Service
	// AMQPAddress is host:port of AMQP, "" when it is not served.
	AMQPAddress string
	// Events is how the events of the hub are read.
	Events client.EventsOptions
	// Broker is set when the target is a plain AMQP broker.
	Broker *Broker
	// Key is the secret that the keys of the generated devices are made from.
	Key []byte
	// PID is the server's process, when it runs on this machine; 0 when not.
	PID int
}

// Hub reports whether the target is a hub and not a plain broker.
func (t *Target) Hub() bool { return t.Service != nil }

// Lacks says what a workload needs that the target has not, "" for nothing.
func (t *Target) Lacks(w Workload) string {
	switch {
	case w.NeedsHub && !t.Hub():
		return "needs a hub: a plain broker has no such thing"
	case t.Broker != nil && !w.AMQP:
		return "needs MQTT, which the target is not driven by"
	case w.AMQP && t.AMQPAddress == "":
		return "needs AMQP, which the target does not serve"
	}
	return ""
}

// tls is what devices do: modern curves, no session tickets, so that every
// connection is a full handshake.
func (t *Target) tls() *tls.Config {
	return &tls.Config{
		RootCAs: t.RootCAs, ServerName: t.Host, MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, SessionTicketsDisabled: true,
	}
}

// Load is how much, and for how long.
type Load struct {
	Devices  int
	Depth    int // messages in flight on each connection
	Size     int // bytes of a message
	QoS      int
	JSON     bool          // d2c: messages say that they are JSON, which conditions of routes read
	Warmup   time.Duration // not counted
	Duration time.Duration // counted
	Dialing  int           // handshakes under way at once
	Settle   time.Duration // idle: how long to wait for memory to settle
	Listen   bool          // idle: subscribe as a device that listens to everything
	Preload  int           // events: how many are stored to be read
	Credit   int           // events: how many the reader asks for ahead
	Rate     float64       // latency: messages per second
	// Progress hears how far the preparation is; nil for nobody.
	Progress func(what string, done, of int)
}

func (l *Load) progress(what string, done, of int) {
	if l.Progress != nil {
		l.Progress(what, done, of)
	}
}

// counter returns a function that tells of one more device.
func (l *Load) counter(what string) func() {
	var done atomic.Int64
	return func() { l.progress(what, int(done.Add(1)), l.Devices) }
}

// typed adds to a setting that messages say that they are JSON.
func (l *Load) typed(setting map[string]any) map[string]any {
	if l.JSON {
		setting["json"] = true
	}
	return setting
}

// message returns what a device sends.
func (l *Load) message() *causeway.Message {
	m := &causeway.Message{Body: payload(l.Size)}
	if l.JSON {
		m.ContentType, m.ContentEncoding = "application/json", "utf-8"
	}
	return m
}

// Validate says what is wrong with l.
func (l *Load) Validate() error {
	switch {
	case l.Devices < 1 || l.Devices > MaxConnections:
		return fmt.Errorf("%d devices are not within 1 and %d", l.Devices, MaxConnections)
	case l.Depth < 1 || l.Depth > MaxDepth:
		return fmt.Errorf("a depth of %d is not within 1 and %d", l.Depth, MaxDepth)
	case l.Size < 0 || l.Size > 200<<10:
		return fmt.Errorf("a size of %d bytes is not within 0 and %d", l.Size, 200<<10)
	case l.QoS != 0 && l.QoS != 1:
		return fmt.Errorf("QoS %d: a hub has 0 and 1", l.QoS)
	case l.Duration <= 0 || l.Warmup < 0:
		return fmt.Errorf("a duration of %v after %v cannot be measured", l.Duration, l.Warmup)
	case l.Dialing < 1:
		return fmt.Errorf("%d handshakes at once cannot connect anything", l.Dialing)
	case l.Preload < 1 || l.Preload > MaxPreload:
		return fmt.Errorf("%d events to read are not within 1 and %d", l.Preload, MaxPreload)
	case l.Credit < 1 || l.Credit > client.MaxPrefetch:
		return fmt.Errorf("a credit of %d is not within 1 and %d", l.Credit, client.MaxPrefetch)
	case !(l.Rate > 0 && l.Rate <= MaxRate):
		return fmt.Errorf("a rate of %v is not within 0 and %d", l.Rate, MaxRate)
	}
	return nil
}

// Run is the outcome of one run of a workload.
type Run struct {
	Count   int64    `json:"count"`             // messages, connections, calls
	Seconds float64  `json:"seconds"`           // that they took
	Rate    float64  `json:"rate"`              // per second
	Latency *Latency `json:"latency,omitempty"` // of each
	Errors  int64    `json:"errors"`
	Bytes   float64  `json:"bytesPerConnection,omitempty"` // idle: memory of the server
}

// Result is a workload with all its runs.
type Result struct {
	Server   string         `json:"server"`
	Workload string         `json:"workload"`
	Setting  map[string]any `json:"setting"`
	Median   Run            `json:"median"` // the run in the middle
	Runs     []Run          `json:"runs"`
}

// Workload is something that can be measured.
type Workload struct {
	Name  string
	About string
	// NeedsHub workloads make no sense against a plain broker.
	NeedsHub bool
	// AMQP workloads need a target that speaks it.
	AMQP bool
	// Setting names the parts of a load that matter to it.
	Setting func(l Load) map[string]any
	Run     func(ctx context.Context, t *Target, l Load) (Run, error)
}

// Workloads lists what can be measured.
func Workloads() []Workload {
	return []Workload{
		{
			"connect", "how many devices per second connect: TLS handshake, CONNECT, CONNACK", false, false,
			func(l Load) map[string]any { return map[string]any{"devices": l.Devices, "dialing": l.Dialing} }, Connect,
		},
		{
			"idle", "what an idle connection costs the server in memory", false, false,
			func(l Load) map[string]any { return map[string]any{"devices": l.Devices, "listen": l.Listen} }, Idle,
		},
		{
			"d2c", "telemetry: messages per second, acknowledged ones with QoS 1", false, false,
			func(l Load) map[string]any {
				return l.typed(map[string]any{"devices": l.Devices, "depth": l.Depth, "size": l.Size, "qos": l.QoS})
			}, Telemetry,
		},
		{
			"method", "direct methods: calls per second, and how long one takes", true, false,
			func(l Load) map[string]any { return map[string]any{"devices": l.Devices, "calls": l.Depth} }, Methods,
		},
		{
			"c2d", "commands: sent by REST, delivered and acknowledged by MQTT", true, false,
			func(l Load) map[string]any {
				return map[string]any{"devices": l.Devices, "senders": l.Depth, "size": l.Size}
			}, Commands,
		},
		{
			"twin", "reported twin patches per second, each on stable storage", true, false,
			func(l Load) map[string]any { return map[string]any{"devices": l.Devices, "depth": l.Depth} }, Twins,
		},
		{
			"amqp-d2c", "telemetry by AMQP: accepted messages per second", false, true,
			func(l Load) map[string]any {
				return l.typed(map[string]any{"devices": l.Devices, "depth": l.Depth, "size": l.Size})
			}, AMQPTelemetry,
		},
		{
			"amqp-idle", "what an idle AMQP connection costs the server in memory", true, true,
			func(l Load) map[string]any { return map[string]any{"devices": l.Devices, "listen": l.Listen} }, AMQPIdle,
		},
		{
			"events", "how many events per second one reader reads from one partition by AMQP", true, true,
			func(l Load) map[string]any {
				return map[string]any{"events": l.Preload, "credit": l.Credit, "size": l.Size}
			}, Events,
		},
		{
			"latency", "end to end: published by MQTT at a fixed rate, until a reader of events has it", true, true,
			func(l Load) map[string]any {
				return map[string]any{"devices": l.Devices, "rate": l.Rate, "size": l.Size}
			}, EndToEnd,
		},
	}
}

// Measure runs a workload several times.
func Measure(ctx context.Context, w Workload, t *Target, l Load, repeat int) (Result, error) {
	res := Result{Server: t.Name, Workload: w.Name, Setting: w.Setting(l)}
	if err := l.Validate(); err != nil {
		return res, err
	}
	if why := t.Lacks(w); why != "" {
		return res, fmt.Errorf("%s %s", w.Name, why)
	}
	for range repeat {
		r, err := w.Run(ctx, t, l)
		if err != nil {
			return res, fmt.Errorf("%s: %w", w.Name, err)
		}
		res.Runs = append(res.Runs, r)
	}
	res.Median = median(w.Name, res.Runs)
	return res, nil
}

// Merge joins results of the same server, workload and setting into one, with the
// runs of all, in the order of their first. Runs that take turns with those of
// another server see the same slow and fast moments of a machine.
func Merge(results []Result) []Result {
	var merged []Result
	for _, r := range results {
		i := slices.IndexFunc(merged, func(m Result) bool {
			return m.Server == r.Server && m.Workload == r.Workload && reflect.DeepEqual(m.Setting, r.Setting)
		})
		if i < 0 {
			r.Runs = slices.Clone(r.Runs)
			merged = append(merged, r)
			continue
		}
		merged[i].Runs = append(merged[i].Runs, r.Runs...)
		merged[i].Median = median(r.Workload, merged[i].Runs)
	}
	return merged
}

// median returns the run in the middle; of an even number, the worse of the two.
func median(workload string, runs []Run) Run {
	sorted := slices.Clone(runs)
	slices.SortFunc(sorted, func(a, b Run) int {
		if strings.HasSuffix(workload, "idle") {
			return cmp.Compare(b.Bytes, a.Bytes)
		}
		return cmp.Compare(a.Rate, b.Rate)
	})
	return sorted[(len(sorted)-1)/2]
}

func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
