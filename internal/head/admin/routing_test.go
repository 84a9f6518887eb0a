package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/head/admin"
)

const routingPath = "/api/v1/hubs/myhub/routing"

// routingWorld is a world whose hubs may have endpoints of one kind.
func routingWorld(t *testing.T) *world {
	w := newWorld(t)
	w.directory.SetEndpointKinds(routing.Kinds{"webhook": func(e routing.EndpointSettings) error {
		if e.Secrets["token"] == "" {
			return fmt.Errorf("the secret token is missing")
		}
		return nil
	}})
	return w
}

func TestRouting(t *testing.T) {
	w := routingWorld(t)
	const admin = "admin"
	w.do("GET", routingPath, "", admin).want(200).is(`{"endpoints":[],"routes":[],"fallbackRoute":{"name":"$fallback","source":"DeviceMessages","condition":"true","endpointNames":["events"],"isEnabled":true},"enrichments":[]}`)
	w.do("PUT", routingPath+"/routes/hot", `{"condition":"$body.t > 20","endpointNames":["events"]}`, admin).want(200)
	w.do("PUT", routingPath+"/routes/changes", `{"source":"TwinChangeEvents","endpointNames":["events"],"isEnabled":false}`, admin).want(200)
	w.do("PUT", routingPath+"/routes/hot", `{"condition":"$body.t > 30","endpointNames":["events"]}`, admin).want(200)
	w.do("PUT", routingPath+"/fallback", `{"isEnabled":false}`, admin).want(200)
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"webhook","config":{"url":"https://x"},"secrets":{"token":"hush"}}`, admin).want(200)
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"webhook","config":{"url":"https://y"}}`, admin).want(200)
	all := w.do("PUT", routingPath+"/enrichments/site", `{"value":"$twin.tags.site","endpointNames":["hook"]}`, admin).want(200)
	all.is(`{"endpoints":[{"name":"hook","kind":"webhook","config":{"url":"https://y"}}],"routes":[` +
		`{"name":"hot","source":"DeviceMessages","condition":"$body.t > 30","endpointNames":["events"],"isEnabled":true},` +
		`{"name":"changes","source":"TwinChangeEvents","endpointNames":["events"],"isEnabled":false}],` +
		`"fallbackRoute":{"name":"$fallback","source":"DeviceMessages","endpointNames":["events"],"isEnabled":false},` +
		`"enrichments":[{"key":"site","value":"$twin.tags.site","endpointNames":["hook"]}]}`)
	if h, _ := w.directory.Get("myhub"); h.Settings.Routing.Endpoints[0].Secrets["token"] != "hush" {
		t.Error("the secret of the endpoint is gone")
	}

	// What was shown may be sent back; the secrets stay.
	w.do("PUT", routingPath, string(all.body), admin).want(200).is(string(all.body))
	if h, _ := w.directory.Get("myhub"); h.Settings.Routing.Endpoints[0].Secrets["token"] != "hush" {
		t.Error("the secret of the endpoint is gone")
	}

	w.do("DELETE", routingPath+"/endpoints/hook", "", admin).want(400).has(`the endpoint \"hook\" is in use: change or remove first what names it: enrichment \"site\"`)
	w.do("DELETE", routingPath+"/enrichments/site", "", admin).want(200)
	w.do("DELETE", routingPath+"/endpoints/hook", "", admin).want(200)
	w.do("DELETE", routingPath+"/routes/hot", "", admin).want(200)
	w.do("DELETE", routingPath+"/routes/changes", "", admin).want(200)
	w.do("PUT", routingPath+"/fallback", `{"isEnabled":true}`, admin).want(200)
	if h, _ := w.directory.Get("myhub"); h.Settings.Routing != nil {
		t.Errorf("defaults are stored: %+v", h.Settings.Routing)
	}
}

