package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// LinkName names a hub that is linked.
type LinkName struct {
	Host string `path:"hub" maxLength:"253" doc:"Name of a hub of this cloud, or host name of a hub" example:"myhub.example.com"`
}

type linkOutput struct{ Body linkBody }

type linksOutput struct {
	Body struct {
		Hubs []linkBody `json:"hubs" nullable:"false" doc:"In the order in which a static allocation looks at them"`
	}
}

type putLinkInput struct {
	ChangedPath
	LinkName
	Body struct {
		Weight           *int    `json:"weight,omitempty" minimum:"1" maximum:"1000" doc:"Share of it in hashed allocations; 1 for a new link"`
		Region           *string `json:"region,omitempty" maxLength:"64" doc:"Where it is, for the allocation by latency"`
		Excluded         *bool   `json:"excluded,omitempty" doc:"Whether only enrollments that name it get it"`
		ConnectionString string  `json:"connectionString,omitempty" maxLength:"4096" doc:"Of a policy with RegistryRead, RegistryWrite and ServiceConnect, for a hub that is not of this cloud"`
	}
}

type deleteLinkInput struct {
	ChangedPath
	LinkName
}

func (s *Server) addLinks(api huma.API) {
	const path = "/provisioning/{service}/hubs"
	list := operation("listLinkedHubs", http.MethodGet, path, "provisioning", "List the hubs that devices may be assigned to", 0)
	list.Errors = append(list.Errors, http.StatusNotFound)
	huma.Register(api, list, s.listLinks)

	put := operation("putLinkedHub", http.MethodPut, path+"/{hub}", "provisioning", "Link a hub, or change how it is linked; what is left out stays as it is", 0)
	put.Errors = append(put.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, put, s.putLink)

	del := operation("deleteLinkedHub", http.MethodDelete, path+"/{hub}", "provisioning", "Unlink a hub; its devices stay there until they register again", 0)
	del.DefaultStatus = http.StatusNoContent
	del.Errors = append(del.Errors, http.StatusNotFound, http.StatusPreconditionFailed)
	huma.Register(api, del, s.deleteLink)
}

func (s *Server) listLinks(ctx context.Context, in *ServicePath) (*linksOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &linksOutput{}
	out.Body.Hubs = s.newService(&i).Hubs
	return out, nil
}

// hostOf returns the host name of a hub of this cloud that is given by its name or
// by one of its host names.
func (s *Server) hostOf(name string) (string, error) {
	name = strings.ToLower(name)
	if h, ok := s.Directory.ByHost(name); ok && slices.Contains(h.Hosts, name) {
		return name, nil
	}
	if h, ok := s.Directory.Get(name); ok && len(h.Hosts) > 0 {
		return h.Hosts[0], nil
	}
	return "", causeway.Errorf(causeway.GenericNotFound, "admin.hub", "there is no hub %q in this cloud; give the connection string of one that is elsewhere", name)
}

// linked returns the host name that a hub is linked by.
func (s *Server) linked(i *dps.Instance, name string) string {
	if l, ok := i.Link(name); ok {
		return l.Host
	}
	if host, err := s.hostOf(name); err == nil {
		return host
	}
	return strings.ToLower(name)
}

func (s *Server) putLink(ctx context.Context, in *putLinkInput) (*linkOutput, error) {
	host, added := "", false
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		host = s.linked(i, in.Host)
		l, _ := i.Link(host)
		l.Host = host
		if in.Body.Weight != nil {
			l.Weight = *in.Body.Weight
		}
		if in.Body.Region != nil {
			l.Region = *in.Body.Region
		}
		if in.Body.Excluded != nil {
			l.Excluded = *in.Body.Excluded
		}
		if err := s.setConnection(&l, in.Body.ConnectionString); err != nil {
			return err
		}
		added = i.PutLink(l)
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	l, _ := i.Link(host)
	s.Log.InfoContext(ctx, "hub linked", "service", i.Name, obs.KeyHub, host, "weight", l.Weight, "region", l.Region, "excluded", l.Excluded, "new", added)
	return &linkOutput{s.newLink(l)}, nil
}

// setConnection sets how a hub is reached: by a connection string, unless it is one
// of this cloud.
func (s *Server) setConnection(l *dps.Link, text string) error {
	const op = "admin.link"
	_, ours := s.Directory.ByHost(l.Host)
	switch {
	case text == "" && (ours || l.ConnectionString != ""):
		return nil
	case text == "":
		_, err := s.hostOf(l.Host)
		return err
	case ours:
		return causeway.Errorf(dps.CodeInvalid, op, "the hub %q is one of this cloud: link it without a connection string", l.Host)
	}
	cs, err := sas.ParseConnectionString(text)
	switch {
	case err != nil:
		return causeway.Errorf(dps.CodeInvalid, op, "connectionString: %v", err)
	case cs.SharedAccessKeyName == "" || cs.SharedAccessKey == "":
		return causeway.Errorf(dps.CodeInvalid, op, "connectionString needs SharedAccessKeyName and SharedAccessKey of a policy of the hub")
	case !strings.EqualFold(sas.Host(cs.HostName), l.Host): // devices know it by the default ports
		return causeway.Errorf(dps.CodeInvalid, op, "connectionString is of the hub %q, not of %q", cs.HostName, l.Host)
	}
	l.ConnectionString = causeway.Secret(text)
	return nil
}

func (s *Server) deleteLink(ctx context.Context, in *deleteLinkInput) (*struct{}, error) {
	host := ""
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		host = s.linked(i, in.Host)
		return i.RemoveLink(host)
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "hub unlinked", "service", i.Name, obs.KeyHub, host)
	return nil, nil
}
