package amqp

import (
	"errors"
	"fmt"
	"io"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// finish ends the connection after its reader did.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	c.setCause(err)
	c.phase = discard
	if c.closed && err == errOver { //nolint:errorlint // onClose returns it as it is
		c.awaitWritten() // our close
	}
	orderly := !c.dead
	c.closed, c.dead = true, true
	if c.timer != nil {
		c.timer.Stop()
	}
	var farewells []farewell
	for _, s := range c.sessions.all() {
		farewells = append(farewells, s.endLocked()...)
	}
	c.sessions, c.incoming, c.named = table[Session]{}, table[Session]{}, nil
	c.dirty, c.rests = nil, nil
	if c.opening != nil {
		close(c.opening)
		c.opening = nil
	}
	c.signal()
	if c.writing {
		orderly = false
		_ = closeNow(c.nc)
	}
	for c.writing { // its error comes soon: nobody will write after it
		_ = c.pause(background)
	}
	out := c.out
	c.out = nil
	cause, cancel := c.cause, c.cancel
	c.mu.Unlock()
	out.free()
	if !orderly {
		_ = closeNow(c.nc)
	}
	_ = c.nc.Close()
	if cancel != nil {
		cancel()
	}
	for _, f := range farewells {
		f.l.detached(cause)
	}
	c.h.Closed(c, cause)
	close(c.done)
}

// setCause notes that the reader ended with err, unless there was a reason for
// that already; the mutex is held.
func (c *Conn) setCause(err error) {
	if c.cause != nil || c.closed {
		return
	}
	c.cause = ErrLost
	if err != nil && !errors.Is(err, io.EOF) {
		c.cause = fmt.Errorf("amqp: the network connection ended: %w", err)
	}
}

func cloneCondition(p *codec.Condition) *codec.Condition {
	if p == nil {
		return nil
	}
	return &codec.Condition{Name: clone(p.Name), Description: clone(p.Description), Info: p.Info.Clone()}
}
