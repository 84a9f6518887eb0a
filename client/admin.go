package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// adminPrefix is where the administration of a Causeway cloud lives.
const adminPrefix = "/api/v1"

// maxEventLine bounds one line of an event stream: a message of 256 KB in
// base64, and what belongs to it.
const maxEventLine = 1 << 20

// Admin is an operator's view of a Causeway cloud. It is safe for concurrent use.
type Admin struct{ rest *rest }

// NewAdmin returns a client for the cloud at an address such as
// "https://localhost:8443", with the token from the file admin.token in its
// data directory.
func NewAdmin(address, token string, o Options) (*Admin, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("address of the administration: %q is not https://host:port", address)
	}
	if token == "" {
		return nil, errors.New("the administration needs a token")
	}
	if o.HTTPSPort == 0 {
		if o.HTTPSPort, err = strconv.Atoi(u.Port()); err != nil {
			o.HTTPSPort = DefaultHTTPSPort
		}
	}
	r := newREST(u.Hostname(), &o)
	r.header = func(h http.Header) error {
		h.Set("Authorization", "Bearer "+token)
		return nil
	}
	return &Admin{r}, nil
}

// Close releases idle connections.
func (a *Admin) Close() { a.rest.close() }

// Hub is a hub of a cloud.
type Hub struct {
	Name       string      `json:"name"`
	Hosts      []string    `json:"hosts"` // the first is the one in connection strings
	Partitions int         `json:"partitions"`
	Created    Time        `json:"created"`
	Settings   HubSettings `json:"settings"`
	Devices    *HubDevices `json:"devices,omitempty"` // of one hub only, see Admin.Hub
}

// HubSettings are what may differ from the defaults, which zero stands for.
type HubSettings struct {
	RetentionSeconds  int64 `json:"retentionSeconds,omitempty"`
	RetentionBytes    int64 `json:"retentionBytes,omitempty"`
	CommandTTLSeconds int64 `json:"commandTtlSeconds,omitempty"`
	MaxDeliveryCount  int   `json:"maxDeliveryCount,omitempty"`

	FeedbackTTLSeconds       int64 `json:"feedbackTtlSeconds,omitempty"`
	FeedbackLockSeconds      int64 `json:"feedbackLockSeconds,omitempty"`
	FeedbackMaxDeliveryCount int   `json:"feedbackMaxDeliveryCount,omitempty"`

	FileUploadDisabled   bool   `json:"fileUploadDisabled,omitempty"`
	FileUploadContainer  string `json:"fileUploadContainer,omitempty"`
	FileUploadTTLSeconds int64  `json:"fileUploadTtlSeconds,omitempty"`
	JobsActive           int    `json:"jobsActive,omitempty"`          // scheduled jobs that run at once
	JobDevicesPerSecond  int    `json:"jobDevicesPerSecond,omitempty"` // by all of them together

	FileNotificationsDisabled        bool  `json:"fileNotificationsDisabled,omitempty"`
	FileNotificationTTLSeconds       int64 `json:"fileNotificationTtlSeconds,omitempty"`
	FileNotificationLockSeconds      int64 `json:"fileNotificationLockSeconds,omitempty"`
	FileNotificationMaxDeliveryCount int   `json:"fileNotificationMaxDeliveryCount,omitempty"`
}

// HubDevices counts the devices of a hub.
type HubDevices struct {
	Total    int `json:"total"`
	Enabled  int `json:"enabled"`
	Disabled int `json:"disabled"`
}

// Policy is a shared access policy of a hub, with its keys.
type Policy struct {
	Name             string   `json:"name"`
	Rights           []string `json:"rights"`
	PrimaryKey       string   `json:"primaryKey"`
	SecondaryKey     string   `json:"secondaryKey"`
	ConnectionString string   `json:"connectionString"`
}

func (a *Admin) call(ctx context.Context, op, method, path string, body, out any) error {
	_, err := a.rest.do(ctx, request{method: method, path: adminPrefix + path, body: body, op: op}, out)
	return err
}

// Hubs lists the hubs of the cloud.
func (a *Admin) Hubs(ctx context.Context) ([]Hub, error) {
	var out struct{ Hubs []Hub }
	err := a.call(ctx, "list hubs", http.MethodGet, "/hubs", nil, &out)
	return out.Hubs, err
}

// Hub returns a hub.
func (a *Admin) Hub(ctx context.Context, name string) (Hub, error) {
	var h Hub
	err := a.call(ctx, "get hub", http.MethodGet, "/hubs/"+url.PathEscape(name), nil, &h)
	return h, err
}

// SetHubSettings replaces the settings of a hub, at once; its routing and its quota
// stay. Code ArgumentInvalid.
func (a *Admin) SetHubSettings(ctx context.Context, name string, s HubSettings) (Hub, error) {
	var h Hub
	err := a.call(ctx, "set hub settings", http.MethodPut, "/hubs/"+url.PathEscape(name)+"/settings", s, &h)
	return h, err
}

