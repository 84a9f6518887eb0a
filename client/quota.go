package client

import (
	"context"
	"net/http"
	"net/url"
)

// Rate is so many operations in a time.
type Rate struct {
	Count   float64 `json:"count"`             // 0 is no limit
	Seconds float64 `json:"seconds,omitempty"` // 0 is one
}

// QuotaSettings are what a hub is held to: the limits of an edition, with those
// that are given in place of its own.
type QuotaSettings struct {
	Preset        string          `json:"preset,omitempty"` // free, basic-b1 to -b3, standard-s1 to -s3; "" for none
	Units         int             `json:"units,omitempty"`  // 0 is one
	Rates         map[string]Rate `json:"rates,omitempty"`  // by kind of operation
	DailyMessages *int64          `json:"dailyMessages,omitempty"`
}

// Quota is what a hub is held to, and what is used of it.
type Quota struct {
	Enabled      bool            `json:"enabled"`
	Settings     QuotaSettings   `json:"settings"`
	Rates        map[string]Rate `json:"rates"`        // in force
	NotAvailable []string        `json:"notAvailable"` // kinds of operations that the edition does not have
	Messages     struct {
		Used  int64 `json:"used"` // on this day, UTC
		Limit int64 `json:"limit"`
		Bytes int   `json:"bytes,omitempty"` // that count as one
	} `json:"messages"`
}

func quotaPath(hub string) string { return "/hubs/" + url.PathEscape(hub) + "/quota" }

// Quota returns what a hub is held to.
func (a *Admin) Quota(ctx context.Context, hub string) (Quota, error) {
	var q Quota
	err := a.call(ctx, "get quota", http.MethodGet, quotaPath(hub), nil, &q)
	return q, err
}

// SetQuota holds a hub to limits, at once. Code ArgumentInvalid.
func (a *Admin) SetQuota(ctx context.Context, hub string, s QuotaSettings) (Quota, error) {
	var q Quota
	err := a.call(ctx, "set quota", http.MethodPut, quotaPath(hub), s, &q)
	return q, err
}

// ClearQuota holds a hub to nothing.
func (a *Admin) ClearQuota(ctx context.Context, hub string) error {
	return a.call(ctx, "clear quota", http.MethodDelete, quotaPath(hub), nil, nil)
}
