package events_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/head/events"
	"github.com/causeway-iot/causeway/wire/amqp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hub  = "myhub"
	host = "myhub.example.com"
)

// world is a plane on a listener, and the log of a hub.
type world struct {
	t     testing.TB
	plane *events.Plane
	log   eventlog.Log
	addr  string

	segment int64 // bytes of a segment of the log; 0 for the default
	broken  bool  // the log is closed

	head  claimstest.Head
	mu    sync.Mutex
	conns []*amqp.Conn
}

// open starts a world. The plane may be changed before anybody connects.
func open(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{t: t}
	w.plane = &events.Plane{
		Directory: hubs{},
		HubLog:    func(name string) (eventlog.Log, bool) { return w.log, name == hub },
		Endpoint:  func(string, string) (string, uint16) { return "ns.example.com", 5671 },
	}
	if change != nil {
		change(w)
	}
	w.head.Plane, w.head.Hub, w.head.Host, w.head.Prefix = w.plane, hub, host, "/"
	w.openLog()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	cfg := amqp.Prepare(amqp.Config{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := w.head.Serve(nc, cfg)
			w.mu.Lock()
			w.conns = append(w.conns, c)
			w.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		for _, c := range w.conns {
			c.Abort(nil)
			<-c.Done()
		}
		w.closeLog()
	})
	return w
}

func (w *world) openLog() {
	w.t.Helper()
	log, err := seglog.Open(w.t.TempDir(), seglog.Options{Partitions: 2, SegmentBytes: w.segment})
	if err != nil {
		w.t.Fatal(err)
	}
	w.log, w.broken = log, false
}

func (w *world) closeLog() {
	if w.broken {
		return
	}
	w.broken = true
	if err := w.log.Close(); err != nil {
		w.t.Error(err)
	}
}

// reopen gives the hub a log that is empty.
func (w *world) reopen() {
	w.t.Helper()
	w.closeLog()
	w.openLog()
}

// hubs is a directory of one hub.
type hubs struct{}

func (hubs) Get(name string) (directory.Hub, bool) {
	return directory.Hub{Name: hub, Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)}, name == hub
}

func (hubs) HasConsumerGroup(name, group string) bool {
	return name == hub && (strings.EqualFold(group, "$Default") || strings.EqualFold(group, "Analytics"))
}

// fill appends n events to a partition.
func (w *world) fill(p eventlog.Partition, n int, m causeway.Message) {
	w.t.Helper()
	var recs []eventlog.Record
	flush := func() {
		if _, err := w.log.Append(context.Background(), p, recs...); err != nil {
			w.t.Fatal(err)
		}
		recs = recs[:0]
	}
	payload := envelope.Append(nil, &m)
	for range n {
		if recs = append(recs, eventlog.Record{Payload: payload}); len(recs) == 1000 {
			flush()
		}
	}
	flush()
}

// event returns the usual event with a body of n bytes.
func event(n int) causeway.Message {
	return causeway.Message{
		From: causeway.Identity{Device: "dev-1"}, Auth: causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON(),
		GenerationID: "638000000000000000", Source: causeway.SourceTelemetry, Enqueued: time.Now().UTC(), ID: "m-1",
		ContentType: "application/json", ContentEncoding: "utf-8", Body: []byte(strings.Repeat("x", n)),
		Properties: []causeway.Property{{Key: "level", Value: "critical"}},
	}
}

// address returns the source of a reader in the default group.
func address(p string) string { return hub + "/ConsumerGroups/$Default/Partitions/" + p }

// client is a session of the client of this project, on a connection of its own.
func (w *world) client() *amqp.Session {
	w.t.Helper()
	return w.dial(amqp.Config{})
}

func (w *world) dial(cfg amqp.Config) *amqp.Session {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return claimstest.Dial(w.t, nc, cfg)
}

// azure is a connection of go-amqp.
func (w *world) azure() *goamqp.Session {
	w.t.Helper()
	c, err := goamqp.Dial(w.t.Context(), "amqp://"+w.addr, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	s, err := c.NewSession(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}
