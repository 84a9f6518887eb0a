package amqp

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const (
	// openTimeout bounds how long it takes until there is a link.
	openTimeout = 30 * time.Second
	// tokenLife is how long tokens are good for, and renewal how long before
	// their end they are shown anew.
	tokenLife, renewal = time.Hour, 15 * time.Minute
	// idle is how long the connection may be silent.
	idle = time.Minute
)

// link is a connection with a link to the node.
type link struct {
	conn    *amqp.Conn
	session *amqp.Session
	sender  *amqp.Sender
	results *results
	expires time.Time // of the token; zero for none
}

// dial connects, shows who we are, and attaches the link.
func (s *Sink) dial(ctx context.Context) (_ *link, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	nc, err := s.env.Dial(ctx, "tcp", s.t.addr)
	if err != nil {
		return nil, err
	}
	if s.t.tls != nil {
		cfg := s.t.tls.Clone()
		cfg.ServerName = s.t.host
		tc := tls.Client(nc, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // the handshake is the error
			return nil, fmt.Errorf("TLS with %s: %w", s.t.addr, err)
		}
		nc = tc
	}
	l := &link{results: &results{}}
	l.conn, err = amqp.Dial(ctx, nc, amqp.Prepare(amqp.Config{
		Hostname: s.t.host, SASL: s.login(), IdleTimeout: idle, Log: s.env.Log,
		Properties: codec.NewMap(codec.Symbol("product"), codec.String("causeway")),
	}), nil)
	if err != nil {
		return nil, fmt.Errorf("AMQP with %s: %w", s.t.addr, err)
	}
	defer func() {
		if err != nil {
			l.conn.Abort(err)
		}
	}()
	if err := s.showToken(ctx, l); err != nil {
		return nil, fmt.Errorf("token for %s: %w", s.t.addr, err)
	}
	if l.session, err = l.conn.Begin(ctx); err != nil {
		return nil, fmt.Errorf("AMQP session with %s: %w", s.t.addr, err)
	}
	l.sender, err = l.session.AttachSender(ctx, amqp.LinkConfig{Target: s.t.address, Source: "causeway/" + s.env.Hub + "/" + s.env.Endpoint},
		amqp.SenderOptions{Handler: l.results})
	if err != nil {
		return nil, fmt.Errorf("link to %s on %s: %w", s.t.address, s.t.addr, err)
	}
	return l, nil
}

// login is our part of the SASL dialogue.
func (s *Sink) login() *amqp.ClientSASL {
	switch {
	case s.t.key != "" || s.t.token != "": // a token follows
		return amqp.AnonymousSASL()
	case s.t.user != "":
		return amqp.PlainSASL(s.t.user, string(s.t.secret))
	case s.t.tls != nil && len(s.t.tls.Certificates) > 0:
		return amqp.ExternalSASL()
	}
	return amqp.AnonymousSASL()
}

// showToken shows a token, if that is how we are known, and again before it ends.
func (s *Sink) showToken(ctx context.Context, l *link) error {
	if s.t.key == "" && s.t.token == "" || !l.expires.IsZero() && time.Until(l.expires) > renewal {
		return nil
	}
	name := "sb://" + s.t.host + "/" + s.t.address
	token, expires := s.t.token, time.Now().Add(tokenLife)
	if s.t.key != "" {
		// The key is the text itself, not what it is base64 of.
		token = sas.Sign(name, []byte(s.t.key), s.t.user, expires)
	}
	session, err := l.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = session.End(nil) }() // it may have ended already
	const reply = "causeway"
	var inbox amqp.Inbox
	r, err := session.AttachReceiver(ctx, amqp.LinkConfig{Source: hubamqp.CBSAddress, Target: reply}, amqp.ReceiverOptions{Handler: &inbox, Credit: 1})
	if err != nil {
		return err
	}
	snd, err := session.AttachSender(ctx, amqp.LinkConfig{Target: hubamqp.CBSAddress, Source: reply}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		return err
	}
	if _, err := snd.Deliver(ctx, amqp.Transfer{Payload: hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.String("1"), ReplyTo: reply, Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token),
	})}); err != nil {
		return err
	}
	d, err := inbox.Receive(ctx)
	if err != nil {
		return err
	}
	answer, err := hubamqp.DecodePutTokenResponse(d.Payload)
	if err != nil {
		return err
	}
	r.Settle(d.ID, codec.Accepted())
	l.conn.Push()
	if !answer.OK() {
		return fmt.Errorf("the broker refuses it: %d %s", answer.Status, answer.Description)
	}
	l.expires = expires
	return nil
}

// alive reports whether the link can be used, as far as is known.
func (l *link) alive() bool { return l.conn.Err() == nil && l.sender.Err() == nil }

// close ends the connection.
func (l *link) close() {
	l.conn.Close(nil)
	<-l.conn.Done()
}
