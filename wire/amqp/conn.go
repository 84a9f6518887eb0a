package amqp

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// phase is how far a connection is.
type phase uint8

const (
	expectHeader phase = iota // any protocol header
	inSASL                    // a SASL dialogue
	expectAMQP                // the header after the dialogue
	expectOpen
	opened
	closing // our close is out; everything but a close is ignored
	discard // nothing the peer says is of use any more
)

// Conn is a connection. It is safe for concurrent use.
type Conn struct {
	cfg *Config
	nc  net.Conn
	h   Handler
	// now reads what has arrived without waiting; nil when nc cannot.
	now func(p []byte) (int, error)
	// wait waits for something to arrive, with very little; nil when nc cannot.
	wait   func() error
	first  [codec.FrameHeaderSize]byte // what an idle reader reads into
	done   chan struct{}
	client bool

	parked atomic.Int32 // how often, since the peer was last heard of
	seen   atomic.Int64 // when that was, in nanoseconds since epoch

	// The reader's own.
	work *work      // nil while it idles
	sasl *saslState // nil without a dialogue

	mu       sync.Mutex
	phase    phase           // the reader's: it reads it without the mutex, others with it
	ctx      context.Context // ends with the connection; made when first asked for
	cancel   context.CancelFunc
	timer    *time.Timer
	fires    int64         // when the timer does; 0 for never
	out      *buffer       // frames that wait to be written; nil for none
	room     chan struct{} // closed when out becomes shorter; nil when nobody waits
	queued   uint64        // bytes of frames ever queued
	lastData uint64        // of these, up to the last transfer
	readTo   uint64        // of these, that the peer has surely read
	writing  bool          // somebody writes
	since    int64         // when the write under way began
	wrote    int64         // when the last one ended
	busy     bool          // the reader deals with something
	openSent bool
	closed   bool // our close is out, or the connection ended: nothing may be queued any more
	dead     bool // nothing can be written
	parting  bool // after what waits, the peer is to see the end of the stream
	deadline int64
	cause    error            // why the connection ended
	stop     *codec.Condition // to close with once the reader is idle
	stopping bool

	remote   remote
	sessions table[Session]    // by our channel
	incoming table[Session]    // by the peer's channel
	named    map[linkKey]*link // links that are not over
	links    int
	partial  int // bytes that messages take which have arrived in part
	parts    int // bound of partial
	dirty    []*Session
	rests    []*Sender // of messages that were sent in part

	opening chan struct{} // of Dial, closed when the peer's open came; else nil
}

// remote is what the peer's open says.
type remote struct {
	container, hostname string
	maxFrame            uint32
	channelMax          uint16
	heartbeat           int64 // how often we must be heard of, in nanoseconds; 0 for never
}

// epoch is what times are counted from: monotonic and cheap to keep.
var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) + 1 }

func newConn(nc net.Conn, cfg *Config, h Handler) *Conn {
	c := &Conn{cfg: cfg, nc: nc, h: h, done: make(chan struct{}), parts: cfg.Partial}
	c.remote.maxFrame = math.MaxUint32 // until its open says
	if r, ok := nc.(interface{ ReadNow(p []byte) (int, error) }); ok {
		c.now = r.ReadNow
	}
	if r, ok := nc.(interface{ Wait() error }); ok {
		c.wait = r.Wait
	}
	if s := newSocket(nc); s != nil {
		c.now, c.wait = s.readNow, s.wait
	}
	n := now()
	c.seen.Store(n)
	c.wrote = n
	c.deadline = n + int64(cfg.OpenTimeout)
	return c
}

// Serve answers the peer on nc, which it owns from now on. It does not wait:
// the connection lives until [Handler.Closed] was called. A TLS handshake is
// best made before. The configuration must come from [Prepare].
//
// Of a connection with a method ReadNow(p []byte) (int, error), which does not
// wait, all that has arrived is one burst; one with a method Wait() error, which
// waits until there is something to read, costs less while it idles. Sockets
// without TLS need no such methods.
func Serve(nc net.Conn, cfg *Config, h Handler) *Conn {
	c := newConn(nc, cfg, h)
	c.mu.Lock()
	c.arm()
	c.mu.Unlock()
	go c.run()
	return c
}