// CreateHub makes a hub with default policies. It answers to its hosts at once.
func (a *Admin) CreateHub(ctx context.Context, h Hub) (Hub, error) {
	body := map[string]any{"name": h.Name, "hosts": h.Hosts, "settings": h.Settings}
	if h.Partitions > 0 {
		body["partitions"] = h.Partitions
	}
	var out Hub
	err := a.call(ctx, "create hub", http.MethodPost, "/hubs", body, &out)
	return out, err
}

// DeleteHub removes a hub with everything it has: identities, twins, telemetry.
func (a *Admin) DeleteHub(ctx context.Context, name string) error {
	return a.call(ctx, "delete hub", http.MethodDelete, "/hubs/"+url.PathEscape(name), nil, nil)
}

// Policies returns the policies of a hub with their keys.
func (a *Admin) Policies(ctx context.Context, hub string) ([]Policy, error) {
	var out struct{ Policies []Policy }
	err := a.call(ctx, "list policies", http.MethodGet, "/hubs/"+url.PathEscape(hub)+"/policies", nil, &out)
	return out.Policies, err
}

// RegenerateKey replaces the primary or secondary key of a policy.
func (a *Admin) RegenerateKey(ctx context.Context, hub, policy, which string) (Policy, error) {
	var p Policy
	err := a.call(ctx, "regenerate key", http.MethodPost,
		"/hubs/"+url.PathEscape(hub)+"/policies/"+url.PathEscape(policy)+"/regenerate", map[string]string{"key": which}, &p)
	return p, err
}

// Authority is a certificate authority registered on a hub: devices whose
// registry type is certificateAuthority prove themselves by its certificates.
type Authority struct {
	Name     string `json:"name"`
	Subject  string `json:"subject"`
	SHA256   string `json:"sha256"` // thumbprint, hexadecimal
	NotAfter Time   `json:"notAfter"`
	Verified bool   `json:"verified"`
	Created  Time   `json:"created"`
}

func (a *Admin) authorities(ctx context.Context, op, method, path string, body any) ([]Authority, error) {
	var out struct{ Authorities []Authority }
	err := a.call(ctx, op, method, path, body, &out)
	return out.Authorities, err
}

// Authorities lists the certificate authorities of a hub.
func (a *Admin) Authorities(ctx context.Context, hub string) ([]Authority, error) {
	return a.authorities(ctx, "list authorities", http.MethodGet, "/hubs/"+url.PathEscape(hub)+"/authorities", nil)
}

// PutAuthority registers the one certificate in PEM text under a name, in place
// of what had the name, and returns all of the hub.
func (a *Admin) PutAuthority(ctx context.Context, hub, name, pem string) ([]Authority, error) {
	return a.authorities(ctx, "register authority", http.MethodPut,
		"/hubs/"+url.PathEscape(hub)+"/authorities/"+url.PathEscape(name), map[string]string{"certificate": pem})
}

// DeleteAuthority removes a certificate authority from a hub.
func (a *Admin) DeleteAuthority(ctx context.Context, hub, name string) error {
	return a.call(ctx, "remove authority", http.MethodDelete,
		"/hubs/"+url.PathEscape(hub)+"/authorities/"+url.PathEscape(name), nil, nil)
}

// ConsumerGroup is one way to read the events of a hub: readers of one group do
// not disturb those of another.
type ConsumerGroup struct {
	Name    string `json:"name"`
	Created Time   `json:"created"`
}

// ConsumerGroups lists the consumer groups of a hub by name, $Default first.
func (a *Admin) ConsumerGroups(ctx context.Context, hub string) ([]ConsumerGroup, error) {
	var out struct{ ConsumerGroups []ConsumerGroup }
	err := a.call(ctx, "list consumer groups", http.MethodGet, "/hubs/"+url.PathEscape(hub)+"/consumer-groups", nil, &out)
	return out.ConsumerGroups, err
}

// CreateConsumerGroup adds a consumer group to a hub.
func (a *Admin) CreateConsumerGroup(ctx context.Context, hub, name string) (ConsumerGroup, error) {
	var g ConsumerGroup
	err := a.call(ctx, "create consumer group", http.MethodPut, "/hubs/"+url.PathEscape(hub)+"/consumer-groups/"+url.PathEscape(name), nil, &g)
	return g, err
}

// DeleteConsumerGroup removes a consumer group from a hub; $Default stays.
func (a *Admin) DeleteConsumerGroup(ctx context.Context, hub, name string) error {
	return a.call(ctx, "delete consumer group", http.MethodDelete, "/hubs/"+url.PathEscape(hub)+"/consumer-groups/"+url.PathEscape(name), nil, nil)
}

// BlobGrant says what an address of blobs shall allow.
type BlobGrant struct {
	Container   string `json:"container,omitempty"` // "" for all containers
	Blob        string `json:"blob,omitempty"`      // "" for all of the container
	Permissions string `json:"permissions"`         // of r, a, c, w, d, l: read, add, create, write, delete, list
	Seconds     int64  `json:"seconds"`             // from now
}

