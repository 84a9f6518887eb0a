package client

import (
	"context"
	"net/http"
	"net/url"
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

func servicePath(name string) string { return "/provisioning/" + url.PathEscape(name) }
