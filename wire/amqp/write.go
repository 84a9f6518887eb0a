package amqp

import (
	"context"
	"math"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const (
	// leastOut is what the buffer of frames that wait has room for at first.
	leastOut = 2 << 10
	// early is how much is written before somebody asks for it, so that the
	// network works while a sender does.
	early = 64 << 10
	// direct is how many bytes a peer may not have read yet for a goroutine that
	// has other things to do to write itself: as few as surely fit into the
	// buffers of the network, so that it does not have to wait. Two peers whose
	// readers wait until the other one reads would wait for ever.
	direct = 8 << 10
	// reserve is how much more than Config.Outbound may wait to be written
	// before the reader does not read on. What others send does not stop it.
	reserve = 256 << 10
)

// push queues a frame, and reports whether the peer takes frames of its size.
// The mutex is held. Who calls it sees to it that the queue is flushed.
func (c *Conn) push(channel uint16, p codec.Performative, payload []byte) bool {
	if c.closed || c.dead {
		return true
	}
	c.out = c.out.reserve(leastOut/8+len(payload), math.MaxInt)
	start := len(c.out.b)
	c.out.b = codec.AppendFrame(c.out.b, channel, p, payload)
	size := len(c.out.b) - start
	if uint64(size) > uint64(c.remote.maxFrame) {
		c.out.b = c.out.b[:start]
		return false
	}
	c.queued += uint64(size)
	return true
}

// raw queues bytes that are no frame; the mutex is held.
func (c *Conn) raw(b []byte) {
	if !c.closed && !c.dead {
		c.out = c.out.reserve(leastOut, math.MaxInt)
		c.out.b = append(c.out.b, b...)
		c.queued += uint64(len(b))
	}
}

// waiting returns how many bytes wait to be written; the mutex is held.
func (c *Conn) waiting() int {
	if c.out == nil {
		return 0
	}
	return len(c.out.b)
}

// kick has what waits written by somebody else; the mutex is held.
func (c *Conn) kick() {
	if !c.writing && !c.dead && c.waiting() > 0 {
		c.writing = true
		go c.write()
	}
}

// flushLocked writes what waits, unless somebody else does already. It leaves
// that to another goroutine when it might take long: when the peer may have as
// many bytes still to read as unread says. The mutex is held, and is not
// meanwhile.
func (c *Conn) flushLocked(unread uint64) {
	if unread >= direct {
		c.kick()
		return
	}
	if c.writing || c.dead || c.waiting() == 0 {
		return
	}
	c.writing = true
	c.writeOnce()
	c.writing = false
	c.kick() // what has come meanwhile
	c.signal()
}

// write writes until nothing waits.
func (c *Conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting() > 0 && !c.dead {
		c.writeOnce()
	}
	c.writing = false
	c.signal()
}

// writeOnce writes what waits now; the mutex is held, and is not meanwhile.
func (c *Conn) writeOnce() {
	b := c.out
	c.out = nil
	c.since = now()
	if c.fires == 0 || c.fires > c.since+int64(c.cfg.WriteStall) {
		c.arm()
	}
	c.mu.Unlock()
	_, err := c.nc.Write(b.b)
	b.free()
	c.mu.Lock()
	c.wrote = now()
	c.since = 0
	if err != nil {
		c.deadLocked(err)
	}
	c.finishRests()
	c.signal()
}

// unread returns how many bytes the peer may not have read yet; the mutex is
// held.
func (c *Conn) unread() uint64 { return c.queued - c.readTo }

// unreadData is unread up to the last transfer. As long as only answers are
// written it is the peer who has to read them in order to get on, and waiting
// for it is right.
func (c *Conn) unreadData() uint64 { return max(c.lastData, c.readTo) - c.readTo }

// deadLocked notes that nothing can be written any more, and wakes the reader.
func (c *Conn) deadLocked(err error) {
	c.dead = true
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.signal()
	_ = closeNow(c.nc)
}

// signal wakes who waits for room, or for the end of writing; the mutex is
// held.
func (c *Conn) signal() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// pause waits for the next signal, while ctx lasts; the mutex is held, and is
// not meanwhile.
func (c *Conn) pause(ctx context.Context) error {
	if c.room == nil {
		c.room = make(chan struct{})
	}
	room := c.room
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitRoom waits until less than most waits to be written, while ctx lasts.
// The mutex is held, and is not meanwhile.
func (c *Conn) awaitRoom(ctx context.Context, most int) error {
	for c.waiting() >= most && !c.dead {
		c.kick()
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
	if c.dead {
		return c.ended()
	}
	return nil
}

// awaitWritten waits until nothing waits to be written; the timer sees to it
// that this does not take for ever. The mutex is held, and is not meanwhile.
func (c *Conn) awaitWritten() {
	for (c.writing || c.waiting() > 0) && !c.dead {
		c.kick()
		_ = c.pause(background)
	}
}

// ended returns what a call on the ended connection gets; the mutex is held.
func (c *Conn) ended() error {
	if c.cause != nil {
		return &endError{what: ErrClosed, cause: c.cause}
	}
	return ErrClosed
}

// endError says what has ended, and why.
type endError struct{ what, cause error }

func (e *endError) Error() string   { return e.what.Error() + ": " + e.cause.Error() }
func (e *endError) Unwrap() []error { return []error{e.what, e.cause} }
