package amqp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// device is a device or module that has links on a connection, and so a session.
type device struct {
	c       *conn
	id      causeway.Identity
	session causeway.Session
	batch   *batch // the reader's own: messages of the burst

	listening sync.Mutex // held while the lanes are set
	settling  sync.WaitGroup

	mu         sync.Mutex
	over       error // why the session ended; links are attached no more
	source     string
	model      string
	lanes      causeway.Lane // as set last
	subscribed bool          // to desired properties
	ins        []*inLink
	outs       []*outLink
	calls      map[[16]byte]chan<- answer
	twins      *twinQueue
}

var _ causeway.Device = (*device)(nil)

// errOver ends a session that has no link left.
var errOver = errors.New("the last link was detached")

// credentialOf returns what is known of a client, without a proof.
func (c *conn) credentialOf(id causeway.Identity) causeway.Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	return causeway.Credential{
		Host: c.host, Identity: id, Certificates: certificates(c.w),
		Transport: c.transport(), RemoteAddr: c.nc.RemoteAddr().String(),
	}
}

// prove adds the proof of a device or module to a credential: its own token, or
// that of a policy. Without one the certificate is left to count. It returns the
// audience of the policy's token.
func (c *conn) prove(cred *causeway.Credential) (source string, err error) {
	now := time.Now()
	id := cred.Identity
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tokens {
		if t.device == id.Device && t.module == id.Module && valid(now, t.expires) {
			cred.Token = t.secret
			return "", nil
		}
	}
	path := "/devices/" + id.Device
	if id.IsModule() {
		path += "/modules/" + id.Module
	}
	g, err := best(c.verified(now), path, auth.DeviceConnect)
	switch {
	case err == nil && !g.key: // the hub takes no keys for tokens
		cred.Token = g.secret
		return g.audience, nil
	case len(cred.Certificates) > 0:
		return "", nil
	case err == nil:
		err = auth.Unauthorized("amqp.attach", auth.ErrMethod)
	}
	return "", err
}

// find returns the device or module of the given ids if it has links.
func (c *conn) find(id, module string) *device {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.devices {
		if d.id.Device == id && d.id.Module == module {
			return d
		}
	}
	return nil
}

// restingOn returns the devices whose session rests on the policy's token of an
// audience.
func (c *conn) restingOn(audience string) []*device {
	c.mu.Lock()
	devices := slices.Clone(c.devices)
	c.mu.Unlock()
	return slices.DeleteFunc(devices, func(d *device) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.source != audience
	})
}

func (d *device) setSource(audience string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.source = audience
}

// drop forgets a device.
func (c *conn) drop(d *device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.devices, d); i >= 0 {
		c.devices = slices.Delete(c.devices, i, i+1)
		c.allow()
		c.arm()
	}
}

// attachDevice grants a link of a device or module, and opens its session with
// the first.
func (c *conn) attachDevice(a *wire.Attach, addr hubamqp.Address) error {
	const op = "amqp.attach"
	in := a.Role == codec.Sender
	if addr.Kind == hubamqp.KindCommands && in || addr.Kind == hubamqp.KindTelemetry && !in && addr.Module == "" {
		return causeway.Errorf(causeway.InvalidOperation, op, "links to %q have the other direction", addr.String())
	}
	p := hubamqp.ParseLinkProperties(a.Properties)
	d := c.find(addr.Device, addr.Module)
	if d == nil {
		var err error
		if d, err = c.connect(addr, &p); err != nil {
			return err
		}
	} else {
		d.announce(&p)
	}
	if in {
		return d.attachIn(a, addr.Kind)
	}
	return d.attachOut(a, addr.Kind)
}

// connect opens a session for a device or module.
func (c *conn) connect(addr hubamqp.Address, p *hubamqp.LinkProperties) (*device, error) {
	cred := c.credentialOf(causeway.Identity{Device: addr.Device, Module: addr.Module})
	source, err := c.prove(&cred)
	if err != nil {
		return nil, err
	}
	cred.APIVersion, cred.ClientType, cred.ModelID, cred.AuthChain = p.APIVersion, p.ClientVersion, p.ModelID, p.AuthChain
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	d := &device{c: c, id: cred.Identity, source: source, model: p.ModelID}
	session, err := c.v.hub.Connect(ctx, cred, d)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.session, d.id = session, session.Identity()
	d.mu.Unlock()
	c.admit()
	c.mu.Lock()
	c.devices = append(c.devices, d)
	c.allow()
	c.arm()
	c.mu.Unlock()
	if err := d.ended(); err != nil { // it was hung up before it was there to be dropped
		c.drop(d)
		_ = session.Close(err)
		return nil, err
	}
	return d, nil
}

