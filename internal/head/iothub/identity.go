package iothub

import (
	"context"
	"net/http"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// updateAttempts bounds how often an unconditional update is tried again when
// the identity changes between reading and writing it.
const updateAttempts = 8

// identityBody is what a client sends to create or update an identity.
type identityBody = bulk.Identity

func (h *handler) getIdentity(c *call) (reply, error) {
	rec, err := h.registry.Get(c.r.Context(), c.id)
	if err != nil {
		return reply{}, err
	}
	return h.identityReply(c, &rec)
}

func (h *handler) identityReply(c *call, rec *registry.Record) (reply, error) {
	l, err := h.live(c.r.Context(), c.hub, rec)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, etag: rec.ETag}.json(identity(rec, l))
}

func (h *handler) listDevices(c *call) (reply, error) {
	top := causeway.MaxPageSize
	if v := c.r.URL.Query().Get("top"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > causeway.MaxPageSize {
			return reply{}, causeway.Errorf(causeway.ArgumentInvalid, "iothub.list",
				"the query parameter top is %q, it must be a number from 1 to %d", clip(v), causeway.MaxPageSize)
		}
		top = n
	}
	recs, err := h.registry.List(c.r.Context(), c.hub.Name(), "", top)
	if err != nil {
		return reply{}, err
	}
	return h.listReply(c, recs)
}

func (h *handler) listModules(c *call) (reply, error) {
	recs, err := h.registry.Modules(c.r.Context(), c.id)
	if err != nil {
		return reply{}, err
	}
	return h.listReply(c, recs)
}

func (h *handler) listReply(c *call, recs []registry.Record) (reply, error) {
	out := make([]any, len(recs))
	for i := range recs {
		l, err := h.live(c.r.Context(), c.hub, &recs[i])
		if err != nil {
			return reply{}, err
		}
		out[i] = identity(&recs[i], l)
	}
	return reply{status: http.StatusOK}.json(out)
}

// putIdentity creates without If-Match and updates with it.
func (h *handler) putIdentity(c *call) (reply, error) {
	var body identityBody
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		return reply{}, err
	}
	if err := checkBodyIDs(&body, c.id); err != nil {
		return reply{}, err
	}
	ctx := c.r.Context()
	match := ifMatch(c.r.Header)
	if match == "" {
		rec, err := body.Record(registry.Record{ID: c.id, Enabled: true})
		if err == nil {
			rec, err = h.registry.Create(ctx, rec)
		}
		if err != nil {
			return reply{}, err
		}
		h.audit(c, "identity created")
		return h.identityReply(c, &rec)
	}
	rec, err := h.update(ctx, c.id, &body, match)
	if err != nil {
		return reply{}, err
	}
	h.audit(c, "identity updated")
	return h.identityReply(c, &rec)
}

// update replaces what body gives and keeps what it leaves out. An update with
// "*" is tried again on what another writer made of the identity meanwhile, so
// that what is kept is never old.
func (h *handler) update(ctx context.Context, id causeway.Identity, body *identityBody, match string) (rec registry.Record, err error) {
	for range updateAttempts {
		var old registry.Record
		if old, err = h.registry.Get(ctx, id); err != nil {
			return rec, err
		}
		if rec, err = body.Record(old); err != nil {
			return rec, err
		}
		want := match
		if match == "*" {
			want = old.ETag
		}
		rec, err = h.registry.Update(ctx, rec, want)
		if match != "*" || causeway.CodeOf(err) != causeway.PreconditionFailed {
			return rec, err
		}
	}
	return rec, err
}

func (h *handler) deleteIdentity(c *call) (reply, error) {
	match := ifMatch(c.r.Header)
	if match == "" {
		match = "*"
	}
	if err := h.registry.Delete(c.r.Context(), c.id, match); err != nil {
		return reply{}, err
	}
	h.audit(c, "identity deleted")
	return reply{status: http.StatusNoContent}, nil
}

func (h *handler) deviceStatistics(c *call) (reply, error) {
	n, err := h.registry.Count(c.r.Context(), c.hub.Name())
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK}.json(struct {
		Total    int `json:"totalDeviceCount"`
		Enabled  int `json:"enabledDeviceCount"`
		Disabled int `json:"disabledDeviceCount"`
	}{n.Total, n.Enabled, n.Disabled})
}

func (h *handler) serviceStatistics(c *call) (reply, error) {
	return reply{status: http.StatusOK}.json(struct {
		Connected int `json:"connectedDeviceCount"`
	}{c.hub.ConnectedCount()})
}

// checkIDs refuses a body that speaks of another identity than the path.
func checkBodyIDs(b *identityBody, id causeway.Identity) error {
	for _, m := range []struct {
		name string
		got  *string
		want string
	}{{"deviceId", b.DeviceID, id.Device}, {"moduleId", b.ModuleID, id.Module}} {
		if m.got != nil && *m.got != m.want && !(m.name == "moduleId" && id.Module == "") {
			return causeway.Errorf(causeway.ArgumentInvalid, "iothub.put",
				"the body has %s %q but the path has %q, they must be the same", m.name, clip(*m.got), m.want)
		}
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
