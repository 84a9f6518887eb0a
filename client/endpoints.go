package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// EndpointKind describes a kind of custom endpoints.
type EndpointKind struct {
	Name   string            `json:"name"`
	Doc    string            `json:"doc"`
	Fields []EndpointSetting `json:"settings"`
}

// EndpointSetting is a setting of a kind. Those of the type secret are among the
// secrets of an endpoint, the others in its config.
type EndpointSetting struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Doc      string   `json:"doc"`
	Required bool     `json:"required"`
	Default  string   `json:"default"`
	Example  string   `json:"example"`
	OneOf    []string `json:"oneOf"`
}

// EndpointHealth is how a custom endpoint fares. Counts are since the start of
// the server.
type EndpointHealth struct {
	Endpoint     string    `json:"endpointId"`
	Status       string    `json:"healthStatus"` // unknown, healthy, degraded, unhealthy, dead
	LastError    string    `json:"lastKnownError,omitempty"`
	LastFailure  time.Time `json:"lastKnownErrorTime,omitzero"`
	LastSuccess  time.Time `json:"lastSuccessfulSendAttemptTime,omitzero"`
	LastAttempt  time.Time `json:"lastSendAttemptTime,omitzero"`
	Waiting      int64     `json:"waitingMessages"`
	WaitingBytes int64     `json:"waitingBytes"`
	Oldest       time.Time `json:"oldestMessageTime,omitzero"`
	Sent         uint64    `json:"sentMessages"`
	Failed       uint64    `json:"failedAttempts"`
	DeadLettered uint64    `json:"deadLetteredMessages"`
	Dropped      uint64    `json:"droppedMessages"`
}

// DeadLetter is a message that a custom endpoint did not get.
type DeadLetter struct {
	Offset           int64             `json:"offset"`
	Endpoint         string            `json:"endpoint"`
	Reason           string            `json:"reason"`
	Detail           string            `json:"detail,omitempty"`
	Attempts         int               `json:"attempts,omitempty"`
	Died             time.Time         `json:"died"`
	DeviceID         string            `json:"deviceId"`
	ModuleID         string            `json:"moduleId,omitempty"`
	EnqueuedTime     string            `json:"enqueuedTime"`
	Source           string            `json:"source,omitempty"`
	Properties       map[string]string `json:"properties"`
	SystemProperties map[string]string `json:"systemProperties"`
	BodyEncoding     string            `json:"bodyEncoding"` // json, text, base64
	Body             json.RawMessage   `json:"body"`
}

// EndpointKinds describes the kinds of custom endpoints, and the settings of the
// queues before them: members of the member delivery of an endpoint's config.
func (a *Admin) EndpointKinds(ctx context.Context) (kinds []EndpointKind, delivery []EndpointSetting, err error) {
	var out struct {
		Kinds    []EndpointKind
		Delivery []EndpointSetting
	}
	err = a.call(ctx, "list endpoint kinds", http.MethodGet, "/endpoint-kinds", nil, &out)
	return out.Kinds, out.Delivery, err
}

// EndpointHealth returns how the custom endpoints of a hub fare.
func (a *Admin) EndpointHealth(ctx context.Context, hub string) ([]EndpointHealth, error) {
	var out struct{ Value []EndpointHealth }
	err := a.call(ctx, "get endpoint health", http.MethodGet, routingPath(hub, "health"), nil, &out)
	return out.Value, err
}

// DeadLetters returns up to limit dead letters of an endpoint, or of all for "",
// from an offset on, and where the next page begins; more is false when there is
// none.
func (a *Admin) DeadLetters(ctx context.Context, hub, endpoint string, from int64, limit int) (page []DeadLetter, next int64, more bool, err error) {
	q := url.Values{"from": {strconv.FormatInt(from, 10)}, "limit": {strconv.Itoa(limit)}}
	if endpoint != "" {
		q.Set("endpoint", endpoint)
	}
	var out struct {
		Value []DeadLetter
		Next  *int64
	}
	if err := a.call(ctx, "list dead letters", http.MethodGet, routingPath(hub, "dead-letters")+"?"+q.Encode(), nil, &out); err != nil {
		return nil, 0, false, err
	}
	if out.Next != nil {
		return out.Value, *out.Next, true, nil
	}
	return out.Value, 0, false, nil
}

// ReplayDeadLetters puts the dead letters of an endpoint into its queue again,
// and returns how many.
func (a *Admin) ReplayDeadLetters(ctx context.Context, hub, endpoint string) (int, error) {
	var out struct{ Messages int }
	err := a.call(ctx, "replay dead letters", http.MethodPost, routingPath(hub, "endpoints", endpoint, "dead-letters", "replay"), nil, &out)
	return out.Messages, err
}

// DeleteDeadLetters forgets the dead letters of an endpoint.
func (a *Admin) DeleteDeadLetters(ctx context.Context, hub, endpoint string) error {
	return a.call(ctx, "delete dead letters", http.MethodDelete, routingPath(hub, "endpoints", endpoint, "dead-letters"), nil, nil)
}
