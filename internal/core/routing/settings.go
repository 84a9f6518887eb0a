package routing

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/causeway-iot/causeway"
)

// Source is a kind of messages that a route takes, as it stands in settings.
type Source string

// The sources of routes.
const (
	DeviceMessages         Source = "DeviceMessages"
	TwinChanges            Source = "TwinChangeEvents"
	DeviceLifecycle        Source = "DeviceLifecycleEvents"
	DeviceJobLifecycle     Source = "DeviceJobLifecycleEvents"
	DigitalTwinChanges     Source = "DigitalTwinChangeEvents"
	DeviceConnectionStates Source = "DeviceConnectionStateEvents"
)

// FallbackName is the name of the fallback route.
const FallbackName = "$fallback"

// Settings are the routing of one hub as its operator set it, with the names
// that a hub resource of the service has for it. The zero value is that of a
// hub nobody configured: telemetry goes to [Events].
//
// One that is in use is shared and only read; change a [Settings.Clone].
type Settings struct {
	Endpoints     []EndpointSettings `json:"endpoints,omitempty"`
	Routes        []Route            `json:"routes,omitempty"`
	FallbackRoute *Route             `json:"fallbackRoute,omitempty"` // nil is the default one, enabled
	Enrichments   []Enrichment       `json:"enrichments,omitempty"`
}

// EndpointSettings describe a custom endpoint.
type EndpointSettings struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Config holds what endpoints of this kind need, as a JSON object. It is
	// shown to whoever may read the hub's settings.
	Config json.RawMessage `json:"config,omitempty"`
	// Secrets are keys and connection strings, by name. They are sealed at rest
	// and never shown.
	Secrets map[string]causeway.Secret `json:"secrets,omitempty"`
}

// Route sends the messages of a source that meet a condition to endpoints.
type Route struct {
	Name          string   `json:"name"`
	Source        Source   `json:"source"`
	Condition     string   `json:"condition,omitempty"` // "" is "true"
	EndpointNames []string `json:"endpointNames"`
	IsEnabled     bool     `json:"isEnabled"`
}

// Enrichment adds an application property to messages on their way to some
// endpoints.
type Enrichment struct {
	Key string `json:"key"`
	// Value is a text, "$iothubname", or "$twin." and a path into tags,
	// properties.desired or properties.reported of the sender's twin.
	Value         string   `json:"value"`
	EndpointNames []string `json:"endpointNames"`
}

// Fallback returns the fallback route.
func (s *Settings) Fallback() Route {
	if s != nil && s.FallbackRoute != nil {
		return *s.FallbackRoute
	}
	return Route{
		Name: FallbackName, Source: DeviceMessages, Condition: "true",
		EndpointNames: []string{Events}, IsEnabled: true,
	}
}

// IsDefault reports whether s says nothing else than a hub that nobody
// configured.
func (s *Settings) IsDefault() bool {
	return s == nil || len(s.Endpoints) == 0 && len(s.Routes) == 0 && len(s.Enrichments) == 0 && s.FallbackRoute == nil
}

// Endpoint returns the custom endpoint of that name.
func (s *Settings) Endpoint(name string) (EndpointSettings, bool) {
	if s != nil {
		for _, e := range s.Endpoints {
			if e.Name == name {
				return e, true
			}
		}
	}
	return EndpointSettings{}, false
}

// Clone returns a copy that shares no memory with s; nil for nil.
func (s *Settings) Clone() *Settings {
	if s == nil {
		return nil
	}
	c := &Settings{
		Endpoints: slices.Clone(s.Endpoints), Routes: slices.Clone(s.Routes), Enrichments: slices.Clone(s.Enrichments),
	}
	for i := range c.Endpoints {
		c.Endpoints[i].Config = slices.Clone(c.Endpoints[i].Config)
		c.Endpoints[i].Secrets = maps.Clone(c.Endpoints[i].Secrets)
	}
	for i := range c.Routes {
		c.Routes[i].EndpointNames = slices.Clone(c.Routes[i].EndpointNames)
	}
	for i := range c.Enrichments {
		c.Enrichments[i].EndpointNames = slices.Clone(c.Enrichments[i].EndpointNames)
	}
	if s.FallbackRoute != nil {
		r := *s.FallbackRoute
		r.EndpointNames = slices.Clone(r.EndpointNames)
		c.FallbackRoute = &r
	}
	return c
}
