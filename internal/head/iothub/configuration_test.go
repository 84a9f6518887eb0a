package iothub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

const deviceConfiguration = `{"id":"fan","schemaVersion":"1.0","labels":{"App":"Fan <1>"},"content":{"moduleContent":null,"deviceContent":{"properties.desired.fan":{"speed":1.50}}},
	"contentType":"assignment","targetCondition":"tags.site = 'a'","priority":10,"metrics":{"queries":{"mine":"select deviceId from devices"}},
	"systemMetrics":{"results":{},"queries":{}},"createdTimeUtc":"0001-01-01T00:00:00Z","etag":null}`

// manifest is the content of an edge deployment.
const manifest = `{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.0","runtime":{"type":"docker","settings":{"minDockerVersion":"v1.25"}},
	"systemModules":{"edgeAgent":{"type":"docker","settings":{"image":"a","createOptions":""}},"edgeHub":{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"h"}}},
	"modules":{"m":{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"i"}}}}},
	"$edgeHub":{"properties.desired":{"schemaVersion":"1.0","routes":{},"storeAndForwardConfiguration":{"timeToLiveSecs":7200}}},"m":{"properties.desired":{"a":1}}}}`

// TestConfigurations manages configurations as SDKs do.
func TestConfigurations(t *testing.T) {
	w := newWorld(t)
	if a := w.get("/configurations").want(200); string(a.body) != "[]" {
		t.Errorf("none: %s", a.body)
	}
	w.put("/configurations/fan", deviceConfiguration, "If-Match", "*").refused(causeway.ConfigurationNotFound)
	a := w.put("/configurations/fan", deviceConfiguration).want(201)
	etag := a.text("etag")
	if a.header.Get("ETag") != `"`+etag+`"` || a.text("labels", "App") != "Fan <1>" || !strings.Contains(string(a.body), `"content":{"deviceContent":{"properties.desired.fan":{"speed":1.50}}}`) {
		t.Errorf("%s %v", a.body, a.header)
	}
	if at, err := time.Parse(time.RFC3339Nano, a.text("createdTimeUtc")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created %v, %v", at, err)
	}
	if got := a.text("systemMetrics", "queries", "targetedCount"); got != "select deviceId from devices where tags.site = 'a'" {
		t.Errorf("query %q", got)
	}
	w.put("/configurations/fan", deviceConfiguration).refused(causeway.ConfigurationAlreadyExists)

	changed := strings.Replace(deviceConfiguration, `"priority":10`, `"priority":11`, 1)
	w.put("/configurations/fan", changed, "If-Match", `"other"`).refused(causeway.PreconditionFailed)
	a = w.put("/configurations/fan", changed, "If-Match", `"`+etag+`"`).want(200)
	if a.json("priority") != "11" || a.text("etag") == etag {
		t.Errorf("changed: %s", a.body)
	}
	w.put("/configurations/fan", `{"content":{"deviceContent":{"properties.desired.fan":2}}}`, "If-Match", "*").refused(causeway.CannotModifyImmutableConfigurationContent)

	// Results are those of now.
	w.put("/devices/d1", `{}`).want(200)
	w.patch("/twins/d1", `{"tags":{"site":"a"}}`).want(200)
	run(t, w)
	deadline := time.Now().Add(20 * time.Second)
	for w.get("/configurations/fan").want(200).json("systemMetrics", "results", "appliedCount") != "1" {
		if time.Now().After(deadline) {
			t.Fatalf("%s", w.get("/configurations/fan").body)
		}
		<-time.After(100 * time.Millisecond)
	}
	a = w.get("/configurations/fan").want(200)
	if a.json("systemMetrics", "results", "targetedCount") != "1" || a.json("metrics", "results", "mine") != "1" {
		t.Errorf("metrics: %s", a.body)
	}
	twin := w.get("/twins/d1").want(200)
	if twin.json("properties", "desired", "fan", "speed") != "1.50" || twin.text("configurations", "fan", "status") != "Applied" {
		t.Errorf("twin: %s", twin.body)
	}
	if items := w.post("/devices/query", fmt.Sprintf(`{"query":%q}`, a.text("systemMetrics", "queries", "appliedCount"))).want(200); string(items.body) != `[{"deviceId":"d1"}]` {
		t.Errorf("its own query: %s", items.body)
	}

	w.put("/configurations/edge", `{"content":`+manifest+`,"targetCondition":"*"}`).want(201)
	var list []struct{ ID string }
	if err := json.Unmarshal(w.get("/configurations/?top=20").want(200).body, &list); err != nil || len(list) != 2 || list[0].ID != "edge" || list[1].ID != "fan" {
		t.Errorf("list %v, %v", list, err)
	}
	if err := json.Unmarshal(w.get("/configurations?top=1").want(200).body, &list); err != nil || len(list) != 1 {
		t.Errorf("list %v, %v", list, err)
	}
	w.delete("/configurations/fan", "If-Match", `"`+etag+`"`).refused(causeway.PreconditionFailed)
	w.delete("/configurations/fan", "If-Match", "*").want(204)
	w.delete("/configurations/edge").want(204)
	w.delete("/configurations/fan").refused(causeway.ConfigurationNotFound)
	w.get("/configurations/fan").refused(causeway.ConfigurationNotFound)
}

// run lets configurations be carried out until the test ends.
func run(t *testing.T, w *world) {
	t.Helper()
	w.registry.Observe(w.configurations)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.configurations.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTestQueries(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]string{
		`{}`: `{"targetConditionError":null,"customMetricQueryErrors":{}}`,
		`{"targetCondition":"tags.a = 1","customMetricQueries":{"m":"select deviceId from devices"}}`: `{"targetConditionError":null,"customMetricQueryErrors":{}}`,
		`{"targetCondition":null,"customMetricQueries":null}`:                                         `{"targetConditionError":null,"customMetricQueryErrors":{}}`,
	} {
		if a := w.post("/configurations/testQueries", body).want(200); string(a.body) != want {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	a := w.post("/configurations/testQueries", `{"targetCondition":"tags.a == 1","customMetricQueries":{"good":"select *","bad":"selec","none":null}}`).want(200)
	if !strings.Contains(a.text("targetConditionError"), "column 8") || a.text("customMetricQueryErrors", "bad") == "" || a.text("customMetricQueryErrors", "none") == "" || a.json("customMetricQueryErrors", "good") != nil {
		t.Errorf("%s", a.body)
	}
}

func TestApplyConfigurationContent(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/e", `{"capabilities":{"iotEdge":true}}`).want(200)
	w.put("/devices/d", `{}`).want(200)
	w.post("/devices/e/applyConfigurationContent", manifest).want(204)
	if a := w.get("/twins/e/modules/m").want(200); a.json("properties", "desired", "a") != "1" {
		t.Errorf("module twin: %s", a.body)
	}
	if a := w.get("/twins/e/modules/$edgeAgent").want(200); a.text("properties", "desired", "modules", "m", "settings", "image") != "i" {
		t.Errorf("agent: %s", a.body)
	}
	w.post("/devices/d/applyConfigurationContent", `{"deviceContent":{"properties.desired.x":{"y":1}}}`).want(204)
	if a := w.get("/twins/d").want(200); a.json("properties", "desired", "x", "y") != "1" {
		t.Errorf("twin: %s", a.body)
	}
	w.post("/devices/nobody/applyConfigurationContent", manifest).refused(causeway.DeviceNotFound)
}
