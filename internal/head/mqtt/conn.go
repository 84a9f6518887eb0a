package mqtt

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/accept"
)

// The states of a connection's reader. Who stops the server moves idle to
// stopped, and so knows that nothing of the client is under way; in the other
// states the reader learns of it when it is done.
const (
	opening  int32 = iota
	busy           // something that was read is being dealt with
	idle           // waits for bytes
	stopping       // busy, and to end after that
	stopped        // to end now
)

// conn is one connection. It stays small: there may be very many.
type conn struct {
	v  *serving
	nc net.Conn
	// now reads what has arrived without waiting; nil when nc cannot.
	now func(p []byte) (int, error)
	// wait waits for something to arrive, with very little; nil when nc cannot.
	wait   func() error
	parked atomic.Int32 // how often, since the client was last heard of

	began   int64        // when it was accepted
	silence int64        // how long the client may be silent; set before state leaves opening
	seen    atomic.Int64 // when the client was last heard of
	state   atomic.Int32
	first   [2]byte // what an idle reader reads into; the smallest packet

	// Set by open.
	id         causeway.Identity
	session    causeway.Session
	persistent bool // clean session 0
	opened     bool // the client was told so
	will       *will
	dps        *provisioning // instead of all these, of the provisioning service

	out outbound

	// The reader's own.
	telemetry *template
	lastTopic uint64 // hash of the last telemetry topic

	subs atomic.Pointer[[]subscription]

	mu         sync.Mutex
	cause      *end
	closed     bool // nothing new is begun
	workers    accept.Workers
	window     *window
	redelivers []int64
	calls      map[string]chan<- causeway.Result
	nextCall   uint32
	twins      twinQueue
}

var _ causeway.Device = (*conn)(nil)

func newConn(v *serving, nc net.Conn) *conn {
	c := &conn{v: v, nc: nc, began: v.clock.now()}
	if r, ok := nc.(interface{ ReadNow(p []byte) (int, error) }); ok {
		c.now = r.ReadNow
	}
	if r, ok := nc.(interface{ Wait() error }); ok {
		c.wait = r.Wait
	}
	return c
}

// run begins to read the connection. w holds what came right behind the CONNECT
// packet; it is nil when nothing did.
func (c *conn) run(w *work) {
	var err error
	if w == nil && c.now != nil {
		w = works.Get().(*work)
		if err = c.gather(w); w.fill == 0 {
			w.release()
			w = nil
		} else {
			err = nil // comes again behind what was read
		}
	}
	quiet := w == nil && c.now != nil && c.wait != nil
	if w != nil && err == nil {
		err = c.burst(w)
	}
	switch {
	case err != nil:
	case !c.rest():
		err = ending(ReasonStop, nil)
	case quiet:
		// As most clients are for a while after they have connected. Nothing is
		// left between the socket and here, so it can be waited for.
		err = errPark
	default:
		err = c.serve()
	}
	c.over(err)
}

// begin deals with a burst that starts with n bytes of c.first.
func (c *conn) begin(n int) error {
	w := works.Get().(*work)
	w.fill = copy(w.buf, c.first[:n])
	return c.burst(w)
}

// wake notes that the client was heard of. It reports false when the server
// stopped the connection before.
func (c *conn) wake() bool {
	c.seen.Store(c.v.clock.now())
	if c.parked.Load() != 0 {
		c.parked.Store(0)
	}
	return c.state.CompareAndSwap(idle, busy)
}

// rest notes that all that was read is dealt with. It reports false when the
// server stops.
func (c *conn) rest() bool {
	c.seen.Store(c.v.clock.now())
	return c.state.CompareAndSwap(busy, idle)
}

// stop ends the connection in order as soon as nothing is under way.
func (c *conn) stop() {
	for {
		switch s := c.state.Load(); s {
		case opening:
			if c.state.CompareAndSwap(s, stopped) {
				c.kill(ReasonStop, nil)
				return
			}
		case idle:
			if c.state.CompareAndSwap(s, stopped) {
				c.setCause(ReasonStop, nil)
				c.v.conns.Go(func() {
					c.quiesce()
					_ = c.nc.Close() // wakes the reader
				})
				return
			}
		case busy:
			if c.state.CompareAndSwap(s, stopping) {
				return
			}
		default:
			return
		}
	}
}

// check closes the connection when something has taken too long.
func (c *conn) check(now int64) {
	switch state := c.state.Load(); {
	case state == opening:
		if now-c.began >= int64(causeway.ConnectDeadline) {
			c.kill(ReasonConnectTimeout, nil)
		}
	case state == idle && now-c.seen.Load() >= c.silence:
		c.kill(ReasonKeepAlive, nil)
	case state == idle && c.dps.idles(now):
		c.kill(ReasonProvisioningIdle, nil)
	case state == idle && c.wait != nil && c.toPark(now-c.seen.Load()):
		c.parked.Add(1)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // see interrupted
	}
	if c.out.stalled(now - int64(c.v.limits.WriteStall)) {
		c.kill(ReasonSlow, nil)
	}
}

// reply writes b, which the caller may change when it returned. It waits while
// the client does not read and the queue is full.
func (c *conn) reply(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	mine, err := c.out.claim()
	if err != nil {
		return err
	}
	if mine {
		return c.drain(b)
	}
	mine, err = c.out.push(context.Background(), b, c.v.limits.Outbound)
	if err != nil || !mine {
		return err
	}
	return c.drain(nil)
}

// enqueue hands b to the connection's writer on behalf of the hub. It waits for
// room in the queue, but never for the client.
func (c *conn) enqueue(ctx context.Context, b []byte) error {
	if !c.enter() {
		return errGone()
	}
	mine, err := c.out.push(ctx, b, c.v.limits.Outbound)
	if err != nil || !mine {
		c.leave()
		if errors.Is(err, net.ErrClosed) {
			return errGone()
		}
		return err
	}
	c.v.conns.Go(func() {
		defer c.leave()
		_ = c.drain(nil)
	})
	return nil
}

// drain writes first and the queue; the caller has the right to write. A
// client that cannot be written to is gone.
func (c *conn) drain(first []byte) error {
	err := c.out.drain(c.nc, &c.v.clock, first)
	if err != nil {
		c.kill(ReasonLost, err)
	}
	return err
}

// errGone is what the hub hears when the connection ended meanwhile.
func errGone() error {
	return causeway.Errorf(causeway.DeviceConnectionClosedRemotely, "head/mqtt", "the device's connection ended")
}
