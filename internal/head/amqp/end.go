package amqp

import (
	"context"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/accept"
	wire "github.com/causeway-iot/causeway/wire/amqp"
)

// setCause notes why the connection ends, unless that is known already.
func (c *conn) setCause(r Reason, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = &end{r, err}
	}
}

// kill ends the connection at once; the reader does the rest. It does not block.
func (c *conn) kill(r Reason, err error) {
	c.setCause(r, err)
	c.mu.Lock()
	w := c.w
	c.mu.Unlock()
	if w == nil {
		_ = accept.CloseNow(c.nc)
		return
	}
	w.Abort(err)
}

// enter begins work of a goroutine for the connection; it reports false when
// the connection is over.
func (c *conn) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.workers.Begin()
	return true
}

// leave ends what enter began.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers.End()
}

// rest waits until nobody works for the connection.
func (c *conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers.Wait(&c.mu)
}

// stop ends the connection in order once nothing is under way.
func (c *conn) stop() {
	c.mu.Lock()
	c.stopping = true
	w := c.w
	c.mu.Unlock()
	c.setCause(ReasonStop, nil)
	if w == nil {
		_ = accept.CloseNow(c.nc)
		return
	}
	go func() {
		c.rest()
		w.Shutdown(forced())
	}()
}

// Closed ends what the connection has begun: part of [wire.Handler].
func (c *conn) Closed(_ *wire.Conn, err error) { c.finish(endOf(err)) }

// finish is called once, when nothing is read any more.
func (c *conn) finish(e *end) {
	c.setCause(e.reason, e.err)
	c.mu.Lock()
	c.over = true
	if c.alarm != nil {
		c.alarm.Stop()
	}
	if c.reg != nil {
		c.reg.queue.waiting = nil
	}
	c.tokens, c.grants, c.replies, c.cbsOut, c.cbsIn, c.bindings = nil, nil, nil, nil, nil, nil
	devices := c.devices
	c.devices = nil
	cause := c.cause
	c.mu.Unlock()
	for _, d := range devices { // those whose links the engine did not end
		d.close(cause.err)
	}
	c.rest()
	for _, p := range c.planes {
		p.Closed(c)
	}
	c.admit()
	c.note(cause)
	c.v.remove(c)
}

// note counts the end of the connection and logs it.
func (c *conn) note(cause *end) {
	if cause.reason.refusal() {
		c.v.metrics.Refused.WithLabelValues(string(cause.reason)).Inc()
	}
	level := slog.LevelInfo
	switch cause.reason {
	case ReasonClosed, ReasonLost, ReasonStop, ReasonIdle, ReasonHandshake, ReasonConnectTimeout:
		level = slog.LevelDebug // ordinary, or caused by whoever scans ports
	}
	if !c.v.log.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.KeyReason, string(cause.reason)),
		slog.String(obs.KeyRemote, c.nc.RemoteAddr().String()),
		slog.Duration(obs.KeyTook, time.Since(c.began)),
	}
	if c.hub != "" {
		attrs = append(attrs, slog.String(obs.KeyHub, c.hub))
	}
	if cause.err != nil {
		attrs = append(attrs, slog.String(obs.KeyError, shown(cause.err)))
	}
	c.v.log.LogAttrs(context.Background(), level, "amqp connection ended", attrs...)
}

// shown returns the text of an error for the log, and no more of it than fits
// into a line: clients may have put very much into it.
func shown(err error) string {
	text := err.Error()
	if len(text) > maxShown {
		text = text[:maxShown] + "…"
	}
	return text
}