// Done is closed after Handler.Closed has returned.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Context returns a context that ends with the connection.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.phase == discard || c.dead {
			c.cancel()
		}
	}
	return c.ctx
}

// Err returns why the connection ended: nil while it lives, and after an
// orderly end.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Hostname returns the host the peer's open asked for. It is known once
// Handler.Open was called.
func (c *Conn) Hostname() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote.hostname
}

// RemoteContainer returns the peer's container id, known as Hostname is.
func (c *Conn) RemoteContainer() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote.container
}

// Handler returns the handler of the connection.
func (c *Conn) Handler() Handler { return c.h }

// NetConn returns the network connection. It must not be read or written.
func (c *Conn) NetConn() net.Conn { return c.nc }

// ConnectionState returns the state of TLS underneath, and false without TLS.
func (c *Conn) ConnectionState() (tls.ConnectionState, bool) {
	if t, ok := c.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState(), true
	}
	return tls.ConnectionState{}, false
}

// SetPartial bounds the bytes of messages that have arrived in part in place of
// Config.Partial: there may be reason to allow a peer that is known more, or one that
// is not less.
func (c *Conn) SetPartial(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = n
}

// Close closes the connection with a condition, nil for an orderly end. What
// waits to be written is written before, and its sessions are ended. It does not
// wait for the peer, who is given Config.CloseTimeout to answer; what else the
// peer says is ignored.
func (c *Conn) Close(cond *codec.Condition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(cond)
	c.kick()
}

// Shutdown is Close once the reader is done with what it is doing: what was
// handed to the handler is settled before.
func (c *Conn) Shutdown(cond *codec.Condition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		c.stopping, c.stop = true, cond
		return
	}
	c.leaveLocked(cond)
	c.kick()
}

// Abort ends the connection at once, without a word to the peer.
func (c *Conn) Abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.closed = true
	c.deadLocked(err)
}

// leaveLocked queues our close and, before it, the ends of the sessions. A close
// ends them too (part 2 §2.4.3), but a peer may wait for the end of each, as
// applications of rhea do for 45 s. The mutex is held.
func (c *Conn) leaveLocked(cond *codec.Condition) {
	if !c.closed && !c.dead {
		for _, s := range c.sessions.all() {
			s.pushEnd(cond)
		}
	}
	c.closeLocked(cond)
}

// closeLocked queues our close; the mutex is held.
func (c *Conn) closeLocked(cond *codec.Condition) {
	if c.closed || c.dead {
		return
	}
	if cond != nil && c.cause == nil {
		c.cause = cond
	}
	if c.phase < expectOpen && !c.openSent {
		c.closed = true
		c.deadLocked(nil) // there is no frame yet to say it with
		return
	}
	if !c.openSent {
		c.sendOpen()
	}
	for _, s := range c.sessions.all() {
		s.settleLocked()
	}
	c.pushError(0, cond, func(cond *codec.Condition) codec.Performative { return &codec.Close{Error: cond} })
	c.endSoon()
	for _, s := range c.sessions.all() {
		s.wakeSenders()
	}
}

// endSoon has nothing queued any more, and bounds how long the rest may take;
// the mutex is held.
func (c *Conn) endSoon() {
	c.closed = true
	c.deadline = now() + int64(c.cfg.CloseTimeout)
	c.arm()
}

// closeNow closes nc without saying good-bye, which might wait for the peer.
func closeNow(nc net.Conn) error {
	switch c := nc.(type) {
	case interface{ CloseNow() error }:
		return c.CloseNow()
	case interface{ NetConn() net.Conn }: // of crypto/tls
		return c.NetConn().Close()
	}
	return nc.Close()
}
