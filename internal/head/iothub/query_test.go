package iothub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
)

// query asks for a page.
func (w *world) query(text string, header ...string) answer {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"query": text})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.post("/devices/query", string(body), header...)
}

func TestQuery(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.put(fmt.Sprintf("/devices/d%d", i), `{}`).want(200)
		w.patch(fmt.Sprintf("/twins/d%d", i), fmt.Sprintf(`{"tags":{"n":%d},"properties":{"desired":{"x":"<&>"}}}`, i)).want(200)
	}
	w.put("/devices/edge", `{"capabilities":{"iotEdge":true}}`).want(200)
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	w.hub.setState(causeway.Identity{Hub: "myhub", Device: "d2"}, presence.State{Connected: true, Updated: at, LastActivity: at})

	// An item of SELECT * is the twin, to the byte.
	a := w.query("SELECT * FROM devices WHERE connectionState = 'Connected'").want(200)
	if twin := w.get("/twins/d2").want(200); string(a.body) != "["+string(twin.body)+"]" {
		t.Errorf("item:\n%s\ntwin:\n%s", a.body, twin.body)
	}
	if h := a.header; h.Get("x-ms-item-type") != "Twin" || len(h.Values("x-ms-continuation")) != 0 || h.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("header %v", h)
	}
	a = w.query("SELECT * FROM devices.modules WHERE moduleId = '$edgeAgent'").want(200)
	if twin := w.get("/twins/edge/modules/$edgeAgent").want(200); string(a.body) != "["+string(twin.body)+"]" {
		t.Errorf("item:\n%s\ntwin:\n%s", a.body, twin.body)
	}

	// Pages; a token can be used again.
	const text = "SELECT deviceId FROM devices WHERE tags.n >= 1"
	first := w.query(text, "x-ms-max-item-count", "3").want(200)
	token := first.header.Get("x-ms-continuation")
	if string(first.body) != `[{"deviceId":"d1"},{"deviceId":"d2"},{"deviceId":"d3"}]` || token == "" || first.header.Get("x-ms-item-type") != "Raw" {
		t.Errorf("%s %v", first.body, first.header)
	}
	for range 2 {
		a = w.query(text, "x-ms-max-item-count", "3", "x-ms-continuation", token).want(200)
		if string(a.body) != `[{"deviceId":"d4"}]` || a.header.Get("x-ms-continuation") != "" {
			t.Errorf("%s %v", a.body, a.header)
		}
	}
	w.query("SELECT * FROM devices", "x-ms-continuation", token).refused(causeway.ArgumentInvalid)

	for text, x := range map[string]struct{ kind, body string }{
		"SELECT COUNT() AS n FROM devices":                                    {"Raw", `[{"n":6}]`},
		"SELECT * FROM devices WHERE tags.n = 99":                             {"Twin", `[]`},
		"SELECT * FROM devices.jobs":                                          {"DeviceJob", `[]`},
		"SELECT tags.n < 2 AS few, COUNT() AS n FROM devices GROUP BY tags.n": {"", ""},
		"SELECT properties.desired.x FROM devices WHERE deviceId = 'd0'":      {"Raw", `[{"x":"<&>"}]`},
	} {
		a := w.query(text)
		if x.kind == "" {
			a.refused(causeway.ArgumentInvalid)
			continue
		}
		if a.want(200); string(a.body) != x.body || a.header.Get("x-ms-item-type") != x.kind {
			t.Errorf("%s: %s %s", text, a.header.Get("x-ms-item-type"), a.body)
		}
	}
}

// TestQueryRights: who may connect as a service or read the registry may ask,
// and nobody else; a device named query is a device.
func TestQueryRights(t *testing.T) {
	w := newWorld(t)
	for policy, status := range map[string]int{"iothubowner": 200, "service": 200, "registryRead": 200, "registryReadWrite": 200, "device": 401} {
		a := w.do(request{method: http.MethodPost, path: "/devices/query", body: `{"query":"SELECT * FROM devices"}`, header: with("Authorization", token(policy))})
		if a.status != status {
			t.Errorf("%s: %d, want %d", policy, a.status, status)
		}
	}
	w.put("/devices/query", `{}`).want(200)
	if id := w.get("/devices/query").want(200).text("deviceId"); id != "query" {
		t.Errorf("device %q", id)
	}
}
