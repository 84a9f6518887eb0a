package routing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// kinds has one kind of endpoints, which wants a url.
var kinds = routing.Kinds{"test": func(e routing.EndpointSettings) error {
	if !strings.Contains(string(e.Config), "url") {
		return errors.New("url is missing")
	}
	return nil
}}

func endpoint(name string) routing.EndpointSettings {
	return routing.EndpointSettings{Name: name, Kind: "test", Config: json.RawMessage(`{"url":"x"}`)}
}

func route(name string, from routing.Source, condition string, to ...string) routing.Route {
	return routing.Route{Name: name, Source: from, Condition: condition, EndpointNames: to, IsEnabled: true}
}

func off(r routing.Route) routing.Route {
	r.IsEnabled = false
	return r
}

func many[T any](n int, f func(i int) T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = f(i)
	}
	return list
}

// TestValidate: everything that is wrong with settings, in words that help.
func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		s    routing.Settings
		want string
	}{
		"route without a name":  {routing.Settings{Routes: []routing.Route{route("", routing.DeviceMessages, "", "events")}}, `the route name "" is not allowed: use up to 64 letters`},
		"route with a bad name": {routing.Settings{Routes: []routing.Route{route("a b", routing.DeviceMessages, "", "events")}}, `the route name "a b" is not allowed`},
		"two routes of a name": {
			routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "", "events"), route("a", routing.DeviceMessages, "", "events")}},
			`there are two routes named "a"`,
		},
		"unknown source":   {routing.Settings{Routes: []routing.Route{route("a", "Telemetry", "", "events")}}, `route "a" has the source "Telemetry", which is none of DeviceMessages, TwinChangeEvents,`},
		"no endpoint":      {routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "")}}, `route "a" leads to no endpoint: name one in endpointNames`},
		"unknown endpoint": {routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "", "nope")}}, `route "a" names the endpoint "nope", which does not exist: it is none of events`},
		"an endpoint twice": {
			routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "", "events", "events")}},
			`route "a" names the endpoint "events" twice`,
		},
		"bad condition": {
			routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "level == 'x'", "events")}},
			`the condition of route "a" is wrong: line 1, column 8: Syntax error.`,
		},
		"bad condition of a route that is off": {
			routing.Settings{Routes: []routing.Route{off(route("a", routing.DeviceMessages, "(", "events"))}},
			`the condition of route "a" is wrong`,
		},
		"twin changes of telemetry": {
			routing.Settings{Routes: []routing.Route{route("a", routing.DeviceMessages, "twin_change_includes(tags.a)", "events")}},
			`Invalid built-in function 'twin_change_includes'`,
		},
		"too many routes": {
			routing.Settings{Routes: many(101, func(i int) routing.Route { return route(fmt.Sprint(i), routing.DeviceMessages, "", "events") })},
			"there are 101 routes; at most 100 are allowed",
		},
		"reserved endpoint":        {routing.Settings{Endpoints: []routing.EndpointSettings{endpoint("Events")}}, `the endpoint name "Events" is one of the hub's own: choose another`},
		"endpoint with a bad name": {routing.Settings{Endpoints: []routing.EndpointSettings{endpoint("a/b")}}, `the endpoint name "a/b" is not allowed`},
		"two endpoints of a name":  {routing.Settings{Endpoints: []routing.EndpointSettings{endpoint("a"), endpoint("a")}}, `there are two endpoints named "a"`},
		"unknown kind":             {routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "pigeon"}}}, `endpoint "a" is of kind "pigeon", which is none of test`},
		"settings of the kind":     {routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "test"}}}, `endpoint "a": url is missing`},
		"config that is no object": {routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "test", Config: json.RawMessage(`["url"]`)}}}, `the config of endpoint "a" is not a JSON object`},
		"config that is too large": {
			routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "test", Config: json.RawMessage(`{"url":"` + strings.Repeat("x", 1<<16) + `"}`)}}},
			`at most 65536 are allowed`,
		},
		"too many endpoints": {
			routing.Settings{Endpoints: many(11, func(i int) routing.EndpointSettings { return endpoint(fmt.Sprint(i)) })},
			"there are 11 custom endpoints; at most 10 are allowed",
		},
		"fallback elsewhere": {
			routing.Settings{Endpoints: []routing.EndpointSettings{endpoint("a")}, FallbackRoute: &routing.Route{EndpointNames: []string{"a"}}},
			`the fallback route leads to a; it can only lead to "events"`,
		},
		"fallback by another name":     {routing.Settings{FallbackRoute: &routing.Route{Name: "x"}}, `its name is $fallback`},
		"fallback of another source":   {routing.Settings{FallbackRoute: &routing.Route{Source: routing.TwinChanges}}, `it can only be DeviceMessages`},
		"fallback with bad condition":  {routing.Settings{FallbackRoute: &routing.Route{Condition: "("}}, `the condition of the fallback route is wrong`},
		"enrichment with a bad key":    {routing.Settings{Enrichments: []routing.Enrichment{{Key: "a b", Value: "x", EndpointNames: []string{"events"}}}}, `the key of enrichment "a b" is not allowed`},
		"enrichment without a value":   {routing.Settings{Enrichments: []routing.Enrichment{{Key: "a", EndpointNames: []string{"events"}}}}, `the value of enrichment "a" has 0 characters`},
		"enrichment without endpoints": {routing.Settings{Enrichments: []routing.Enrichment{{Key: "a", Value: "x"}}}, `enrichment "a" leads to no endpoint`},
		"enrichments in conflict": {
			routing.Settings{Enrichments: []routing.Enrichment{{"a", "x", []string{"events"}}, {"a", "y", []string{"events"}}}},
			`two enrichments with the key "a" go to endpoint "events"`,
		},
		"too many enrichments": {
			routing.Settings{Enrichments: many(11, func(i int) routing.Enrichment { return routing.Enrichment{fmt.Sprint(i), "x", []string{"events"}} })},
			"there are 11 enrichments; at most 10 are allowed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.s.Validate(kinds, nil)
			if causeway.CodeOf(err) != causeway.ArgumentInvalid || !strings.Contains(causeway.MessageOf(err), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	all := routing.Settings{
		Routes:    []routing.Route{route("", "x", "("), route("b", routing.DeviceMessages, "", "nope")},
		Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "pigeon"}},
	}
	if err := all.Validate(nil, nil); strings.Count(err.Error(), "; ") != 5 {
		t.Errorf("not everything at once: %v", err)
	}
	good := routing.Settings{
		Endpoints: []routing.EndpointSettings{endpoint("a")},
		Routes:    []routing.Route{route("r", routing.TwinChanges, "twin_change_includes(tags.a)", "a", "events")},
	}
	if err := good.Validate(kinds, nil); err != nil {
		t.Error(err)
	}
	if err := (*routing.Settings)(nil).Validate(nil, nil); err != nil {
		t.Error(err)
	}
}

