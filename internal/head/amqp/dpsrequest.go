package amqp

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/chunk"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// registrationRequest is a request that came. It has memory of its own.
type registrationRequest struct {
	dpsamqp.Request
	err     error // what is wrong with it
	came    time.Time
	r       *wire.Receiver
	id      uint32
	settled bool
}

// registrationQueue is the requests that wait. A goroutine deals with them one by
// one for as long as there are any, so that answers have the order of requests:
// some clients do not name them.
type registrationQueue struct {
	waiting []registrationRequest
	bytes   int // of their bodies
	running bool
}

// Transfer queues a request.
func (l registrationIn) Transfer(r *wire.Receiver, d wire.Delivery) {
	p, err := dpsamqp.DecodeRequest(d.Payload)
	p.Correlation, p.Operation, p.Body = p.Correlation.Clone(), strings.Clone(p.Operation), bytes.Clone(p.Body)
	l.g.enqueue(registrationRequest{Request: p, err: err, came: time.Now(), r: r, id: d.ID, settled: d.Settled})
}

// enqueue adds a request, unless it is one too many: who settles its own, or
// attaches anew, is not held back by credit.
func (g *registration) enqueue(r registrationRequest) {
	c := g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &g.queue
	if full := len(q.waiting) >= registrationCredit; full || len(q.waiting) > 0 && q.bytes+len(r.Body) > dpsjson.MaxRequest {
		r.Body = nil
		r.err = causeway.Errorf(causeway.ThrottlingException, opProvisioning, "too many requests wait to be answered; try again in a moment")
		if full {
			c.v.refused(ReasonThrottled, c, "registration", r.err)
			if !r.settled {
				r.r.Settle(r.id, codec.Rejected(dpsamqp.ConditionOf(r.err)))
			}
			return
		}
	}
	q.waiting = append(q.waiting, r)
	q.bytes += len(r.Body)
	if !q.running && !c.over {
		q.running = true
		c.arm()
		c.workers.Begin()
		go g.answer()
	}
}

// answer deals with requests until there are none.
func (g *registration) answer() {
	c := g.c
	defer c.leave()
	for {
		c.mu.Lock()
		q := &g.queue
		if len(q.waiting) == 0 || c.over {
			*q = registrationQueue{}
			c.arm()
			c.mu.Unlock()
			return
		}
		r := q.waiting[0]
		q.waiting[0] = registrationRequest{}
		q.waiting = q.waiting[1:]
		q.bytes -= len(r.Body)
		out := g.out
		c.mu.Unlock()
		if r.err == nil && out == nil {
			r.err = causeway.Errorf(causeway.InvalidOperation, opProvisioning, "no link is attached on which the request could be answered")
		}
		reply, err := g.do(&r)
		if err != nil {
			c.v.refused(reasonOfRegistration(err), c, "registration", err)
		}
		if r.Correlation.IsNull() {
			g.linger(r.came)
		}
		g.reply(&r, out, reply, err)
	}
}

// linger waits until a while after a request came. The SDK for Java, which does not
// name its requests, sends one and then waits to be woken by what is said to it,
// without looking whether it is there: what came before it waited it finds when its
// time is up, a minute later.
func (g *registration) linger(came time.Time) {
	t := time.NewTimer(unnamedPause - time.Since(came))
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.c.Conn().Context().Done():
	}
}

// reply says how a request has ended. Its outcome is told by the disposition; who
// did not want one is answered all the same.
func (g *registration) reply(r *registrationRequest, out *wire.Sender, reply dpsamqp.Reply, err error) {
	c := g.c
	if !r.settled {
		state := codec.Accepted()
		if err != nil {
			state = codec.Rejected(dpsamqp.ConditionOf(err))
		}
		r.r.Settle(r.id, state)
		c.Conn().Push()
	} else if err != nil {
		_, reply.Body = dpsjson.Error(err, "")
	}
	if reply.Body == nil || out == nil {
		return
	}
	reply.Correlation = r.Correlation
	b := dpsamqp.AppendReply(chunk.Get(), reply)
	defer chunk.Put(b)
	if err := c.send(c.v.life, out, b); err != nil {
		c.v.log.Debug("an answer to a registration was not taken", obs.KeyRemote, c.nc.RemoteAddr().String(), obs.KeyError, err)
		return
	}
	c.v.countOut(len(reply.Body))
}

// do does what a request asks for.
func (g *registration) do(r *registrationRequest) (dpsamqp.Reply, error) {
	if r.err != nil {
		return dpsamqp.Reply{}, r.err
	}
	c := g.c
	c.mu.Lock()
	reg := g.credential(c.w)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	var op causeway.Operation
	var err error
	if r.Op == dpsamqp.Lookup {
		op, err = c.v.provisioner.Lookup(ctx, reg, r.Request.Operation)
	} else {
		op, err = g.register(ctx, reg, r.Body)
	}
	if err != nil {
		return dpsamqp.Reply{}, err
	}
	g.isProven()
	reply := dpsamqp.Reply{}
	if !dpsjson.Final(&op) {
		reply.RetryAfter = max(1, int((op.RetryAfter+time.Second-1)/time.Second))
	}
	reply.Body, err = dpsjson.Operation(&op)
	return reply, err
}

// register starts a registration. The keys of a TPM that SASL has shown need not
// be shown again.
func (g *registration) register(ctx context.Context, reg causeway.Registration, body []byte) (causeway.Operation, error) {
	in, err := dpsjson.Parse(body, reg.Credential.APIVersion)
	if err == nil {
		err = in.Check(reg.ID)
	}
	if err != nil {
		return causeway.Operation{}, err
	}
	reg.Payload, reg.CSR = in.Payload, in.CSR
	if in.EndorsementKey != nil {
		reg.EndorsementKey, reg.StorageRootKey = in.EndorsementKey, in.StorageRootKey
	}
	return g.c.v.provisioner.Register(ctx, reg)
}

// reasonOfRegistration returns why a request was refused.
func reasonOfRegistration(err error) Reason {
	switch code := causeway.CodeOf(err); {
	case code == causeway.IotHubFormatError, code == causeway.GenericBadRequest:
		return ReasonMessage
	case code.HTTPStatus() == 401:
		return ReasonUnauthorized
	case code.HTTPStatus() == 429:
		return ReasonThrottled
	case code.HTTPStatus() >= 500:
		return ReasonHubFailed
	}
	return ReasonRejected
}
