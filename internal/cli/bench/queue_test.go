package bench_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cli/bench"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// queue is a plain AMQP broker that counts what it gets.
type queue struct {
	mu      sync.Mutex
	conns   []*amqp.Conn
	seen    map[string]bool // by connection and delivery tag
	n       atomic.Int64
	outcome func(n int64) codec.State
}

// queuePeer is a connection of a queue.
type queuePeer struct {
	amqp.Client
	q    *queue
	name string
	got  []amqp.Delivery
	link *amqp.Receiver
}

func (p *queuePeer) Open(c *amqp.Conn, _ *codec.Open) error {
	p.name = c.RemoteContainer()
	return nil
}

func (p *queuePeer) Attach(a *amqp.Attach) error {
	if a.Address() != "/queue/q" {
		return amqp.Refuse(amqp.NotFound, "no such queue")
	}
	p.link = a.Receive(amqp.ReceiverOptions{Handler: p, Credit: 10})
	return nil
}

func (p *queuePeer) Transfer(_ *amqp.Receiver, d amqp.Delivery) {
	var m codec.Message
	if err := m.Decode(d.Payload); err != nil || !m.Header.Durable || d.Settled {
		panic("not a durable message to be settled")
	}
	d.Tag = append([]byte(nil), d.Tag...)
	p.got = append(p.got, d)
}

func (p *queuePeer) Flush(*amqp.Conn) {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	for _, d := range p.got {
		key := p.name + string(d.Tag)
		if p.q.seen[key] {
			panic("the same delivery twice")
		}
		p.q.seen[key] = true
		p.link.Settle(d.ID, p.q.outcome(p.q.n.Add(1)))
	}
	p.got = p.got[:0]
}

func (*queuePeer) Detached(*amqp.Receiver, error) {}

func newQueue(t *testing.T) (*bench.Target, *queue) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := &queue{seen: map[string]bool{}, outcome: func(int64) codec.State { return codec.Accepted() }}
	plain := amqp.Mechanism{Name: "PLAIN", Start: func(*amqp.Conn) amqp.Dialogue {
		return func(b []byte) ([]byte, bool, error) {
			if string(b) != "\x00me\x00secret" {
				return nil, false, errors.New("somebody else")
			}
			return nil, true, nil
		}
	}}
	cfg := amqp.Prepare(amqp.Config{Mechanisms: []amqp.Mechanism{plain}})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := amqp.Serve(nc, cfg, &queuePeer{q: q})
			q.mu.Lock()
			q.conns = append(q.conns, c)
			q.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
		for _, c := range q.conns {
			c.Abort(nil)
			<-c.Done()
		}
	})
	return &bench.Target{
		Name: "queue", Address: l.Addr().String(), AMQPAddress: l.Addr().String(), Host: "localhost",
		Broker: &bench.Broker{User: "me", Password: "secret", Node: "/queue/q"},
	}, q
}

func TestAMQPTelemetryCountsWhatTheServerGot(t *testing.T) {
	for _, depth := range []int{1, 7, 500} { // below and above the credit
		target, q := newQueue(t)
		l := load()
		l.Depth, l.Warmup, l.Duration = depth, 0, time.Second // a busy machine may do nothing for a while
		r, err := bench.Measure(t.Context(), workload(t, "amqp-d2c"), target, l, 1)
		if err != nil {
			t.Fatal(err)
		}
		m := r.Median
		// What was under way when the time was over arrived, but does not count.
		if n := q.n.Load(); m.Count == 0 || n < m.Count || n > m.Count+int64(l.Devices*depth) || m.Errors != 0 {
			t.Errorf("depth %d: counted %d (%d errors), the server got %d", depth, m.Count, m.Errors, n)
		}
		if m.Latency == nil || m.Latency.P50 <= 0 || m.Latency.P50 > m.Latency.P99 || m.Latency.P99 > m.Latency.Max {
			t.Errorf("depth %d: latency %+v", depth, m.Latency)
		}
	}
}

func TestAMQPTelemetryErrors(t *testing.T) {
	target, q := newQueue(t)
	measure := func(want string) {
		t.Helper()
		l := load()
		l.Duration = 10 * time.Second // it ends earlier
		if _, err := bench.Measure(t.Context(), workload(t, "amqp-d2c"), target, l, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	target.Broker.Password = "wrong"
	measure("refused the login")
	target.Broker.Password = "secret"
	target.Broker.Node = "/queue/other"
	measure("no such queue")
	target.Broker.Node = "/queue/q"
	if _, err := bench.Measure(t.Context(), workload(t, "d2c"), target, load(), 1); err == nil || !strings.Contains(err.Error(), "needs MQTT") {
		t.Error(err)
	}
	if _, err := bench.Measure(t.Context(), workload(t, "events"), target, load(), 1); err == nil || !strings.Contains(err.Error(), "needs a hub") {
		t.Error(err)
	}
	l := load()
	l.Size = 100_000 // more than a frame
	if _, err := bench.Measure(t.Context(), workload(t, "amqp-d2c"), target, l, 1); err == nil || !strings.Contains(err.Error(), "does not fit into a frame") {
		t.Error(err)
	}
	q.outcome = func(n int64) codec.State {
		if n > 20 {
			return codec.Rejected(amqp.Refuse(amqp.ResourceLimitExceeded, "full"))
		}
		return codec.Accepted()
	}
	l = load()
	l.Warmup, l.Duration = 0, time.Second
	if _, err := bench.Measure(t.Context(), workload(t, "amqp-d2c"), target, l, 1); err == nil || !strings.Contains(err.Error(), "full") {
		t.Error(err)
	}
}
