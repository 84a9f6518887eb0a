package amqp

import (
	"context"
	"slices"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// arm sets the connection's one timer to the next time that something of its
// claims is due; c.mu is held. Sessions of devices end by themselves: the hub
// watches over them.
func (c *conn) arm() {
	if c.over || c.ending || c.host == "" {
		return
	}
	now := time.Now()
	c.beLonely(now)
	var next time.Time
	sooner := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	sooner(c.until)
	for i := range c.tokens {
		sooner(c.tokens[i].expires)
	}
	for i := range c.grants {
		sooner(c.grants[i].expires)
	}
	if !c.lonely.IsZero() {
		sooner(c.lonely.Add(c.patience()))
	}
	switch {
	case next.IsZero():
		if c.alarm != nil {
			c.alarm.Stop()
		}
	case c.alarm == nil:
		c.alarm = time.AfterFunc(next.Sub(now), c.ring)
	default:
		c.alarm.Reset(next.Sub(now))
	}
}

// beLonely notes since when the client has shown nothing; c.mu is held.
func (c *conn) beLonely(now time.Time) {
	switch {
	case len(c.tokens)+len(c.grants)+len(c.devices) > 0, c.reg != nil && c.reg.queue.running:
		c.lonely, c.vouched = time.Time{}, false
	case c.reg != nil:
		c.lonely = c.reg.seen
	case c.lonely.IsZero():
		c.lonely = now
	}
}

// patience is how long the client may show nothing; c.mu is held.
func (c *conn) patience() time.Duration {
	if c.reg != nil && c.reg.proven {
		return c.v.limits.Registration
	}
	if c.vouched {
		return c.v.limits.Unlinked
	}
	return c.v.limits.Unclaimed
}

// mayVouch reports whether the client has a certificate that was not looked at yet;
// c.mu is held. Anyone can make one, and it is no proof before a link names whose it
// is. But those who have one put no token, and may attach their first link only when
// they have something to send.
func (c *conn) mayVouch() bool {
	return c.certified && !c.vouched && c.hub != "" && c.reg == nil
}

// vouch lets the client stay if its certificate is that of the identity in its own
// name.
func (c *conn) vouch() {
	defer c.leave()
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	err := c.verifyCertificate(ctx)
	if err == nil {
		c.admit()
		return
	}
	c.v.log.Debug("amqp certificate is of nobody", obs.KeyRemote, c.nc.RemoteAddr().String(), obs.KeyError, err)
	c.mu.Lock()
	idle := !c.lonely.IsZero() && !c.over && !c.ending
	c.ending = c.ending || idle
	c.mu.Unlock()
	if idle {
		c.unclaimed()
	}
}

// unclaimed closes the connection of a client that has shown nothing. Who has a
// certificate may well come back when it has something to send, and is told in a way
// that clients take for a passing trouble.
func (c *conn) unclaimed() {
	c.setCause(ReasonUnclaimed, nil)
	c.mu.Lock()
	w, certified := c.w, c.certified && c.hub != "" && c.reg == nil
	c.mu.Unlock()
	if certified {
		w.Close(hubamqp.NewCondition(hubamqp.ConnectionForced, causeway.ServiceUnavailable,
			"no link was attached in time; connect again when there is something to send"))
		return
	}
	w.Close(hubamqp.NewCondition(hubamqp.Unauthorized, causeway.IotHubUnauthorized,
		"no token was put and no link attached in time, or a device that registers has asked nothing for long"))
}

// ring does what is due.
func (c *conn) ring() {
	now := time.Now()
	c.mu.Lock()
	if c.over || c.ending {
		c.mu.Unlock()
		return
	}
	expired := !c.until.IsZero() && !c.until.After(now)
	unclaimed := !c.lonely.IsZero() && !c.lonely.Add(c.patience()).After(now)
	c.tokens = slices.DeleteFunc(c.tokens, func(t token) bool { return !valid(now, t.expires) })
	had := len(c.grants)
	c.grants = slices.DeleteFunc(c.grants, func(g grant) bool { return !valid(now, g.expires) })
	var over []*binding
	if len(c.grants) < had {
		over = c.uncovered(now)
	}
	vouch := unclaimed && !expired && c.mayVouch()
	if vouch {
		c.vouched, unclaimed = true, false
		c.workers.Begin()
	}
	c.ending = expired || unclaimed
	c.arm()
	w := c.w
	c.mu.Unlock()
	closeBindings(over)
	switch {
	case expired:
		c.setCause(ReasonExpired, nil)
		w.Close(hubamqp.NewCondition(hubamqp.Unauthorized, causeway.IotHubUnauthorized,
			"the token has expired; connect again with a new one"))
	case unclaimed:
		c.unclaimed()
	case vouch:
		c.vouch()
	}
}
