package cloud_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// TestDamaged: what is stored of a hub, a provisioning service, a configuration,
// a job, an enrichment and a device cannot be read. The cloud starts, serves the
// rest, says what it is, and lets it be deleted or mended.
func TestDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg, ctx := configFor(dir), t.Context()
	cfg.Hubs = append(cfg.Hubs, config.Hub{Name: "second"})
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hubs: []string{"localhost", "second"}}, {Name: "spoiled"}}
	r := start(t, cfg, cloud.Options{Devices: []string{"d1", "d2"}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := r.service()
	for _, id := range []string{"broken", "sound"} {
		_, err := s.CreateConfiguration(ctx, client.Configuration{
			ID: id, TargetCondition: "*", Content: client.ConfigurationContent{Device: map[string]json.RawMessage{"properties.desired." + id: json.RawMessage("1")}},
		})
		must(err)
	}
	awaitDesired(t, r, "d1", `"broken":1`, `"sound":1`)
	_, err := s.CreateJob(ctx, client.Job{
		ID: "later", Type: "scheduleUpdateTwin", Condition: "*", Start: client.Time{Time: time.Now().Add(time.Hour)}, Twin: &client.JobTwin{Tags: []byte(`{"a":1}`)},
	})
	must(err)
	a := r.admin(dir)
	before, err := a.ProvisioningService(ctx, "dps")
	must(err)
	r.stop()

	path := filepath.Join(dir, cloud.DatabaseFile)
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	must(err)
	hubs, err := db.Directory().Hubs(ctx)
	must(err)
	hubs[0].Settings.Routing = &routing.Settings{Enrichments: []routing.Enrichment{
		{Key: "lost", Value: "x", EndpointNames: []string{"gone"}}, {Key: "site", Value: "west", EndpointNames: []string{"events"}},
	}}
	must(db.Directory().PutHub(ctx, hubs[0]))
	must(db.Close())
	raw, err := sql.Open("sqlite", path)
	must(err)
	for _, text := range []string{
		`UPDATE hubs SET document = '{"hosts":7}' WHERE name = 'second'`,
		`UPDATE dps_services SET document = '[1]' WHERE name = 'spoiled'`,
		`UPDATE deployments SET document = '[1]' WHERE id = 'broken'`,
		`UPDATE jobs SET document = '[1]', start = 1`,
		`UPDATE identities SET parent_scopes = '{"a":1}' WHERE device = 'd2'`,
		`UPDATE twins_desired SET tags = '{"a":' WHERE twin = (SELECT id FROM twins WHERE device = 'd2')`,
	} {
		_, err := raw.ExecContext(ctx, text)
		must(err)
	}
	must(raw.Close())

	r = start(t, cfg, cloud.Options{Devices: []string{"d1", "d2"}})
	a, s = r.admin(dir), r.service()
	metrics := r.metrics(dir)
	for _, want := range []string{
		"causeway_hubs_damaged 1", "causeway_dps_services_damaged 1", `causeway_hub_configurations_broken{hub="localhost"} 1`, `causeway_hub_routes_broken{hub="localhost"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	must(d.Send(ctx, &causeway.Message{Body: []byte("hello")}))
	if got := r.bodies("d1", 1); got[0] != "hello" {
		t.Errorf("events: %v", got)
	}
	rows, err := s.QueryPage(ctx, "SELECT deviceId FROM devices", 10, "")
	must(err)
	if len(rows.Items) != 2 {
		t.Errorf("devices: %s", rows.Items)
	}
	twins, err := s.QueryPage(ctx, "SELECT * FROM devices", 10, "")
	must(err)
	if len(twins.Items) != 1 || !strings.Contains(string(twins.Items[0]), `"d1"`) {
		t.Errorf("twins: %s", twins.Items)
	}
	configs, err := s.Configurations(ctx, 0)
	must(err)
	if len(configs) != 2 || configs[0].Problem == "" || configs[1].Problem != "" {
		t.Errorf("configurations: %+v", configs)
	}
	for deadline := time.Now().Add(patience); ; {
		jobs, _, err := s.Jobs(ctx, "", "", 10, "")
		must(err)
		if len(jobs) == 1 && jobs[0].Status == "failed" && strings.Contains(jobs[0].FailureReason, "cannot be read") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("jobs: %+v", jobs)
		}
		<-time.After(10 * time.Millisecond)
	}
	after, err := a.ProvisioningService(ctx, "dps")
	must(err)
	if len(after.Hubs) != len(before.Hubs) {
		t.Errorf("links %+v, before %+v", after.Hubs, before.Hubs)
	}

	// What is damaged is not overwritten, but can be deleted and made anew.
	if _, err := a.CreateHub(ctx, client.Hub{Name: "second"}); causeway.CodeOf(err) != causeway.GenericConflict || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a hub in the place of the damaged one: %v", err)
	}
	must(a.DeleteHub(ctx, "second"))
	_, err = a.CreateHub(ctx, client.Hub{Name: "second"})
	must(err)
	must(a.DeleteProvisioningService(ctx, "spoiled"))
	_, err = a.CreateProvisioningService(ctx, client.NewProvisioningService{Name: "spoiled"})
	must(err)
	must(s.DeleteConfiguration(ctx, "broken", ""))
	awaitDesired(t, r, "d1", `!"broken":1`, `"sound":1`)
	must(s.DeleteDevice(ctx, "d2", ""))
	_, err = s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d2"})
	must(err)
	if twins, err = s.QueryPage(ctx, "SELECT * FROM devices", 10, ""); err != nil || len(twins.Items) != 2 {
		t.Errorf("twins: %s, %v", twins.Items, err)
	}
	metrics = r.metrics(dir)
	if !strings.Contains(metrics, "causeway_hubs_damaged 0") || !strings.Contains(metrics, "causeway_dps_services_damaged 0") {
		t.Error("the metrics still have something damaged")
	}
}

// awaitDesired waits until a twin has parts, or with ! has not.
func awaitDesired(t *testing.T, r *running, device string, parts ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		tw, err := r.service().Twin(t.Context(), device, "")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(parts, func(p string) bool {
			absent := strings.HasPrefix(p, "!")
			return strings.Contains(string(tw.Properties.Desired), strings.TrimPrefix(p, "!")) == absent
		}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the device has %s", tw.Properties.Desired)
		}
	}
}
