package iothub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/pnp"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// maxDigitalTwinTries bounds how often a patch is made anew because the twin
// changed under it.
const maxDigitalTwinTries = 32

func (h *handler) getDigitalTwin(c *call) (reply, error) {
	rec, err := h.registry.Get(c.r.Context(), c.id)
	if err != nil {
		return reply{}, err
	}
	view, err := pnp.View(digitalTwin(&rec))
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, etag: twin.ETagText(rec.Twin.ETag), body: view}, nil
}

// digitalTwin is what the digital twin of a device is made from.
func digitalTwin(rec *registry.Record) pnp.Twin {
	doc := func(s registry.Section) twin.Doc { return twin.Doc{Properties: s.Properties, Metadata: s.Metadata} }
	return pnp.Twin{ID: rec.ID.Device, Model: rec.Twin.ModelID, Desired: doc(rec.Twin.Desired), Reported: doc(rec.Twin.Reported)}
}

// patchDigitalTwin turns a JSON Patch into a change of desired properties. What
// the patch means depends on the twin, so that it is only merged into the very
// twin it was made for.
func (h *handler) patchDigitalTwin(c *call) (reply, error) {
	ctx := c.r.Context()
	patch, err := readBody(c, twin.MaxPatch, causeway.GenericRequestEntityTooLarge)
	if err != nil {
		return reply{}, err
	}
	match := ifMatch(c.r.Header)
	if match == "" {
		match = "*"
	}
	for range maxDigitalTwinTries {
		rec, err := h.registry.Get(ctx, c.id)
		if err != nil {
			return reply{}, err
		}
		seen := twin.ETagText(rec.Twin.ETag)
		if match != "*" && match != seen {
			// Whether the twin is another one, or only what was seen of it is old,
			// the registry knows.
			if _, err := h.registry.UpdateTwin(ctx, c.id, registry.TwinUpdate{}, match); err != nil {
				return reply{}, err
			}
			continue
		}
		merge, err := pnp.Patch(patch, digitalTwin(&rec))
		if err != nil {
			return reply{}, err
		}
		rec, err = h.registry.UpdateTwin(ctx, c.id, registry.TwinUpdate{Desired: merge}, seen)
		if match == "*" && causeway.CodeOf(err) == causeway.PreconditionFailed {
			continue
		}
		if err != nil {
			return reply{}, err
		}
		return reply{
			status: http.StatusAccepted, etag: twin.ETagText(rec.Twin.ETag),
			header: http.Header{"Location": {"https://" + c.r.Host + "/digitaltwins/" + url.PathEscape(c.id.Device)}},
		}, nil
	}
	return reply{}, causeway.Errorf(causeway.ServerBusy, "iothub.digitalTwin",
		"the twin of %s is being changed all the time; try again in a moment", c.id.Device)
}

// invokeCommand calls the direct method that a command is.
func (h *handler) invokeCommand(c *call) (reply, error) {
	const op = "iothub.command"
	payload, err := readBody(c, causeway.MaxMethodPayload, causeway.MessageTooLarge)
	if err != nil {
		return reply{}, err
	}
	if len(payload) > 0 && !json.Valid(payload) {
		return reply{}, causeway.Errorf(causeway.DeserializationError, op, "the request body is not one JSON value; it is the argument of the command, and may be empty")
	}
	name := pnp.CommandName(c.params.component, c.params.command)
	body := methodBody{MethodName: &name, Payload: payload}
	for _, q := range []struct {
		name string
		into **int
	}{{"connectTimeoutInSeconds", &body.ConnectTimeoutInSeconds}, {"responseTimeoutInSeconds", &body.ResponseTimeoutInSeconds}} {
		text := c.r.URL.Query().Get(q.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "%s is %q, it must be a number of seconds", q.name, hubhttp.Clip(text))
		}
		*q.into = &n
	}
	connect, response, err := body.check()
	if err != nil {
		return reply{}, err
	}
	if len(payload) == 0 {
		payload = []byte("null")
	}
	// Clients count from when they began to send: what reading took is off.
	response = max(response-time.Since(c.arrived), time.Second)
	res, err := c.hub.Invoke(c.r.Context(), c.id, causeway.Call{Method: name, Payload: payload}, connect, response)
	if err != nil {
		return reply{}, invokeError(err)
	}
	if len(res.Payload) == 0 {
		res.Payload = []byte("null")
	}
	return reply{
		status: http.StatusOK, body: res.Payload,
		header: http.Header{"x-ms-command-statuscode": {strconv.Itoa(res.Status)}},
	}, nil
}
