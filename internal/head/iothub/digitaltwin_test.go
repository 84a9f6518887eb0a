package iothub_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

func TestDigitalTwin(t *testing.T) {
	w := newWorld(t)
	w.get("/digitaltwins/d").refused(causeway.DeviceNotFound)
	w.put("/devices/d", `{}`).want(200)
	id := causeway.Identity{Hub: "myhub", Device: "d"}
	first := w.get("/digitaltwins/d").want(200)
	if string(first.body) != `{"$dtId":"d","$metadata":{}}` {
		t.Errorf("new: %s", first.body)
	}
	if err := w.registry.SetModel(t.Context(), id, "dtmi:com:example:TemperatureController;1"); err != nil {
		t.Fatal(err)
	}
	report := func(text string) {
		t.Helper()
		if _, err := w.registry.Report(t.Context(), id, causeway.Patch{Properties: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	report(`{"serialNumber":"x","thermostat1":{"__t":"c","max":38.7}}`)

	etag := w.get("/digitaltwins/d").header.Get("ETag")
	a := w.patch("/digitaltwins/d", `[{"op":"add","path":"/thermostat1/targetTemperature","value":21.50},{"op":"add","path":"/interval","value":5}]`, "If-Match", etag).want(202)
	if len(a.body) != 0 || a.header.Get("Location") != "https://"+hubHost+"/digitaltwins/d" || a.header.Get("ETag") == etag {
		t.Errorf("patched: %v %s", a.header, a.body)
	}
	if tw := w.get("/twins/d"); tw.header.Get("ETag") != a.header.Get("ETag") || tw.text("properties", "desired", "thermostat1", "__t") != "c" || tw.text("properties", "desired", "interval") != "5" {
		t.Errorf("the twin: %s", tw.body)
	}
	report(`{"thermostat1":{"__t":"c","targetTemperature":{"value":21,"ac":200,"av":2,"ad":"done"}}}`)
	dt := w.get("/digitaltwins/d").want(200)
	for path, want := range map[string]string{
		"$dtId": "d", "$metadata.$model": "dtmi:com:example:TemperatureController;1", "serialNumber": "x", "$metadata.interval.desiredValue": "5",
		"thermostat1.max": "38.7", "thermostat1.targetTemperature": "21", "thermostat1.$metadata.targetTemperature.desiredValue": "21.50",
		"thermostat1.$metadata.targetTemperature.desiredVersion": "2", "thermostat1.$metadata.targetTemperature.ackVersion": "2",
		"thermostat1.$metadata.targetTemperature.ackCode": "200", "thermostat1.$metadata.targetTemperature.ackDescription": "done",
	} {
		if got := dt.text(strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	// The etag that was seen is no longer that of the twin.
	w.patch("/digitaltwins/d", `[{"op":"remove","path":"/interval"}]`, "If-Match", etag).refused(causeway.PreconditionFailed)
	for _, match := range []string{"*", `"*"`} {
		w.patch("/digitaltwins/d", `[{"op":"add","path":"/interval","value":6}]`, "If-Match", match).want(202)
	}
	w.do(request{method: "POST", path: "/digitaltwins/d", body: `[{"op":"remove","path":"/interval"}]`, header: pairs([]string{"X-HTTP-Method-Override", "PATCH"})}).want(202)
	if got := w.get("/twins/d").json("properties", "desired", "interval"); got != nil {
		t.Errorf("removed: %v", got)
	}
}

// TestDigitalTwinContended: patches without a condition all succeed, however
// many come at a time.
func TestDigitalTwinContended(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 5 {
				w.patch("/digitaltwins/d", `[{"op":"add","path":"/p`+string(rune('0'+i))+`","value":1}]`).want(202)
			}
		})
	}
	wg.Wait()
	if got := w.get("/twins/d").text("properties", "desired", "$version"); got != "21" {
		t.Errorf("version %s", got)
	}
}

func TestCommandInvocation(t *testing.T) {
	for _, tc := range []struct {
		name, path, body  string
		answer            causeway.Result
		method, payload   string
		connect, response time.Duration
		want              string
	}{
		{"of the device", "/digitaltwins/d/commands/reboot", `{"delay": 5}`, causeway.Result{Status: 201, Payload: []byte(`"ok"`)}, "reboot", `{"delay": 5}`, 0, 30 * time.Second, `"ok"`},
		{
			"of a component", "/digitaltwins/d/components/thermostat1/commands/getMaxMinReport?connectTimeoutInSeconds=10&responseTimeoutInSeconds=5", `"2024-01-01"`,
			causeway.Result{Status: 404},
			"thermostat1*getMaxMinReport", `"2024-01-01"`, 10 * time.Second, 5 * time.Second, `null`,
		},
		{"without an argument", "/digitaltwins/d/commands/x", ``, causeway.Result{Status: 200}, "x", `null`, 0, 30 * time.Second, `null`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			got := w.hub.answering(tc.answer, nil)
			a := w.post(tc.path, tc.body).want(200)
			if string(a.body) != tc.want || a.header.Get("x-ms-command-statuscode") == "" {
				t.Errorf("answered %v %s", a.header, a.body)
			}
			if got.call.Method != tc.method || string(got.call.Payload) != tc.payload || got.connect != tc.connect || got.response > tc.response || got.response < tc.response-time.Second {
				t.Errorf("called %+v", got)
			}
		})
	}
	w := newWorld(t)
	w.hub.answering(causeway.Result{}, causeway.Errorf(causeway.DeviceNotOnline, "x", "offline"))
	w.post("/digitaltwins/d/commands/x", "").refused(causeway.DeviceNotOnline)
}

func TestBadDigitalTwin(t *testing.T) {
	w := newWorld(t)
	w.hub.answering(causeway.Result{Status: 200}, nil)
	w.put("/devices/d", `{}`).want(200)
	patch := func(body string) request { return request{method: "PATCH", path: "/digitaltwins/d", body: body} }
	command := func(query, body string) request {
		return request{method: "POST", path: "/digitaltwins/d/commands/x" + query, body: body}
	}
	for _, tc := range []struct {
		name string
		request
		code causeway.Code
		says string
	}{
		{"patch that is no patch", patch(`{"a":1}`), causeway.InvalidDigitalTwinJsonPatch, "JSON Patch"},
		{"patch of 256 KB and more", patch(`[` + strings.Repeat(" ", 256<<10) + `]`), causeway.GenericRequestEntityTooLarge, "bytes"},
		{"null as a value", patch(`[{"op":"add","path":"/a","value":{"b":null}}]`), causeway.InvalidDigitalTwinPayload, "null"},
		{"nothing to replace", patch(`[{"op":"replace","path":"/a","value":1}]`), causeway.InvalidDigitalTwinPatch, "/a"},
		{"path without a slash", patch(`[{"op":"add","path":"a","value":1}]`), causeway.InvalidDigitalTwinPatchPath, "slash"},
		{"name that no twin may have", patch(`[{"op":"add","path":"/a b","value":1}]`), causeway.ArgumentInvalid, "a b"},
		{"more than a twin holds", patch(`[{"op":"add","path":"/a","value":["` + strings.Repeat("x", 4000) + strings.Repeat(`","`+strings.Repeat("x", 4000), 10) + `"]}]`), causeway.ArgumentInvalid, "desired"},
		{"patch for nobody", request{method: "PATCH", path: "/digitaltwins/ghost", body: `[{"op":"add","path":"/a","value":1}]`}, causeway.DeviceNotFound, "ghost"},
		{"argument that is not JSON", command("", "hello"), causeway.DeserializationError, "JSON"},
		{"two arguments", command("", "1 2"), causeway.DeserializationError, "one JSON value"},
		{"argument over 128 KB", command("", `"`+strings.Repeat("x", causeway.MaxMethodPayload)+`"`), causeway.MessageTooLarge, "bytes"},
		{"time-out that is no number", command("?responseTimeoutInSeconds=soon", ""), causeway.ArgumentInvalid, "soon"},
		{"time-out too short", command("?responseTimeoutInSeconds=4", ""), causeway.ArgumentInvalid, "5 to 300"},
		{"command name too long", request{method: "POST", path: "/digitaltwins/d/components/" + strings.Repeat("c", 90) + "/commands/0123456789"}, causeway.ArgumentInvalid, "100"},
		{"device's own token", request{method: "GET", path: "/digitaltwins/d", header: with("Authorization", token("device"))}, causeway.IotHubUnauthorized, "ServiceConnect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if a := w.do(tc.request).refused(tc.code); !strings.Contains(string(a.body), tc.says) {
				t.Errorf("it does not say %q: %s", tc.says, a.body)
			}
		})
	}
	if got := w.get("/twins/d").text("properties", "desired", "$version"); got != "1" {
		t.Errorf("something was changed: version %s", got)
	}
}
