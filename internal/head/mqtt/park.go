package mqtt

import (
	"errors"
	"os"
	"time"
)

// errPark ends serve for a while.
var errPark = errors.New("the connection has been idle for a while")

// over deals with the end of serve.
func (c *conn) over(err error) {
	if err == errPark { //nolint:errorlint // serve returns it as it is
		c.v.conns.Go(c.park)
		return
	}
	c.finish(endOf(err))
}

// park waits for an idle connection in a goroutine that began for this and so
// has the smallest stack there is; one that has read is left with a larger one,
// which would count when very many idle.
func (c *conn) park() {
	c.parked.CompareAndSwap(0, 1)
	_ = c.wait() // what is wrong comes to light with the next read
	c.v.conns.Go(func() { c.over(c.serve()) })
}

// serve waits for bytes and deals with them. Its frame and those below it are
// what an idle connection's stack holds, until it is parked.
func (c *conn) serve() error {
	for {
		n, err := c.nc.Read(c.first[:])
		if n > 0 {
			if !c.wake() {
				return ending(ReasonStop, nil)
			}
			if err := c.begin(n); err != nil {
				return err
			}
			if !c.rest() {
				return ending(ReasonStop, nil)
			}
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

// interrupted reports whether err is from a read that the sweeper has ended, so
// that the reader looks up. Nobody else sets deadlines. The connection goes on.
func (c *conn) interrupted(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && c.nc.SetReadDeadline(time.Time{}) == nil
}

// toPark reports whether a connection that has idled for so long is to be
// parked. It is again once later: the runtime makes the stacks of new
// goroutines as large as those it has lately seen in use, which after a storm
// of work is more than there is need for.
func (c *conn) toPark(idled int64) bool {
	switch c.parked.Load() {
	case 0:
		return idled >= int64(parkAfter)
	case 1:
		return idled >= int64(parkAgain)
	}
	return false
}
