package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// provisionCredit is how many answers a service may send ahead: there is one for
// each question, and those to questions that were given up.
const provisionCredit = 10

// amqpCourier asks over AMQP, on a connection that it makes when it needs one.
type amqpCourier struct {
	p       *provisioning
	conn    *amqp.Conn // nil for none
	out     *amqp.Sender
	answers *provisionAnswers
	last    uint64 // request id
}

var _ courier = (*amqpCourier)(nil)

func (c *amqpCourier) ask(ctx context.Context, operation string) (reply []byte, after time.Duration, err error) {
	return askAgain(ctx, c.conn != nil, func() ([]byte, time.Duration, error) { return c.try(ctx, operation) })
}

// try asks once. A connection that has failed is not used again.
func (c *amqpCourier) try(ctx context.Context, operation string) (reply []byte, after time.Duration, err error) {
	op := asking(operation)
	if err = c.open(ctx); err == nil {
		var r dpsamqp.Reply
		if r, err = c.exchange(ctx, operation); err == nil {
			return r.Body, time.Duration(r.RetryAfter) * time.Second, nil
		}
	}
	c.close()
	if cond, ok := errors.AsType[*codec.Condition](err); ok {
		after = dpsamqp.RetryAfter(cond)
	}
	return nil, after, opError(op, provisionError(err))
}

// open connects and attaches the links, unless that is done.
func (c *amqpCourier) open(ctx context.Context) error {
	if c.conn != nil && alive(c.conn) {
		return nil
	}
	c.close()
	o := &c.p.o.Options
	var login *amqp.ClientSASL
	if token := c.p.token(); token != "" {
		login = amqp.PlainSASL(c.p.address(), token)
	}
	conn, err := loginAMQP(ctx, o, c.p.endpoint(amqpSocket, o.AMQPPort, DefaultAMQPPort), provisionKeep, login)
	if err != nil {
		return err
	}
	c.conn = conn
	s, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	c.answers = &provisionAnswers{replies: make(chan dpsamqp.Reply, provisionCredit), gone: make(chan error, 1)}
	p := hubamqp.LinkProperties{APIVersion: c.p.version, ClientVersion: o.product()}
	properties := p.Map()
	if _, err = s.AttachReceiver(ctx, amqp.LinkConfig{Source: c.p.address()},
		amqp.ReceiverOptions{Handler: c.answers, Credit: provisionCredit, Properties: properties}); err != nil {
		return err
	}
	c.out, err = s.AttachSender(ctx, amqp.LinkConfig{Target: c.p.address()},
		amqp.SenderOptions{Handler: amqp.Outcomes{}, Properties: properties})
	return err
}

// exchange sends a request and waits for its answer.
func (c *amqpCourier) exchange(ctx context.Context, operation string) (dpsamqp.Reply, error) {
	c.last++
	id := codec.String(strconv.FormatUint(c.last, 10))
	q := dpsamqp.Request{Op: dpsamqp.Register, Correlation: id, Body: c.p.body}
	if operation != "" {
		q = dpsamqp.Request{Op: dpsamqp.Lookup, Operation: operation, Correlation: id}
	}
	st, err := c.out.Deliver(ctx, amqp.Transfer{Payload: dpsamqp.AppendRequest(nil, q)})
	switch {
	case err != nil:
		return dpsamqp.Reply{}, err
	case st.Kind == codec.CodeRejected && st.Error != nil:
		return dpsamqp.Reply{}, st.Error
	case st.Kind != codec.CodeAccepted:
		return dpsamqp.Reply{}, outcomeError("", &st)
	}
	for {
		select {
		case r := <-c.answers.replies:
			if r.Correlation.Equal(id) { // else it is one that came too late
				return r, nil
			}
		case err := <-c.answers.gone:
			return dpsamqp.Reply{}, fmt.Errorf("the service ended the link of the answers: %w", cmp.Or(err, amqp.ErrClosed))
		case <-ctx.Done():
			return dpsamqp.Reply{}, fmt.Errorf("wait for the answer: %w", ctx.Err())
		}
	}
}

func (c *amqpCourier) close() {
	if c.conn == nil {
		return
	}
	c.conn.Close(nil)
	select {
	case <-c.conn.Done():
	case <-time.After(closeGrace):
		c.conn.Abort(nil) // the service is gone
	}
	c.conn = nil
}

// provisionError makes a *causeway.Error of what a service refused: it puts the
// JSON that it answers over HTTPS into the description of the condition.
func provisionError(err error) error {
	if errors.Is(err, amqp.ErrSASL) {
		return &causeway.Error{Code: causeway.IotHubUnauthorizedAccess, Msg: "the service refused the login", Err: err}
	}
	cond, ok := errors.AsType[*codec.Condition](err)
	if !ok {
		return err
	}
	var form struct {
		ErrorCode causeway.Code
		Message   string
	}
	if json.Unmarshal([]byte(cond.Description), &form) == nil && form.ErrorCode != 0 {
		return &causeway.Error{Code: form.ErrorCode, Msg: form.Message, Err: cond}
	}
	return err
}

// provisionAnswers takes answers to who waits for them.
type provisionAnswers struct {
	replies chan dpsamqp.Reply
	gone    chan error // one value when there will be no more; capacity 1
}

func (a *provisionAnswers) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	reply, err := dpsamqp.DecodeReply(d.Payload)
	if err != nil {
		return // who waits for it asks again
	}
	reply.Body, reply.Correlation = bytes.Clone(reply.Body), reply.Correlation.Clone()
	select {
	case a.replies <- reply:
	default: // more than were asked for
	}
}

func (a *provisionAnswers) Detached(_ *amqp.Receiver, err error) { a.gone <- err }
