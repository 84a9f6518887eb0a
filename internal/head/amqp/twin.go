package amqp

import (
	"bytes"
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/chunk"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// twinRequest is a request of the client for its twin. It has memory of its own.
type twinRequest struct {
	op          hubamqp.TwinOp
	correlation codec.Value
	version     int64 // expected by a patch, 0 for any
	body        []byte
	err         error // what is wrong with it
}

// twinQueue is the requests that wait. A goroutine answers them one by one for
// as long as there are any. It is guarded by the device's mutex.
type twinQueue struct {
	waiting  []twinRequest
	bytes    int // of their bodies
	answered int // since credit was given last
	running  bool
}

// askTwin queues a request.
func (d *device) askTwin(r *wire.Receiver, dl wire.Delivery) {
	var s hubamqp.Scratch
	p, err := hubamqp.DecodeTwinRequest(&s, dl.Payload)
	q := twinRequest{op: p.Op, correlation: p.Correlation.Clone(), version: p.Version, body: bytes.Clone(p.Body), err: err}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil && p.Correlation.IsNull():
	case d.over != nil:
		return
	case d.out(hubamqp.KindTwin) == nil:
		err = causeway.Errorf(causeway.InvalidOperation, "amqp.twin", "no link is attached on which the request could be answered")
	default:
		if err != nil {
			d.c.v.refused(reasonOfMessage(err), d.c, "twin request", err)
		}
		d.queueTwin(q)
		if !dl.Settled {
			r.Settle(dl.ID, codec.Accepted())
		}
		return
	}
	d.c.v.refused(reasonOfMessage(err), d.c, "twin request", err)
	reject(r, dl, err)
	d.regrant() // it took credit
}

// queueTwin adds a request; d.mu is held. Its body is left out when too much
// waits already.
func (d *device) queueTwin(r twinRequest) {
	if d.twins == nil {
		d.twins = &twinQueue{}
	}
	q := d.twins
	if len(q.waiting) > 0 && q.bytes+len(r.body) > maxTwinBytes {
		r.body = nil
		r.err = causeway.Errorf(causeway.ThrottlingException, "amqp.twin", "too many twin requests wait to be answered; try again in a moment")
	}
	q.waiting = append(q.waiting, r)
	q.bytes += len(r.body)
	if !q.running && d.c.enter() {
		q.running = true
		go d.answerTwins(q)
	}
}

// mayAsk returns how many requests a link may bring that was just attached.
func (d *device) mayAsk() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := 0
	if d.twins != nil {
		waiting = len(d.twins.waiting)
	}
	return uint32(max(d.c.v.limits.TwinRequests-waiting, 0))
}

// regrant gives the credit for requests that were answered, once it is much;
// d.mu is held.
func (d *device) regrant() {
	l := d.in(hubamqp.KindTwin)
	if l == nil {
		return
	}
	if d.twins == nil {
		d.twins = &twinQueue{}
	}
	q := d.twins
	most := d.c.v.limits.TwinRequests
	if q.answered++; q.answered >= (most+1)/2 {
		q.answered = 0
		l.r.Grant(uint32(max(most-len(q.waiting), 0)))
	}
}

// answerTwins answers requests until there are none.
func (d *device) answerTwins(q *twinQueue) {
	defer d.c.leave()
	for {
		d.mu.Lock()
		if d.twins != q || len(q.waiting) == 0 {
			q.waiting, q.running = nil, false
			l := d.out(hubamqp.KindTwin)
			drain := l != nil && l.draining
			if drain {
				l.draining = false
			}
			d.mu.Unlock()
			if drain {
				l.s.Drained()
			}
			return
		}
		r := q.waiting[0]
		q.waiting[0] = twinRequest{}
		q.waiting = q.waiting[1:]
		q.bytes -= len(r.body)
		d.mu.Unlock()

		p := d.answerTwin(&r)

		d.mu.Lock()
		l := d.out(hubamqp.KindTwin)
		d.mu.Unlock()
		if l != nil {
			d.sendTwin(l, &p)
		}
		d.mu.Lock()
		if d.twins == q {
			d.regrant()
		}
		d.mu.Unlock()
		d.c.Conn().Push()
	}
}

// sendTwin sends the answer to a request.
func (d *device) sendTwin(l *outLink, p *hubamqp.TwinResponse) {
	b := hubamqp.AppendTwinResponse(chunk.Get(), *p)
	defer chunk.Put(b)
	if err := d.c.send(d.c.v.life, l.s, b); err != nil {
		d.c.v.log.Debug("a twin answer was not taken", obs.KeyID, d.id, obs.KeyError, err)
		return
	}
	d.c.v.countOut(len(p.Body))
}

// answerTwin does what a request asks for and returns the answer.
func (d *device) answerTwin(r *twinRequest) hubamqp.TwinResponse {
	p := hubamqp.TwinResponse{Correlation: r.correlation, Status: 200}
	err := r.err
	if err == nil {
		switch r.op {
		case hubamqp.TwinGet:
			var t causeway.Twin
			if t, err = d.session.Twin(d.c.v.life); err == nil {
				p.Body = hubjson.DeviceTwin(t)
			}
		case hubamqp.TwinPatch:
			p.Status = 204
			p.Version, err = d.session.Report(d.c.v.life, causeway.Patch{Properties: r.body, Version: r.version})
		default:
			err = d.subscribe(r.op == hubamqp.TwinSubscribe)
		}
	}
	if err != nil {
		p.Version = 0
		p.Status, p.Body = hubjson.TwinError(err)
		if p.Status >= 500 {
			d.c.v.log.Warn("twin request failed", obs.KeyID, d.id, obs.KeyError, err)
		}
	}
	return p
}

// subscribe begins or ends the hand-over of desired changes.
func (d *device) subscribe(on bool) error {
	d.mu.Lock()
	// The link may have gone while the request waited, and its end ends this too.
	d.subscribed = on && d.in(hubamqp.KindTwin) != nil && d.out(hubamqp.KindTwin) != nil
	d.mu.Unlock()
	return d.listen(false)
}

// Desired hands a change of desired properties to the client: part of
// causeway.Device. A client that does not take it in time is hung up by the hub.
func (d *device) Desired(ctx context.Context, p causeway.Patch) error {
	d.mu.Lock()
	l := d.out(hubamqp.KindTwin)
	subscribed := d.subscribed
	d.mu.Unlock()
	if l == nil || !subscribed {
		return nil
	}
	b := hubamqp.AppendDesired(chunk.Get(), p.Version, p.Properties)
	defer chunk.Put(b)
	if err := d.c.send(ctx, l.s, b); err != nil {
		if errors.Is(err, wire.ErrDetached) || errors.Is(err, wire.ErrEnded) || errors.Is(err, wire.ErrClosed) {
			return nil // nobody listens any more
		}
		return err
	}
	d.c.v.countOut(len(p.Properties))
	return nil
}
