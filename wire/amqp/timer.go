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

// arm sets the timer to the next time that something is due; the mutex is held.
func (c *Conn) arm() {
	if c.dead {
		return
	}
	d := max(time.Duration(c.due(now())), time.Millisecond)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

// due returns how long it is until something is due; the mutex is held.
func (c *Conn) due(n int64) int64 {
	next := int64(math.MaxInt64)
	sooner := func(at int64) { next = min(next, at) }
	if c.deadline != 0 {
		sooner(c.deadline)
	}
	if c.since != 0 {
		sooner(c.since + int64(c.cfg.WriteStall))
	}
	if c.phase == opened {
		sooner(c.seen.Load() + 2*int64(c.cfg.IdleTimeout))
		if c.remote.heartbeat != 0 {
			sooner(c.wrote + c.remote.heartbeat)
		}
		if c.wait != nil {
			switch c.parked.Load() {
			case 0:
				sooner(c.seen.Load() + int64(parkAfter))
			case 1:
				sooner(c.seen.Load() + int64(parkAgain))
			}
		}
	}
	// A write that begins meanwhile is noticed late, but is noticed.
	return min(next-n, int64(c.cfg.WriteStall))
}

// tick does what is due.
func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	n := now()
	switch seen := c.seen.Load(); {
	case c.since != 0 && n >= c.since+int64(c.cfg.WriteStall):
		c.deadLocked(ErrStuck)
		return
	case c.deadline != 0 && n >= c.deadline:
		c.deadLocked(ErrOpenTimeout) // counts only when we have not closed
		return
	case c.phase == opened && !c.busy && n >= seen+2*int64(c.cfg.IdleTimeout):
		c.closeLocked(Refuse(ResourceLimitExceeded, "nothing was heard for %v, the idle time-out is %v", time.Duration(n-seen), c.cfg.IdleTimeout))
		if c.cause == nil {
			c.cause = ErrSilent
		}
	case c.phase == opened && c.remote.heartbeat != 0 && n >= c.wrote+c.remote.heartbeat && len(c.out) == 0:
		c.push(0, nil, nil)
	case c.phase == opened && c.wait != nil && !c.busy && c.toPark(n-seen):
		c.parked.Add(1)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // see interrupted
	}
	if len(c.out) > 0 && !c.writing {
		c.arm()
		c.mu.Unlock()
		go c.flush()
		c.mu.Lock()
		return
	}
	c.arm()
}

// toPark reports whether a reader that has idled for so long is to be parked.
func (c *Conn) toPark(idled int64) bool {
	switch c.parked.Load() {
	case 0:
		return idled >= int64(parkAfter)
	case 1:
		return idled >= int64(parkAgain)
	}
	return false
}
