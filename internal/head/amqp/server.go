package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
)

// Realms finds hubs by the host names that they answer to.
type Realms interface {
	// Realm returns the canonical name of the hub that answers to host, in any
	// case and with or without a port, and what the hub contributes to decisions
	// about access.
	Realm(host string) (hub string, realm auth.Realm, ok bool)
}

// Server answers AMQP clients of one or more hubs. Its fields are not changed
// after the first Serve. A nil Log or Metrics is replaced by one that nobody
// sees.
type Server struct {
	Hub    causeway.Hub
	Realms Realms
	// Planes serve the links that are not of devices. A kind without a plane is
	// not found.
	Planes map[hubamqp.Kind]claims.Plane
	// ContainerID is the name in our open; a random one by default.
	ContainerID string
	Log         *slog.Logger
	Metrics     *obs.Head
	Limits      Limits

	mu   sync.Mutex
	runs map[*serving]struct{}
}

// serving is one run of Serve.
type serving struct {
	hub     causeway.Hub
	realms  Realms
	planes  map[hubamqp.Kind]claims.Plane
	log     *slog.Logger
	metrics *obs.Head
	limits  Limits
	config  *wire.Config

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
// When ctx ends, what clients have sent is still stored and settled, and then
// their connections are closed with "amqp:connection:forced", within
// Limits.StopGrace. Serve returns when all are closed: nil after ctx ended, and
// else the error of l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.Hub == nil || s.Realms == nil {
		return errors.New("head/amqp: a Server needs a Hub and Realms")
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	v := &serving{
		hub: s.Hub, realms: s.Realms, planes: s.Planes, log: s.Log, metrics: s.Metrics, limits: s.Limits.withDefaults(),
		life: life, end: end, conns: make(map[*conn]struct{}),
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.metrics == nil {
		v.metrics = obs.NewHead(nil, "amqp")
	}
	v.half = make(chan struct{}, v.limits.HalfOpen)
	v.config = wire.Prepare(wire.Config{
		ContainerID: s.ContainerID, Links: v.limits.Links, Outbound: v.limits.Outbound,
		OpenTimeout: causeway.ConnectDeadline, IdleTimeout: v.limits.IdleTimeout, WriteStall: v.limits.WriteStall,
		Mechanisms: mechanisms(), Log: v.log,
	})
	s.run(v, true)
	defer s.run(v, false)

	accepting, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(accepting, func() { _ = l.Close() })()
	err := v.accept(accepting, l)
	stop()
	_ = l.Close()
	v.stop()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept AMQP connections on %s: %w", l.Addr(), err)
}

// run notes that v runs, or no longer does.
func (s *Server) run(v *serving, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = make(map[*serving]struct{})
	}
	if on {
		s.runs[v] = struct{}{}
	} else {
		delete(s.runs, v)
	}
}

// Recheck closes the links of a hub's back ends that no claim covers any more.
// It is to be called when the policies of the hub were changed.
func (s *Server) Recheck(hub string) {
	s.mu.Lock()
	var conns []*conn
	for v := range s.runs {
		v.mu.Lock()
		for c := range v.conns {
			conns = append(conns, c)
		}
		v.mu.Unlock()
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.recheck(hub)
	}
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
			v.log.Warn("cannot accept an AMQP connection, trying again", "pause", pause, obs.KeyError, err)
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
		go c.start()
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
	v.wg.Add(1)
	v.metrics.Connections.Inc()
	return true
}

// remove is the last that is heard of c.
func (v *serving) remove(c *conn) {
	v.mu.Lock()
	delete(v.conns, c)
	v.mu.Unlock()
	v.metrics.Connections.Dec()
	v.wg.Done()
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

// refused counts a refusal that leaves the connection open, and logs it.
func (v *serving) refused(r Reason, c *conn, what string, err error) {
	v.metrics.Refused.WithLabelValues(string(r)).Inc()
	v.log.Debug("amqp "+what+" refused", obs.KeyReason, string(r), obs.KeyRemote, c.nc.RemoteAddr().String(), obs.KeyError, err)
}
