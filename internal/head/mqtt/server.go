package mqtt

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/accept"
)

// Server answers MQTT clients of one or more hubs. Its fields are not changed
// after the first Serve. A nil Log or Metrics is replaced by one that nobody
// sees.
type Server struct {
	Hub         causeway.Hub
	Sessions    SessionStore
	Provisioner causeway.Provisioner // nil: its devices are refused as strangers to the hub
	Log         *slog.Logger
	Metrics     *obs.Head
	Limits      Limits

	unacked memory
}

// serving is one run of Serve.
type serving struct {
	hub         causeway.Hub
	sessions    SessionStore
	provisioner causeway.Provisioner
	log         *slog.Logger
	metrics     *obs.Head
	limits      Limits
	unacked     *memory
	clock       clock
	seed        maphash.Seed
	asking      atomic.Int64 // connections of the provisioning service

	conns *accept.Group[*conn]
	// life ends when connections have had the time to finish: it is what calls
	// of the hub get.
	life context.Context
}

// Serve accepts connections from l until ctx ends, and closes l. The
// connections may be of TLS (from [crypto/tls] or internal/wire/tlsnet), whose
// handshake Serve makes, of WebSocket (from internal/wire/wsnet), or plain.
//
// When ctx ends, connections are read no further; what they began is finished
// and acknowledged within Limits.StopGrace, and no will is published. Serve
// returns when all are closed: nil after ctx ended, and else the error of l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.Hub == nil || s.Sessions == nil {
		return errors.New("head/mqtt: a Server needs a Hub and Sessions")
	}
	v := &serving{
		hub: s.Hub, sessions: s.Sessions, provisioner: s.Provisioner, log: s.Log, metrics: s.Metrics, limits: s.Limits.withDefaults(),
		unacked: &s.unacked, clock: clock{start: time.Now()}, seed: maphash.MakeSeed(),
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.metrics == nil {
		v.metrics = obs.NewHead(nil, "mqtt")
	}
	v.conns = accept.New(ctx, accept.Options[*conn]{
		Name: "MQTT", Log: v.log,
		HalfOpen: v.limits.HalfOpen, Connections: v.limits.Connections, Grace: v.limits.StopGrace,
		New: func(nc net.Conn) *conn {
			v.metrics.Connections.Inc()
			return newConn(v, nc)
		},
		Refused: func() { v.metrics.Refused.WithLabelValues(string(ReasonConnections)).Inc() },
		Start:   (*conn).open,
		Stop:    (*conn).stop,
		Kill:    func(c *conn) { c.kill(ReasonStop, errors.New("did not finish in time")) },
	})
	v.life = v.conns.Life()
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(v.sweep)
	return v.conns.Serve(ctx, l)
}

// remove is the last that is heard of c.
func (v *serving) remove(c *conn) {
	v.metrics.Connections.Dec()
	v.conns.Remove(c)
}

// sweep looks at all connections from time to time and closes those that took
// too long for something. One pass over memory is cheaper than timers that
// would have to be set again with every packet.
func (v *serving) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-v.life.Done():
			return
		}
		now := v.clock.now()
		v.conns.Each(func(c *conn) { c.check(now) })
	}
}

// memory remembers which commands a persistent session had not acknowledged
// when its connection ended, so that they can be marked as duplicates when they
// are delivered again. It is lost with the process: the mark is a hint.
type memory struct {
	mu sync.Mutex
	by map[causeway.Identity][]int64 // sequence numbers
}

// put adds the sequence numbers of id.
func (m *memory) put(id causeway.Identity, sequences []int64) {
	if len(sequences) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = make(map[causeway.Identity][]int64)
	}
	if len(m.by) >= maxRemembered {
		for other := range m.by { // any one: forgetting costs a hint
			delete(m.by, other)
			break
		}
	}
	m.by[id] = sequences
}

// take returns the sequence numbers of id and forgets them.
func (m *memory) take(id causeway.Identity) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.by[id]
	delete(m.by, id)
	return s
}
