package iothub

import (
	"net/http"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// feedbackAddress is what feedback is sent to, in the words of the service.
const feedbackAddress = "/messages/serviceBound/feedback"

// receiveFeedback hands the oldest free message of feedback to a back end and
// locks it.
func (h *handler) receiveFeedback(c *call) (reply, error) {
	d, ok, err := h.feedback.Receive(c.r.Context(), c.hub.Name(), outbox.Feedback)
	if err != nil {
		return reply{}, err
	}
	if !ok {
		return reply{status: http.StatusNoContent}, nil
	}
	body := d.Body()
	h.metrics.MessagesOut.Inc()
	h.metrics.BytesOut.Add(float64(len(body)))
	return reply{status: http.StatusOK, etag: hubhttp.LockText(d.Lock), body: body, header: http.Header{
		"iothub-messageid":      {d.ID},
		"iothub-sequencenumber": {strconv.FormatInt(d.Sequence, 10)},
		"iothub-enqueuedtime":   {hubhttp.Time(d.Enqueued)},
		"iothub-deliverycount":  {strconv.Itoa(d.DeliveryCount)},
		"iothub-to":             {feedbackAddress},
	}}, nil
}

func (h *handler) completeFeedback(c *call) (reply, error) {
	return h.settleFeedback(c, causeway.Accepted)
}

func (h *handler) abandonFeedback(c *call) (reply, error) {
	return h.settleFeedback(c, causeway.Released)
}

func (h *handler) settleFeedback(c *call, o causeway.Outcome) (reply, error) {
	lock, err := c.lock()
	if err != nil {
		return reply{}, err
	}
	if err := h.feedback.Settle(c.r.Context(), c.hub.Name(), outbox.Feedback, lock, o); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}
