package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	phase     phase
	sasl      saslState
	assembled [][]byte // payloads of several frames, borrowed until the flush
	handed    int      // messages since the last flush

	mu       sync.Mutex
	ctx      context.Context // ends with the connection; made when first asked for
	cancel   context.CancelFunc
	timer    *time.Timer
	out      []byte        // frames that wait to be written
	room     chan struct{} // closed when out becomes shorter; nil when nobody waits
	writing  bool          // somebody writes
	since    int64         // when the write under way began
	wrote    int64         // when the last one ended
	busy     bool          // the reader deals with something
	openSent bool
	closed   bool // our close is out, or the connection ended
	dead     bool // nothing can be written
	deadline int64
	cause    error            // why the connection ended
	stop     *codec.Condition // to close with once the reader is idle
	stopping bool

	remote   remote
	sessions table[Session] // by our channel
	incoming table[Session] // by the peer's channel
	links    int
	partial  int // bytes of messages that arrived in part
	dirty    []*Session

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
	c := &Conn{cfg: cfg, nc: nc, h: h, done: make(chan struct{})}
	c.remote.maxFrame = codec.MinMaxFrameSize
	if r, ok := nc.(interface{ ReadNow(p []byte) (int, error) }); ok {
		c.now = r.ReadNow
	}
	if r, ok := nc.(interface{ Wait() error }); ok {
		c.wait = r.Wait
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

// Close closes the connection with a condition, nil for an orderly end. What
// waits to be written is written before. It does not wait for the peer, who is
// given Config.CloseTimeout to answer.
func (c *Conn) Close(cond *codec.Condition) {
	c.mu.Lock()
	c.closeLocked(cond)
	c.mu.Unlock()
	c.spawnFlush()
}

// Shutdown is Close once the reader is done with what it is doing: what was
// handed to the handler is settled before.
func (c *Conn) Shutdown(cond *codec.Condition) {
	c.mu.Lock()
	if c.busy {
		c.stopping, c.stop = true, cond
		c.mu.Unlock()
		return
	}
	c.closeLocked(cond)
	c.mu.Unlock()
	c.spawnFlush()
}

// Abort ends the connection at once, without a word to the peer.
func (c *Conn) Abort(err error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = err
	}
	c.closed = true
	c.mu.Unlock()
	_ = closeNow(c.nc)
}

// closeLocked queues our close.
func (c *Conn) closeLocked(cond *codec.Condition) {
	if c.closed || c.dead {
		return
	}
	c.closed = true
	if cond != nil && c.cause == nil {
		c.cause = cond
	}
	if !c.openSent {
		if c.phase < expectOpen {
			// There is no frame yet to say it with.
			_ = closeNow(c.nc)
			return
		}
		c.sendOpen()
	}
	for _, s := range c.sessions.all() {
		s.settleLocked()
	}
	c.push(0, &codec.Close{Error: cond}, nil)
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

// conditionOf returns what a peer is told of an error.
func conditionOf(err error) *codec.Condition {
	if err == nil {
		return nil
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c
	}
	if e, ok := errors.AsType[*codec.Error](err); ok {
		return &codec.Condition{Name: e.Condition, Description: e.Msg}
	}
	return &codec.Condition{Name: InternalError}
}

// Refuse makes an error that tells the peer a condition.
func Refuse(name, format string, args ...any) *codec.Condition {
	return &codec.Condition{Name: name, Description: fmt.Sprintf(format, args...)}
}

// The error conditions of the standard (part 2 §2.8.15 to §2.8.18).
const (
	InternalError         = "amqp:internal-error"
	NotFound              = "amqp:not-found"
	UnauthorizedAccess    = "amqp:unauthorized-access"
	ResourceLimitExceeded = "amqp:resource-limit-exceeded"
	NotAllowed            = "amqp:not-allowed"
	NotImplemented        = "amqp:not-implemented"
	ResourceLocked        = "amqp:resource-locked"
	PreconditionFailed    = "amqp:precondition-failed"
	FrameSizeTooSmall     = "amqp:frame-size-too-small"
	IllegalState          = "amqp:illegal-state"
	ConnectionForced      = "amqp:connection:forced"
	FramingError          = codec.FramingError
	WindowViolation       = "amqp:session:window-violation"
	ErrantLink            = "amqp:session:errant-link"
	HandleInUse           = "amqp:session:handle-in-use"
	UnattachedHandle      = "amqp:session:unattached-handle"
	DetachForced          = "amqp:link:detach-forced"
	TransferLimitExceeded = "amqp:link:transfer-limit-exceeded"
	MessageSizeExceeded   = "amqp:link:message-size-exceeded"
	LinkRedirect          = "amqp:link:redirect"
	LinkStolen            = "amqp:link:stolen"
)

// The errors of calls on what has ended, or before it may be used.
var (
	ErrClosed   = errors.New("amqp: the connection is closed")
	ErrEnded    = errors.New("amqp: the session has ended")
	ErrDetached = errors.New("amqp: the link is detached")
	ErrNoCredit = errors.New("amqp: the peer has given no credit")
	ErrFull     = errors.New("amqp: too much waits to be written, or is unsettled")
)
