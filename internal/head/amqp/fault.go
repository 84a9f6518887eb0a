package amqp

import (
	"errors"
	"slices"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/fault"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var _ fault.Target = (*device)(nil)

// Break breaks what the client has asked for: its connection, its session or one
// of its links. Part of fault.Target.
func (d *device) Break(k fault.Kind, reason string) {
	c := d.c
	if !c.enter() {
		return // the connection is over anyway
	}
	defer c.leave()
	c.v.log.Debug("amqp fault", obs.KeyID, d.id, obs.KeyReason, string(k))
	why := causeway.Errorf(causeway.ServiceUnavailable, "amqp.fault", "%s, as was asked for: %s", k, reason)
	c.mu.Lock()
	w, cbsIn := c.w, c.cbsIn
	c.mu.Unlock()
	if w == nil {
		return
	}
	link := hubamqp.NewCondition(hubamqp.DetachForced, why.Code, why.Msg)
	switch k {
	case fault.KillTCP:
		c.kill(ReasonFault, errors.New(why.Msg))
	case fault.KillConnection:
		c.setCause(ReasonFault, why)
		// A client that is told of the connection alone may wait for the end of its
		// sessions, as rhea's does.
		d.breakSession(why)
		w.Shutdown(hubamqp.NewCondition(hubamqp.ConnectionForced, why.Code, why.Msg))
	case fault.ShutDownAMQP:
		c.setCause(ReasonFault, why)
		d.breakSession(why)
		w.Shutdown(nil)
	case fault.KillSession:
		d.breakSession(why)
	case fault.KillCBSRequest:
		if cbsIn != nil {
			cbsIn.Close(link)
		}
	case fault.KillCBSResponse:
		c.breakReplies(link)
	case fault.KillTelemetry:
		d.breakIn(hubamqp.KindTelemetry, link, why)
	case fault.KillTwinRequest:
		d.breakIn(hubamqp.KindTwin, link, why)
	case fault.KillMethodResponse:
		d.breakIn(hubamqp.KindMethods, link, why)
	case fault.KillCommands:
		d.breakOut(hubamqp.KindCommands, link, why)
	case fault.KillTwinResponse:
		d.breakOut(hubamqp.KindTwin, link, why)
	case fault.KillMethodRequest:
		d.breakOut(hubamqp.KindMethods, link, why)
	}
}

// breakIn detaches the link of a kind on which the client sends.
func (d *device) breakIn(kind hubamqp.Kind, cond *codec.Condition, why error) {
	d.mu.Lock()
	l := d.in(kind)
	had := d.takeIn(l)
	d.mu.Unlock()
	if had {
		l.r.Close(cond)
		d.broken(why)
	}
}

// breakOut detaches the link of a kind on which the client receives.
func (d *device) breakOut(kind hubamqp.Kind, cond *codec.Condition, why error) {
	d.mu.Lock()
	l := d.out(kind)
	had := d.takeOut(l)
	d.mu.Unlock()
	if had {
		l.s.Close(cond)
		d.broken(why)
	}
}

// broken tells the hub of a link that is gone, and ends the session with the
// last.
func (d *device) broken(why error) {
	d.mu.Lock()
	last := len(d.ins)+len(d.outs) == 0
	d.mu.Unlock()
	if last {
		d.Hangup(why)
		return
	}
	if err := d.listen(false); err != nil {
		d.c.v.log.Debug("the hub was not told of a broken link", obs.KeyID, d.id, obs.KeyError, err)
	}
}

// breakReplies detaches the links on which the connection is answered by $cbs.
func (c *conn) breakReplies(cond *codec.Condition) {
	c.mu.Lock()
	outs := c.cbsOut
	c.cbsOut = nil
	c.mu.Unlock()
	for _, out := range outs {
		out.s.Close(cond)
	}
}

// breakSession ends the sessions that d has links on, with the links of other
// identities that share them.
func (d *device) breakSession(why error) {
	sessions := d.sessions()
	d.c.mu.Lock()
	devices := slices.Clone(d.c.devices)
	d.c.mu.Unlock()
	devices = slices.DeleteFunc(devices, func(other *device) bool {
		return other != d && !slices.ContainsFunc(other.sessions(), func(s *wire.Session) bool { return slices.Contains(sessions, s) })
	})
	for _, other := range devices {
		other.finish(why)
		d.c.drop(other)
	}
	for _, s := range sessions {
		// A session that is over has nothing to end.
		_ = s.End(hangupCondition(why))
	}
	// Only now: a message that came in between would be refused as of a device that
	// has no right any more, for good.
	for _, other := range devices {
		other.abandon(why)
	}
}

// abandon ends the session of the hub; its links ended with that of AMQP.
func (d *device) abandon(why error) {
	d.mu.Lock()
	session := d.session
	d.mu.Unlock()
	if session != nil {
		_ = session.Close(why) // it was logged why
	}
}

// sessions returns the sessions of AMQP that the links are on.
func (d *device) sessions() []*wire.Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*wire.Session
	add := func(s *wire.Session) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, l := range d.ins {
		add(l.r.Session())
	}
	for _, l := range d.outs {
		add(l.s.Session())
	}
	return all
}