// TestBadRouting is what a client can get wrong about routes.
func TestBadRouting(t *testing.T) {
	w := routingWorld(t)
	const admin = "admin"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		has                      string
	}{
		{"condition", "PUT", "/routes/a", `{"condition":"level == 'x'","endpointNames":["events"]}`, 400, `line 1, column 8: Syntax error.`},
		{"no endpoint", "PUT", "/routes/a", `{}`, 400, `leads to no endpoint`},
		{"unknown endpoint", "PUT", "/routes/a", `{"endpointNames":["nope"]}`, 400, `it is none of events`},
		{"unknown source", "PUT", "/routes/a", `{"source":"Telemetry","endpointNames":["events"]}`, 422, `DeviceMessages`},
		{"name", "PUT", "/routes/a%20b", `{"endpointNames":["events"]}`, 400, `is not allowed`},
		{"unknown member", "PUT", "/routes/a", `{"endpoint":"events"}`, 422, `unexpected property`},
		{"no JSON", "PUT", "/routes/a", `{`, 400, ``},
		{"unknown route", "DELETE", "/routes/a", ``, 404, `hub \"myhub\" has no route \"a\"`},
		{"unknown kind", "PUT", "/endpoints/a", `{"kind":"pigeon"}`, 400, `which is none of webhook`},
		{"settings of the kind", "PUT", "/endpoints/a", `{"kind":"webhook"}`, 400, `the secret token is missing`},
		{"unknown endpoint removed", "DELETE", "/endpoints/a", ``, 404, `has no endpoint \"a\"`},
		{"enrichment", "PUT", "/enrichments/a%2Fb", `{"value":"x","endpointNames":["events"]}`, 400, `is not allowed`},
		{"enrichment without a value", "PUT", "/enrichments/a", `{"value":"","endpointNames":["events"]}`, 400, `has 0 characters`},
		{"unknown enrichment", "DELETE", "/enrichments/a", ``, 404, `has no enrichment \"a\"`},
		{"fallback", "PUT", "/fallback", `{"isEnabled":true,"condition":"("}`, 400, `the condition of the fallback route is wrong`},
		{"trial of an unknown source", "POST", "/test", `{"route":{"source":"x"}}`, 422, `DeviceMessages`},
		{"trial without a route", "POST", "/test", `{}`, 422, `route`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			w.do(c.method, routingPath+c.path, c.body, admin).want(c.status).has(c.has)
		})
	}
	if h, _ := w.directory.Get("myhub"); h.Settings.Routing != nil {
		t.Errorf("refused settings were taken: %+v", h.Settings.Routing)
	}
	w.do("GET", "/api/v1/hubs/nowhere/routing", "", admin).want(404)
	w.do("PUT", "/api/v1/hubs/nowhere/routing/routes/a", `{"endpointNames":["events"]}`, admin).want(404)
	w.do("POST", "/api/v1/hubs/nowhere/routing/test", `{"route":{}}`, admin).want(404)
}

// TestRoutingRights: the owner of a hub changes its routes, but only the
// administrator lets the server connect to somewhere.
func TestRoutingRights(t *testing.T) {
	w := routingWorld(t)
	owner, service := w.policyToken("iothubowner", "myhub.example.com", time.Hour), w.policyToken("service", "myhub.example.com", time.Hour)
	w.do("GET", routingPath, "", owner).want(200)
	w.do("PUT", routingPath+"/routes/a", `{"endpointNames":["events"]}`, owner).want(200)
	w.do("PUT", routingPath+"/endpoints/a", `{"kind":"webhook","secrets":{"token":"x"}}`, owner).want(401)
	w.do("DELETE", routingPath+"/endpoints/a", ``, owner).want(401)
	w.do("PUT", routingPath, `{"endpoints":[],"routes":[],"enrichments":[]}`, owner).want(401)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"PUT", "/routes/a", `{"endpointNames":["events"]}`},
		{"DELETE", "/routes/a", ""},
		{"PUT", "/fallback", `{"isEnabled":true}`},
		{"PUT", "/enrichments/a", `{"value":"x","endpointNames":["events"]}`},
		{"DELETE", "/enrichments/a", ""},
		{"POST", "/test", `{"route":{}}`},
		{"POST", "/testall", `{}`},
	} {
		w.do(c.method, routingPath+c.path, c.body, service).want(401)
		w.do(c.method, routingPath+c.path, c.body, "").want(401)
	}
}

