package client

import (
	"context"
	"net/http"
)

// ProvisioningThrottle is how many calls a provisioning service takes. The names
// of limits are registrations (of all devices, a minute), operations (of back
// ends, a minute) and polls (questions of one device, in ten seconds).
type ProvisioningThrottle struct {
	Preset    string         `json:"preset"` // standard-s1, or "" for none but those below
	Limits    map[string]int `json:"limits"` // replace those of the preset; 0 is no limit
	Effective map[string]int `json:"effective,omitempty"`
}

// ProvisioningThrottle returns how many calls a provisioning service takes.
func (a *Admin) ProvisioningThrottle(ctx context.Context, service string) (ProvisioningThrottle, error) {
	var t ProvisioningThrottle
	err := a.call(ctx, "get throttle", http.MethodGet, servicePath(service)+"/throttle", nil, &t)
	return t, err
}

// SetProvisioningThrottle sets how many calls a provisioning service takes; the
// zero value takes what comes.
func (a *Admin) SetProvisioningThrottle(ctx context.Context, service string, t ProvisioningThrottle) (ProvisioningThrottle, error) {
	var out ProvisioningThrottle
	err := a.call(ctx, "set throttle", http.MethodPut, servicePath(service)+"/throttle", map[string]any{"preset": t.Preset, "limits": orNone(t.Limits)}, &out)
	return out, err
}

func orNone(m map[string]int) map[string]int {
	if m == nil {
		return map[string]int{}
	}
	return m
}