// twin is a sender whose twin says so.
type twin struct {
	routecond.Twin
	asked int
}

type from struct{ t *twin }

func (f from) Twin() (routecond.Twin, bool) {
	f.t.asked++
	return f.t.Twin, true
}

func json1(body string, props ...string) causeway.Message {
	m := causeway.Message{
		Source: causeway.SourceTelemetry, Body: []byte(body), ContentType: "application/json", ContentEncoding: "utf-8",
		From: causeway.Identity{Hub: "plant", Device: "d1", Module: "m"}, Enqueued: time.Date(2026, 5, 6, 7, 8, 9, 12e6, time.UTC),
		ID: "id-1", ModelID: "dtmi:x;1", Schema: "reading;v1",
	}
	for i := 0; i < len(props); i += 2 {
		m.Properties = append(m.Properties, causeway.Property{Key: props[i], Value: props[i+1]})
	}
	return m
}

func compile(t *testing.T, s routing.Settings) *routing.Router {
	t.Helper()
	if err := s.Validate(kinds, nil); err != nil {
		t.Fatal(err)
	}
	return routing.Compile("plant", &s)
}

// to returns where a message goes.
func to(r *routing.Router, m causeway.Message) string {
	w := r.Begin(from{&twin{Twin: routecond.Twin{Tags: []byte(`{"site":"west"}`)}}})
	defer w.End()
	t, fell := w.Match(&m)
	var names []string
	for t != 0 {
		var i int
		i, t = t.Next()
		names = append(names, r.Endpoints()[i])
	}
	if fell {
		names = append(names, "(fell)")
	}
	return strings.Join(names, " ")
}

