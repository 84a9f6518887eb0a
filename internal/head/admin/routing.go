package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/obs"
)

// routeBody is a route.
type routeBody struct {
	Name          string   `json:"name,omitempty" maxLength:"64" doc:"Unique name on the hub"`
	Source        string   `json:"source,omitempty" enum:"DeviceMessages,TwinChangeEvents,DeviceLifecycleEvents,DeviceJobLifecycleEvents,DigitalTwinChangeEvents,DeviceConnectionStateEvents" doc:"Which messages it takes; DeviceMessages unless said otherwise"`
	Condition     string   `json:"condition,omitempty" maxLength:"16384" doc:"Which of them, in the language of routing queries; all unless said otherwise" example:"$body.temperature > 30"`
	EndpointNames []string `json:"endpointNames,omitempty" nullable:"false" maxItems:"11" doc:"Where they go; events is the built-in endpoint" example:"[\"events\"]"`
	IsEnabled     *bool    `json:"isEnabled,omitempty" doc:"Whether it takes messages; true unless said otherwise"`
	Problem       string   `json:"problem,omitempty" readOnly:"true" doc:"Why it takes nothing though it is enabled: a condition that a former version of the program took"`
}

func newRoute(r routing.Route) routeBody {
	b := routeBody{r.Name, string(r.Source), r.Condition, r.EndpointNames, &r.IsEnabled, ""}
	if err := r.Problem(); err != nil {
		b.Problem = err.Error()
	}
	return b
}

func (b *routeBody) route() routing.Route {
	r := routing.Route{
		Name: b.Name, Source: routing.Source(b.Source), Condition: b.Condition,
		EndpointNames: b.EndpointNames, IsEnabled: b.IsEnabled == nil || *b.IsEnabled,
	}
	if r.Source == "" {
		r.Source = routing.DeviceMessages
	}
	return r
}

// endpointBody is a custom endpoint, without its secrets.
type endpointBody struct {
	Name   string         `json:"name,omitempty" maxLength:"64" doc:"Unique name on the hub"`
	Kind   string         `json:"kind" maxLength:"64" doc:"What it is"`
	Config map[string]any `json:"config,omitempty" doc:"What endpoints of the kind need"`
	// Secrets are written and never shown.
	Secrets map[string]string `json:"secrets,omitempty" writeOnly:"true" doc:"Keys and connection strings; those of an endpoint that is changed stay when there are none"`
}

func newEndpoint(e routing.EndpointSettings) endpointBody {
	b := endpointBody{Name: e.Name, Kind: e.Kind}
	if len(e.Config) > 0 {
		_ = json.Unmarshal(e.Config, &b.Config) // checked when it was stored
	}
	return b
}

// endpoint returns the settings; secrets that are not given are those of old.
func (b *endpointBody) endpoint(old *routing.Settings) (routing.EndpointSettings, error) {
	e := routing.EndpointSettings{Name: b.Name, Kind: b.Kind}
	if len(b.Config) > 0 {
		config, err := json.Marshal(b.Config)
		if err != nil {
			return e, causeway.Errorf(causeway.ArgumentInvalid, "admin.endpoint", "the config of endpoint %q is not JSON", b.Name)
		}
		e.Config = config
	}
	if b.Secrets != nil {
		e.Secrets = map[string]causeway.Secret{}
		for k, v := range b.Secrets {
			e.Secrets[k] = causeway.Secret(v)
		}
	} else if was, ok := old.Endpoint(b.Name); ok && was.Kind == b.Kind {
		e.Secrets = was.Secrets
	}
	return e, nil
}

// enrichmentBody is an enrichment.
type enrichmentBody struct {
	Key           string   `json:"key,omitempty" maxLength:"128" doc:"Name of the application property"`
	Value         string   `json:"value" maxLength:"1024" doc:"A text, $iothubname, or $twin. and a path into the sender's twin" example:"$twin.tags.site"`
	EndpointNames []string `json:"endpointNames" nullable:"false" maxItems:"11" doc:"Messages to these endpoints have it"`
}