// BlobAccess is the path and query of an address of blobs on a hub's host. Who
// has them may do what they allow.
type BlobAccess struct {
	Path    string `json:"path"`
	Query   string `json:"query"`
	Expires Time   `json:"expires"`
}

// SignBlob returns an address of blobs of a hub for a while.
func (a *Admin) SignBlob(ctx context.Context, hub string, g BlobGrant) (BlobAccess, error) {
	var out BlobAccess
	err := a.call(ctx, "sign blob", http.MethodPost, "/hubs/"+url.PathEscape(hub)+"/blob-signatures", g, &out)
	return out, err
}

// EventsQuery says which events of a hub are wanted. The zero value wants all
// from now on.
type EventsQuery struct {
	Device string
	Module string
	From   string // latest, earliest, a time (RFC 3339) or offsets "0:17,1:4"
	Max    int    // end after so many; 0 is never
}

// Event is one event of a hub. Body is JSON, a JSON string of text, or a JSON
// string of base64, as BodyEncoding ("json", "text", "base64") says.
type Event struct {
	Partition        int               `json:"partition"`
	Offset           int64             `json:"offset"`
	DeviceID         string            `json:"deviceId"`
	ModuleID         string            `json:"moduleId,omitempty"`
	SequenceNumber   int64             `json:"sequenceNumber"`
	EnqueuedTime     Time              `json:"enqueuedTime"`
	SystemProperties map[string]string `json:"systemProperties"`
	Annotations      map[string]string `json:"annotations"`
	Properties       map[string]string `json:"properties"`
	BodyEncoding     string            `json:"bodyEncoding"`
	Body             json.RawMessage   `json:"body"`

	Raw json.RawMessage `json:"-"` // the line as the server sent it
}

// Events streams the events of a hub and calls f with each, in order within a
// partition. It returns when f fails, when ctx ends, or when the stream does:
// after Max events with nil, else with why.
func (a *Admin) Events(ctx context.Context, hub string, q EventsQuery, f func(Event) error) error {
	return a.rest.events(ctx, hub, q, f)
}

// Events streams the events of the client's hub, as [Admin.Events] does; the
// policy needs ServiceConnect. It works with a Causeway cloud only: the hub of
// others is read by AMQP.
func (s *Service) Events(ctx context.Context, q EventsQuery, f func(Event) error) error {
	hub, _, _ := strings.Cut(s.host, ".")
	return s.rest.events(ctx, strings.ToLower(hub), q, f)
}

func (r *rest) events(ctx context.Context, hub string, q EventsQuery, f func(Event) error) error {
	const op = "stream events"
	v := url.Values{}
	for _, p := range []struct{ key, value string }{{"device", q.Device}, {"module", q.Module}, {"from", q.From}} {
		if p.value != "" {
			v.Set(p.key, p.value)
		}
	}
	if q.Max > 0 {
		v.Set("max", strconv.Itoa(q.Max))
	}
	resp, err := r.send(ctx, request{
		method: http.MethodGet, path: adminPrefix + "/hubs/" + url.PathEscape(hub) + "/events", query: v, op: op,
		header: http.Header{"Accept": {"application/x-ndjson"}},
	}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEventLine)
	if resp.StatusCode != http.StatusOK {
		var body []byte
		for lines.Scan() && len(body) < maxEventLine {
			body = append(body, lines.Bytes()...)
		}
		return decodeError(op, resp.StatusCode, resp.Header, body)
	}
	seen := 0
	for lines.Scan() {
		var l struct {
			Type    string
			Message string
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("%s: read line: %w", op, err)
		}
		switch l.Type {
		case "event":
			e := Event{Raw: append(json.RawMessage(nil), lines.Bytes()...)}
			if err := json.Unmarshal(e.Raw, &e); err != nil {
				return fmt.Errorf("%s: read event: %w", op, err)
			}
			if err := f(e); err != nil {
				return err
			}
			seen++
		case "end":
			if q.Max > 0 && seen >= q.Max {
				return nil
			}
			return fmt.Errorf("%s: ended by the server: %s", op, l.Message)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%s: the server ended the stream", op)
}

// ConnectionString returns the connection string of a policy of a hub.
func (a *Admin) ConnectionString(ctx context.Context, hub, policy string) (string, error) {
	list, err := a.Policies(ctx, hub)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range list {
		if p.Name == policy {
			return p.ConnectionString, nil
		}
		names = append(names, p.Name)
	}
	return "", fmt.Errorf("hub %s has no policy %q; it has %s", hub, policy, strings.Join(names, ", "))
}

// Text returns the body of an event as people read it: text as it is, JSON in
// one line, anything else in base64.
func (e *Event) Text() string {
	if e.BodyEncoding == "json" {
		return string(e.Body)
	}
	var s string
	if json.Unmarshal(e.Body, &s) != nil {
		return string(e.Body)
	}
	return s
}

// Time returns when the event arrived.
func (e *Event) Time() time.Time { return e.EnqueuedTime.Time }
