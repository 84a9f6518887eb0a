package routing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// Limits of the routing of one hub. Source: the public quotas of the service.
const (
	MaxRoutes      = 100
	MaxEndpoints   = 10 // custom ones
	MaxEnrichments = 10

	maxName       = 64
	maxKey        = 128
	maxValue      = 1024
	maxConfig     = 64 << 10 // bytes, secrets included
	maxSecrets    = 16
	twinReference = "$twin."
	hubReference  = "$iothubname"
)

// Kinds are the kinds of custom endpoints there are, each with what checks its
// settings.
type Kinds map[string]func(EndpointSettings) error

// reserved are names that no custom endpoint may have.
var reserved = []string{Events, "fileNotifications", "operationsMonitoringEvents", "$default"}

// Validate reports everything that is wrong with s, where and how to mend it.
// Conditions that stand in was too, the settings that s replaces, are not looked
// at: one that a former version of the program took must not keep the rest from
// being changed. Code: ArgumentInvalid.
func (s *Settings) Validate(kinds Kinds, was *Settings) error {
	if s == nil {
		return nil
	}
	v := validator{kinds: kinds, names: map[string]bool{Events: true}, was: map[string]Route{}}
	if was != nil {
		for _, r := range append(slices.Clone(was.Routes), was.Fallback()) {
			v.was[cmp.Or(r.Name, FallbackName)] = r
		}
	}
	v.endpoints(s.Endpoints)
	v.routes(s.Routes)
	if s.FallbackRoute != nil {
		v.fallback(*s.FallbackRoute)
	}
	v.enrichments(s.Enrichments)
	if v.wrong == nil {
		return nil
	}
	return causeway.Errorf(causeway.ArgumentInvalid, "routing.Validate", "%s", strings.Join(v.wrong, "; "))
}

type validator struct {
	kinds Kinds
	names map[string]bool  // of endpoints
	was   map[string]Route // by name
	wrong []string
}

func (v *validator) bad(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

func (v *validator) endpoints(list []EndpointSettings) {
	if len(list) > MaxEndpoints {
		v.bad("there are %d custom endpoints; at most %d are allowed", len(list), MaxEndpoints)
		return
	}
	for _, e := range list {
		check, known := v.kinds[e.Kind]
		switch {
		case !goodName(e.Name):
			v.bad("the endpoint name %q is not allowed: use up to %d letters, digits, hyphens, underscores and dots", e.Name, maxName)
		case slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, e.Name) }):
			v.bad("the endpoint name %q is one of the hub's own: choose another", e.Name)
		case slices.ContainsFunc(slices.Collect(maps.Keys(v.names)), func(n string) bool { return strings.EqualFold(n, e.Name) }):
			v.bad("there are two endpoints named %q; case does not matter", e.Name)
		case !known:
			v.bad("endpoint %q is of kind %q, which is none of %s", e.Name, e.Kind, v.known())
		case size(e) > maxConfig:
			v.bad("the settings of endpoint %q have %d bytes; at most %d are allowed", e.Name, size(e), maxConfig)
		case len(e.Secrets) > maxSecrets:
			v.bad("endpoint %q has %d secrets; at most %d are allowed", e.Name, len(e.Secrets), maxSecrets)
		case len(e.Config) > 0 && !isObject(e.Config):
			v.bad("the config of endpoint %q is not a JSON object", e.Name)
		case check != nil:
			if err := check(e); err != nil {
				v.bad("endpoint %q: %s", e.Name, detail(err))
			}
		}
		v.names[e.Name] = true
	}
}

func size(e EndpointSettings) int {
	n := len(e.Config)
	for k, s := range e.Secrets {
		n += len(k) + len(s)
	}
	return n
}

func isObject(b []byte) bool {
	return json.Valid(b) && bytes.HasPrefix(bytes.TrimSpace(b), []byte("{"))
}

