package client

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// minRenewal is the time between attempts to renew a token.
const minRenewal = time.Second

// cbs shows tokens on a connection.
type cbs struct{ *requester }

func newCBS(c *amqp.Conn) cbs { return cbs{newRequester(c, hubamqp.CBSAddress)} }

// put shows the token for a resource and waits until it is accepted. Codes:
// IotHubUnauthorized, and what else the server has.
func (c cbs) put(ctx context.Context, name, token string) error {
	const op = "show token"
	b, err := c.do(ctx, op, func(id codec.Value) []byte {
		return hubamqp.AppendPutToken(nil, hubamqp.PutToken{
			MessageID: id, ReplyTo: replyTo, Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token),
		})
	})
	if err != nil {
		return err
	}
	r, err := hubamqp.DecodePutTokenResponse(b)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return replyError(op, r)
}

// renew shows a new token before the last one ends, until ctx does. A refusal is
// told to fail.
func (c cbs) renew(ctx context.Context, name string, expires time.Time, sign func() (string, time.Time), fail func(error)) {
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
