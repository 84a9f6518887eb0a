package amqp

import (
	"context"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// push queues a frame; the mutex is held. Who calls it sees to it that flush
// follows.
func (c *Conn) push(channel uint16, p codec.Performative, payload []byte) {
	if c.dead {
		return
	}
	if c.out == nil {
		c.out = getBuffer(readBuffer / 16)
	}
	c.out = codec.AppendFrame(c.out, channel, p, payload)
}

// raw queues bytes that are no frame of AMQP; the mutex is held.
func (c *Conn) raw(b []byte) {
	if !c.dead {
		if c.out == nil {
			c.out = getBuffer(readBuffer / 16)
		}
		c.out = append(c.out, b...)
	}
}

// flush writes what waits, unless somebody else does already.
func (c *Conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
}

func (c *Conn) flushLocked() {
	if c.writing {
		return
	}
	c.writing = true
	for len(c.out) > 0 && !c.dead {
		b := c.out
		c.out = nil
		c.since = now()
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		putBuffer(b)
		c.mu.Lock()
		c.wrote = now()
		c.since = 0
		if err != nil {
			c.deadLocked(err)
		}
		c.signal()
	}
	c.writing = false
}

// deadLocked notes that nothing can be written any more, and wakes the reader.
func (c *Conn) deadLocked(err error) {
	c.dead = true
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.signal()
	_ = closeNow(c.nc)
}

// spawnFlush is flush for callers that must not wait for the network.
func (c *Conn) spawnFlush() {
	c.mu.Lock()
	needed := len(c.out) > 0 && !c.writing && !c.dead
	c.mu.Unlock()
	if needed {
		go c.flush()
	}
}

// signal wakes who waits for room; the mutex is held.
func (c *Conn) signal() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// awaitRoom waits until less than the limit waits to be written, while ctx
// lasts. The mutex is held, and is not meanwhile.
func (c *Conn) awaitRoom(ctx context.Context) error {
	for len(c.out) >= c.cfg.Outbound && !c.dead {
		if !c.writing {
			c.flushLocked()
			continue
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
			c.mu.Lock()
		case <-ctx.Done():
			c.mu.Lock()
			return ctx.Err()
		}
	}
	if c.dead {
		return c.ended()
	}
	return nil
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
