package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ProvisioningDecision is what a provisioning service decided about a device, and
// why.
type ProvisioningDecision struct {
	Seq          int64                   `json:"seq"`
	At           time.Time               `json:"at"`
	Registration string                  `json:"registrationId"`
	Outcome      string                  `json:"outcome"` // assigned, failed, disabled, refused
	Hub          string                  `json:"hub,omitempty"`
	From         string                  `json:"from,omitempty"` // the hub it was on before
	DeviceID     string                  `json:"deviceId,omitempty"`
	Substatus    string                  `json:"substatus,omitempty"`
	Code         int                     `json:"errorCode,omitempty"`
	Message      string                  `json:"errorMessage,omitempty"`
	Enrollment   string                  `json:"enrollment,omitempty"`
	Group        bool                    `json:"group,omitempty"`
	Attestation  string                  `json:"attestation,omitempty"`
	Transport    string                  `json:"transport,omitempty"`
	Remote       string                  `json:"remote,omitempty"`
	Client       string                  `json:"client,omitempty"`
	Operation    string                  `json:"operationId,omitempty"`
	Policy       string                  `json:"allocationPolicy,omitempty"`
	Reason       string                  `json:"reason,omitempty"` // how the hub was chosen
	Region       string                  `json:"region,omitempty"`
	Webhook      int                     `json:"webhookStatus,omitempty"`
	Candidates   []ProvisioningCandidate `json:"candidates,omitempty"`
	Millis       float64                 `json:"milliseconds"`
	Skipped      int                     `json:"skipped,omitempty"` // refused before this one and not on record
}

// ProvisioningCandidate is a hub that a device might have been assigned to.
type ProvisioningCandidate struct {
	Host      string `json:"host"`
	Weight    int    `json:"weight"`
	Region    string `json:"region,omitempty"`
	Latency   *int   `json:"latencyMilliseconds,omitempty"`
	Unhealthy bool   `json:"unhealthy,omitempty"`
}

// DecisionQuery asks for decisions: the latest first or, with Ascending, those
// after a position in their order.
type DecisionQuery struct {
	Registration  string // "" for all
	Since         time.Time
	Ascending     bool
	After, Before int64
	Limit         int // 0 is 100, at most 1000
}

// ProvisioningDecisions returns the record of a provisioning service.
func (a *Admin) ProvisioningDecisions(ctx context.Context, service string, q DecisionQuery) ([]ProvisioningDecision, error) {
	v := url.Values{}
	if q.Registration != "" {
		v.Set("registration", q.Registration)
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Ascending {
		v.Set("after", strconv.FormatInt(q.After, 10))
	} else if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	var out struct{ Decisions []ProvisioningDecision }
	err := a.call(ctx, "list decisions", http.MethodGet, servicePath(service)+"/audit?"+v.Encode(), nil, &out)
	return out.Decisions, err
}

// ProvisioningRegions is what an allocation by latency knows of the world.
type ProvisioningRegions struct {
	Networks  []RegionNetwork `json:"networks"`
	Latencies []RegionLatency `json:"latencies"`
}

// RegionNetwork says in which region the addresses of a network are, such as
// 10.1.0.0/16.
type RegionNetwork struct {
	Network string `json:"network"`
	Region  string `json:"region"`
}

// RegionLatency is how far two regions are apart.
type RegionLatency struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Millis int    `json:"milliseconds"`
}

// ProvisioningRegions returns what a provisioning service knows of regions.
func (a *Admin) ProvisioningRegions(ctx context.Context, service string) (ProvisioningRegions, error) {
	var r ProvisioningRegions
	err := a.call(ctx, "get regions", http.MethodGet, servicePath(service)+"/regions", nil, &r)
	return r, err
}

// SetProvisioningRegions replaces what a provisioning service knows of regions.
func (a *Admin) SetProvisioningRegions(ctx context.Context, service string, r ProvisioningRegions) (ProvisioningRegions, error) {
	if r.Networks == nil {
		r.Networks = []RegionNetwork{}
	}
	if r.Latencies == nil {
		r.Latencies = []RegionLatency{}
	}
	var out ProvisioningRegions
	err := a.call(ctx, "set regions", http.MethodPut, servicePath(service)+"/regions", r, &out)
	return out, err
}
