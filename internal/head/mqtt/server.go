package mqtt

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Server answers MQTT clients of one or more hubs. Its fields are not changed
// after the first Serve. A nil Log or Metrics is replaced by one that nobody
// sees.
type Server struct {
	Hub      causeway.Hub
	Sessions SessionStore
	Log      *slog.Logger
	Metrics  *obs.Head
	Limits   Limits

	unacked memory
}

// serving is one run of Serve.
type serving struct {
	hub      causeway.Hub
	sessions SessionStore
	log      *slog.Logger
	metrics  *obs.Head
	limits   Limits
	unacked  *memory
	clock    clock
	seed     maphash.Seed

	// life ends when connections have had the time to finish: it is what calls
	// of the hub get.
	life   context.Context
	end    context.CancelFunc
	half   chan struct{} // a place for each half-open connection
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
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
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	v := &serving{
		hub: s.Hub, sessions: s.Sessions, log: s.Log, metrics: s.Metrics, limits: s.Limits.withDefaults(),
		unacked: &s.unacked, clock: clock{start: time.Now()}, seed: maphash.MakeSeed(),
		life: life, end: end, conns: make(map[*conn]struct{}),
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.metrics == nil {
		v.metrics = obs.NewHead(nil, "mqtt")
	}
	v.half = make(chan struct{}, v.limits.HalfOpen)

	accepting, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(accepting, func() { _ = l.Close() })()
	var sweeper sync.WaitGroup
	sweeping, done := context.WithCancel(life)
	sweeper.Go(func() { v.sweep(sweeping) })

	err := v.accept(accepting, l)
	stop()
	_ = l.Close()
	v.stop()
	done()
	sweeper.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept MQTT connections on %s: %w", l.Addr(), err)
}

// accept starts a goroutine for each connection until l is closed.
func (v *serving) accept(ctx context.Context, l net.Listener) error {
	const longest = time.Second
	var pause time.Duration
	for {
		select {
		case v.half <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		nc, err := l.Accept()
		if err != nil {
			<-v.half
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			if e, ok := errors.AsType[net.Error](err); !ok || !e.Temporary() { //nolint:staticcheck // the only way to tell "out of descriptors" from the end
				return err
			}
			// Most likely out of file descriptors: wait for some to be freed.
			pause = min(max(2*pause, 5*time.Millisecond), longest)
			v.log.Warn("cannot accept an MQTT connection, trying again", "pause", pause, obs.KeyError, err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		c := newConn(v, nc)
		if !v.add(c) {
			<-v.half
			v.metrics.Refused.WithLabelValues(string(ReasonConnections)).Inc()
			_ = closeNow(nc)
			continue
		}
		v.wg.Go(c.open)
	}
}

// add registers c unless there are too many connections, or the server stops.
func (v *serving) add(c *conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.conns) >= v.limits.Connections {
		return false
	}
	v.conns[c] = struct{}{}
	v.metrics.Connections.Inc()
	return true
}

func (v *serving) remove(c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.conns, c)
	v.metrics.Connections.Dec()
}

// stop ends all connections in order and waits for them, and for no longer
// than the grace.
func (v *serving) stop() {
	v.mu.Lock()
	v.closed = true
	for c := range v.conns {
		c.stop()
	}
	v.mu.Unlock()
	hurry := time.AfterFunc(v.limits.StopGrace, func() {
		v.end()
		v.mu.Lock()
		defer v.mu.Unlock()
		for c := range v.conns {
			c.kill(ReasonStop, errors.New("did not finish in time"))
		}
	})
	defer hurry.Stop()
	v.wg.Wait()
}

// sweep looks at all connections from time to time and closes those that took
// too long for something. One pass over memory is cheaper than timers that
// would have to be set again with every packet.
func (v *serving) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := v.clock.now()
		v.mu.Lock()
		for c := range v.conns {
			c.check(now)
		}
		v.mu.Unlock()
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
