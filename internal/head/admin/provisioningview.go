package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// serviceBody is what is shown of a provisioning service. It holds no secrets.
type serviceBody struct {
	Name       string                   `json:"name" doc:"Unique name"`
	IDScope    string                   `json:"idScope" doc:"What devices name it by"`
	Hosts      []string                 `json:"hosts" nullable:"false" doc:"Host names of its service API, the canonical one first"`
	Allocation string                   `json:"allocationPolicy" enum:"hashed,geoLatency,static" doc:"How a hub is chosen for enrollments that do not say"`
	Hubs       []linkBody               `json:"hubs" nullable:"false" doc:"Linked hubs, in the order in which a static allocation looks at them"`
	Policies   []provisioningPolicyBody `json:"policies" nullable:"false" doc:"Shared access policies, without their keys"`
	Created    time.Time                `json:"created" doc:"When it was created"`
	ETag       string                   `json:"etag" doc:"Changes when any of this does, its throttle or its regions"`
}

// linkBody is a hub that devices may be assigned to.
type linkBody struct {
	Host     string     `json:"host" doc:"Host name of the hub, as devices get it"`
	Hub      string     `json:"hub,omitempty" doc:"Name of the hub, if it is one of this cloud"`
	Weight   int        `json:"weight" doc:"Share of it in hashed allocations, 1 to 1000"`
	Region   string     `json:"region,omitempty" doc:"Where it is, for the allocation by latency"`
	Excluded bool       `json:"excluded,omitempty" doc:"Whether only enrollments that name it get it"`
	Health   string     `json:"health" enum:"unknown,healthy,unhealthy" doc:"How it fared when devices were put there, since the start of the server"`
	Error    string     `json:"lastError,omitempty" doc:"Of an unhealthy hub"`
	RetryAt  *time.Time `json:"retryAt,omitempty" doc:"When an unhealthy hub is tried again, with one device"`
}

// provisioningPolicyBody shows a shared access policy, with keys when they were
// asked for.
type provisioningPolicyBody struct {
	Name             string   `json:"name"`
	Rights           []string `json:"rights" nullable:"false" doc:"ServiceConfig, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite"`
	PrimaryKey       string   `json:"primaryKey,omitempty" doc:"Base64"`
	SecondaryKey     string   `json:"secondaryKey,omitempty" doc:"Base64"`
	ConnectionString string   `json:"connectionString,omitempty" doc:"With the primary key"`
}

func (s *Server) newService(i *dps.Instance) serviceBody {
	b := serviceBody{
		Name: i.Name, IDScope: i.IDScope, Hosts: append([]string{}, i.Hosts...), Allocation: string(i.Allocation), Created: i.Created.UTC(),
		Hubs: make([]linkBody, 0, len(i.Links)), Policies: make([]provisioningPolicyBody, 0, len(i.Policies)), ETag: serviceETag(i),
	}
	for _, l := range i.Links {
		b.Hubs = append(b.Hubs, s.newLink(l))
	}
	for _, p := range i.Policies {
		b.Policies = append(b.Policies, newProvisioningPolicy(i, p, false))
	}
	return b
}

func (s *Server) newLink(l dps.Link) linkBody {
	b := linkBody{Host: l.Host, Weight: max(1, l.Weight), Region: l.Region, Excluded: l.Excluded}
	switch h := s.Provisioning.HubHealth(l.Host); {
	case !h.Used:
		b.Health = "unknown"
	case h.Healthy:
		b.Health = "healthy"
	default:
		b.Health, b.Error, b.RetryAt = "unhealthy", h.LastError, new(h.RetryAt.UTC())
	}
	if l.ConnectionString == "" {
		if h, ok := s.Directory.ByHost(l.Host); ok {
			b.Hub = h.Name
		}
	}
	return b
}

func newProvisioningPolicy(i *dps.Instance, p dps.AccessPolicy, keys bool) provisioningPolicyBody {
	b := provisioningPolicyBody{Name: p.Name, Rights: strings.Split(p.Rights.String(), ", ")}
	if keys {
		b.PrimaryKey, b.SecondaryKey = string(p.Primary), string(p.Secondary)
		b.ConnectionString, _ = i.ConnectionString(p.Name)
	}
	return b
}

// serviceETag is a hash of all of a service but its secrets and certificates,
// which have etags of their own: it need not be stored, and two that look the
// same are.
func serviceETag(i *dps.Instance) string {
	type policy struct {
		Name   string
		Rights dps.Rights
	}
	seen := struct {
		Hosts      []string
		Allocation dps.Policy
		Links      []dps.Link
		Policies   []policy
		Throttle   dps.Throttle
		Geo        dps.Geo
	}{Hosts: i.Hosts, Allocation: i.Allocation, Throttle: i.Throttle, Geo: i.Geo}
	for _, l := range i.Links {
		l.ConnectionString = ""
		seen.Links = append(seen.Links, l)
	}
	for _, p := range i.Policies {
		seen.Policies = append(seen.Policies, policy{p.Name, p.Rights})
	}
	b, err := json.Marshal(seen)
	if err != nil {
		panic(err) // plain texts and numbers
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
