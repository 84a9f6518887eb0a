package iothub

import (
	"net/http"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// sendCommand queues a cloud-to-device message.
func (h *handler) sendCommand(c *call) (reply, error) {
	ctx := c.r.Context()
	rec, err := h.registry.Get(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	body, err := readBody(c, causeway.MaxCommandSize, causeway.MessageTooLarge)
	if err != nil {
		return reply{}, err
	}
	m, err := hubhttp.ReadMessage(c.r.Header)
	if err != nil {
		return reply{}, err
	}
	m.Body, m.To = body, hubhttp.CommandAddress(c.id)
	if err := h.commands.Enqueue(ctx, c.id, m, rec.GenerationID); err != nil {
		return reply{}, err
	}
	h.metrics.MessagesIn.Inc()
	h.metrics.BytesIn.Add(float64(len(body)))
	h.metrics.AckLatency.Observe(time.Since(c.arrived).Seconds())
	return reply{status: http.StatusNoContent}, nil
}

func (h *handler) purgeCommands(c *call) (reply, error) {
	ctx := c.r.Context()
	if _, err := h.registry.Get(ctx, c.id); err != nil {
		return reply{}, err
	}
	n, err := h.commands.Purge(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	h.audit(c, "commands purged")
	return reply{status: http.StatusOK}.json(struct {
		Purged   int     `json:"totalMessagesPurged"`
		DeviceID string  `json:"deviceId"`
		ModuleID *string `json:"moduleId"`
	}{n, c.id.Device, orNull(c.id.Module)})
}

// lock returns the lock token in the path.
func (c *call) lock() (causeway.LockToken, error) {
	l, ok := hubhttp.ParseLock(c.params.lock)
	if !ok {
		return l, causeway.Errorf(causeway.ArgumentInvalid, "iothub.settle",
			"the lock token %q is not one this hub gives: take it from the ETag header of the message", clip(c.params.lock))
	}
	return l, nil
}
