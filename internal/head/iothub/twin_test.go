package iothub_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

func equalJSON(a, b any) bool { return reflect.DeepEqual(a, b) }

func TestTwin(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	w.put("/devices/d/modules/m", `{}`).want(200)
	for _, path := range []string{"/twins/d", "/twins/d/modules/m"} {
		t.Run(path, func(t *testing.T) {
			first := w.get(path).want(200)
			if first.header.Get("ETag") != `"`+first.text("etag")+`"` {
				t.Errorf("ETag %q, body %q", first.header.Get("ETag"), first.text("etag"))
			}
			a := w.patch(path, `{"tags":{"site":"x","old":1},"properties":{"desired":{"a":{"b":1},"c":[1]},"reported":{"ignored":1}},"deviceId":"other"}`, "If-Match", first.header.Get("ETag")).want(200)
			if a.text("tags", "site") != "x" || a.text("properties", "desired", "a", "b") != "1" || a.json("properties", "reported", "ignored") != nil {
				t.Errorf("patched: %s", a.body)
			}
			if a.text("properties", "desired", "$version") != "2" || a.text("properties", "desired", "$metadata", "a", "b", "$lastUpdatedVersion") != "2" {
				t.Errorf("metadata: %s", a.body)
			}
			w.patch(path, `{"tags":{}}`, "If-Match", first.header.Get("ETag")).refused(causeway.PreconditionFailed)
			a = w.patch(path, `{"tags":{"old":null,"q":"\"<&>"}}`).want(200) // no If-Match is any
			if a.json("tags", "old") != nil || a.text("tags", "q") != `"<&>` || a.text("tags", "site") != "x" {
				t.Errorf("merged: %s", a.body)
			}
			a = w.do(request{method: "PUT", path: path, body: `{"tags":{"only":true}}`, header: pairs([]string{"If-Match", "*"})}).want(200)
			if a.json("tags", "site") != nil || a.text("properties", "desired", "a", "b") != "1" {
				t.Errorf("replaced tags, kept desired: %s", a.body)
			}
			a = w.do(request{method: "PUT", path: path, body: `{"properties":{"desired":{"new":1}}}`}).want(200)
			if a.json("properties", "desired", "a") != nil || a.text("properties", "desired", "new") != "1" || a.json("tags", "only") != true {
				t.Errorf("replaced desired, kept tags: %s", a.body)
			}
			a = w.patch(path, `{"tags":null}`).want(200)
			if n := len(a.json("tags").(map[string]any)); n != 0 {
				t.Errorf("cleared tags: %s", a.body)
			}
			// A twin that was read can be sent back.
			w.do(request{method: "PUT", path: path, body: string(a.body), header: pairs([]string{"If-Match", a.header.Get("ETag")})}).want(200)
		})
	}
	w.get("/twins/nobody").refused(causeway.DeviceNotFound)
	w.get("/twins/d/modules/nobody").refused(causeway.ModuleNotFound)
	w.patch("/twins/nobody", `{}`).refused(causeway.DeviceNotFound)
}

// TestTwinErrorForNode shows that a 404 in form B is one that Node's SDK takes
// apart as form A: the code between the first colon and the first semicolon.
func TestTwinErrorForNode(t *testing.T) {
	w := newWorld(t)
	msg := w.get("/twins/nobody").refused(causeway.DeviceNotFound).text("Message")
	parts := strings.Split(msg, ";")
	if len(parts) < 2 || strings.Split(parts[0], ":")[1] != "DeviceNotFound" || !strings.Contains(parts[1], "nobody") {
		t.Errorf("Node would read %q", parts)
	}
}

// The HTTP library of the Java SDK has no PATCH.
func TestTwinPatchByPost(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	a := w.post("/twins/d", `{"tags":{"site":"x"}}`, "X-HTTP-Method-Override", "PATCH").want(200)
	if a.text("tags", "site") != "x" {
		t.Errorf("patched: %s", a.body)
	}
	w.post("/twins/d", `{}`).refused(causeway.GenericMethodNotAllowed)
	w.post("/twins/d", `{}`, "X-HTTP-Method-Override", "PUT").refused(causeway.GenericMethodNotAllowed)
	w.do(request{method: "GET", path: "/twins/d", header: pairs([]string{"X-HTTP-Method-Override", "PATCH"})}).want(200)
}

// TestTwinConfigurations: a twin shows the configurations that are on its
// identity, and no member when there are none.
func TestTwinConfigurations(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	if a := w.get("/twins/d").want(200); strings.Contains(string(a.body), "configurations") {
		t.Errorf("without configurations: %s", a.body)
	}
	if err := w.registry.SetConfigurations(t.Context(), registry.ConfigurationChange{
		ID: causeway.Identity{Hub: "myhub", Device: "d"}, Configuration: "my-cfg", Status: registry.ConfigurationApplied,
	}); err != nil {
		t.Fatal(err)
	}
	if got := w.get("/twins/d").want(200).text("configurations", "my-cfg", "status"); got != "Applied" {
		t.Errorf("status %q", got)
	}
}