// detail is the text of an error for whoever set the endpoint.
func detail(err error) string {
	if code := causeway.CodeOf(err); code != causeway.ServerError {
		return causeway.MessageOf(err)
	}
	return err.Error()
}

func (v *validator) known() string {
	if len(v.kinds) == 0 {
		return "the kinds there are: this cloud has none"
	}
	return strings.Join(slices.Sorted(maps.Keys(v.kinds)), ", ")
}

func (v *validator) routes(list []Route) {
	if len(list) > MaxRoutes {
		v.bad("there are %d routes; at most %d are allowed", len(list), MaxRoutes)
		return
	}
	seen := map[string]bool{}
	for _, r := range list {
		what := fmt.Sprintf("route %q", r.Name)
		switch {
		case !goodName(r.Name):
			v.bad("the route name %q is not allowed: use up to %d letters, digits, hyphens, underscores and dots", r.Name, maxName)
		case seen[r.Name]:
			v.bad("there are two routes named %q", r.Name)
		}
		seen[r.Name] = true
		if _, ok := sourceOf(r.Source); !ok {
			v.bad("%s has the source %q, which is none of %s", what, r.Source, sourceList())
		}
		v.targets(what, r.EndpointNames)
		v.condition(what, r)
	}
}

func (v *validator) fallback(r Route) {
	if r.Name != "" && r.Name != FallbackName {
		v.bad("the fallback route is named %q; its name is %s", r.Name, FallbackName)
	}
	if r.Source != "" && r.Source != DeviceMessages {
		v.bad("the fallback route has the source %q; it can only be %s", r.Source, DeviceMessages)
	}
	if len(r.EndpointNames) != 0 && !(len(r.EndpointNames) == 1 && r.EndpointNames[0] == Events) {
		v.bad("the fallback route leads to %s; it can only lead to %q", strings.Join(r.EndpointNames, ", "), Events)
	}
	v.condition("the fallback route", r)
}

func (v *validator) condition(what string, r Route) {
	if was, ok := v.was[cmp.Or(r.Name, FallbackName)]; ok && was.Condition == r.Condition && was.Source == r.Source {
		return
	}
	if _, err := compile(new(routecond.Set), r); err != nil {
		v.bad("the condition of %s is wrong: %v", what, err)
	}
}

func (v *validator) targets(what string, names []string) {
	if len(names) == 0 {
		v.bad("%s leads to no endpoint: name one in endpointNames, %q for the built-in one", what, Events)
	}
	for i, n := range names {
		switch {
		case !v.names[n]:
			v.bad("%s names the endpoint %q, which does not exist: it is none of %s", what, n, strings.Join(slices.Sorted(maps.Keys(v.names)), ", "))
		case slices.Contains(names[:i], n):
			v.bad("%s names the endpoint %q twice", what, n)
		}
	}
}

func (v *validator) enrichments(list []Enrichment) {
	if len(list) > MaxEnrichments {
		v.bad("there are %d enrichments; at most %d are allowed", len(list), MaxEnrichments)
		return
	}
	seen := map[string]map[string]bool{} // key → endpoints
	for _, e := range list {
		what := fmt.Sprintf("enrichment %q", e.Key)
		switch {
		case e.Key == "" || len(e.Key) > maxKey || strings.ContainsFunc(e.Key, notWord):
			v.bad("the key of %s is not allowed: use up to %d letters, digits, hyphens, underscores and dots", what, maxKey)
		case e.Value == "" || len(e.Value) > maxValue:
			v.bad("the value of %s has %d characters; use 1 to %d", what, len(e.Value), maxValue)
		}
		v.targets(what, e.EndpointNames)
		if seen[e.Key] == nil {
			seen[e.Key] = map[string]bool{}
		}
		for _, n := range e.EndpointNames {
			if seen[e.Key][n] {
				v.bad("two enrichments with the key %q go to endpoint %q", e.Key, n)
			}
			seen[e.Key][n] = true
		}
	}
}

// goodName reports whether s may name a route or an endpoint.
func goodName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, notWord)
}

func notWord(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}
