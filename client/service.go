package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Service is a back end's view of a hub. It is safe for concurrent use.
type Service struct {
	rest *rest
	host string
}

// NewService returns a client for the hub of a service connection string,
// "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…" or with a ready
// "SharedAccessSignature=…". It does not connect yet.
func NewService(connectionString string, o Options) (*Service, error) {
	p, err := serviceTokens(connectionString)
	if err != nil {
		return nil, err
	}
	r := newREST(p.hostName, &o)
	r.header = func(h http.Header) error {
		h.Set("Authorization", p.get(time.Now()))
		return nil
	}
	return &Service{rest: r, host: p.resource}, nil
}

// Host returns the host name of the hub.
func (s *Service) Host() string { return s.host }

// Close releases idle connections.
func (s *Service) Close() { s.rest.close() }

// tokens signs access tokens and keeps the last one while it is good.
type tokens struct {
	resource, policy string
	key              []byte
	ready            string // given by the user instead of a key

	mu      sync.Mutex
	token   string
	expires time.Time
}

func (t *tokens) get(now time.Time) string {
	if t.ready != "" {
		return t.ready
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expires.Sub(now) < TokenLifetime/4 {
		t.expires = now.Add(TokenLifetime)
		t.token = sas.Sign(t.resource, t.key, t.policy, t.expires)
	}
	return t.token
}

func (s *Service) call(ctx context.Context, op, method, path string, match string, body, out any) (http.Header, error) {
	q := request{method: method, path: path, query: url.Values{"api-version": {apiVersion}}, body: body, op: op, header: http.Header{}}
	if match != "" {
		q.header.Set("If-Match", quoteETag(match))
	}
	return s.rest.do(ctx, q, out)
}

// quoteETag puts an etag between quotes, as HTTP wants it.
func quoteETag(e string) string {
	if e == "*" || e[0] == '"' {
		return e
	}
	return `"` + e + `"`
}

// AnyVersion, given as match, lets a change happen whatever the current etag.
const AnyVersion = "*"

func devicePath(prefix string, id causeway.Identity) string {
	p := prefix + url.PathEscape(id.Device)
	if id.Module != "" {
		p += "/modules/" + url.PathEscape(id.Module)
	}
	return p
}

// Device returns a device.
func (s *Service) Device(ctx context.Context, device string) (DeviceIdentity, error) {
	var d DeviceIdentity
	_, err := s.call(ctx, "get device", http.MethodGet, devicePath("/devices/", causeway.Identity{Device: device}), "", nil, &d)
	return d, err
}

// Devices lists up to top devices, at most 1000, in no particular order; 0 means 1000.
func (s *Service) Devices(ctx context.Context, top int) ([]DeviceIdentity, error) {
	if top <= 0 || top > causeway.MaxPageSize {
		top = causeway.MaxPageSize
	}
	var list []DeviceIdentity
	q := request{method: http.MethodGet, path: "/devices", op: "list devices", query: url.Values{
		"api-version": {apiVersion}, "top": {strconv.Itoa(top)},
	}}
	_, err := s.rest.do(ctx, q, &list)
	return list, err
}

// CreateDevice registers a device. Keys that are not given are generated.
func (s *Service) CreateDevice(ctx context.Context, d DeviceIdentity) (DeviceIdentity, error) {
	var out DeviceIdentity
	_, err := s.call(ctx, "create device", http.MethodPut, devicePath("/devices/", causeway.Identity{Device: d.DeviceID}), "", d, &out)
	return out, err
}

// UpdateDevice replaces the changeable members of a device if its etag still
// is match.
func (s *Service) UpdateDevice(ctx context.Context, d DeviceIdentity, match string) (DeviceIdentity, error) {
	var out DeviceIdentity
	_, err := s.call(ctx, "update device", http.MethodPut, devicePath("/devices/", causeway.Identity{Device: d.DeviceID}), orAny(match), d, &out)
	return out, err
}

// DeleteDevice removes a device with its modules, twin and queue.
func (s *Service) DeleteDevice(ctx context.Context, device, match string) error {
	_, err := s.call(ctx, "delete device", http.MethodDelete, devicePath("/devices/", causeway.Identity{Device: device}), orAny(match), nil, nil)
	return err
}

// Module returns a module of a device.
func (s *Service) Module(ctx context.Context, device, module string) (ModuleIdentity, error) {
	var m ModuleIdentity
	_, err := s.call(ctx, "get module", http.MethodGet, devicePath("/devices/", causeway.Identity{Device: device, Module: module}), "", nil, &m)
	return m, err
}

// Modules lists the modules of a device.
func (s *Service) Modules(ctx context.Context, device string) ([]ModuleIdentity, error) {
	var list []ModuleIdentity
	_, err := s.call(ctx, "list modules", http.MethodGet, devicePath("/devices/", causeway.Identity{Device: device})+"/modules", "", nil, &list)
	return list, err
}

// CreateModule registers a module of a device. Keys that are not given are generated.
func (s *Service) CreateModule(ctx context.Context, m ModuleIdentity) (ModuleIdentity, error) {
	var out ModuleIdentity
	_, err := s.call(ctx, "create module", http.MethodPut, devicePath("/devices/", m.identity()), "", m, &out)
	return out, err
}

// UpdateModule replaces the changeable members of a module if its etag still
// is match.
func (s *Service) UpdateModule(ctx context.Context, m ModuleIdentity, match string) (ModuleIdentity, error) {
	var out ModuleIdentity
	_, err := s.call(ctx, "update module", http.MethodPut, devicePath("/devices/", m.identity()), orAny(match), m, &out)
	return out, err
}

// DeleteModule removes a module.
func (s *Service) DeleteModule(ctx context.Context, device, module, match string) error {
	_, err := s.call(ctx, "delete module", http.MethodDelete, devicePath("/devices/", causeway.Identity{Device: device, Module: module}), orAny(match), nil, nil)
	return err
}

// Twin returns the twin of a device, or of a module unless that is "".
func (s *Service) Twin(ctx context.Context, device, module string) (Twin, error) {
	var t Twin
	_, err := s.call(ctx, "get twin", http.MethodGet, devicePath("/twins/", causeway.Identity{Device: device, Module: module}), "", nil, &t)
	return t, err
}

// UpdateTwin merges a patch into tags and desired properties; null deletes.
func (s *Service) UpdateTwin(ctx context.Context, device, module string, p TwinPatch, match string) (Twin, error) {
	var t Twin
	_, err := s.call(ctx, "update twin", http.MethodPatch, devicePath("/twins/", causeway.Identity{Device: device, Module: module}), orAny(match), p.body(), &t)
	return t, err
}

// ReplaceTwin replaces tags and desired properties; a nil section stays.
func (s *Service) ReplaceTwin(ctx context.Context, device, module string, p TwinPatch, match string) (Twin, error) {
	var t Twin
	_, err := s.call(ctx, "replace twin", http.MethodPut, devicePath("/twins/", causeway.Identity{Device: device, Module: module}), orAny(match), p.body(), &t)
	return t, err
}

// Invoke calls a direct method and waits for the answer. Codes:
// DeviceNotOnline, GatewayTimeout (no answer in time).
func (s *Service) Invoke(ctx context.Context, device, module string, call MethodCall) (MethodResult, error) {
	body := map[string]any{"methodName": call.Name, "payload": json.RawMessage("null")}
	if len(call.Payload) > 0 {
		if !json.Valid(call.Payload) {
			return MethodResult{}, fmt.Errorf("invoke method: the payload is not JSON: %.80q", call.Payload)
		}
		body["payload"] = call.Payload
	}
	if call.ResponseTimeout > 0 {
		body["responseTimeoutInSeconds"] = seconds(call.ResponseTimeout)
	}
	if call.ConnectTimeout > 0 {
		body["connectTimeoutInSeconds"] = seconds(call.ConnectTimeout)
	}
	var out MethodResult
	_, err := s.call(ctx, "invoke method", http.MethodPost, devicePath("/twins/", causeway.Identity{Device: device, Module: module})+"/methods", "", body, &out)
	return out, err
}

// seconds rounds up: a caller who asked for 100 ms must not get none at all.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// SendCommand queues a cloud-to-device message. Fields used: Body, Properties,
// ID, CorrelationID, ContentType, ContentEncoding, Expiry, Ack. Codes:
// DeviceNotFound, DeviceMaximumQueueDepthExceeded, MessageTooLarge.
func (s *Service) SendCommand(ctx context.Context, device, module string, m *causeway.Message) error {
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	for _, f := range []struct{ name, value string }{
		{"iothub-messageid", m.ID},
		{"iothub-correlationid", m.CorrelationID},
		{"iothub-userid", m.UserID},
		{"iothub-contenttype", m.ContentType},
		{"iothub-contentencoding", m.ContentEncoding},
		{"iothub-ack", string(m.Ack)},
	} {
		if f.value != "" {
			h.Set(f.name, f.value)
		}
	}
	if !m.Expiry.IsZero() {
		h.Set("iothub-expiry", m.Expiry.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	}
	for _, p := range m.Properties {
		h.Set("iothub-app-"+p.Key, p.Value)
	}
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	q := request{
		method: http.MethodPost, op: "send command", raw: body, header: h, query: url.Values{"api-version": {apiVersion}},
		path: devicePath("/devices/", causeway.Identity{Device: device, Module: module}) + "/messages/deviceBound",
	}
	_, err := s.rest.do(ctx, q, nil)
	return err
}

// PurgeCommands drops the queued cloud-to-device messages of a device and
// returns how many there were.
func (s *Service) PurgeCommands(ctx context.Context, device string) (int, error) {
	var out struct{ TotalMessagesPurged int }
	_, err := s.call(ctx, "purge commands", http.MethodDelete, devicePath("/devices/", causeway.Identity{Device: device})+"/commands", "", nil, &out)
	return out.TotalMessagesPurged, err
}

// Statistics counts the devices of the hub.
func (s *Service) Statistics(ctx context.Context) (Statistics, error) {
	var st Statistics
	if _, err := s.call(ctx, "get statistics", http.MethodGet, "/statistics/devices", "", nil, &st); err != nil {
		return st, err
	}
	_, err := s.call(ctx, "get statistics", http.MethodGet, "/statistics/service", "", nil, &st)
	return st, err
}

func orAny(match string) string {
	if match == "" {
		return AnyVersion
	}
	return match
}