// announce passes on a model id that came with a later link.
func (d *device) announce(p *hubamqp.LinkProperties) {
	d.mu.Lock()
	news := p.ModelID != "" && p.ModelID != d.model
	d.mu.Unlock()
	if !news {
		return
	}
	cred := d.c.credentialOf(d.id)
	if _, err := d.c.prove(&cred); err != nil {
		return
	}
	cred.APIVersion, cred.ClientType, cred.ModelID, cred.AuthChain = p.APIVersion, p.ClientVersion, p.ModelID, p.AuthChain
	ctx, cancel := context.WithTimeout(d.c.v.life, causeway.ConnectDeadline)
	defer cancel()
	if err := d.session.Renew(ctx, cred); err != nil {
		d.c.v.log.Debug("a model id was not announced", obs.KeyID, d.id, obs.KeyError, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.model = p.ModelID
}

// ended returns why the session ended, nil while it has not.
func (d *device) ended() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// attachIn grants a link on which the client sends.
func (d *device) attachIn(a *wire.Attach, kind hubamqp.Kind) error {
	l := &inLink{d: d, kind: kind}
	o := wire.ReceiverOptions{Handler: l, SettleAtOnce: true}
	switch kind {
	case hubamqp.KindTelemetry:
		o.Credit, o.MaxMessageSize = uint32(d.c.v.limits.Credit), hubamqp.MaxTransfer
	case hubamqp.KindMethods:
		o.Credit, o.MaxMessageSize = causeway.MaxInflightMethods, maxMethodMessage
	case hubamqp.KindTwin:
		o.MaxMessageSize = maxTwinMessage
		d.c.granted = append(d.c.granted, l)
	}
	l.r = a.Receive(o)
	d.mu.Lock()
	if over := d.over; over != nil {
		d.mu.Unlock()
		return over
	}
	var old *inLink
	if kind != hubamqp.KindTelemetry {
		old = d.in(kind)
		d.takeIn(old)
	}
	d.ins = append(d.ins, l)
	d.mu.Unlock()
	if old != nil {
		old.r.Close(stolen())
	}
	if err := d.listen(false); err != nil {
		d.detachedIn(l)
		return err
	}
	return nil
}

// attachOut grants a link on which the client receives.
func (d *device) attachOut(a *wire.Attach, kind hubamqp.Kind) error {
	l := &outLink{d: d, kind: kind, settled: a.SndSettleMode == codec.SendSettled}
	o := wire.SenderOptions{Handler: l, Untracked: true}
	if kind == hubamqp.KindCommands || kind == hubamqp.KindTelemetry {
		o.Untracked, o.Unsettled = false, maxUnsettled
	}
	l.s = a.Send(o)
	d.mu.Lock()
	old := d.out(kind)
	d.takeOut(old)
	d.mu.Unlock()
	if old != nil {
		old.s.Close(stolen())
		// What was sent on it goes back to its queue.
		if err := d.listen(false); err != nil {
			return err
		}
	}
	d.mu.Lock()
	if over := d.over; over != nil {
		d.mu.Unlock()
		return over
	}
	d.outs = append(d.outs, l)
	d.mu.Unlock()
	if err := d.listen(false); err != nil {
		d.detachedOut(l)
		return err
	}
	return nil
}

func stolen() *codec.Condition {
	return hubamqp.NewCondition(hubamqp.LinkStolen, causeway.LinkCreationConflict, "a newer link of the same kind was attached")
}

// in returns the newest link of a kind, or nil; d.mu is held.
func (d *device) in(kind hubamqp.Kind) *inLink {
	for _, l := range d.ins {
		if l.kind == kind {
			return l
		}
	}
	return nil
}

// out returns the link of a kind, or nil; d.mu is held.
func (d *device) out(kind hubamqp.Kind) *outLink {
	for _, l := range d.outs {
		if l.kind == kind {
			return l
		}
	}
	return nil
}

// takeIn takes a link out of the list and reports whether it was there; d.mu is
// held.
func (d *device) takeIn(l *inLink) bool {
	i := slices.Index(d.ins, l)
	if i >= 0 {
		d.ins = slices.Delete(d.ins, i, i+1)
		d.subscribed = d.subscribed && l.kind != hubamqp.KindTwin
	}
	return i >= 0
}

// takeOut is takeIn for the other direction.
func (d *device) takeOut(l *outLink) bool {
	i := slices.Index(d.outs, l)
	if i >= 0 {
		d.outs = slices.Delete(d.outs, i, i+1)
		d.subscribed = d.subscribed && l.kind != hubamqp.KindTwin
	}
	return i >= 0
}

// wanted returns the lanes that the links are for; d.mu is held.
func (d *device) wanted() causeway.Lane {
	var lanes causeway.Lane
	if d.out(hubamqp.KindCommands) != nil {
		lanes |= causeway.LaneCommands
	}
	if d.out(hubamqp.KindTelemetry) != nil {
		lanes |= causeway.LaneInputs
	}
	if d.out(hubamqp.KindMethods) != nil && d.in(hubamqp.KindMethods) != nil {
		lanes |= causeway.LaneMethods
	}
	if d.subscribed && d.out(hubamqp.KindTwin) != nil {
		lanes |= causeway.LaneDesired
	}
	return lanes
}

// listen has the hub send what the links are for. Again says so also when it was
// said before, which tells the hub that there is credit.
func (d *device) listen(again bool) error {
	d.listening.Lock()
	defer d.listening.Unlock()
	d.mu.Lock()
	lanes, before := d.wanted(), d.lanes
	over := d.over
	d.mu.Unlock()
	if over != nil {
		return over
	}
	if lanes == before && !again {
		return nil
	}
	if before&^lanes != 0 {
		d.settling.Wait() // what the client has settled is not to go back
	}
	if err := d.session.Listen(d.c.v.life, lanes); err != nil {
		return err
	}
	d.mu.Lock()
	d.lanes = lanes
	d.mu.Unlock()
	return nil
}

// detachedIn is the end of a link that the client has ended.
func (d *device) detachedIn(l *inLink) {
	d.c.store() // what came before on it counts
	d.mu.Lock()
	was := d.takeIn(l)
	d.mu.Unlock()
	d.detached(was)
}

func (d *device) detachedOut(l *outLink) {
	d.mu.Lock()
	was := d.takeOut(l)
	d.mu.Unlock()
	d.detached(was)
}

// detached ends the session with the last link.
func (d *device) detached(was bool) {
	if !was {
		return
	}
	d.mu.Lock()
	last := len(d.ins)+len(d.outs) == 0 && d.over == nil
	d.mu.Unlock()
	if last {
		d.c.store()
		d.close(nil)
		d.c.drop(d)
		return
	}
	if err := d.listen(false); err != nil {
		d.c.v.log.Debug("the hub was not told of a detached link", obs.KeyID, d.id, obs.KeyError, err)
	}
}

// close ends the session for a reason, nil for an orderly end.
func (d *device) close(reason error) {
	over := reason
	if over == nil {
		over = errOver
	}
	d.finish(over)
	d.settling.Wait()
	if err := d.session.Close(reason); err != nil {
		d.c.v.log.Warn("closing a session failed", obs.KeyID, d.id, obs.KeyError, err)
	}
}

// finish lets nothing new begin and returns the links that there were.
func (d *device) finish(reason error) (ins []*inLink, outs []*outLink) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.over = reason
	}
	ins, outs = d.ins, d.outs
	d.ins, d.outs, d.twins = nil, nil, nil
	for _, ch := range d.calls {
		ch <- answer{err: errGone()}
	}
	d.calls = nil
	return ins, outs
}

