package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// dialAMQP opens a connection to e. Who has no certificate goes through a SASL
// dialogue that proves nothing, since some servers insist on one; the proof is a
// token later.
func dialAMQP(ctx context.Context, o *Options, e endpoint, keep time.Duration) (*amqp.Conn, error) {
	var login *amqp.ClientSASL
	if len(e.certificates) == 0 {
		login = amqp.AnonymousSASL()
	}
	return loginAMQP(ctx, o, e, keep, login)
}

// loginAMQP opens a connection to e with a SASL dialogue; nil does without.
func loginAMQP(ctx context.Context, o *Options, e endpoint, keep time.Duration, login *amqp.ClientSASL) (*amqp.Conn, error) {
	nc, err := o.stream(ctx, e)
	if err != nil {
		return nil, err
	}
	cfg := amqp.Config{
		Hostname:    e.host,
		IdleTimeout: keep / 2, // a silent peer is given up after twice that
		Properties:  codec.NewMap(codec.Symbol("product"), codec.String(o.product())),
		Log:         o.log(),
		SASL:        login,
	}
	c, err := amqp.Dial(ctx, nc, amqp.Prepare(cfg), nil)
	if err != nil {
		return nil, fmt.Errorf("AMQP with %s: %w", e.addr, err)
	}
	return c, nil
}

// alive reports whether c can still be used, as far as we know.
func alive(c *amqp.Conn) bool { return c.Err() == nil && c.Context().Err() == nil }

// linkProperties are those of all our links.
func linkProperties(o *Options, p hubamqp.LinkProperties) codec.Map {
	p.ClientVersion, p.APIVersion = o.product(), apiVersion
	return p.Map()
}

// amqpError makes a *causeway.Error of what a server refused; everything else
// stays as it is.
func amqpError(err error) error {
	if _, ok := errors.AsType[*causeway.Error](err); ok {
		return err
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return hubamqp.ErrorOf(c)
	}
	if errors.Is(err, amqp.ErrSASL) {
		return &causeway.Error{Code: causeway.IotHubUnauthorized, Op: "amqp", Msg: "the server refused the login", Err: err}
	}
	return err
}

// opError says what was being done when err came.
func opError(op string, err error) error {
	err = amqpError(err)
	if e, ok := err.(*causeway.Error); ok { //nolint:errorlint // what is around it says more already
		said := *e
		said.Op = op
		return &said
	}
	return fmt.Errorf("%s: %w", op, err)
}

// outcomeError makes an error of the outcome of a delivery, nil when it was
// accepted.
func outcomeError(op string, st *codec.State) error {
	switch st.Kind {
	case codec.CodeAccepted:
		return nil
	case codec.CodeRejected:
		if st.Error == nil {
			return &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: "the server rejected it and does not say why"}
		}
		err := hubamqp.ErrorOf(st.Error)
		if e, ok := errors.AsType[*causeway.Error](err); ok {
			e.Op = op
		}
		return err
	}
	return &causeway.Error{Code: causeway.ServiceUnavailable, Op: op, Msg: "the server did not take it; try again"}
}
