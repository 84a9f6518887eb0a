package client

import (
	"context"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp"
)

// Defaults and bounds of a pool.
const (
	DefaultPoolDevices = 500  // on one connection
	MaxPoolDevices     = 1000 // the same; a device has up to six links and a session
)

// PoolOptions are the settings of a Pool.
type PoolOptions struct {
	Options
	// WebSocket talks AMQP over a WebSocket on the HTTPS port.
	WebSocket bool
	// Devices bounds the devices on one connection, 0 for DefaultPoolDevices.
	Devices int
	// KeepAlive is how long a connection may be silent, 0 for DefaultKeepAlive.
	KeepAlive time.Duration
}

// Pool shares AMQP connections among devices, see DeviceOptions.Pool: the first
// opens one, the last closes it. Each device keeps its own token, links and
// reconnects. A pool is safe for concurrent use, and may hold devices of several
// hubs.
type Pool struct {
	o        PoolOptions
	endpoint func(host string) endpoint

	mu    sync.Mutex
	conns []*shared
}

// NewPool returns a pool without connections.
func NewPool(o PoolOptions) *Pool {
	e := func(host string) endpoint {
		e := endpoint{host: host, protocol: amqpSocket, addr: o.address(host, o.AMQPPort, DefaultAMQPPort)}
		if o.WebSocket {
			e.socket, e.addr = hubSocket, o.address(host, o.HTTPSPort, DefaultHTTPSPort)
		}
		return e
	}
	return newPool(o, e)
}

func newPool(o PoolOptions, e func(host string) endpoint) *Pool {
	if o.Devices <= 0 {
		o.Devices = DefaultPoolDevices
	}
	o.Devices = min(o.Devices, MaxPoolDevices)
	if o.KeepAlive <= 0 {
		o.KeepAlive = DefaultKeepAlive
	}
	return &Pool{o: o, endpoint: e}
}

// shared is a connection, or one that is about to be made.
type shared struct {
	host   string
	users  int // guarded by the pool's mutex
	cancel context.CancelFunc
	ready  chan struct{} // closed when conn or err is there
	conn   *amqp.Conn
	cbs    cbs
	err    error
}

// alive reports whether s can take another device.
func (s *shared) alive() bool {
	select {
	case <-s.ready:
	default:
		return true
	}
	return s.err == nil && alive(s.conn)
}

// join returns a connection to host for one device, who leaves it again.
func (p *Pool) join(ctx context.Context, host string) (*shared, error) {
	s := p.find(host)
	select {
	case <-s.ready:
		if s.err != nil {
			p.leave(s)
			return nil, s.err
		}
		return s, nil
	case <-ctx.Done():
		p.leave(s)
		return nil, ctx.Err()
	}
}

// find counts another user on a connection to host.
func (p *Pool) find(host string) *shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.conns {
		if s.host == host && s.users < p.o.Devices && s.alive() {
			s.users++
			return s
		}
	}
	s := &shared{host: host, users: 1, ready: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), DialTimeout)
	s.cancel = cancel
	p.conns = append(p.conns, s)
	go p.dial(ctx, s)
	return s
}

// dial makes the connection. It belongs to all who wait for it, so it does not
// end with the one who came first.
func (p *Pool) dial(ctx context.Context, s *shared) {
	defer s.cancel()
	s.conn, s.err = dialAMQP(ctx, &p.o.Options, p.endpoint(s.host), p.o.KeepAlive)
	if s.err == nil {
		s.cbs = newCBS(s.conn)
	}
	close(s.ready)
}

// leave ends the use of s. It waits until a connection that nobody uses any more
// is closed.
func (p *Pool) leave(s *shared) {
	p.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		for i, other := range p.conns {
			if other == s {
				p.conns = append(p.conns[:i], p.conns[i+1:]...)
				break
			}
		}
	}
	p.mu.Unlock()
	if !last {
		return
	}
	s.cancel()
	<-s.ready
	if s.err == nil {
		s.conn.Close(nil)
		<-s.conn.Done()
	}
}
