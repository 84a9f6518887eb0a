package amqp

import (
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/chunk"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Deliver sends a command or a module input: part of causeway.Device. Without
// credit it does not wait for any: the hub tries again when there is.
func (d *device) Deliver(ctx context.Context, m causeway.Message) error {
	const op = "head/amqp.Deliver"
	kind := hubamqp.KindCommands
	if m.Input != "" {
		kind = hubamqp.KindTelemetry
	}
	b := chunk.Get()
	defer func() { chunk.Put(b) }()
	if m.Input != "" {
		b = hubamqp.AppendInput(b, &m)
	} else {
		b = hubamqp.AppendCommand(b, d.id, &m)
	}
	tag := hubamqp.DeliveryTag(m.Lock)
	t := wire.Transfer{Tag: tag[:], Payload: b, Token: m.Lock}

	// The mutex is held until a lack of credit is noted: who brings credit waits
	// for it, and then sees the note.
	d.mu.Lock()
	l := d.out(kind)
	if l == nil {
		d.mu.Unlock()
		return causeway.Errorf(causeway.DeviceNotOnline, op, "the client has no link for this kind of message")
	}
	err := l.s.TrySend(t)
	if errors.Is(err, wire.ErrFull) && l.s.Unsettled() >= maxUnsettled {
		err = wire.ErrNoCredit // as the client settles nothing
	}
	l.stalled = l.stalled || errors.Is(err, wire.ErrNoCredit)
	settled := l.settled
	d.mu.Unlock()

	if errors.Is(err, wire.ErrFull) {
		err = d.c.await(ctx, l.s, t)
	} else if err == nil {
		d.c.Conn().Push()
	}
	switch _, isCondition := errors.AsType[*codec.Condition](err); {
	case err == nil:
	case errors.Is(err, wire.ErrNoCredit):
		return &causeway.Error{Code: causeway.DeviceUnavailable, Op: op, Msg: "the client gives no credit", Err: causeway.ErrNoCredit}
	case errors.Is(err, wire.ErrDetached), errors.Is(err, wire.ErrEnded), errors.Is(err, wire.ErrClosed):
		return errGone()
	case isCondition && m.Lock != (causeway.LockToken{}):
		// Larger than the client takes: it never will.
		d.c.v.log.Debug("command is larger than the client takes", obs.KeyID, d.id, obs.KeyBytes, len(b))
		return d.session.Settle(ctx, m.Lock, causeway.Rejected)
	default:
		return err
	}
	d.c.v.countOut(len(m.Body))
	if settled && m.Lock != (causeway.LockToken{}) {
		return d.session.Settle(ctx, m.Lock, causeway.Accepted)
	}
	return nil
}

// await sends what found the window or the queue full, and waits for them and
// for credit as long as a client may take to read.
func (c *conn) await(ctx context.Context, s *wire.Sender, t wire.Transfer) error {
	ctx, cancel := context.WithTimeout(ctx, c.v.limits.WriteStall)
	defer cancel()
	_, err := s.Send(ctx, t)
	return err
}

// send is TrySend, and await when that has to wait.
func (c *conn) send(ctx context.Context, s *wire.Sender, payload []byte) error {
	t := wire.Transfer{Payload: payload}
	err := s.TrySend(t)
	if errors.Is(err, wire.ErrFull) || errors.Is(err, wire.ErrNoCredit) {
		return c.await(ctx, s, t)
	}
	if err == nil {
		c.Conn().Push()
	}
	return err
}

// countOut counts a message that was sent.
func (v *serving) countOut(bytes int) {
	v.metrics.MessagesOut.Inc()
	v.metrics.BytesOut.Add(float64(bytes))
}

// flow says that a link has credit, or is to be drained.
func (d *device) flow(l *outLink) {
	commands := l.kind == hubamqp.KindCommands || l.kind == hubamqp.KindTelemetry
	drain := l.s.Draining()
	d.mu.Lock()
	tell := commands && l.stalled && (drain || l.s.Credit() > 0)
	if tell {
		l.stalled = false
	}
	drain = drain && !l.draining
	// Answers about the twin that are due count as what there is.
	later := l.kind == hubamqp.KindTwin && d.twins != nil && d.twins.running
	if drain && (commands || later) {
		l.draining = true
	}
	d.mu.Unlock()
	if tell {
		if err := d.listen(true); err != nil {
			d.c.v.log.Debug("the hub was not told of credit", obs.KeyID, d.id, obs.KeyError, err)
		}
	}
	switch {
	case !drain, later:
	case commands && d.c.enter():
		go d.drain(l)
	default:
		l.s.Drained()
	}
}

// drain has all commands sent that there is credit for, and then takes the rest
// of the credit back.
func (d *device) drain(l *outLink) {
	defer d.c.leave()
	ctx, cancel := context.WithTimeout(d.c.v.life, drainWait)
	defer cancel()
	err := d.session.Drain(ctx)
	d.mu.Lock()
	l.draining = false
	d.mu.Unlock()
	l.s.Drained()
	if err != nil {
		d.c.v.log.Debug("draining a link failed", obs.KeyID, d.id, obs.KeyError, err)
	}
}

// outcomeOf returns what an outcome of AMQP means to the hub. A delivery that is
// settled without one is given back.
func outcomeOf(state *codec.State) causeway.Outcome {
	switch {
	case state.Kind == codec.CodeAccepted:
		return causeway.Accepted
	case state.Kind == codec.CodeRejected, state.Kind == codec.CodeModified && state.UndeliverableHere:
		return causeway.Rejected
	}
	return causeway.Released
}

// disposition settles a command as the client says. It does not wait: the number
// of settlements under way is bounded by what is unsettled on the link.
func (d *device) disposition(l *outLink, sent wire.Sent, state *codec.State, settled bool) {
	if !settled && !state.Terminal() {
		return
	}
	answer := codec.State{Kind: state.Kind, DeliveryFailed: state.DeliveryFailed, UndeliverableHere: state.UndeliverableHere}
	lock, _ := sent.Token.(causeway.LockToken)
	if lock == (causeway.LockToken{}) { // nothing to settle
		if !settled {
			l.s.Settle(sent.ID, answer)
		}
		return
	}
	outcome := outcomeOf(state)
	d.settling.Add(1)
	if !d.c.enter() {
		d.settling.Done()
		return
	}
	go func() {
		defer d.c.leave()
		defer d.settling.Done()
		err := d.session.Settle(d.c.v.life, lock, outcome)
		if err != nil {
			// The message comes again when its lock has run out.
			d.c.v.log.Debug("settling a command failed", obs.KeyID, d.id, obs.KeyError, err)
			answer = codec.Rejected(settleCondition(err))
		}
		if !settled {
			l.s.Settle(sent.ID, answer)
		}
	}()
}

// settleCondition tells a client that waits for the end of a settlement why it
// failed. For a lock that is gone clients know a condition of their own.
func settleCondition(err error) *codec.Condition {
	if causeway.CodeOf(err) == causeway.DeviceMessageLockLost {
		return hubamqp.NewCondition(hubamqp.NotFound, causeway.DeviceMessageLockLost, causeway.MessageOf(err))
	}
	return hubamqp.ConditionOf(err)
}
