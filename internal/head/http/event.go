package http

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

const eventsTail = "/messages/events"

// sendEvent stores one message, or a batch when the Content-Type says so.
func (h *handler) sendEvent(c *call) (reply, error) {
	cred, err := c.credential(eventsTail)
	if err != nil {
		return reply{}, err
	}
	n, bytes := 0, 0
	err = h.sendAs(c.r.Context(), c, &cred, func() ([]causeway.Message, error) {
		msgs, err := c.messages()
		n = len(msgs)
		for i := range msgs {
			bytes += len(msgs[i].Body)
		}
		return msgs, err
	})
	if err != nil {
		return reply{}, ended(c.r.Context(), err)
	}
	h.metrics.MessagesIn.Add(float64(n))
	h.metrics.BytesIn.Add(float64(bytes))
	h.metrics.AckLatency.Observe(time.Since(c.arrived).Seconds())
	return done, nil
}

// messages reads what the request sends.
func (c *call) messages() ([]causeway.Message, error) {
	if hubhttp.IsBatch(c.r.Header.Get("Content-Type")) {
		body, err := readBody(c, maxBatchBody)
		if err != nil {
			return nil, err
		}
		return hubhttp.ReadBatch(body)
	}
	body, err := readBody(c, causeway.MaxMessageSize)
	if err != nil {
		return nil, err
	}
	m, err := hubhttp.ReadMessage(c.r.Header)
	if err != nil {
		return nil, err
	}
	m.Body = body
	return []causeway.Message{m}, nil
}

// ended gives a code to the error of a request that its client gave up.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || causeway.CodeOf(err) != causeway.ServerError {
		return err
	}
	return &causeway.Error{Code: causeway.ClientClosedRequest, Op: "http.request", Msg: "the client went away", Err: err}
}
