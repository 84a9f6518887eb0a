package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// Provisioning is what this head asks of dps.Service; see there.
type Provisioning interface {
	Instances() []dps.Instance
	Damaged() []string
	Instance(name string) (dps.Instance, bool)
	Create(ctx context.Context, name string, hosts []string) (dps.Instance, error)
	Change(ctx context.Context, name string, change func(*dps.Instance) error) (dps.Instance, error)
	Delete(ctx context.Context, name string) error
	HubHealth(host string) dps.HubHealth
	Decisions(ctx context.Context, service string, q dps.DecisionQuery) ([]dps.Decision, error)
	Certificates
}

// ServicePath is the parameter of every operation about one provisioning service.
type ServicePath struct {
	Service string `path:"service" maxLength:"128" doc:"Name of the provisioning service" example:"dps"`
}

func (p ServicePath) name() string { return strings.ToLower(p.Service) }

// ChangedPath is the parameters of operations that change a provisioning service.
type ChangedPath struct {
	ServicePath
	IfMatch string `header:"If-Match" maxLength:"64" doc:"Do it only if the etag of the service still is this"`
}

// check compares the condition with the service as it is now.
func (p *ChangedPath) check(i *dps.Instance) error {
	etag := strings.Trim(strings.TrimPrefix(p.IfMatch, "W/"), `"`)
	if etag == "" || etag == "*" || etag == serviceETag(i) {
		return nil
	}
	return causeway.Errorf(dps.CodePrecondition, "admin.provisioning", "the provisioning service %q has changed since it was read; read it again", i.Name)
}

type serviceOutput struct {
	ETag string `header:"ETag"`
	Body serviceBody
}

type servicesOutput struct {
	Body struct {
		Services []serviceBody `json:"services" nullable:"false" doc:"By name"`
		Damaged  []string      `json:"damaged,omitempty" doc:"Services that are not served because what is stored of them cannot be read: restore or delete them"`
	}
}

type createServiceInput struct {
	Body struct {
		Name       string   `json:"name" minLength:"1" maxLength:"128" doc:"Unique name: letters, digits and characters of . _ -"`
		Hosts      []string `json:"hosts,omitempty" nullable:"false" maxItems:"64" doc:"Host names of its service API, the canonical one first; without any, its name"`
		Allocation string   `json:"allocationPolicy,omitempty" enum:"hashed,geoLatency,static" doc:"How a hub is chosen for enrollments that do not say; hashed without it"`
		Hubs       []string `json:"hubs,omitempty" nullable:"false" maxItems:"50" doc:"Names or host names of hubs of this cloud to link"`
	}
}

type changeServiceInput struct {
	ChangedPath
	Body struct {
		Hosts      []string `json:"hosts,omitempty" nullable:"false" maxItems:"64" doc:"All its host names, the canonical one first; they stay without it"`
		Allocation string   `json:"allocationPolicy,omitempty" enum:"hashed,geoLatency,static" doc:"It stays without it"`
	}
}

func (s *Server) addProvisioning(api huma.API) {
	huma.Register(api, operation("listProvisioningServices", http.MethodGet, "/provisioning", "provisioning", "List the provisioning services", 0), s.listServices)

	create := operation("createProvisioningService", http.MethodPost, "/provisioning", "provisioning", "Create a provisioning service with an id scope and an owner policy", 0)
	create.DefaultStatus = http.StatusCreated
	create.Errors = append(create.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity)
	huma.Register(api, create, s.createService)

	get := operation("getProvisioningService", http.MethodGet, "/provisioning/{service}", "provisioning", "Show a provisioning service", 0)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getService)

	change := operation("changeProvisioningService", http.MethodPatch, "/provisioning/{service}", "provisioning", "Change the host names or the allocation of a provisioning service", 0)
	change.Errors = append(change.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, change, s.changeService)

	del := operation("deleteProvisioningService", http.MethodDelete, "/provisioning/{service}", "provisioning", "Delete a provisioning service with its enrollments and registrations; devices stay on their hubs", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound)
	huma.Register(api, del, s.deleteService)

	s.addProvisioningPolicies(api)
	s.addLinks(api)
	s.addCertificates(api)
	s.addRevocations(api)
	s.addCredentials(api)
	s.addThrottle(api)
	s.addRegions(api)
	s.addAudit(api)
}