// Hangup detaches the links of the identity: part of causeway.Device.
func (d *device) Hangup(reason error) {
	ins, outs := d.finish(reason)
	d.c.drop(d)
	cond := hangupCondition(reason)
	for _, l := range ins {
		l.r.Close(cond)
	}
	for _, l := range outs {
		l.s.Close(cond)
	}
	d.mu.Lock()
	session, id := d.session, d.id
	d.mu.Unlock()
	if session != nil && d.c.enter() {
		go func() { // what wraps the session wants it closed, too
			defer d.c.leave()
			_ = session.Close(reason)
		}()
	}
	d.c.v.log.Debug("amqp links detached", obs.KeyID, id, obs.KeyReason, cond.Name, obs.KeyError, reason)
}

// hangupCondition is what the links end with.
func hangupCondition(reason error) *codec.Condition {
	if code := causeway.CodeOf(reason); code.HTTPStatus() >= 500 {
		return hubamqp.NewCondition(hubamqp.DetachForced, code, causeway.MessageOf(reason))
	}
	return hubamqp.ConditionOf(reason)
}

// errGone is what the hub hears when the links ended meanwhile.
func errGone() error {
	return causeway.Errorf(causeway.DeviceConnectionClosedRemotely, "head/amqp", "the device's connection ended")
}
