package iothub

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// updateAttempts bounds how often an unconditional update is tried again when
// the identity changes between reading and writing it.
const updateAttempts = 8

// identityBody is what a client sends to create or update an identity. Members
// that are absent stay nil, and so do those that are null but for opt.
type identityBody struct {
	DeviceID       *string `json:"deviceId"`
	ModuleID       *string `json:"moduleId"`
	Status         *string `json:"status"`
	StatusReason   opt     `json:"statusReason"`
	ManagedBy      opt     `json:"managedBy"`
	Authentication *struct {
		Type         *string `json:"type"`
		SymmetricKey *struct {
			PrimaryKey   *string `json:"primaryKey"`
			SecondaryKey *string `json:"secondaryKey"`
		} `json:"symmetricKey"`
		X509Thumbprint *struct {
			PrimaryThumbprint   *string `json:"primaryThumbprint"`
			SecondaryThumbprint *string `json:"secondaryThumbprint"`
		} `json:"x509Thumbprint"`
	} `json:"authentication"`
	Capabilities *struct {
		IotEdge *bool `json:"iotEdge"`
	} `json:"capabilities"`
	DeviceScope  opt       `json:"deviceScope"`
	ParentScopes *[]string `json:"parentScopes"`
}

// opt is a string member that tells absent from null. Null is "": a client that
// read it as null sends it back to clear it.
type opt struct {
	set   bool
	value string
}

// UnmarshalJSON is called only when the member is present.
func (o *opt) UnmarshalJSON(b []byte) error {
	o.set = true
	return json.Unmarshal(b, &o.value) // leaves "" for null
}

// or returns the member, or old when it was absent.
func (o opt) or(old string) string {
	if o.set {
		return o.value
	}
	return old
}

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
	if err := body.checkIDs(c.id); err != nil {
		return reply{}, err
	}
	ctx := c.r.Context()
	match := ifMatch(c.r.Header)
	if match == "" {
		rec, err := body.record(registry.Record{ID: c.id, Enabled: true})
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
		if rec, err = body.record(old); err != nil {
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
func (b *identityBody) checkIDs(id causeway.Identity) error {
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

// record returns old with what the body gives put in.
func (b *identityBody) record(old registry.Record) (registry.Record, error) {
	r := old
	if b.Status != nil {
		switch {
		case strings.EqualFold(*b.Status, "enabled"):
			r.Enabled = true
		case strings.EqualFold(*b.Status, "disabled"):
			r.Enabled = false
		default:
			return r, causeway.Errorf(causeway.ArgumentInvalid, "iothub.put", "status is %q, it must be enabled or disabled", clip(*b.Status))
		}
	}
	r.StatusReason = b.StatusReason.or(old.StatusReason)
	if r.ID.IsModule() {
		r.ManagedBy = b.ManagedBy.or(old.ManagedBy)
	} else {
		if b.Capabilities != nil && b.Capabilities.IotEdge != nil {
			r.Edge = *b.Capabilities.IotEdge
		}
		b.scopes(&r)
	}
	var err error
	r.Auth, err = b.authentication()
	return r, err
}

// scopes sets the scopes of a device. A leaf has its parent under two names:
// one that is cleared takes the other along unless that is given too.
func (b *identityBody) scopes(r *registry.Record) {
	if b.DeviceScope.set {
		r.DeviceScope = b.DeviceScope.value
		if r.DeviceScope == "" && !r.Edge {
			r.ParentScopes = nil
		}
	}
	if b.ParentScopes != nil {
		r.ParentScopes = *b.ParentScopes
		if len(r.ParentScopes) == 0 && !b.DeviceScope.set && !r.Edge {
			r.DeviceScope = ""
		}
	}
}

// authentication returns the authentication the body asks for; the registry
// holds it to its rules. Keys that are absent are kept, keys that are empty text
// are asked to be made anew: clients send empty text when they want that.
func (b *identityBody) authentication() (a registry.Authentication, err error) {
	in := b.Authentication
	if in == nil {
		return a, nil
	}
	a.Type = auth.Type(clip(text(in.Type)))
	if k := in.SymmetricKey; k != nil {
		a.Primary, a.Secondary = causeway.Secret(text(k.PrimaryKey)), causeway.Secret(text(k.SecondaryKey))
		if a.Primary == registry.NewKey || a.Secondary == registry.NewKey {
			return a, causeway.Errorf(causeway.ArgumentInvalid, "iothub.put", "authentication.symmetricKey: a key must be base64 text of %d to %d bytes",
				causeway.MinKeyBytes, causeway.MaxKeyBytes)
		}
		if a.Primary == "" && a.Secondary == "" && (k.PrimaryKey != nil || k.SecondaryKey != nil) {
			a.Primary, a.Secondary = registry.NewKey, registry.NewKey
		}
	}
	if x := in.X509Thumbprint; x != nil {
		a.PrimaryThumb, a.SecondThumb = text(x.PrimaryThumbprint), text(x.SecondaryThumbprint)
	}
	return a, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
