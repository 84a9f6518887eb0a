package client

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func (l *amqpLink) attachCommands(ctx context.Context) error {
	_, err := l.session.AttachReceiver(ctx, amqp.LinkConfig{Source: l.address(hubamqp.KindCommands)},
		amqp.ReceiverOptions{Handler: (*commandArrivals)(l), Credit: commands, Properties: l.properties("")})
	return err
}

// commandArrivals takes commands.
type commandArrivals amqpLink

func (c *commandArrivals) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	l := (*amqpLink)(c)
	var m causeway.Message
	var s hubamqp.Scratch
	if err := hubamqp.DecodeCommand(&m, &s, d.Payload); err != nil {
		l.d.log.Warn("a command cannot be read", "device", l.d.id.String(), "error", err)
		if !d.Settled {
			r.Settle(d.ID, codec.Rejected(hubamqp.ConditionOf(err)))
		}
		return
	}
	m.Lock, _ = hubamqp.LockOf(d.Tag)
	m = m.Clone()
	j := delivery{command: &m}
	if !d.Settled {
		j.settle = settler(r, d.ID)
	}
	l.dispatch(func() {
		if !l.d.deliver(j) && !d.Settled {
			l.d.log.Warn("too many commands wait; the hub will deliver this one again", "device", l.d.id.String())
			r.Settle(d.ID, codec.Released())
		}
	})
}

func (c *commandArrivals) Detached(_ *amqp.Receiver, err error) { (*amqpLink)(c).lost(err) }

// settler settles a delivery of r.
func settler(r *amqp.Receiver, id uint32) func(causeway.Outcome) {
	return func(outcome causeway.Outcome) {
		state := codec.Accepted()
		switch outcome {
		case causeway.Rejected:
			state = codec.Rejected(nil)
		case causeway.Released:
			state = codec.Released()
		}
		r.Settle(id, state)
		r.Conn().Push()
	}
}

func (l *amqpLink) attachMethods(ctx context.Context) error {
	keep := func(out *amqp.Sender) { l.methodsOut = out }
	return l.pair(ctx, hubamqp.KindMethods, "methods", (*methodArrivals)(l), causeway.MaxInflightMethods, keep)
}

// methodArrivals takes direct methods.
type methodArrivals amqpLink

func (c *methodArrivals) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	l := (*amqpLink)(c)
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	var s hubamqp.Scratch
	q, err := hubamqp.DecodeMethodRequest(&s, d.Payload)
	if err != nil {
		l.d.log.Warn("a direct method cannot be read", "device", l.d.id.String(), "error", err)
		return
	}
	call := causeway.Call{Method: strings.Clone(q.Call.Method), Payload: bytes.Clone(q.Call.Payload)}
	id := q.Correlation
	l.dispatch(func() {
		l.d.invoke(call, func(ctx context.Context, r causeway.Result, wait bool) error {
			t := amqp.Transfer{Settled: true, Payload: hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: id, Result: r})}
			if !wait {
				return l.methodsOut.TrySend(t)
			}
			_, err := l.methodsOut.Send(ctx, t)
			return err
		})
	})
}

func (c *methodArrivals) Detached(_ *amqp.Receiver, err error) { (*amqpLink)(c).lost(err) }

// wantTwin attaches the links about the twin, if they are not, and asks for
// changes of desired properties if anybody wants them.
func (l *amqpLink) wantTwin(ctx context.Context) error {
	select {
	case l.gate <- struct{}{}:
		defer func() { <-l.gate }()
	case <-l.ctx.Done():
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.twinLink() != nil {
		return nil
	}
	var out *amqp.Sender
	err := l.pair(ctx, hubamqp.KindTwin, "twin", (*twinArrivals)(l), twinSlots, func(s *amqp.Sender) { out = s })
	if err != nil {
		return amqpError(err)
	}
	l.d.mu.Lock()
	l.twinOut, l.d.twinWanted = out, true
	l.d.mu.Unlock()
	if l.d.o.Desired == nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })()
	_, err = l.d.ask(ctx, "subscribe to desired properties", func(rid string) error {
		return l.request(ctx, hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: codec.String(rid)})
	})
	return err
}

func (l *amqpLink) twinLink() *amqp.Sender {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.twinOut
}

func (l *amqpLink) twin(ctx context.Context, rid string, patch []byte) error {
	r := hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.String(rid)}
	if patch != nil {
		r.Op, r.Body = hubamqp.TwinPatch, patch
	}
	return l.request(ctx, r)
}

func (l *amqpLink) request(ctx context.Context, r hubamqp.TwinRequest) error {
	out := l.twinLink()
	if out == nil {
		return fmt.Errorf("the links about the twin are not attached: %w", ErrOffline)
	}
	_, err := out.Send(ctx, amqp.Transfer{Settled: true, Payload: hubamqp.AppendTwinRequest(nil, r)})
	return amqpError(err)
}

// twinArrivals takes answers and changes of desired properties.
type twinArrivals amqpLink

func (c *twinArrivals) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	l := (*amqpLink)(c)
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	var s hubamqp.Scratch
	answer, err := hubamqp.DecodeTwinResponse(&s, d.Payload)
	if err != nil {
		l.d.log.Warn("a message about the twin cannot be read", "device", l.d.id.String(), "error", err)
		return
	}
	body := bytes.Clone(answer.Body)
	if answer.Desired() {
		l.dispatch(func() { l.d.deliver(delivery{desired: &causeway.Patch{Properties: body, Version: answer.Version}}) })
		return
	}
	rid, _ := answer.Correlation.Text()
	l.d.replied(strings.Clone(rid), twinReply{status: answer.Status, version: answer.Version, body: body})
}

func (c *twinArrivals) Detached(_ *amqp.Receiver, err error) { (*amqpLink)(c).lost(err) }