func TestTryRoutes(t *testing.T) {
	w := routingWorld(t)
	const admin = "admin"
	const message = `"message":{"body":"{\"t\":21}","appProperties":{"level":"x"},"systemProperties":{"contentType":"application/json","contentEncoding":"utf-8"}},"twin":{"tags":{"a":1},"properties":{"reported":{"b":2}}}`
	for condition, want := range map[string]string{
		`$body.t > 20 AND level = 'x'`: `{"result":"true","details":{"compilationErrors":[]}}`,
		`$body.t < 20`:                 `{"result":"false","details":{"compilationErrors":[]}}`,
		`nope = 'x'`:                   `{"result":"undefined","details":{"compilationErrors":[]}}`,
		`$twin.tags.a = 1 AND $twin.properties.reported.b = 2`: `{"result":"true","details":{"compilationErrors":[]}}`,
		"\\n3 + '4' = 7": `{"result":"undefined","details":{"compilationErrors":[` +
			`{"message":"Invalid operands to binary operator '+': have 'number' and 'string', expected 'number' and 'number'","severity":"error","location":{"start":{"line":2,"column":3},"end":{"line":2,"column":4}}},` +
			`{"message":"Invalid operands to binary operator '=': have 'undefined' and 'number', expected 'number' and 'number'","severity":"error","location":{"start":{"line":2,"column":9},"end":{"line":2,"column":10}}}]}}`,
	} {
		w.do("POST", routingPath+"/test", `{`+message+`,"route":{"condition":"`+condition+`"}}`, admin).want(200).is(want)
	}
	w.do("PUT", routingPath+"/routes/hot", `{"condition":"$body.t > 20","endpointNames":["events"]}`, admin).want(200)
	w.do("PUT", routingPath+"/routes/cold", `{"condition":"$body.t < 0","endpointNames":["events"]}`, admin).want(200)
	w.do("POST", routingPath+"/testall", `{`+message+`}`, admin).want(200).
		is(`{"routes":[{"properties":{"name":"hot","source":"DeviceMessages","condition":"$body.t > 20","endpointNames":["events"],"isEnabled":true}}]}`)
	w.do("POST", routingPath+"/testall", `{}`, admin).want(200).has(`"name":"$fallback"`)
	w.do("POST", routingPath+"/testall", `{"routingSource":"TwinChangeEvents"}`, admin).want(200).is(`{"routes":[]}`)
	w.do("POST", routingPath+"/test", `{"message":{"body":"`+strings.Repeat("x", 300<<10)+`"},"route":{}}`, admin).want(422)
}

// is compares the body with what it should be.
func (a answer) is(want string) {
	a.t.Helper()
	if got := strings.TrimSpace(string(a.body)); got != strings.TrimSpace(want) {
		a.t.Errorf("body\n got %s\nwant %s", got, want)
	}
}

// has looks for a part of the body.
func (a answer) has(part string) {
	a.t.Helper()
	if !strings.Contains(string(a.body), part) {
		a.t.Errorf("%q is not in %s", part, a.body)
	}
}

// queues are endpoints of which it is known what waits.
type queues struct {
	admin.Endpoints
	list []delivery.Status
}

func (q queues) Status() []delivery.Status { return q.list }

// TestWaiting: endpoints do not go with messages that wait for them, whatever
// way they go, until that is wanted.
func TestWaiting(t *testing.T) {
	q := queues{list: []delivery.Status{{Name: "hook", Waiting: 7}, {Name: "other"}}}
	w := newWorld(t, func(s *admin.Server) {
		s.Endpoints = func(hub string) (admin.Endpoints, bool) { return q, hub == "myhub" }
	})
	w.directory.SetEndpointKinds(routing.Kinds{"webhook": nil, "amqp": nil, "eventHub": nil})
	for _, name := range []string{"hook", "other"} {
		w.do("PUT", routingPath+"/endpoints/"+name, `{"kind":"webhook"}`, "admin").want(200)
	}
	const waits = `7 for \"hook\"`
	w.do("DELETE", routingPath+"/endpoints/hook", "", "admin").want(409).has(waits)
	w.do("DELETE", routingPath+"/endpoints/hook?discard=false", "", "admin").want(409).has(waits)
	w.do("PUT", routingPath, `{"endpoints":[{"name":"other","kind":"webhook"}],"routes":[],"enrichments":[]}`, "admin").want(409).has(waits)
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"eventHub"}`, "admin").want(409).has(waits)
	if h, _ := w.directory.Get("myhub"); len(h.Settings.Routing.Endpoints) != 2 {
		t.Errorf("something went: %+v", h.Settings.Routing.Endpoints)
	}
	// What leaves the queue where it is may be.
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"amqp"}`, "admin").want(200)
	w.do("PUT", routingPath+"/routes/r", `{"endpointNames":["hook"]}`, "admin").want(200)
	w.do("DELETE", routingPath+"/endpoints/other", "", "admin").want(200)
	w.do("DELETE", routingPath+"/routes/r", "", "admin").want(200)
	w.do("PUT", routingPath+"/endpoints/hook?discard=true", `{"kind":"eventHub"}`, "admin").want(200)
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"eventHub"}`, "admin").want(200)
	w.do("PUT", routingPath+"?discard=true", `{"endpoints":[],"routes":[],"enrichments":[]}`, "admin").want(200)
	w.do("PUT", routingPath+"/endpoints/hook", `{"kind":"webhook"}`, "admin").want(200)
	w.do("DELETE", routingPath+"/endpoints/hook?discard=true", "", "admin").want(200)
}
