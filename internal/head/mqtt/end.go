package mqtt

import (
	"context"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/accept"
)

// setCause notes why the connection ends, unless that is known already.
func (c *conn) setCause(r Reason, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = ending(r, err)
	}
}

// kill closes the network connection at once; the reader does the rest. It
// does not block.
func (c *conn) kill(r Reason, err error) {
	c.setCause(r, err)
	_ = accept.CloseNow(c.nc)
}

// enter begins work of a goroutine for the connection; it reports false when
// the connection ends.
func (c *conn) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
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

// quiesce lets nothing new begin and waits for what has begun.
func (c *conn) quiesce() {
	c.mu.Lock()
	c.closed = true
	c.failCalls()
	if c.window != nil {
		c.window.signal()
	}
	c.twins.signal()
	c.workers.Wait(&c.mu)
	c.mu.Unlock()
}

// finish ends the connection after its reader did. An open connection is only
// ended here.
func (c *conn) finish(e *end) {
	c.setCause(e.reason, e.err)
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if !cause.reason.orderly() {
		// Writes under way fail, which workers may wait for.
		_ = accept.CloseNow(c.nc)
		c.out.close()
	}
	c.quiesce()
	c.out.close()
	_ = c.nc.Close()
	if c.dps != nil {
		c.v.asking.Add(-1)
	}
	if c.session != nil {
		c.rememberUnacked()
		if c.will != nil && c.opened && !cause.reason.orderly() {
			c.publishWill()
		}
		if err := c.session.Close(closeReason(cause)); err != nil {
			c.v.log.Warn("closing a session failed", obs.KeyID, c.id, obs.KeyError, err)
		}
	}
	c.v.remove(c)
	c.note(cause)
}

// closeReason is what the hub is told: nil for an orderly end.
func closeReason(cause *end) error {
	if cause.reason.orderly() {
		return nil
	}
	return cause
}

// note counts the end of the connection and logs it.
func (c *conn) note(cause *end) {
	if cause.reason.refusal() {
		c.v.metrics.Refused.WithLabelValues(string(cause.reason)).Inc()
	}
	level := slog.LevelInfo
	switch cause.reason {
	case ReasonDisconnect, ReasonLost, ReasonStop, ReasonKeepAlive, ReasonHandshake, ReasonConnectTimeout:
		level = slog.LevelDebug // ordinary, or caused by whoever scans ports
	}
	if !c.v.log.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.KeyReason, string(cause.reason)),
		slog.String(obs.KeyRemote, c.nc.RemoteAddr().String()),
		slog.Duration(obs.KeyTook, time.Duration(c.v.clock.now()-c.began)),
	}
	if c.id.Device != "" {
		attrs = append(attrs, slog.Any(obs.KeyID, c.id))
	}
	if c.dps != nil {
		attrs = append(attrs, slog.String("registration", c.dps.ID), slog.String("scope", c.dps.Scope))
	}
	if cause.err != nil {
		attrs = append(attrs, slog.String(obs.KeyError, cause.err.Error()))
	}
	c.v.log.LogAttrs(context.Background(), level, "mqtt connection ended", attrs...)
}

// Hangup closes the connection: part of causeway.Device.
func (c *conn) Hangup(reason error) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	// Before the hub lets the successor in, so that it finds what to mark.
	c.rememberUnacked()
	c.kill(ReasonHangup, reason)
}