func TestMatch(t *testing.T) {
	ab := []routing.EndpointSettings{endpoint("a"), endpoint("b")}
	routes := []routing.Route{
		route("hot", routing.DeviceMessages, "$body.t > 20", "a"),
		route("very", routing.DeviceMessages, "$body.t > 30", "a", "b"),
		off(route("all", routing.DeviceMessages, "", "b")),
		route("west", routing.DeviceMessages, "$twin.tags.site = 'west' AND level = 'x'", "events"),
		route("changes", routing.TwinChanges, "", "b"),
		route("never", routing.DeviceLifecycle, "false", "b"),
	}
	changed := json1(`{}`)
	changed.Source = causeway.SourceTwinChange
	created := json1(`{}`)
	created.Source = causeway.SourceLifecycle
	for _, c := range []struct {
		name string
		s    routing.Settings
		m    causeway.Message
		want string
	}{
		{"nothing configured", routing.Settings{}, json1(`{}`), "events (fell)"},
		{"nothing configured, an event", routing.Settings{}, changed, ""},
		{"one route", routing.Settings{Endpoints: ab, Routes: routes}, json1(`{"t":25}`), "a"},
		{"two routes to an endpoint", routing.Settings{Endpoints: ab, Routes: routes}, json1(`{"t":35}`), "a b"},
		{"fallback", routing.Settings{Endpoints: ab, Routes: routes}, json1(`{"t":5}`), "events (fell)"},
		{"fallback off", routing.Settings{Endpoints: ab, Routes: routes, FallbackRoute: &routing.Route{}}, json1(`{"t":5}`), ""},
		{
			"fallback with a condition",
			routing.Settings{FallbackRoute: &routing.Route{IsEnabled: true, Condition: "keep = 'yes'"}},
			json1(`{}`, "keep", "no"), "",
		},
		{"to events by a route", routing.Settings{Endpoints: ab, Routes: routes}, json1(`{"t":25}`, "level", "x"), "events a"},
		{"events of a source", routing.Settings{Endpoints: ab, Routes: routes}, changed, "b"},
		{"a source without a route", routing.Settings{Endpoints: ab, Routes: routes}, created, ""},
	} {
		if got := to(compile(t, c.s), c.m); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	r := compile(t, routing.Settings{Endpoints: ab, Routes: routes, FallbackRoute: &routing.Route{}})
	for source, want := range map[string]bool{
		causeway.SourceTelemetry: true, causeway.SourceTwinChange: true, causeway.SourceLifecycle: false, causeway.SourceConnectionState: false, "other": false,
	} {
		if r.Wants(source) != want {
			t.Errorf("Wants(%s) is %v", source, !want)
		}
	}
}

// TestProperties: conditions see what messages have.
func TestProperties(t *testing.T) {
	for _, condition := range []string{
		"level = 'high'", "LEVEL = 'high'", "$connectionDeviceId = 'd1'", "$connectionModuleId = 'm'", "$messageId = 'id-1'",
		"$contentType = 'application/json'", "$contentEncoding = 'utf-8'", "$enqueuedTime = '2026-05-06T07:08:09.012Z'",
		"$iothub-message-source = 'Telemetry'", "$dt-dataschema = 'dtmi:x;1'", "NOT is_defined($userId)", "NOT is_defined($absolute-expiry-time)",
		"is_defined($enqueuedTime) AND NOT is_defined($nosuch)", "{$messageId} = 'id-1'", "iothub-message-schema = 'reading;v1'", "$messageSchema = 'reading;v1'", "NOT is_defined(iothub-operation)", "$twin.tags.site = 'west'",
	} {
		r := compile(t, routing.Settings{Routes: []routing.Route{route("r", routing.DeviceMessages, condition, "events")}, FallbackRoute: &routing.Route{}})
		if got := to(r, json1(`{}`, "Level", "high")); got != "events" {
			t.Errorf("%s: %q", condition, got)
		}
	}
}

func TestEnrich(t *testing.T) {
	r := compile(t, routing.Settings{
		Endpoints: []routing.EndpointSettings{endpoint("a")},
		Enrichments: []routing.Enrichment{
			{"hub", "$iothubname", []string{"a"}},
			{"level", "fixed", []string{"a", "events"}},
			{"site", "$twin.tags.site", []string{"a"}},
			{"fw", "$twin.properties.reported.os.FW", []string{"a"}},
			{"big", "$twin.properties.desired.n", []string{"a"}},
			{"none", "$twin.tags.none", []string{"a"}},
		},
	})
	s := &twin{Twin: routecond.Twin{
		Tags: []byte(`{"site":"we\"st"}`), Reported: []byte(`{"os":{"fw":{"v":[1]}}}`), Desired: []byte(`{"n":12.50}`),
	}}
	w := r.Begin(from{s})
	defer w.End()
	m := json1(`{}`, "level", "own", "x", "y")
	if w.Enriches(0) != true || w.Enriches(1) != true {
		t.Error("no enrichments")
	}
	text := func(m causeway.Message) string { return fmt.Sprint(m.Properties) }
	first, events := w.Enrich(m, 1), w.Enrich(m, 0)
	again := w.Enrich(m, 1)
	if got, want := text(first), `[{x y} {hub plant} {level fixed} {site we"st} {fw {"v":[1]}} {big 12.50} {none $twin.tags.none}]`; got != want || text(again) != want {
		t.Errorf("to a: %s\nwant %s", got, want)
	}
	if got := text(events); got != "[{x y} {level fixed}]" {
		t.Errorf("to events: %s", got)
	}
	if got := text(m); got != "[{level own} {x y}]" {
		t.Errorf("the message itself became %s", got)
	}
	m.Source = causeway.SourceDigitalTwin
	if got := text(w.Enrich(m, 1)); got != "[{level own} {x y}]" {
		t.Errorf("a digital twin change became %s", got)
	}
	full := json1(strings.Repeat("x", causeway.MaxMessageSize-10))
	full.ContentType, full.ContentEncoding, full.ID = "", "", ""
	if got := w.Enrich(full, 1); len(got.Properties) != 0 {
		t.Errorf("a full message got %d properties", len(got.Properties))
	}
	w.From(from{&twin{}})
	if got := text(w.Enrich(json1(`{}`), 1)); !strings.Contains(got, "{site $twin.tags.site}") {
		t.Errorf("another sender: %s", got)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	r := compile(t, routing.Settings{
		Endpoints: []routing.EndpointSettings{endpoint("a")},
		Routes: many(100, func(i int) routing.Route {
			return route(fmt.Sprint(i), routing.DeviceMessages, fmt.Sprintf("$body.t > %d AND level = 'x%d'", i, i), "a")
		}),
		Enrichments: []routing.Enrichment{{"k", "v", []string{"a"}}},
	})
	m := json1(`{"t":1000,"x":[1,2,{"y":"z"}]}`, "level", "x")
	sender := from{&twin{}}
	w := r.Begin(sender)
	w.End()
	if n := testing.AllocsPerRun(100, func() {
		w := r.Begin(sender)
		w.Match(&m)
		w.Enrich(m, 1)
		w.End()
	}); n > 0 {
		t.Errorf("routing a message allocates %v times", n)
	}
}

func TestTrial(t *testing.T) {
	var trial routing.Trial
	err := json.Unmarshal([]byte(`{"message":{"body":"{\"t\":21}","appProperties":{"level":"x","nul":null},
		"systemProperties":{"contentType":"application/json","$contentEncoding":"utf-8","messageId":"1"}},
		"twin":{"tags":{"a":1},"properties":{"desired":{"b":2},"reported":{"c":3}}}}`), &trial)
	if err != nil {
		t.Fatal(err)
	}
	for condition, want := range map[string]routecond.Bool{
		"":               routecond.True,
		"$body.t > 20":   routecond.True,
		"$body.t > 21":   routecond.False,
		"$body.x.y > 21": routecond.Undefined,
		"level = 'x' AND $twin.tags.a = 1 AND $twin.properties.desired.b = 2 AND $twin.properties.reported.c = 3": routecond.Undefined,
		"$twin.tags.a = 1 AND $twin.properties.reported.c = 3":                                                    routecond.True,
		"is_null(nul) AND $messageId = '1'":                                                                       routecond.True,
	} {
		if strings.HasPrefix(condition, "level") {
			want = routecond.True
		}
		b, errs, err := trial.Try(routing.Route{Source: routing.DeviceMessages, Condition: condition})
		if b != want || errs != nil || err != nil {
			t.Errorf("%s: %s %v %v, want %s", condition, b, errs, err, want)
		}
	}
	if _, errs, err := trial.Try(routing.Route{Condition: "a = = b"}); len(errs) != 1 || err != nil {
		t.Errorf("a bad condition: %v %v", errs, err)
	}
	if _, _, err := trial.Try(routing.Route{Source: "x"}); err == nil {
		t.Error("an unknown source was taken")
	}
	s := &routing.Settings{Routes: []routing.Route{
		route("no", routing.DeviceMessages, "$body.t < 0", "events"), route("yes", routing.DeviceMessages, "$body.t = 21", "events"),
		off(route("off", routing.DeviceMessages, "", "events")), route("twin", routing.TwinChanges, "", "events"),
	}}
	names := func(from routing.Source) (list []string) {
		taken, err := trial.TryAll(s, from)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range taken {
			list = append(list, r.Name)
		}
		return list
	}
	if got := names(routing.DeviceMessages); !slices.Equal(got, []string{"yes"}) {
		t.Errorf("taken by %v", got)
	}
	s.Routes = s.Routes[:1]
	if got := names(routing.DeviceMessages); !slices.Equal(got, []string{"$fallback"}) {
		t.Errorf("taken by %v", got)
	}
	if got := names(routing.TwinChanges); got != nil {
		t.Errorf("taken by %v", got)
	}
}

func TestClone(t *testing.T) {
	s := &routing.Settings{
		Endpoints:     []routing.EndpointSettings{{Name: "a", Config: json.RawMessage(`{}`), Secrets: map[string]causeway.Secret{"k": "v"}}},
		Routes:        []routing.Route{route("r", routing.DeviceMessages, "", "a")},
		FallbackRoute: &routing.Route{EndpointNames: []string{"events"}},
		Enrichments:   []routing.Enrichment{{"k", "v", []string{"a"}}},
	}
	before, _ := json.Marshal(s)
	c := s.Clone()
	c.Endpoints[0].Config[0] = 'x'
	c.Endpoints[0].Secrets["k"] = "other"
	c.Routes[0].EndpointNames[0], c.FallbackRoute.EndpointNames[0], c.Enrichments[0].EndpointNames[0] = "x", "x", "x"
	if after, _ := json.Marshal(s); string(after) != string(before) {
		t.Errorf("a clone shares memory: %s", after)
	}
	if (*routing.Settings)(nil).Clone() != nil || !(*routing.Settings)(nil).IsDefault() || s.IsDefault() {
		t.Error("nil")
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, condition := range map[string]string{
		"same path":  "$body.temperature > %d",
		"many paths": "$body.p%[1]d > %[1]d",
		"mixed":      "$body.temperature > %[1]d AND level = 'x%[1]d'",
	} {
		b.Run(name, func(b *testing.B) {
			s := routing.Settings{Endpoints: []routing.EndpointSettings{endpoint("a")}}
			for i := range 100 {
				s.Routes = append(s.Routes, route(fmt.Sprint(i), routing.DeviceMessages, fmt.Sprintf(condition, 1000+i), "a"))
			}
			r := routing.Compile("plant", &s)
			m := json1(`{"temperature":21.5,"humidity":60,"device":"sensor-1","position":{"lat":52.1,"lon":4.3},"tags":["a","b"],"seq":123456,"pad":"`+strings.Repeat("x", 100)+`"}`, "level", "normal", "seq", "12345")
			b.ReportAllocs()
			for b.Loop() {
				w := r.Begin(nil)
				w.Match(&m)
				w.End()
			}
		})
	}
}

// TestBroken: what a former version of the program took, or a disk spoiled, does
// nothing and is named; the rest works.
func TestBroken(t *testing.T) {
	r := routing.Compile("plant", &routing.Settings{
		Endpoints: []routing.EndpointSettings{{Name: "a", Kind: "storage"}},
		Routes: []routing.Route{
			route("bygone", routing.DeviceMessages, "bygone(x)", "a"), route("nowhere", routing.DeviceMessages, "true", "gone"), route("sound", routing.DeviceMessages, "true", "a"),
		},
		FallbackRoute: &routing.Route{Condition: "ALL OF IT", IsEnabled: true},
		Enrichments: []routing.Enrichment{
			{Key: "lost", Value: "x", EndpointNames: []string{"a", "gone"}}, {Key: "site", Value: "west", EndpointNames: []string{"a"}},
		},
	})
	var broken []string
	for _, b := range r.Broken() {
		broken = append(broken, b.Route+b.Enrichment)
		if b.Err == nil {
			t.Errorf("nobody says why %+v is broken", b)
		}
	}
	if got, want := strings.Join(broken, " "), "bygone nowhere $fallback lost"; got != want {
		t.Errorf("broken are %s, want %s", got, want)
	}
	m := json1(`{}`)
	if got := to(r, m); got != "a" {
		t.Errorf("goes to %q", got)
	}
	w := r.Begin(from{&twin{}})
	defer w.End()
	if got := w.Enrich(m, 1).Properties; len(got) != 1 || got[0].Key != "site" {
		t.Errorf("enriched with %+v", got)
	}
}
