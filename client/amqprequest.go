package client

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// requester asks a node that answers, $cbs or $management: a session with a pair
// of links, made when there is the first request.
type requester struct {
	conn    *amqp.Conn
	address string
	gate    chan struct{} // held while the links are made
	sender  *amqp.Sender  // guarded by gate

	mu      sync.Mutex
	waiting map[string]chan []byte // by message id
	last    uint64
}

// requestCredit bounds the replies under way.
const requestCredit = 200

// replyTo is where requests want to be answered.
const replyTo = "causeway"

func newRequester(c *amqp.Conn, address string) *requester {
	return &requester{conn: c, address: address, gate: make(chan struct{}, 1), waiting: map[string]chan []byte{}}
}

// links returns the link that requests are sent on.
func (q *requester) links(ctx context.Context) (*amqp.Sender, error) {
	select {
	case q.gate <- struct{}{}:
		defer func() { <-q.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if q.sender != nil && q.sender.Err() == nil {
		return q.sender, nil
	}
	s, err := q.conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.AttachReceiver(ctx, amqp.LinkConfig{Source: q.address, Target: replyTo},
		amqp.ReceiverOptions{Handler: (*replies)(q), Credit: requestCredit})
	if err == nil {
		q.sender, err = s.AttachSender(ctx, amqp.LinkConfig{Target: q.address, Source: replyTo},
			amqp.SenderOptions{Handler: amqp.Outcomes{}})
	}
	if err != nil {
		_ = s.End(nil) // it may have ended already
		return nil, err
	}
	return q.sender, nil
}

// do sends a request with an id of its own and returns the reply.
func (q *requester) do(ctx context.Context, op string, request func(id codec.Value) []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	s, err := q.links(ctx)
	if err != nil {
		return nil, opError(op, err)
	}
	answer := make(chan []byte, 1)
	q.mu.Lock()
	q.last++
	id := strconv.FormatUint(q.last, 10)
	q.waiting[id] = answer
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
	}()
	st, err := s.Deliver(ctx, amqp.Transfer{Payload: request(codec.String(id))})
	if err == nil {
		err = outcomeError(op, &st)
	}
	if err != nil {
		return nil, opError(op, err)
	}
	select {
	case b := <-answer:
		return b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: wait for the answer: %w", op, ctx.Err())
	case <-q.conn.Done():
		return nil, fmt.Errorf("%s: wait for the answer: %w", op, amqpError(ended(q.conn)))
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

// replies takes the answers.
type replies requester

func (q *replies) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
	reply, err := hubamqp.DecodePutTokenResponse(d.Payload)
	if err != nil {
		return // who waits for it gives up in time
	}
	id, _ := reply.Correlation.Text()
	q.mu.Lock()
	defer q.mu.Unlock()
	if answer := q.waiting[id]; answer != nil {
		delete(q.waiting, id)
		answer <- bytes.Clone(d.Payload)
	}
}

func (q *replies) Detached(*amqp.Receiver, error) {}
