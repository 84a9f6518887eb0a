package client

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// cbs shows tokens on a connection: a session with a pair of links to $cbs,
// made when the first is shown.
type cbs struct {
	conn *amqp.Conn
	gate chan struct{} // held while the links are made

	mu      sync.Mutex
	sender  *amqp.Sender
	waiting map[string]chan hubamqp.Reply
	last    uint64
}

// Bounds of $cbs.
const (
	cbsCredit  = 200         // replies under way
	minRenewal = time.Second // between attempts to renew a token
)

// replyTo is what requests of both $cbs and $management are answered to.
const replyTo = "causeway"

func newCBS(c *amqp.Conn) *cbs {
	return &cbs{conn: c, gate: make(chan struct{}, 1), waiting: map[string]chan hubamqp.Reply{}}
}

// links returns the link that requests are sent on.
func (c *cbs) links(ctx context.Context) (*amqp.Sender, error) {
	select {
	case c.gate <- struct{}{}:
		defer func() { <-c.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.sender != nil && c.sender.Err() == nil {
		return c.sender, nil
	}
	s, err := c.conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.AttachReceiver(ctx, amqp.LinkConfig{Source: hubamqp.CBSAddress, Target: replyTo},
		amqp.ReceiverOptions{Handler: (*cbsReplies)(c), Credit: cbsCredit})
	if err == nil {
		c.sender, err = s.AttachSender(ctx, amqp.LinkConfig{Target: hubamqp.CBSAddress, Source: replyTo},
			amqp.SenderOptions{Handler: amqp.Outcomes{}})
	}
	if err != nil {
		_ = s.End(nil)
		return nil, err
	}
	return c.sender, nil
}

// put shows the token for a resource and waits until it is accepted.
// Codes: IotHubUnauthorized, and what else the server has.
func (c *cbs) put(ctx context.Context, name, token string) error {
	const op = "show token"
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	s, err := c.links(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	answer := make(chan hubamqp.Reply, 1)
	c.mu.Lock()
	c.last++
	id := strconv.FormatUint(c.last, 10)
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	st, err := s.Deliver(ctx, amqp.Transfer{Payload: hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.String(id), ReplyTo: replyTo, Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token),
	})})
	if err == nil {
		err = outcomeError(op, &st)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	select {
	case r := <-answer:
		return replyError(op, r)
	case <-ctx.Done():
		return fmt.Errorf("%s: wait for the answer: %w", op, ctx.Err())
	case <-c.conn.Done():
		return fmt.Errorf("%s: wait for the answer: %w", op, ended(c.conn))
	}
}

// ended returns why a connection has ended.
func ended(c *amqp.Conn) error {
	if err := c.Err(); err != nil {
		return err
	}
	return amqp.ErrClosed
}

// replyError makes an error of a reply that is none of success.
func replyError(op string, r hubamqp.Reply) error {
	if r.OK() {
		return nil
	}
	e := &causeway.Error{Code: causeway.Code(r.Status * 1000), Op: op, Msg: r.Description}
	if r.Status == 401 {
		e.Code = causeway.IotHubUnauthorized
	}
	if e.Msg == "" {
		e.Msg = fmt.Sprintf("the server answered %d", r.Status)
	}
	return e
}

// cbsReplies takes the answers.
type cbsReplies cbs

func (c *cbsReplies) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	reply, err := hubamqp.DecodePutTokenResponse(d.Payload)
	if err != nil {
		return // who waits for it gives up in time
	}
	id, _ := reply.Correlation.Text()
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer := c.waiting[id]; answer != nil {
		delete(c.waiting, id)
		reply.Description = string([]byte(reply.Description))
		answer <- reply
	}
}

func (c *cbsReplies) Detached(*amqp.Receiver, error) {}

// renew shows a new token before the last one ends, until ctx does. A refusal
// is told to fail.
func (c *cbs) renew(ctx context.Context, name string, expires time.Time, sign func() (string, time.Time), fail func(error)) {
	for !expires.IsZero() {
		timer := time.NewTimer(max(renewAfter(time.Until(expires)), minRenewal))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		token, next := sign()
		err := c.put(ctx, name, token)
		switch {
		case err == nil:
			expires = next
		case ctx.Err() != nil:
			return
		case causeway.CodeOf(err).HTTPStatus() == 401 || time.Now().After(expires):
			fail(err)
			return
		}
		// Anything else may pass: the next attempt comes after as much of the
		// time that is left.
	}
}
