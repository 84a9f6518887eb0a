// Package amqppeer is an AMQP client for tests that look at a server from
// outside. It stands on the engine of this project, and so does whatever the
// protocol allows: odd windows, single credits, drains.
//
// It knows how tokens are put and links attached, and leaves the rest to tests.
package amqppeer

import (
	"context"
	"fmt"
	"net"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Peer is one connection of the project's own engine, with one session. It is
// not safe for concurrent use before it is set up.
type Peer struct {
	*amqp.Conn
	Session *amqp.Session

	put     *amqp.Sender // to $cbs
	replies *Receiver
	puts    int
}

// Open opens a connection on nc, which it owns, without a dialogue of SASL
// unless cfg has one.
func Open(ctx context.Context, nc net.Conn, cfg amqp.Config) (*Peer, error) {
	if cfg.Hostname == "" {
		cfg.Hostname = "localhost"
	}
	c, err := amqp.Dial(ctx, nc, amqp.Prepare(cfg), nil)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	s, err := c.Begin(ctx)
	if err != nil {
		c.Abort(nil)
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &Peer{Conn: c, Session: s}, nil
}

// Cut ends the connection without a word and waits until it is gone.
func (p *Peer) Cut() {
	p.Abort(nil)
	<-p.Done()
}

// Hang closes the connection in order and waits until it is gone.
func (p *Peer) Hang() {
	p.Close(nil)
	<-p.Done()
}

// Sender attaches a link to send on.
func (p *Peer) Sender(ctx context.Context, address string) (*amqp.Sender, error) {
	return p.Session.AttachSender(ctx, amqp.LinkConfig{Target: address}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
}

// Receiver is a link to receive on, with what has arrived.
type Receiver struct {
	*amqp.Receiver
	Inbox amqp.Inbox
}

// Receiver attaches a link to receive on. With a credit of 0 it is for
// Receiver.Grant to give some.
func (p *Peer) Receiver(ctx context.Context, cfg amqp.LinkConfig, credit uint32) (*Receiver, error) {
	r := &Receiver{}
	var err error
	r.Receiver, err = p.Session.AttachReceiver(ctx, cfg, amqp.ReceiverOptions{Handler: &r.Inbox, Credit: credit})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Next waits for the next message.
func (r *Receiver) Next(ctx context.Context) (amqp.Delivery, error) { return r.Inbox.Receive(ctx) }

// Accept accepts a message.
func (r *Receiver) Accept(d amqp.Delivery) {
	r.Settle(d.ID, codec.Accepted())
	r.Conn().Push()
}

// Put puts a token under the name of what it is for.
func (p *Peer) Put(ctx context.Context, name, token string) error {
	reply, err := p.Request(ctx, hubamqp.PutToken{ReplyTo: "cbs", Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token)})
	if err == nil && reply.Status != 200 {
		err = fmt.Errorf("put-token for %s: %d %s", name, reply.Status, reply.Description)
	}
	return err
}

// Request puts a token and returns the reply.
func (p *Peer) Request(ctx context.Context, r hubamqp.PutToken) (hubamqp.Reply, error) {
	if err := p.attachCBS(ctx); err != nil {
		return hubamqp.Reply{}, err
	}
	p.puts++
	r.MessageID = codec.Ulong(uint64(p.puts))
	st, err := p.put.Deliver(ctx, amqp.Transfer{Payload: hubamqp.AppendPutToken(nil, r)})
	if err != nil {
		return hubamqp.Reply{}, fmt.Errorf("put-token: %w", err)
	}
	if st.Kind != codec.CodeAccepted {
		return hubamqp.Reply{}, fmt.Errorf("put-token: %v %w", st.Kind, st.Error)
	}
	d, err := p.replies.Next(ctx)
	if err != nil {
		return hubamqp.Reply{}, fmt.Errorf("put-token: %w", err)
	}
	p.replies.Accept(d)
	return hubamqp.DecodePutTokenResponse(d.Payload)
}

func (p *Peer) attachCBS(ctx context.Context) (err error) {
	if p.put != nil {
		return nil
	}
	if p.replies, err = p.Receiver(ctx, amqp.LinkConfig{Source: hubamqp.CBSAddress}, 10); err != nil {
		return fmt.Errorf("attach $cbs: %w", err)
	}
	if p.put, err = p.Sender(ctx, hubamqp.CBSAddress); err != nil {
		return fmt.Errorf("attach $cbs: %w", err)
	}
	return nil
}
