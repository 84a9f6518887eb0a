package iothub

import (
	"context"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// maxTransferBody bounds a request for an import or export: two addresses.
const maxTransferBody = 64 << 10

// Transfers is what this head asks of transfer.Service; see there.
type Transfers interface {
	Create(ctx context.Context, j transfer.Job) (transfer.Job, error)
	Get(ctx context.Context, hub, id string) (transfer.Job, error)
	List(ctx context.Context, hub string) ([]transfer.Job, error)
	Cancel(ctx context.Context, hub, id string) (transfer.Job, error)
}

// createTransfer begins an import or export.
func (h *handler) createTransfer(c *call) (reply, error) {
	var body transfer.Request
	if err := readJSON(c, maxTransferBody, &body); err != nil {
		return reply{}, err
	}
	return h.beginTransfer(c, &body)
}

func (h *handler) beginTransfer(c *call, body *transfer.Request) (reply, error) {
	j, err := body.Job(c.hub.Name(), time.Now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return reply{}, err
	}
	if j, err = h.transfers.Create(c.r.Context(), j); err != nil {
		return reply{}, err
	}
	h.auditJob(c, string(j.Type)+" job created", j.ID)
	return reply{status: http.StatusOK}.json(j)
}

// exportRegistry and importRegistry are the ways of old clients.
func (h *handler) exportRegistry(c *call) (reply, error) { return h.legacyTransfer(c, transfer.Export) }

func (h *handler) importRegistry(c *call) (reply, error) { return h.legacyTransfer(c, transfer.Import) }

func (h *handler) legacyTransfer(c *call, t transfer.Type) (reply, error) {
	var body transfer.LegacyRequest
	if err := readJSON(c, maxTransferBody, &body); err != nil {
		return reply{}, err
	}
	r, err := body.Request(t, time.Now())
	if err != nil {
		return reply{}, err
	}
	return h.beginTransfer(c, &r)
}

func (h *handler) listTransfers(c *call) (reply, error) {
	list, err := h.transfers.List(c.r.Context(), c.hub.Name())
	if err != nil {
		return reply{}, err
	}
	if list == nil {
		list = []transfer.Job{}
	}
	return reply{status: http.StatusOK}.json(list)
}

func (h *handler) getTransfer(c *call) (reply, error) {
	j, err := h.transfers.Get(c.r.Context(), c.hub.Name(), c.params.job)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK}.json(j)
}

// cancelTransfer ignores If-Match: a client sends the id there.
func (h *handler) cancelTransfer(c *call) (reply, error) {
	j, err := h.transfers.Cancel(c.r.Context(), c.hub.Name(), c.params.job)
	if err != nil {
		return reply{}, err
	}
	h.auditJob(c, string(j.Type)+" job cancelled", j.ID)
	return reply{status: http.StatusNoContent}, nil
}
