package amqp

import (
	"context"
	"errors"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// cbsIn is a link on which a client puts tokens, cbsOut one on which it is
// answered.
type (
	cbsIn  struct{ c *conn }
	cbsOut struct {
		c *conn
		s *wire.Sender
	}
)

// reply is the answer of a request that came on a session.
type reply struct {
	on      *wire.Session
	payload []byte
}

// attachCBS grants a link to "$cbs". Each reply looks through the links that
// there are for replies, and anybody may attach some: they have a bound.
func (c *conn) attachCBS(a *wire.Attach) error {
	if a.Role == codec.Sender {
		r := a.Receive(wire.ReceiverOptions{Handler: cbsIn{c}, Credit: cbsCredit, MaxMessageSize: maxCBSMessage, SettleAtOnce: true})
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cbsIn = r // the newest is enough: it is only needed to be broken
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.cbsOut); n >= maxCBSLinks {
		err := wire.Refuse(wire.ResourceLimitExceeded, "the connection receives from %s on %d links already, which is the limit", hubamqp.CBSAddress, n)
		c.v.refused(ReasonLinkRefused, c, "link", err)
		return err
	}
	out := &cbsOut{c: c}
	out.s = a.Send(wire.SenderOptions{Handler: out, Untracked: true})
	c.cbsOut = append(c.cbsOut, out)
	return nil
}

// Transfer takes a token: part of [wire.ReceiverHandler].
func (in cbsIn) Transfer(r *wire.Receiver, d wire.Delivery) {
	c := in.c
	state := codec.Accepted()
	if err := c.request(r.Session(), d.Payload); err != nil {
		state = codec.Rejected(hubamqp.ConditionOf(err))
	}
	if !d.Settled {
		r.Settle(d.ID, state)
	}
}

// Detached changes nothing: tokens count for the connection.
func (cbsIn) Detached(*wire.Receiver, error) {}

// request deals with a request that came on a session. The error is that of one
// that cannot be answered.
func (c *conn) request(on *wire.Session, payload []byte) error {
	c.mu.Lock()
	waiting := len(c.replies) + c.replying
	c.mu.Unlock()
	if waiting >= maxCBSReplies {
		return causeway.Errorf(causeway.ThrottlingException, "amqp.cbs", "%d replies wait to be taken", waiting)
	}
	p, err := hubamqp.DecodePutToken(payload)
	if err != nil {
		c.v.refused(ReasonMessage, c, "request", err)
		if p.MessageID.IsNull() {
			return err
		}
	} else if err = c.put(&p); err != nil {
		r := reasonOfLink(err)
		if causeway.CodeOf(err) == causeway.IotHubMaxCbsTokenExceeded {
			r = ReasonTokens
		}
		c.v.refused(r, c, "token", err)
	}
	b := hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(p.MessageID, err))
	c.mu.Lock()
	c.replies = append(c.replies, reply{on, b})
	c.mu.Unlock()
	c.sendReplies()
	return nil
}

// put verifies a token and takes it. What p says is borrowed.
func (c *conn) put(p *hubamqp.PutToken) error {
	const op = "amqp.cbs"
	if p.Type != hubamqp.TokenSAS {
		return causeway.Errorf(causeway.IotHubUnauthorized, op, "tokens of type %s are not supported; put a shared access signature, of type %s", p.Type, hubamqp.TokenSAS)
	}
	audience, err := hubamqp.ParseAudience(strings.Clone(p.Name))
	if err != nil {
		return err
	}
	secret := causeway.Secret(strings.Clone(string(p.Token)))
	claim, err := auth.ClaimOf(secret)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	if claim.Policy != "" {
		return c.putGrant(ctx, grant{audience: audience.Key(), policy: claim.Policy, secret: secret})
	}
	if claim.Device == "" {
		return auth.Unauthorized(op, auth.ErrScope)
	}
	return c.putToken(ctx, claim, secret)
}

