package amqp

import (
	"errors"
	"math"
	"time"
)

// The reasons for which time ends a connection.
var (
	ErrOpenTimeout = errors.New("amqp: the peer took too long to open the connection")
	ErrSilent      = errors.New("amqp: the peer was silent for longer than the idle time-out allows")
	ErrStuck       = errors.New("amqp: the peer does not take what is written to it")
)

// arm sees to it that the timer fires when something is due; the mutex is held.
// A timer that fires earlier than it must is left alone: it looks again then.
func (c *Conn) arm() {
	if c.dead {
		return
	}
	n := now()
	at := c.due(n)
	if at == math.MaxInt64 || c.fires != 0 && c.fires <= at {
		return
	}
	c.fires = at
	d := max(time.Duration(at-n), time.Millisecond)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

// due returns when the next thing is due; the mutex is held.
func (c *Conn) due(n int64) int64 {
	at := int64(math.MaxInt64)
	sooner := func(t int64) { at = min(at, t) }
	if c.deadline != 0 {
		sooner(c.deadline)
	}
	if c.since != 0 {
		sooner(c.since + int64(c.cfg.WriteStall))
	}
	if c.phase != opened || c.closed {
		return at
	}
	seen, wrote := c.seen.Load(), c.wrote
	if c.busy {
		seen = n // it counts once the reader is done
	}
	if c.since != 0 {
		wrote = n
	}
	sooner(seen + 2*int64(c.cfg.IdleTimeout))
	if c.remote.heartbeat != 0 {
		sooner(wrote + c.remote.heartbeat)
	}
	if after := c.parkAfter(); after != 0 {
		sooner(seen + after)
	}
	return at
}

// tick does what is due.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fires = 0
	n := now()
	seen := c.seen.Load()
	live := c.phase == opened && !c.closed
	after := c.parkAfter()
	switch {
	case c.dead:
		return
	case c.since != 0 && n >= c.since+int64(c.cfg.WriteStall):
		c.deadLocked(ErrStuck)
		return
	case c.deadline != 0 && n >= c.deadline:
		c.deadLocked(ErrOpenTimeout) // counts only when we have not closed
		return
	case live && !c.busy && n >= seen+2*int64(c.cfg.IdleTimeout):
		if c.cause == nil {
			c.cause = ErrSilent
		}
		c.closeLocked(Refuse(ResourceLimitExceeded, "nothing was heard for %v, the idle time-out is %v",
			time.Duration(n-seen).Truncate(time.Millisecond), c.cfg.IdleTimeout))
	case live && c.remote.heartbeat != 0 && c.since == 0 && n >= c.wrote+c.remote.heartbeat:
		if c.waiting() == 0 {
			c.push(0, nil, nil)
		}
	case live && after != 0 && !c.busy && n >= seen+after:
		c.parked.Add(1)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // see interrupted
	}
	c.kick()
	c.arm()
}

// parkAfter returns how long the reader must have idled to be parked, 0 when it
// is not to be.
func (c *Conn) parkAfter() int64 {
	if c.wait == nil {
		return 0
	}
	switch c.parked.Load() {
	case 0:
		return int64(parkAfter)
	case 1:
		return int64(parkAgain)
	}
	return 0
}
