package events_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/head/events"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
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

	mu    sync.Mutex
	paths []string // that were authorized
	deny  bool     // nobody is authorized
	bound map[claims.Link]bool
	conns []*amqp.Conn
}

// open starts a world. The plane may be changed before anybody connects.
func open(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{t: t, bound: map[claims.Link]bool{}}
	w.plane = &events.Plane{
		Directory: hubs{},
		HubLog:    func(name string) (eventlog.Log, bool) { return w.log, name == hub },
		Endpoint:  func(string, string) (string, uint16) { return "ns.example.com", 5671 },
	}
	if change != nil {
		change(w)
	}
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
			c := amqp.Serve(nc, cfg, &head{w: w})
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

// head serves one connection; it does what an AMQP head does.
type head struct {
	w *world
	c *amqp.Conn
}

var _ claims.Peer = (*head)(nil)

func (h *head) Open(c *amqp.Conn, _ *codec.Open) error { h.c = c; return nil }

func (h *head) Attach(a *amqp.Attach) error {
	addr, err := hubamqp.ParseAddress(a.Address())
	if err == nil {
		err = h.w.plane.Attach(h, addr, a)
	}
	if err != nil {
		return hubamqp.ConditionOf(err)
	}
	return nil
}

func (h *head) Flush(*amqp.Conn)         { h.w.plane.Flush(h) }
func (h *head) Closed(*amqp.Conn, error) { h.w.plane.Closed(h) }

func (h *head) Hub() string      { return hub }
func (h *head) Host() string     { return host }
func (h *head) Conn() *amqp.Conn { return h.c }

func (h *head) Authorize(path string, right auth.Rights) (time.Time, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.w.deny || right != auth.ServiceConnect || !strings.HasPrefix(path, "/") {
		return time.Time{}, auth.Unauthorized("test", errors.New("refused"))
	}
	h.w.paths = append(h.w.paths, path)
	return time.Time{}, nil
}

func (h *head) Bind(l claims.Link, _ string, _ auth.Rights) func() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.bound[l] = true
	return func() {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		delete(h.w.bound, l)
	}
}

// expire ends what links were allowed by.
func (w *world) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.bound {
		delete(w.bound, l)
		l.Close(&codec.Condition{Name: amqp.UnauthorizedAccess})
	}
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
	c, err := amqp.Dial(w.t.Context(), nc, amqp.Prepare(cfg), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		c.Abort(nil)
		<-c.Done()
	})
	s, err := c.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
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
