package amqp

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// errPark ends serve for a while; errOver ends the reader.
var (
	errPark = errors.New("the connection has been idle for a while")
	errOver = errors.New("the connection is over")
)

// The reasons for which the peer ends a connection out of order: without a
// close, or with one that has a condition, which the error then wraps too.
var (
	ErrLost   = errors.New("amqp: the peer closed the network connection without a close")
	ErrRemote = errors.New("amqp: the peer closed the connection with an error")
)

// work is what a reader needs while there is something to do. An idle
// connection holds none.
type work struct {
	buf         *buffer
	fill        int // what has been read is buf.b[:fill]
	transfer    codec.Transfer
	flow        codec.Flow
	disposition codec.Disposition
	heard       []news    // what a disposition says
	assembled   []*buffer // payloads of several frames, borrowed until the flush
	handed      int       // messages since the last flush
}

var works = sync.Pool{New: func() any { return &work{buf: fullBuffer(readBuffer)} }}

// fullBuffer returns a buffer of n bytes or more, all of which are to be read
// into.
func fullBuffer(n int) *buffer {
	b := getBuffer(n)
	b.b = b.b[:cap(b.b)]
	return b
}

// mostHeard is how many entries of a list of news are kept.
const mostHeard = 1024

// release returns w to the pool, without what only a large frame needed.
func (w *work) release() {
	if len(w.buf.b) != readBuffer {
		w.buf.free()
		w.buf = fullBuffer(readBuffer)
	}
	w.fill = 0
	w.transfer, w.flow, w.disposition = codec.Transfer{}, codec.Flow{}, codec.Disposition{}
	if cap(w.heard) > mostHeard {
		w.heard = nil
	}
	works.Put(w)
}

// consume moves the bytes from pos on to the front and makes room for need.
func (w *work) consume(pos, need int) {
	rest := w.fill - pos
	if need > len(w.buf.b) {
		// The next size, not what the frame claims: that is only taken when the
		// bytes have come.
		grown := fullBuffer(min(need, 2*max(rest, len(w.buf.b))))
		w.fill = copy(grown.b, w.buf.b[pos:w.fill])
		w.buf.free()
		w.buf = grown
		return
	}
	if pos > 0 {
		w.fill = copy(w.buf.b, w.buf.b[pos:w.fill])
	}
}

func (c *Conn) run() { c.over(c.serve()) }

// over deals with the end of serve.
func (c *Conn) over(err error) {
	if err == errPark { //nolint:errorlint // serve returns it as it is
		go c.park()
		return
	}
	c.finish(err)
}

// park waits for an idle connection in a goroutine that began for this and so
// has the smallest stack there is.
func (c *Conn) park() {
	c.parked.CompareAndSwap(0, 1)
	_ = c.wait() // what is wrong comes to light with the next read
	go c.run()
}

// serve waits for bytes and deals with them. Its frame and those below it are
// what an idle connection's stack holds, until it is parked.
func (c *Conn) serve() error {
	for {
		n, err := c.nc.Read(c.first[:])
		if n > 0 {
			c.wake()
			if err := c.begin(n); err != nil {
				return err
			}
			c.rest()
		}
		switch {
		case err == nil:
		case !c.interrupted(err):
			return err
		case n == 0:
			return errPark
		}
	}
}

// begin deals with a burst that starts with n bytes of c.first.
func (c *Conn) begin(n int) error {
	c.work = works.Get().(*work)
	c.work.fill = copy(c.work.buf.b, c.first[:n])
	err := c.burst()
	c.work.release()
	c.work = nil
	return err
}

func (c *Conn) burst() error {
	for {
		w := c.work
		readErr := c.gather(w)
		pos, need, err := c.decode(w)
		c.burstEnd()
		if err == nil {
			err = readErr
		}
		if err != nil {
			return err
		}
		if w.consume(pos, need); need == 0 {
			if w.fill = 0; c.now == nil {
				return nil
			}
			if err := c.gather(w); w.fill == 0 {
				return err
			}
			c.seen.Store(now()) // an error comes again
			continue
		}
		if err := c.await(); err != nil {
			return err
		}
	}
}

// gather reads what has arrived without waiting.
func (c *Conn) gather(w *work) error {
	if c.now == nil {
		return nil
	}
	for w.fill < len(w.buf.b) {
		n, err := c.now(w.buf.b[w.fill:])
		w.fill += n
		if err != nil && !c.interrupted(err) {
			return err
		}
		if n == 0 {
			return nil
		}
	}
	return nil
}

// await waits for more of a frame that has arrived in part. The connection
// counts as idle meanwhile, and holds little when little has arrived: peers
// may leave it at that.
func (c *Conn) await() error {
	c.rest()
	w := c.work
	if c.now == nil || w.fill > leastKept/2 {
		n, err := c.readMore(w.buf.b[w.fill:])
		w.fill += n
		return err
	}
	small := fullBuffer(leastKept)
	fill := copy(small.b, w.buf.b[:w.fill])
	c.work = nil
	w.release()
	n, err := c.readMore(small.b[fill:])
	w = works.Get().(*work)
	w.fill = copy(w.buf.b, small.b[:fill+n])
	c.work = w
	small.free()
	return err
}

func (c *Conn) readMore(p []byte) (int, error) {
	for {
		n, err := c.nc.Read(p)
		if err != nil && c.interrupted(err) {
			err = nil // half a frame is no time to be parked
		}
		if n == 0 && err == nil {
			continue
		}
		c.wake()
		return n, err
	}
}

// interrupted reports whether err is from a read that the timer has ended, so
// that the reader looks up. Nobody else sets deadlines. The connection goes on.
func (c *Conn) interrupted(err error) bool {
	return c.wait != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.nc.SetReadDeadline(time.Time{}) == nil
}

// wake notes that the peer was heard of.
func (c *Conn) wake() {
	c.seen.Store(now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = true
	if c.parked.Load() != 0 {
		c.parked.Store(0)
		c.arm()
	}
}

// rest notes that all that was read is dealt with.
func (c *Conn) rest() {
	c.seen.Store(now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	c.stopLocked()
}

// stopLocked does what Shutdown left to the reader; the mutex is held.
func (c *Conn) stopLocked() {
	if c.stopping {
		c.stopping = false
		c.leaveLocked(c.stop)
		c.kick()
	}
}

// burstEnd flushes the handler, says what is due, and writes it. It waits while
// the peer does not read.
func (c *Conn) burstEnd() {
	w := c.work
	if c.phase == opened || w.handed > 0 {
		c.h.Flush(c)
	}
	w.handed = 0
	for i, b := range w.assembled {
		b.free()
		w.assembled[i] = nil
	}
	w.assembled = w.assembled[:0]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
	c.stopLocked()
	c.flushLocked(c.unreadData())
	_ = c.awaitRoom(background, c.cfg.Outbound+reserve) // the reader finds out by itself
	if c.parting {
		c.parting = false
		c.awaitWritten()
		c.closeWrite()
	}
}

// closeWrite lets the peer see the end of the stream; the mutex is held.
func (c *Conn) closeWrite() {
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok && !c.dead {
		c.writing = true // for good: nothing is written after this
		c.mu.Unlock()
		_ = h.CloseWrite()
		c.mu.Lock()
		c.writing = false
	}
}

// Push has written what Settle and Grant have queued. The reader does it by
// itself at the end of a burst; other goroutines call it after their last
// Settle. It does not wait for the network.
func (c *Conn) Push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
	c.kick()
}
