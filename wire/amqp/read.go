package amqp

import (
	"encoding/binary"
	"errors"
	"io"
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

// work is what a reader needs while there is something to do. An idle server
// holds none.
type work struct {
	buf         []byte // what has been read is buf[:fill]
	fill        int
	transfer    codec.Transfer
	flow        codec.Flow
	disposition codec.Disposition
}

var works = sync.Pool{New: func() any { return &work{buf: getBuffer(readBuffer)[:readBuffer]} }}

// release returns w to the pool, without what only a large frame needed.
func (w *work) release() {
	if len(w.buf) != readBuffer {
		putBuffer(w.buf)
		w.buf = getBuffer(readBuffer)[:readBuffer]
	}
	w.fill = 0
	w.transfer, w.flow, w.disposition = codec.Transfer{}, codec.Flow{}, codec.Disposition{}
	works.Put(w)
}

// consume moves the bytes from pos on to the front and makes room for need.
func (w *work) consume(pos, need int) {
	rest := w.fill - pos
	if need > len(w.buf) {
		// The next size, not what the frame claims: that is only taken when the
		// bytes have come.
		grown := getBuffer(min(need, 2*max(rest, len(w.buf))))
		grown = grown[:cap(grown)]
		w.fill = copy(grown, w.buf[pos:w.fill])
		putBuffer(w.buf)
		w.buf = grown
		return
	}
	if pos > 0 {
		w.fill = copy(w.buf, w.buf[pos:w.fill])
	}
}

func (c *Conn) run() {
	if c.client {
		c.finish(c.hold())
		return
	}
	c.over(c.serve())
}

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
	go func() { c.over(c.serve()) }()
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

// hold reads with a buffer that it keeps.
func (c *Conn) hold() error {
	w := works.Get().(*work)
	defer w.release()
	for {
		n, err := c.nc.Read(w.buf[w.fill:])
		if w.fill += n; n > 0 {
			c.wake()
			pos, need, err := c.decode(w)
			c.burstEnd()
			if err != nil {
				return err
			}
			w.consume(pos, need)
			c.rest()
		}
		if err != nil {
			return err
		}
	}
}

// begin deals with a burst that starts with n bytes of c.first.
func (c *Conn) begin(n int) error {
	w := works.Get().(*work)
	w.fill = copy(w.buf, c.first[:n])
	defer w.release()
	for {
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
		if err := c.await(w); err != nil {
			return err
		}
	}
}

// gather reads what has arrived without waiting.
func (c *Conn) gather(w *work) error {
	if c.now == nil {
		return nil
	}
	for w.fill < len(w.buf) {
		n, err := c.now(w.buf[w.fill:])
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
// counts as idle meanwhile.
func (c *Conn) await(w *work) error {
	c.rest()
	for {
		n, err := c.nc.Read(w.buf[w.fill:])
		w.fill += n
		if err != nil && c.interrupted(err) {
			err = nil // half a frame is no time to be parked
		}
		if n == 0 && err == nil {
			continue
		}
		c.wake()
		return err
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
	if c.parked.Load() != 0 {
		c.parked.Store(0)
	}
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
}

// rest notes that all that was read is dealt with.
func (c *Conn) rest() {
	c.seen.Store(now())
	c.mu.Lock()
	c.busy = false
	if c.stopping {
		c.stopping = false
		c.closeLocked(c.stop)
		c.flushLocked()
	}
	c.mu.Unlock()
}

// decode deals with all whole frames in w. It returns where the rest begins,
// and how many bytes make a frame of it, 0 for no rest. An error is the end of
// the connection.
func (c *Conn) decode(w *work) (pos, need int, err error) {
	for pos < w.fill {
		b := w.buf[pos:w.fill]
		switch c.phase {
		case discard:
			return w.fill, 0, nil
		case expectHeader, expectAMQP:
			if len(b) < codec.HeaderSize {
				return pos, codec.HeaderSize, nil
			}
			if err := c.header([codec.HeaderSize]byte(b)); err != nil {
				return pos, 0, err
			}
			pos += codec.HeaderSize
			continue
		}
		most := c.cfg.MaxFrameSize
		if c.phase == inSASL {
			most = maxSASLFrame
		}
		f, n, err := codec.Split(b, most)
		if err == nil && n == 0 {
			if need = codec.FrameHeaderSize; len(b) >= need {
				need = int(binary.BigEndian.Uint32(b))
			}
			return pos, need, nil
		}
		if err == nil {
			pos += n
			err = c.frame(w, f)
		}
		if err == errOver || errors.Is(err, io.EOF) { //nolint:errorlint // frame returns it as it is
			return pos, 0, err
		}
		if err != nil {
			c.fatal(err)
			continue
		}
		if c.handed >= c.cfg.Burst {
			c.burstEnd()
		}
	}
	return pos, 0, nil
}

// fatal tells the peer that the connection cannot go on, and lets it hear so:
// what else it sends is thrown away until it closes.
func (c *Conn) fatal(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.closeLocked(conditionOf(err))
	c.phase = discard
}

// frame deals with one frame.
func (c *Conn) frame(w *work, f codec.Frame) error {
	if c.phase == inSASL {
		return c.saslFrame(f)
	}
	if f.Type != codec.FrameAMQP {
		return Refuse(FramingError, "a frame of type %d after the SASL dialogue", f.Type)
	}
	if len(f.Body) == 0 {
		return nil // only says that the peer is there
	}
	code, err := f.Code()
	if err != nil {
		return err
	}
	if c.phase == closing && code != codec.CodeClose {
		return nil
	}
	if c.phase == expectOpen && code != codec.CodeOpen && code != codec.CodeClose {
		return Refuse(IllegalState, "%v before the open", code)
	}
	switch code {
	case codec.CodeTransfer:
		payload, err := f.Decode(&w.transfer)
		if err != nil {
			return err
		}
		return c.onTransfer(f.Channel, &w.transfer, payload)
	case codec.CodeDisposition:
		if _, err := f.Decode(&w.disposition); err != nil {
			return err
		}
		return c.onDisposition(f.Channel, &w.disposition)
	case codec.CodeFlow:
		if _, err := f.Decode(&w.flow); err != nil {
			return err
		}
		return c.onFlow(f.Channel, &w.flow)
	case codec.CodeOpen:
		var p codec.Open
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onOpen(&p)
	case codec.CodeBegin:
		var p codec.Begin
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onBegin(f.Channel, &p)
	case codec.CodeAttach:
		var p codec.Attach
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onAttach(f.Channel, &p)
	case codec.CodeDetach:
		var p codec.Detach
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onDetach(f.Channel, &p)
	case codec.CodeEnd:
		var p codec.End
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onEnd(f.Channel, &p)
	case codec.CodeClose:
		var p codec.Close
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onClose(&p)
	}
	return Refuse(FramingError, "%v is not the performative of a frame", code)
}

// burstEnd flushes the handler, says what is due, and writes it. It waits while
// the peer does not read.
func (c *Conn) burstEnd() {
	if c.phase == opened || c.handed > 0 {
		c.h.Flush(c)
	}
	c.handed = 0
	for i, b := range c.assembled {
		putBuffer(b)
		c.assembled[i] = nil
	}
	c.assembled = c.assembled[:0]
	if cap(c.assembled) > 64 {
		c.assembled = nil
	}
	c.mu.Lock()
	c.settleLocked()
	c.flushLocked()
	_ = c.awaitRoom(background) // the reader finds out by itself
	c.mu.Unlock()
}

// settleLocked queues the dispositions and flows that are due.
func (c *Conn) settleLocked() {
	for i, s := range c.dirty {
		s.settleLocked()
		c.dirty[i] = nil
	}
	c.dirty = c.dirty[:0]
}

// Push writes what Settle and Grant have queued. The reader does it by itself
// at the end of a burst; other goroutines call it after their last Settle.
func (c *Conn) Push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
	c.flushLocked()
}
