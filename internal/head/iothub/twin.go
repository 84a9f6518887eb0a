package iothub

import (
	"encoding/json"
	"net/http"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// twinBody is what a client may change of a twin. All else it may send, such as
// reported properties and identity fields, is ignored, so that a twin that was
// read can be sent back.
type twinBody struct {
	Tags       json.RawMessage `json:"tags"`
	Properties *struct {
		Desired json.RawMessage `json:"desired"`
	} `json:"properties"`
}

func (h *handler) getTwin(c *call) (reply, error) {
	rec, err := h.registry.Get(c.r.Context(), c.id)
	if err != nil {
		return reply{}, err
	}
	return h.twinReply(c, &rec)
}

func (h *handler) patchTwin(c *call) (reply, error) { return h.changeTwin(c, false) }

func (h *handler) replaceTwin(c *call) (reply, error) { return h.changeTwin(c, true) }

// changeTwin merges the sections of the body into the twin, or replaces them. A
// section that is absent stays, one that is null is cleared.
func (h *handler) changeTwin(c *call, replace bool) (reply, error) {
	var body twinBody
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		return reply{}, err
	}
	u := registry.TwinUpdate{Tags: body.Tags, Replace: replace}
	if body.Properties != nil {
		u.Desired = body.Properties.Desired
	}
	match := ifMatch(c.r.Header)
	if match == "" {
		match = "*"
	}
	rec, err := h.registry.UpdateTwin(c.r.Context(), c.id, u, match)
	if err != nil {
		return reply{}, err
	}
	return h.twinReply(c, &rec)
}

func (h *handler) twinReply(c *call, rec *registry.Record) (reply, error) {
	l, err := h.live(c.r.Context(), c.hub, rec)
	if err != nil {
		return reply{}, err
	}
	body, err := twinview.JSON(rec, l)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, etag: twin.ETagText(rec.Twin.ETag)}.json(body)
}
