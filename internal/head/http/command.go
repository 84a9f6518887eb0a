package http

import (
	"maps"
	"net/http"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

const commandTail = "/messages/deviceBound"

// receive hands the oldest free message to its device and locks it.
func (h *handler) receive(c *call) (reply, error) {
	s, err := h.session(c, commandTail)
	if err != nil {
		return reply{}, err
	}
	defer s.Close(nil) //nolint:errcheck // nothing is held by it
	m, ok, err := h.commands.Receive(c.r.Context(), c.id)
	if err != nil {
		return reply{}, ended(c.r.Context(), err)
	}
	if !ok {
		return done, nil
	}
	h.metrics.MessagesOut.Inc()
	h.metrics.BytesOut.Add(float64(len(m.Body)))
	header := http.Header{"ETag": {`"` + hubhttp.LockText(m.Lock) + `"`}}
	maps.Copy(header, hubhttp.CommandHeader(c.id, &m))
	return reply{status: http.StatusOK, header: header, body: m.Body}, nil
}

// complete ends a delivery, or rejects it when the query says so.
func (h *handler) complete(c *call) (reply, error) {
	outcome := causeway.Accepted
	if c.r.URL.Query().Has("reject") {
		outcome = causeway.Rejected
	}
	return h.settle(c, outcome)
}

func (h *handler) abandon(c *call) (reply, error) { return h.settle(c, causeway.Released) }

func (h *handler) settle(c *call, o causeway.Outcome) (reply, error) {
	s, err := h.session(c, commandTail)
	if err != nil {
		return reply{}, err
	}
	defer s.Close(nil) //nolint:errcheck // nothing is held by it
	lock, err := c.lock()
	if err != nil {
		return reply{}, err
	}
	if err := s.Settle(c.r.Context(), lock, o); err != nil {
		return reply{}, ended(c.r.Context(), err)
	}
	return done, nil
}
