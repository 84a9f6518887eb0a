package cloud_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// TestBrokenConditions: a route, the fallback route and a configuration whose
// conditions this version of the program does not take, as a former one did,
// do not keep the cloud from starting. They take nothing, and say so; the others
// work, and can be changed.
func TestBrokenConditions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg, ctx := configFor(dir), t.Context()
	r := start(t, cfg, cloud.Options{Devices: []string{"d1"}})
	a := r.admin(dir)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, route := range []client.Route{
		{Name: "good", Condition: "$body.t > 20", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "old", Condition: "$body.t > 10", EndpointNames: []string{"events"}, IsEnabled: true},
	} {
		_, err := a.PutRoute(ctx, "localhost", route)
		must(err)
	}
	_, err := r.service().CreateConfiguration(ctx, client.Configuration{
		ID: "fan", TargetCondition: "*", Content: client.ConfigurationContent{Device: map[string]json.RawMessage{"properties.desired.fan": json.RawMessage("3")}},
	})
	must(err)
	awaitFan := func(r *running) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			tw, err := r.service().Twin(ctx, "d1", "")
			must(err)
			if strings.Contains(string(tw.Properties.Desired), `"fan":3`) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the device has %s", tw.Properties.Desired)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	awaitFan(r)
	r.stop()

	db, err := sqlite.Open(ctx, filepath.Join(dir, cloud.DatabaseFile), sqlite.Options{})
	must(err)
	hubs, err := db.Directory().Hubs(ctx)
	must(err)
	for _, h := range hubs {
		h.Settings.Routing.Routes[1].Condition = "bygone($body.t) > 10"
		fallback := h.Settings.Routing.Fallback()
		fallback.Condition = "ALL OF IT"
		h.Settings.Routing.FallbackRoute = &fallback
		must(db.Directory().PutHub(ctx, h))
	}
	configs, err := db.Deployments().Configurations(ctx)
	must(err)
	for _, c := range configs {
		c.TargetCondition = "EVERY device"
		must(db.Deployments().PutConfiguration(ctx, c))
	}
	must(db.Close())

	r = start(t, cfg, cloud.Options{Devices: []string{"d1"}})
	a = r.admin(dir)
	shown, err := a.Routing(ctx, "localhost")
	must(err)
	if x := shown.Routes; x[0].Problem != "" || !strings.Contains(x[1].Problem, "bygone") || shown.FallbackRoute.Problem == "" {
		t.Errorf("shown: %+v, fallback %+v", x, shown.FallbackRoute)
	}
	metrics := r.metrics(dir)
	for _, want := range []string{`causeway_hub_routes_broken{hub="localhost"} 2`, `causeway_hub_configurations_broken{hub="localhost"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	for _, v := range []string{"15", "30"} { // what was of the old route goes nowhere
		must(d.Send(ctx, &causeway.Message{Body: []byte(`{"t":` + v + `}`), ContentType: "application/json", ContentEncoding: "utf-8"}))
	}
	if got := r.bodies("d1", 1); got[0] != `{"t":30}` {
		t.Errorf("events: %v", got)
	}
	// What is sound can be changed, also beside what is not; what is new is checked.
	_, err = a.PutRoute(ctx, "localhost", client.Route{Name: "good", Condition: "$body.t > 40", EndpointNames: []string{"events"}, IsEnabled: true})
	must(err)
	broken := shown.Routes[1]
	broken.Name = "copy"
	if _, err := a.PutRoute(ctx, "localhost", broken); causeway.CodeOf(err) != causeway.ArgumentInvalid {
		t.Errorf("a broken condition for a new route: %v", err)
	}
	if n := strings.Count(r.log.String(), "route=old"); n != 1 {
		t.Errorf("the log tells %d times of the route:\n%s", n, r.log.String())
	}
	// The device is left as it is, whatever happens to it.
	awaitFan(r)
	if _, err := r.service().UpdateTwin(ctx, "d1", "", client.TwinPatch{Tags: []byte(`{"a":1}`), Desired: []byte(`{"b":1}`)}, ""); err != nil {
		t.Fatal(err)
	}
	// Mended, everything is as before.
	for _, mend := range []func() error{
		func() error {
			_, err := a.PutRoute(ctx, "localhost", client.Route{Name: "old", Condition: "$body.t > 10", EndpointNames: []string{"events"}, IsEnabled: true})
			return err
		},
		func() error { _, err := a.SetFallback(ctx, "localhost", true, ""); return err },
		func() error {
			c, err := r.service().Configuration(ctx, "fan")
			if err != nil {
				return err
			}
			c.TargetCondition = "*"
			_, err = r.service().UpdateConfiguration(ctx, c, "*")
			return err
		},
	} {
		must(mend())
	}
	must(d.Send(ctx, &causeway.Message{Body: []byte(`{"t":16}`), ContentType: "application/json", ContentEncoding: "utf-8"}))
	if got := r.bodies("d1", 2); got[1] != `{"t":16}` {
		t.Errorf("events: %v", got)
	}
	awaitFan(r)
	metrics = r.metrics(dir)
	for _, want := range []string{`causeway_hub_routes_broken{hub="localhost"} 0`, `causeway_hub_configurations_broken{hub="localhost"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
}
