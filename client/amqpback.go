package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// back is a back end's connection: opened when it is needed, and again when it
// was lost and is needed again.
type back struct {
	o        *Options
	endpoint endpoint
	audience string // what the token is for
	sign     func() (token string, expires time.Time)

	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup // renewals
	gate   chan struct{}  // held while it is opened
	cur    *amqp.Conn     // guarded by gate
}

func newBack(o *Options, e endpoint, audience string, sign func() (string, time.Time)) *back {
	b := &back{o: o, endpoint: e, audience: audience, sign: sign, gate: make(chan struct{}, 1)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// open returns the connection, on which the token was shown.
func (b *back) open(ctx context.Context) (*amqp.Conn, error) {
	select {
	case b.gate <- struct{}{}:
		defer func() { <-b.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if b.cur != nil && alive(b.cur) {
		return b.cur, nil
	}
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	c, err := dialAMQP(ctx, b.o, b.endpoint, DefaultKeepAlive)
	if err != nil {
		return nil, amqpError(err)
	}
	token, expires := b.sign()
	tokens := newCBS(c)
	if err := tokens.put(ctx, b.audience, token); err != nil {
		c.Close(nil)
		<-c.Done()
		return nil, err
	}
	b.all.Go(func() { tokens.renew(c.Context(), b.audience, expires, b.sign, c.Abort) })
	b.cur = c
	return c, nil
}

// forget has a new connection opened the next time.
func (b *back) forget() {
	b.gate <- struct{}{}
	defer func() { <-b.gate }()
	if b.cur != nil {
		b.cur.Close(nil)
		<-b.cur.Done()
		b.cur = nil
	}
}

// close ends the connection for good.
func (b *back) close() {
	b.cancel()
	b.gate <- struct{}{}
	defer func() { <-b.gate }()
	if b.cur != nil {
		b.cur.Close(nil)
		<-b.cur.Done()
	}
	b.all.Wait()
}

// lasting reports whether trying again is of no use after err.
func lasting(err error) bool {
	if errors.Is(err, ErrClosed) {
		return true
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok && c.Name == hubamqp.NotFound {
		return true // whatever the code: that of partitions is one to try again after
	}
	e, ok := errors.AsType[*causeway.Error](amqpError(err))
	if !ok {
		return false
	}
	switch s := e.Code.HTTPStatus(); s {
	case 408, 429:
		return false
	default:
		return s >= 400 && s < 500
	}
}

// taken reports whether a link was lost to another one that took its place.
func taken(err error) bool {
	c, ok := errors.AsType[*codec.Condition](err)
	return ok && c.Name == hubamqp.LinkStolen
}

// pauses are the times between attempts to reach a server.
type pauses struct{ next time.Duration }

// wait waits until the next attempt is due.
func (p *pauses) wait(ctx context.Context) error {
	d := max(p.next, minBackOff)
	p.next = min(2*d, DefaultMaxBackOff)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pauses) reset() { p.next = 0 }
