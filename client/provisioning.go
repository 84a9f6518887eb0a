package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// ProvisioningService is a provisioning service of a cloud.
type ProvisioningService struct {
	Name             string               `json:"name"`
	IDScope          string               `json:"idScope"`          // what devices name it by
	Hosts            []string             `json:"hosts"`            // of its service API; the first is the one in connection strings
	AllocationPolicy string               `json:"allocationPolicy"` // of enrollments that have none: hashed, geoLatency or static
	Hubs             []LinkedHub          `json:"hubs"`
	Policies         []ProvisioningPolicy `json:"policies"` // without keys
	Created          Time                 `json:"created"`
	ETag             string               `json:"etag"`
}

// LinkedHub is a hub that devices may be assigned to.
type LinkedHub struct {
	Host     string `json:"host"`          // as devices get it
	Hub      string `json:"hub,omitempty"` // its name, if it is a hub of this cloud
	Weight   int    `json:"weight"`        // share in hashed allocations, 1 to 1000
	Region   string `json:"region,omitempty"`
	Excluded bool   `json:"excluded,omitempty"` // only enrollments that name it get it
	// Health is how it fared when devices were put there: unknown, healthy, unhealthy.
	Health    string    `json:"health,omitempty"`
	LastError string    `json:"lastError,omitempty"`
	RetryAt   time.Time `json:"retryAt,omitzero"` // when an unhealthy hub is tried again
}

// ProvisioningPolicy is a shared access policy of a provisioning service. Its keys
// are there only when they were asked for.
type ProvisioningPolicy struct {
	Name             string   `json:"name"`
	Rights           []string `json:"rights"`
	PrimaryKey       string   `json:"primaryKey,omitempty"`
	SecondaryKey     string   `json:"secondaryKey,omitempty"`
	ConnectionString string   `json:"connectionString,omitempty"`
}

// ProvisioningServices lists the provisioning services of the cloud.
func (a *Admin) ProvisioningServices(ctx context.Context) ([]ProvisioningService, error) {
	var out struct{ Services []ProvisioningService }
	err := a.call(ctx, "list provisioning services", http.MethodGet, "/provisioning", nil, &out)
	return out.Services, err
}

// ProvisioningService returns a provisioning service.
func (a *Admin) ProvisioningService(ctx context.Context, name string) (ProvisioningService, error) {
	var s ProvisioningService
	err := a.call(ctx, "get provisioning service", http.MethodGet, servicePath(name), nil, &s)
	return s, err
}

// NewProvisioningService is a provisioning service that is to be made.
type NewProvisioningService struct {
	Name             string   `json:"name"`
	Hosts            []string `json:"hosts,omitempty"`            // none means its name
	AllocationPolicy string   `json:"allocationPolicy,omitempty"` // "" is hashed
	Hubs             []string `json:"hubs,omitempty"`             // names of hubs of the cloud to link
}

// CreateProvisioningService makes a provisioning service with an id scope of its
// own and the policy provisioningserviceowner.
func (a *Admin) CreateProvisioningService(ctx context.Context, s NewProvisioningService) (ProvisioningService, error) {
	var out ProvisioningService
	err := a.call(ctx, "create provisioning service", http.MethodPost, "/provisioning", s, &out)
	return out, err
}

// ProvisioningChange is what may change of a provisioning service; what is empty
// stays.
type ProvisioningChange struct {
	Hosts            []string `json:"hosts,omitempty"`
	AllocationPolicy string   `json:"allocationPolicy,omitempty"`
}

// ChangeProvisioningService changes a provisioning service if its etag still is
// match; "" is for any, here and below.
func (a *Admin) ChangeProvisioningService(ctx context.Context, name string, c ProvisioningChange, match string) (ProvisioningService, error) {
	var out ProvisioningService
	err := a.callIf(ctx, "change provisioning service", http.MethodPatch, servicePath(name), match, c, &out)
	return out, err
}

// DeleteProvisioningService removes a provisioning service with its enrollments
// and registrations. Devices stay on their hubs.
func (a *Admin) DeleteProvisioningService(ctx context.Context, name string) error {
	return a.call(ctx, "delete provisioning service", http.MethodDelete, servicePath(name), nil, nil)
}

// ProvisioningKeys returns a policy of a provisioning service with its keys.
func (a *Admin) ProvisioningKeys(ctx context.Context, service, policy string) (ProvisioningPolicy, error) {
	var p ProvisioningPolicy
	err := a.call(ctx, "show keys", http.MethodPost, policyPath(service, policy)+"/keys", nil, &p)
	return p, err
}

// PutProvisioningPolicy gives a policy other rights, or makes it: a new one is
// returned with its keys.
func (a *Admin) PutProvisioningPolicy(ctx context.Context, service, policy string, rights []string, match string) (ProvisioningPolicy, error) {
	var p ProvisioningPolicy
	err := a.callIf(ctx, "put policy", http.MethodPut, policyPath(service, policy), match, map[string]any{"rights": rights}, &p)
	return p, err
}

// DeleteProvisioningPolicy removes a policy: what was signed with its keys is
// refused from then on.
func (a *Admin) DeleteProvisioningPolicy(ctx context.Context, service, policy, match string) error {
	return a.callIf(ctx, "delete policy", http.MethodDelete, policyPath(service, policy), match, nil, nil)
}

// RegenerateProvisioningKey replaces a key of a policy: which is "primary" or
// "secondary", or "swap" to exchange the two.
func (a *Admin) RegenerateProvisioningKey(ctx context.Context, service, policy, which string) (ProvisioningPolicy, error) {
	var p ProvisioningPolicy
	err := a.call(ctx, "regenerate key", http.MethodPost, policyPath(service, policy)+"/regenerate", map[string]string{"key": which}, &p)
	return p, err
}

// HubLink says how a hub is linked. What is nil or empty stays as it is.
type HubLink struct {
	Weight   *int    `json:"weight,omitempty"` // 1 to 1000; 1 for a new link
	Region   *string `json:"region,omitempty"`
	Excluded *bool   `json:"excluded,omitempty"`
	// ConnectionString is of a policy that may write the registry of a hub which
	// is not of this cloud.
	ConnectionString string `json:"connectionString,omitempty"`
}

// LinkHub links a hub to a provisioning service, or changes how it is linked. A hub
// of the cloud is given by its name, another by its host name.
func (a *Admin) LinkHub(ctx context.Context, service, hub string, l HubLink, match string) (LinkedHub, error) {
	var out LinkedHub
	err := a.callIf(ctx, "link hub", http.MethodPut, servicePath(service)+"/hubs/"+url.PathEscape(hub), match, l, &out)
	return out, err
}

// UnlinkHub removes a hub from a provisioning service. Its devices stay there until
// they register again.
func (a *Admin) UnlinkHub(ctx context.Context, service, hub, match string) error {
	return a.callIf(ctx, "unlink hub", http.MethodDelete, servicePath(service)+"/hubs/"+url.PathEscape(hub), match, nil, nil)
}

// callIf is call with a condition.
func (a *Admin) callIf(ctx context.Context, op, method, path, match string, body, out any) error {
	q := request{method: method, path: adminPrefix + path, body: body, op: op, header: http.Header{}}
	if match != "" {
		q.header.Set("If-Match", quoteETag(match))
	}
	_, err := a.rest.do(ctx, q, out)
	return err
}

func servicePath(name string) string { return "/provisioning/" + url.PathEscape(name) }

func policyPath(service, policy string) string {
	return servicePath(service) + "/policies/" + url.PathEscape(policy)
}