// routingBody is the whole routing of a hub.
type routingBody struct {
	Endpoints     []endpointBody   `json:"endpoints" nullable:"false" maxItems:"10" doc:"Custom endpoints"`
	Routes        []routeBody      `json:"routes" nullable:"false" maxItems:"100"`
	FallbackRoute *routeBody       `json:"fallbackRoute,omitempty" doc:"Takes telemetry that no route takes to events; enabled when it is left out"`
	Enrichments   []enrichmentBody `json:"enrichments" nullable:"false" maxItems:"10"`
}

func newRouting(s *routing.Settings) routingBody {
	b := routingBody{Endpoints: []endpointBody{}, Routes: []routeBody{}, Enrichments: []enrichmentBody{}}
	if s != nil {
		for _, e := range s.Endpoints {
			b.Endpoints = append(b.Endpoints, newEndpoint(e))
		}
		for _, r := range s.Routes {
			b.Routes = append(b.Routes, newRoute(r))
		}
		for _, e := range s.Enrichments {
			b.Enrichments = append(b.Enrichments, enrichmentBody(e))
		}
	}
	f := newRoute(s.Fallback())
	b.FallbackRoute = &f
	return b
}

func (b *routingBody) settings(old *routing.Settings) (*routing.Settings, error) {
	s := &routing.Settings{}
	for i := range b.Endpoints {
		e, err := b.Endpoints[i].endpoint(old)
		if err != nil {
			return nil, err
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	for i := range b.Routes {
		s.Routes = append(s.Routes, b.Routes[i].route())
	}
	if b.FallbackRoute != nil {
		setFallback(s, b.FallbackRoute.route())
	}
	for _, e := range b.Enrichments {
		s.Enrichments = append(s.Enrichments, routing.Enrichment(e))
	}
	return s, nil
}

// setFallback sets the fallback route; the default one is no setting.
func setFallback(s *routing.Settings, f routing.Route) {
	if f.Name == "" {
		f.Name = routing.FallbackName
	}
	if len(f.EndpointNames) == 0 {
		f.EndpointNames = []string{routing.Events}
	}
	s.FallbackRoute = &f
	if f.IsEnabled && (f.Condition == "" || f.Condition == "true") && f.Name == routing.FallbackName &&
		f.Source == routing.DeviceMessages && slices.Equal(f.EndpointNames, []string{routing.Events}) {
		s.FallbackRoute = nil
	}
}

type routingOutput struct{ Body routingBody }

// Discard is the consent to lose messages.
type Discard struct {
	Discard bool `query:"discard" doc:"Whether an endpoint goes with the messages that wait for it; otherwise it is refused with 409 while there are some"`
}

type putRoutingInput struct {
	HubPath
	Discard
	Body routingBody
}

// RoutingPath names a part of the routing of a hub.
type RoutingPath struct {
	HubPath
	Name string `path:"name" maxLength:"128" doc:"Name of the route or endpoint, or key of the enrichment"`
}

type putRouteInput struct {
	RoutingPath
	Body routeBody
}

type putFallbackInput struct {
	HubPath
	Body struct {
		Condition string `json:"condition,omitempty" maxLength:"16384" doc:"Which messages it takes of those that no route takes; all unless said otherwise"`
		IsEnabled bool   `json:"isEnabled"`
	}
}

type putEndpointInput struct {
	RoutingPath
	Discard
	Body endpointBody
}

type deleteEndpointInput struct {
	RoutingPath
	Discard
}

type putEnrichmentInput struct {
	RoutingPath
	Body enrichmentBody
}

// addRouting adds the operations about routes. Endpoints are the administrator's:
// who makes one lets the server connect to somewhere.
func (s *Server) addRouting(api huma.API) {
	const tag = "routing"
	get := operation("getRouting", http.MethodGet, "/hubs/{hub}/routing", tag, "Show the routes, endpoints and enrichments of a hub", auth.AllRights)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getRouting)

	writes := func(op huma.Operation) huma.Operation {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
		return op
	}
	drops := func(op huma.Operation) huma.Operation {
		op.Errors = append(op.Errors, http.StatusConflict)
		return writes(op)
	}
	huma.Register(api, drops(operation("putRouting", http.MethodPut, "/hubs/{hub}/routing", tag, "Replace all routes, endpoints and enrichments of a hub", 0)), s.putRouting)
	huma.Register(api, writes(operation("putRoute", http.MethodPut, "/hubs/{hub}/routing/routes/{name}", tag, "Create or replace a route", auth.AllRights)), s.putRoute)
	huma.Register(api, writes(operation("deleteRoute", http.MethodDelete, "/hubs/{hub}/routing/routes/{name}", tag, "Remove a route", auth.AllRights)), s.deleteRoute)
	huma.Register(api, writes(operation("putFallback", http.MethodPut, "/hubs/{hub}/routing/fallback", tag, "Change the fallback route, which takes telemetry that no route takes to events", auth.AllRights)), s.putFallback)
	huma.Register(api, drops(operation("putEndpoint", http.MethodPut, "/hubs/{hub}/routing/endpoints/{name}", tag, "Create or replace a custom endpoint", 0)), s.putEndpoint)
	huma.Register(api, drops(operation("deleteEndpoint", http.MethodDelete, "/hubs/{hub}/routing/endpoints/{name}", tag, "Remove a custom endpoint that no route and no enrichment names", 0)), s.deleteEndpoint)
	huma.Register(api, writes(operation("putEnrichment", http.MethodPut, "/hubs/{hub}/routing/enrichments/{name}", tag, "Create or replace an enrichment", auth.AllRights)), s.putEnrichment)
	huma.Register(api, writes(operation("deleteEnrichment", http.MethodDelete, "/hubs/{hub}/routing/enrichments/{name}", tag, "Remove an enrichment", auth.AllRights)), s.deleteEnrichment)
	s.addTrials(api)
}

func (s *Server) getRouting(ctx context.Context, in *HubPath) (*routingOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &routingOutput{newRouting(h.Settings.Routing)}, nil
}

// changeRouting changes the routing of a hub and shows the outcome.
func (s *Server) changeRouting(ctx context.Context, hub, what string, change func(r *routing.Settings) error) (*routingOutput, error) {
	return s.changeEndpoints(ctx, hub, what, Discard{true}, change) // none goes
}

// changeEndpoints is changeRouting where endpoints may go, and with them what
// waits for them.
func (s *Server) changeEndpoints(ctx context.Context, hub, what string, d Discard, change func(r *routing.Settings) error) (*routingOutput, error) {
	h, err := s.Directory.Update(ctx, hub, func(h *directory.Hub) error {
		if h.Settings.Routing == nil {
			h.Settings.Routing = &routing.Settings{}
		}
		was := slices.Clone(h.Settings.Routing.Endpoints)
		if err := change(h.Settings.Routing); err != nil || d.Discard {
			return err
		}
		return s.checkWaiting(hub, was, h.Settings.Routing.Endpoints)
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "routing changed", obs.KeyHub, h.Name, "change", what)
	return &routingOutput{newRouting(h.Settings.Routing)}, nil
}

// checkWaiting refuses to lose messages: those that wait for endpoints that are
// no more, or whose queue goes because they are of another kind.
func (s *Server) checkWaiting(hub string, was, now []routing.EndpointSettings) error {
	if s.Endpoints == nil {
		return nil
	}
	e, runs := s.Endpoints(hub)
	if !runs {
		return nil // it removes nothing
	}
	var lost []string
	for _, st := range e.Status() {
		same := func(x routing.EndpointSettings) bool { return strings.EqualFold(x.Name, st.Name) }
		i, j := slices.IndexFunc(was, same), slices.IndexFunc(now, same)
		if st.Waiting == 0 || i < 0 || j >= 0 && (was[i].Kind == endpoint.EventHub) == (now[j].Kind == endpoint.EventHub) {
			continue
		}
		lost = append(lost, fmt.Sprintf("%d for %q", st.Waiting, was[i].Name))
	}
	if lost == nil {
		return nil
	}
	return causeway.Errorf(causeway.GenericConflict, "admin.routing",
		"messages still wait to be delivered: %s; let them be delivered first, or drop them: discard=true, on the command line --discard", strings.Join(lost, ", "))
}

func (s *Server) putRouting(ctx context.Context, in *putRoutingInput) (*routingOutput, error) {
	return s.changeEndpoints(ctx, in.name(), "all", in.Discard, func(r *routing.Settings) error {
		next, err := in.Body.settings(r)
		if err != nil {
			return err
		}
		*r = *next
		return nil
	})
}

func (s *Server) putRoute(ctx context.Context, in *putRouteInput) (*routingOutput, error) {
	in.Body.Name = in.Name
	return s.changeRouting(ctx, in.name(), "route "+in.Name, func(r *routing.Settings) error {
		r.Routes = put(r.Routes, in.Body.route(), func(x routing.Route) bool { return x.Name == in.Name })
		return nil
	})
}

func (s *Server) deleteRoute(ctx context.Context, in *RoutingPath) (*routingOutput, error) {
	return s.changeRouting(ctx, in.name(), "route "+in.Name+" removed", func(r *routing.Settings) (err error) {
		r.Routes, err = without(r.Routes, "route", in, func(x routing.Route) bool { return x.Name == in.Name })
		return err
	})
}

func (s *Server) putFallback(ctx context.Context, in *putFallbackInput) (*routingOutput, error) {
	return s.changeRouting(ctx, in.name(), "fallback route", func(r *routing.Settings) error {
		b := routeBody{Condition: in.Body.Condition, IsEnabled: &in.Body.IsEnabled}
		setFallback(r, b.route())
		return nil
	})
}

func (s *Server) putEndpoint(ctx context.Context, in *putEndpointInput) (*routingOutput, error) {
	in.Body.Name = in.Name
	return s.changeEndpoints(ctx, in.name(), "endpoint "+in.Name, in.Discard, func(r *routing.Settings) error {
		e, err := in.Body.endpoint(r)
		if err != nil {
			return err
		}
		r.Endpoints = put(r.Endpoints, e, func(x routing.EndpointSettings) bool { return x.Name == in.Name })
		return nil
	})
}

func (s *Server) deleteEndpoint(ctx context.Context, in *deleteEndpointInput) (*routingOutput, error) {
	return s.changeEndpoints(ctx, in.name(), "endpoint "+in.Name+" removed", in.Discard, func(r *routing.Settings) (err error) {
		if users := named(r, in.Name); len(users) > 0 {
			return causeway.Errorf(causeway.ArgumentInvalid, "admin", "the endpoint %q is in use: change or remove first what names it: %s", in.Name, strings.Join(users, ", "))
		}
		r.Endpoints, err = without(r.Endpoints, "endpoint", &in.RoutingPath, func(x routing.EndpointSettings) bool { return x.Name == in.Name })
		return err
	})
}

// named returns what names an endpoint.
func named(r *routing.Settings, endpoint string) (users []string) {
	for _, x := range r.Routes {
		if slices.Contains(x.EndpointNames, endpoint) {
			users = append(users, fmt.Sprintf("route %q", x.Name))
		}
	}
	for _, x := range r.Enrichments {
		if slices.Contains(x.EndpointNames, endpoint) {
			users = append(users, fmt.Sprintf("enrichment %q", x.Key))
		}
	}
	return users
}

func (s *Server) putEnrichment(ctx context.Context, in *putEnrichmentInput) (*routingOutput, error) {
	in.Body.Key = in.Name
	return s.changeRouting(ctx, in.name(), "enrichment "+in.Name, func(r *routing.Settings) error {
		r.Enrichments = put(r.Enrichments, routing.Enrichment(in.Body), func(x routing.Enrichment) bool { return x.Key == in.Name })
		return nil
	})
}

func (s *Server) deleteEnrichment(ctx context.Context, in *RoutingPath) (*routingOutput, error) {
	return s.changeRouting(ctx, in.name(), "enrichment "+in.Name+" removed", func(r *routing.Settings) (err error) {
		r.Enrichments, err = without(r.Enrichments, "enrichment", in, func(x routing.Enrichment) bool { return x.Key == in.Name })
		return err
	})
}

// put puts item in the place of the first that is the same, or at the end, and
// drops others that are the same.
func put[T any](list []T, item T, same func(T) bool) []T {
	at := slices.IndexFunc(list, same)
	if at < 0 {
		return append(list, item)
	}
	list[at] = item
	return append(list[:at+1], slices.DeleteFunc(list[at+1:], same)...)
}

func without[T any](list []T, what string, in *RoutingPath, same func(T) bool) ([]T, error) {
	if !slices.ContainsFunc(list, same) {
		return nil, causeway.Errorf(causeway.GenericNotFound, "admin.routing", "hub %q has no %s %q", in.name(), what, in.Name)
	}
	return slices.DeleteFunc(list, same), nil
}
