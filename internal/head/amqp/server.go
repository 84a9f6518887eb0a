package amqp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/accept"
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
	// Provisioner answers devices that look for their hub; nil for none. Which
	// service is meant is said by the id scope; Provisioning reports whether host,
	// in lower case and without a port, is one of any: connections to it need be
	// for no hub.
	Provisioner  causeway.Provisioner
	Provisioning func(host string) bool
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
	hub          causeway.Hub
	realms       Realms
	planes       map[hubamqp.Kind]claims.Plane
	provisioner  causeway.Provisioner
	provisioning func(host string) bool
	log          *slog.Logger
	metrics      *obs.Head
	limits       Limits
	config       *wire.Config

	conns *accept.Group[*conn]
	// life ends when connections have had the time to finish: it is what calls
	// of the hub get.
	life context.Context
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
	v := &serving{
		hub: s.Hub, realms: s.Realms, planes: s.Planes, provisioner: s.Provisioner, provisioning: s.Provisioning,
		log: s.Log, metrics: s.Metrics, limits: s.Limits.withDefaults(),
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.metrics == nil {
		v.metrics = obs.NewHead(nil, "amqp")
	}
	v.config = wire.Prepare(wire.Config{
		ContainerID: s.ContainerID, Links: v.limits.Links, Outbound: v.limits.Outbound,
		OpenTimeout: causeway.ConnectDeadline, IdleTimeout: v.limits.IdleTimeout, WriteStall: v.limits.WriteStall,
		Mechanisms: v.mechanisms(), Log: v.log,
	})
	v.conns = accept.New(ctx, accept.Options[*conn]{
		Name: "AMQP", Log: v.log,
		HalfOpen: v.limits.HalfOpen, Connections: v.limits.Connections, Grace: v.limits.StopGrace,
		New: func(nc net.Conn) *conn {
			v.metrics.Connections.Inc()
			return newConn(v, nc)
		},
		Refused: func() { v.metrics.Refused.WithLabelValues(string(ReasonConnections)).Inc() },
		Start:   (*conn).start,
		Stop:    (*conn).stop,
		Kill:    func(c *conn) { c.kill(ReasonStop, errors.New("did not finish in time")) },
	})
	v.life = v.conns.Life()
	s.run(v, true)
	defer s.run(v, false)
	return v.conns.Serve(ctx, l)
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
		v.conns.Each(func(c *conn) { conns = append(conns, c) })
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.recheck(hub)
	}
}

// remove is the last that is heard of c.
func (v *serving) remove(c *conn) {
	v.metrics.Connections.Dec()
	v.conns.Remove(c)
}

// refused counts a refusal that leaves the connection open, and logs it.
func (v *serving) refused(r Reason, c *conn, what string, err error) {
	v.metrics.Refused.WithLabelValues(string(r)).Inc()
	v.log.Debug("amqp "+what+" refused", obs.KeyReason, string(r), obs.KeyRemote, c.nc.RemoteAddr().String(), obs.KeyError, err)
}