func (s *Server) listServices(context.Context, *struct{}) (*servicesOutput, error) {
	out := &servicesOutput{}
	out.Body.Services = []serviceBody{}
	if s.Provisioning == nil {
		return out, nil
	}
	for _, i := range s.Provisioning.Instances() {
		out.Body.Services = append(out.Body.Services, s.newService(&i))
	}
	out.Body.Damaged = s.Provisioning.Damaged()
	return out, nil
}

func (s *Server) createService(ctx context.Context, in *createServiceInput) (*serviceOutput, error) {
	if s.Provisioning == nil {
		return nil, s.problem(ctx, causeway.Errorf(causeway.GenericNotFound, "admin.provisioning", "this server has no provisioning"))
	}
	var links []dps.Link
	for _, name := range in.Body.Hubs {
		host, err := s.hostOf(name)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		if !slices.ContainsFunc(links, func(l dps.Link) bool { return l.Host == host }) {
			links = append(links, dps.Link{Host: host})
		}
	}
	i, err := s.Provisioning.Create(ctx, in.Body.Name, in.Body.Hosts)
	if err == nil && (len(links) > 0 || in.Body.Allocation != "") {
		i, err = s.Provisioning.Change(ctx, i.Name, func(i *dps.Instance) error {
			i.Links = links
			if in.Body.Allocation != "" {
				i.Allocation = dps.Policy(in.Body.Allocation)
			}
			return nil
		})
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning service created", "service", i.Name, "scope", i.IDScope, "hosts", i.Hosts, "hubs", len(links))
	return s.serviceOutput(&i), nil
}

func (s *Server) getService(ctx context.Context, in *ServicePath) (*serviceOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.serviceOutput(&i), nil
}

func (s *Server) changeService(ctx context.Context, in *changeServiceInput) (*serviceOutput, error) {
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		if in.Body.Hosts != nil {
			i.Hosts = nil
			for _, h := range in.Body.Hosts {
				i.Hosts = append(i.Hosts, strings.ToLower(h))
			}
		}
		if in.Body.Allocation != "" {
			i.Allocation = dps.Policy(in.Body.Allocation)
		}
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning service changed", "service", i.Name, "hosts", i.Hosts, "allocation", string(i.Allocation))
	return s.serviceOutput(&i), nil
}

func (s *Server) deleteService(ctx context.Context, in *ServicePath) (*struct{}, error) {
	name := in.name()
	i, err := s.service(name)
	switch {
	case err == nil:
		name = i.Name
	case s.Provisioning != nil && slices.Contains(s.Provisioning.Damaged(), name):
		err = nil
	}
	if err == nil {
		err = s.Provisioning.Delete(ctx, name)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning service deleted", "service", name)
	return nil, nil
}

func (s *Server) serviceOutput(i *dps.Instance) *serviceOutput {
	b := s.newService(i)
	return &serviceOutput{ETag: `"` + b.ETag + `"`, Body: b}
}

// service returns a provisioning service, or an error that says there is none of
// that name.
func (s *Server) service(name string) (dps.Instance, error) {
	if s.Provisioning != nil {
		if i, ok := s.Provisioning.Instance(name); ok {
			return i, nil
		}
	}
	return dps.Instance{}, causeway.Errorf(dps.CodeNotFound, "admin.provisioning", "there is no provisioning service %q", name)
}

// change changes a service if the request's condition holds.
func (s *Server) change(ctx context.Context, in *ChangedPath, f func(*dps.Instance) error) (dps.Instance, error) {
	i, err := s.service(in.name())
	if err != nil {
		return i, err
	}
	return s.Provisioning.Change(ctx, i.Name, func(i *dps.Instance) error {
		if err := in.check(i); err != nil {
			return err
		}
		return f(i)
	})
}
