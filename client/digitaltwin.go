package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// DigitalTwin is the twin of a device by the conventions of IoT Plug and Play.
type DigitalTwin struct {
	ETag string
	// Document is a JSON object: reported values, an object for each component,
	// and under "$metadata" what is wanted and acknowledged.
	Document json.RawMessage
}

func digitalTwinPath(device string) string { return "/digitaltwins/" + url.PathEscape(device) }

// DigitalTwin returns the digital twin of a device.
func (s *Service) DigitalTwin(ctx context.Context, device string) (DigitalTwin, error) {
	var t DigitalTwin
	h, err := s.call(ctx, "get digital twin", http.MethodGet, digitalTwinPath(device), "", nil, &t.Document)
	t.ETag = unquoteETag(h)
	return t, err
}

// UpdateDigitalTwin changes writable properties by a JSON Patch (RFC 6902: add,
// replace, remove), such as
//
//	[{"op": "add", "path": "/thermostat1/targetTemperature", "value": 21}]
//
// It returns the etag of the changed twin. Match is the etag that must still be
// the current one, or [AnyVersion]. Codes: InvalidDigitalTwinJsonPatch and the
// three that follow it, PreconditionFailed.
func (s *Service) UpdateDigitalTwin(ctx context.Context, device string, patch json.RawMessage, match string) (etag string, err error) {
	if !json.Valid(patch) {
		return "", fmt.Errorf("update digital twin: the patch is not JSON: %.80q", patch)
	}
	h, err := s.call(ctx, "update digital twin", http.MethodPatch, digitalTwinPath(device), orAny(match), patch, nil)
	return unquoteETag(h), err
}

// InvokeCommand invokes a command of a device, or of a component unless that is
// "", and waits for the answer. Codes: DeviceNotOnline, GatewayTimeout.
func (s *Service) InvokeCommand(ctx context.Context, device, component string, call MethodCall) (MethodResult, error) {
	const op = "invoke command"
	if len(call.Payload) > 0 && !json.Valid(call.Payload) {
		return MethodResult{}, fmt.Errorf("%s: the payload is not JSON: %.80q", op, call.Payload)
	}
	path := digitalTwinPath(device)
	if component != "" {
		path += "/components/" + url.PathEscape(component)
	}
	q := request{
		method: http.MethodPost, path: path + "/commands/" + url.PathEscape(call.Name), op: op,
		query: url.Values{"api-version": {apiVersion}}, raw: append(json.RawMessage{}, call.Payload...),
	}
	if call.ResponseTimeout > 0 {
		q.query.Set("responseTimeoutInSeconds", strconv.Itoa(seconds(call.ResponseTimeout)))
	}
	if call.ConnectTimeout > 0 {
		q.query.Set("connectTimeoutInSeconds", strconv.Itoa(seconds(call.ConnectTimeout)))
	}
	var out MethodResult
	h, err := s.rest.do(ctx, q, &out.Payload)
	if err != nil {
		return MethodResult{}, err
	}
	if out.Status, err = strconv.Atoi(h.Get("x-ms-command-statuscode")); err != nil {
		return MethodResult{}, fmt.Errorf("%s: the answer has no status: %w", op, err)
	}
	return out, nil
}

// unquoteETag returns the etag of a reply.
func unquoteETag(h http.Header) string {
	v := h.Get("ETag")
	if len(v) >= 2 && v[0] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}
