package amqp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// answer is what becomes of a call.
type answer struct {
	result causeway.Result
	err    error
}

// Invoke calls a direct method and waits for the answer: part of
// causeway.Device.
func (d *device) Invoke(ctx context.Context, call causeway.Call) (causeway.Result, error) {
	var none causeway.Result
	id, answered, l, err := d.newCall()
	if err != nil {
		return none, err
	}
	defer d.dropCall(id)
	b := hubamqp.AppendMethodRequest(nil, hubamqp.MethodRequest{Correlation: id, Call: call})
	if err := d.c.send(ctx, l.s, b); err != nil {
		if errors.Is(err, wire.ErrDetached) || errors.Is(err, wire.ErrEnded) || errors.Is(err, wire.ErrClosed) {
			return none, errGone()
		}
		return none, err
	}
	d.c.v.countOut(len(call.Payload))
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// newCall makes an id for a call, and the channel for its answer.
func (d *device) newCall() (id [16]byte, answered <-chan answer, l *outLink, err error) {
	const op = "head/amqp.Invoke"
	id = uuid.New()
	d.mu.Lock()
	defer d.mu.Unlock()
	l = d.out(hubamqp.KindMethods)
	switch {
	case d.over != nil:
		return id, nil, nil, errGone()
	case l == nil || d.in(hubamqp.KindMethods) == nil:
		return id, nil, nil, causeway.Errorf(causeway.DeviceNotOnline, op, "the device has no links for methods")
	case len(d.calls) >= causeway.MaxInflightMethods:
		return id, nil, nil, causeway.Errorf(causeway.DeviceMaximumInflightMethodExceeded, op,
			"%d methods are under way on the device already", len(d.calls))
	}
	if d.calls == nil {
		d.calls = make(map[[16]byte]chan<- answer, 1)
	}
	ch := make(chan answer, 1)
	d.calls[id] = ch
	return id, ch, l, nil
}

// dropCall forgets a call; an answer that comes later is ignored.
func (d *device) dropCall(id [16]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.calls, id)
	if len(d.calls) == 0 {
		d.calls = nil
	}
}

// respond passes the client's answer on, if somebody still waits for it.
func (d *device) respond(r *wire.Receiver, dl wire.Delivery) {
	var s hubamqp.Scratch
	p, err := hubamqp.DecodeMethodResponse(&s, dl.Payload)
	a := answer{result: p.Result, err: err}
	switch {
	case err != nil:
		a.err = causeway.Errorf(causeway.GenericBadGateway, "head/amqp.Invoke", "the device's answer is not valid: %s", causeway.MessageOf(err))
	case len(p.Result.Payload) > 0 && !json.Valid(p.Result.Payload):
		a.err = causeway.Errorf(causeway.GenericBadGateway, "head/amqp.Invoke", "the device answered with a payload that is not JSON")
	default:
		a.result.Payload = bytes.Clone(p.Result.Payload)
	}
	d.mu.Lock()
	if ch, ok := d.calls[p.Correlation]; ok {
		delete(d.calls, p.Correlation) // a second answer is ignored
		ch <- a
	}
	d.mu.Unlock()
	if err != nil {
		d.c.v.refused(reasonOfMessage(err), d.c, "message", err)
		reject(r, dl, err)
		return
	}
	if !dl.Settled {
		r.Settle(dl.ID, codec.Accepted())
	}
}