// putGrant takes the token of a policy, and renews the sessions that rest on the
// one before.
func (c *conn) putGrant(ctx context.Context, g grant) error {
	if _, err := c.verifyGrant(&g); err != nil {
		return err
	}
	if err := c.keepGrant(g); err != nil {
		return err
	}
	c.admit()
	for _, d := range c.restingOn(g.audience) {
		cred := c.credentialOf(d.id)
		cred.Token = g.secret
		if err := d.session.Renew(ctx, cred); err != nil {
			// It may be for less than the one before: the session ends with that.
			c.v.log.Debug("a session was not renewed", obs.KeyID, d.id, obs.KeyError, err)
		}
	}
	return nil
}

// putToken takes the token of a device or module, and renews its session.
func (c *conn) putToken(ctx context.Context, claim auth.Claim, secret causeway.Secret) error {
	t, err := c.renewOrVerify(ctx, claim.Device, claim.Module, secret)
	if err != nil {
		// Ids may have been escaped before the whole was.
		device, module := percent.Unescape(claim.Device), percent.Unescape(claim.Module)
		if device == claim.Device && module == claim.Module {
			return err
		}
		var again error
		if t, again = c.renewOrVerify(ctx, device, module, secret); again != nil {
			return err
		}
	}
	if err := c.keepToken(t); err != nil {
		return err
	}
	c.admit()
	return nil
}

// renewOrVerify verifies a token by renewing the session of its identity, if it
// has links on the connection.
func (c *conn) renewOrVerify(ctx context.Context, device, module string, secret causeway.Secret) (token, error) {
	if d := c.find(device, module); d != nil {
		cred := c.credentialOf(d.id)
		cred.Token = secret
		if t, err := readToken(device, module, secret); err == nil && d.session.Renew(ctx, cred) == nil {
			d.setSource("")
			return t, nil
		}
		// The session may have ended meanwhile, which says nothing of the token.
	}
	return c.verifyToken(ctx, device, module, secret)
}

// sendReplies sends what waits, as far as there is credit. A reply goes out on
// the session that the request came on; failing that on any.
func (c *conn) sendReplies() {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.replies[:0]
	for _, r := range c.replies {
		if !c.sendReply(r) {
			kept = append(kept, r)
		}
	}
	clear(c.replies[len(kept):])
	if c.replies = kept; len(kept) == 0 {
		c.replies = nil
	}
}

// sendReply reports whether r has gone out; c.mu is held.
func (c *conn) sendReply(r reply) bool {
	var to *cbsOut
	for _, out := range c.cbsOut {
		if to == nil || out.s.Session() == r.on {
			to = out
		}
	}
	if to == nil {
		return false
	}
	err := to.s.TrySend(wire.Transfer{Payload: r.payload})
	if errors.Is(err, wire.ErrFull) {
		// The client does not read, and nobody says when it does.
		c.workers.Begin()
		c.replying++
		go func() {
			defer c.leave()
			err := c.await(c.v.life, to.s, wire.Transfer{Payload: r.payload})
			c.mu.Lock()
			c.replying--
			c.mu.Unlock()
			if err != nil {
				c.v.log.Debug("a reply was not taken", obs.KeyRemote, c.nc.RemoteAddr().String(), obs.KeyError, err)
			}
		}()
		return true
	}
	return !errors.Is(err, wire.ErrNoCredit)
}

// Flow sends what waits for credit: part of [wire.SenderHandler].
func (out *cbsOut) Flow(s *wire.Sender) {
	out.c.sendReplies()
	if s.Draining() {
		s.Drained()
	}
}

// Disposition is not called: replies are not tracked.
func (*cbsOut) Disposition(*wire.Sender, wire.Sent, *codec.State, bool) {}

// Detached forgets the link.
func (out *cbsOut) Detached(*wire.Sender, error) {
	c := out.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.cbsOut {
		if x == out {
			c.cbsOut = append(c.cbsOut[:i], c.cbsOut[i+1:]...)
			return
		}
	}
}
