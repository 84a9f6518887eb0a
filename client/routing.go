package client

import (
	"context"
	"net/http"
	"net/url"
)

// Routing is where the messages of a hub go.
type Routing struct {
	Endpoints     []Endpoint   `json:"endpoints"` // custom ones
	Routes        []Route      `json:"routes"`
	FallbackRoute *Route       `json:"fallbackRoute,omitempty"`
	Enrichments   []Enrichment `json:"enrichments"`
}

// Route sends the messages of a source that meet a condition to endpoints.
type Route struct {
	Name          string   `json:"name,omitempty"`
	Source        string   `json:"source,omitempty"`    // "" is DeviceMessages
	Condition     string   `json:"condition,omitempty"` // "" is all
	EndpointNames []string `json:"endpointNames,omitempty"`
	IsEnabled     bool     `json:"isEnabled"`
	Problem       string   `json:"problem,omitempty"` // why it takes nothing though it is enabled; only ever received
}

// Endpoint is a custom endpoint of a hub.
type Endpoint struct {
	Name    string            `json:"name,omitempty"`
	Kind    string            `json:"kind"`
	Config  map[string]any    `json:"config,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"` // only ever sent
}

// Enrichment adds an application property to messages to some endpoints.
type Enrichment struct {
	Key           string   `json:"key,omitempty"`
	Value         string   `json:"value"`
	EndpointNames []string `json:"endpointNames"`
}

// RouteTrial is a message to try routes on.
type RouteTrial struct {
	Message RouteTrialMessage `json:"message"`
	Twin    *RouteTrialTwin   `json:"twin,omitempty"`
}

// RouteTrialMessage is the message of a trial. System properties have the names
// that conditions have for them.
type RouteTrialMessage struct {
	Body             string            `json:"body,omitempty"`
	AppProperties    map[string]string `json:"appProperties,omitempty"`
	SystemProperties map[string]string `json:"systemProperties,omitempty"`
}

// RouteTrialTwin is the twin of who sent it.
type RouteTrialTwin struct {
	Tags       map[string]any `json:"tags,omitempty"`
	Properties struct {
		Desired  map[string]any `json:"desired,omitempty"`
		Reported map[string]any `json:"reported,omitempty"`
	} `json:"properties"`
}

// RouteResult is the outcome of a trial: "true", "false" or "undefined".
type RouteResult struct {
	Result  string `json:"result"`
	Details struct {
		CompilationErrors []RouteError `json:"compilationErrors"`
	} `json:"details"`
}

// RouteError is something wrong with a condition, and where.
type RouteError struct {
	Message  string `json:"message"`
	Severity string `json:"severity"`
	Location struct {
		Start RoutePosition `json:"start"`
		End   RoutePosition `json:"end"`
	} `json:"location"`
}

// RoutePosition is a place in the text of a condition, from 1.
type RoutePosition struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func routingPath(hub string, parts ...string) string {
	p := "/hubs/" + url.PathEscape(hub) + "/routing"
	for _, s := range parts {
		p += "/" + url.PathEscape(s)
	}
	return p
}

func (a *Admin) routing(ctx context.Context, op, method, path string, body any) (Routing, error) {
	var out Routing
	err := a.call(ctx, op, method, path, body, &out)
	return out, err
}

// Routing returns the routes, endpoints and enrichments of a hub.
func (a *Admin) Routing(ctx context.Context, hub string) (Routing, error) {
	return a.routing(ctx, "get routing", http.MethodGet, routingPath(hub), nil)
}

// discarding adds the consent to lose messages to a path.
func discarding(path string, discard bool) string {
	if discard {
		return path + "?discard=true"
	}
	return path
}

// PutRouting replaces all of it. Without discard it is refused with
// GenericConflict while messages wait for an endpoint that is to go.
func (a *Admin) PutRouting(ctx context.Context, hub string, r Routing, discard bool) (Routing, error) {
	return a.routing(ctx, "replace routing", http.MethodPut, discarding(routingPath(hub), discard), r)
}

// PutRoute creates or replaces a route.
func (a *Admin) PutRoute(ctx context.Context, hub string, r Route) (Routing, error) {
	return a.routing(ctx, "put route", http.MethodPut, routingPath(hub, "routes", r.Name), r)
}

// DeleteRoute removes a route.
func (a *Admin) DeleteRoute(ctx context.Context, hub, name string) (Routing, error) {
	return a.routing(ctx, "delete route", http.MethodDelete, routingPath(hub, "routes", name), nil)
}

// SetFallback changes the fallback route.
func (a *Admin) SetFallback(ctx context.Context, hub string, enabled bool, condition string) (Routing, error) {
	body := map[string]any{"isEnabled": enabled}
	if condition != "" {
		body["condition"] = condition
	}
	return a.routing(ctx, "set fallback route", http.MethodPut, routingPath(hub, "fallback"), body)
}

// PutEndpoint creates or replaces a custom endpoint. Without secrets, those of
// one that is replaced stay. Without discard it is refused with GenericConflict
// while messages wait that one of the new kind cannot take over: those of an event
// hub, or for one.
func (a *Admin) PutEndpoint(ctx context.Context, hub string, e Endpoint, discard bool) (Routing, error) {
	return a.routing(ctx, "put endpoint", http.MethodPut, discarding(routingPath(hub, "endpoints", e.Name), discard), e)
}

// DeleteEndpoint removes a custom endpoint. Without discard it is refused with
// GenericConflict while messages wait for it.
func (a *Admin) DeleteEndpoint(ctx context.Context, hub, name string, discard bool) (Routing, error) {
	return a.routing(ctx, "delete endpoint", http.MethodDelete, discarding(routingPath(hub, "endpoints", name), discard), nil)
}

// PutEnrichment creates or replaces an enrichment.
func (a *Admin) PutEnrichment(ctx context.Context, hub string, e Enrichment) (Routing, error) {
	return a.routing(ctx, "put enrichment", http.MethodPut, routingPath(hub, "enrichments", e.Key), e)
}

// DeleteEnrichment removes an enrichment.
func (a *Admin) DeleteEnrichment(ctx context.Context, hub, key string) (Routing, error) {
	return a.routing(ctx, "delete enrichment", http.MethodDelete, routingPath(hub, "enrichments", key), nil)
}

// TestRoute tries a route on a message.
func (a *Admin) TestRoute(ctx context.Context, hub string, r Route, t RouteTrial) (RouteResult, error) {
	var out RouteResult
	err := a.call(ctx, "test route", http.MethodPost, routingPath(hub, "test"), struct {
		RouteTrial
		Route Route `json:"route"`
	}{t, r}, &out)
	return out, err
}

// TestRoutes returns the routes of a hub that take a message of a source.
func (a *Admin) TestRoutes(ctx context.Context, hub, source string, t RouteTrial) ([]Route, error) {
	var out struct {
		Routes []struct{ Properties Route }
	}
	body := struct {
		RouteTrial
		RoutingSource string `json:"routingSource,omitempty"`
	}{t, source}
	err := a.call(ctx, "test routes", http.MethodPost, routingPath(hub, "testall"), body, &out)
	var list []Route
	for _, r := range out.Routes {
		list = append(list, r.Properties)
	}
	return list, err
}
