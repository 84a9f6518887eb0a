package cloud_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
)

// read returns the first n events of a hub as its Event Hubs reader gets them.
func (r *running) read(n int) []client.PartitionEvent {
	r.t.Helper()
	o := r.options()
	o.AMQPPort = r.Connection().AMQPPort
	e, err := client.NewEvents(client.EventsOptions{Options: o, ConnectionString: r.Connection().EventHubsConnectionString})
	if err != nil {
		r.t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	got := make(chan client.PartitionEvent, 100)
	done := make(chan error, 1)
	go func() {
		done <- e.Consume(ctx, client.ConsumeOptions{}, func(_ context.Context, events []client.PartitionEvent) error {
			for i := range events {
				got <- events[i].Clone()
			}
			return nil
		})
	}()
	var list []client.PartitionEvent
	for len(list) < n {
		select {
		case ev := <-got:
			list = append(list, ev)
		case <-ctx.Done():
			r.t.Fatalf("%d of %d events came: %v", len(list), n, list)
		}
	}
	cancel()
	<-done
	slices.SortStableFunc(list, func(a, b client.PartitionEvent) int { return a.Message.Enqueued.Compare(b.Message.Enqueued) })
	return list
}

// TestRoutesEndToEnd: telemetry and events of every source go through routes to
// events, and the Event Hubs reader gets them with the exact properties.
func TestRoutesEndToEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	cfg.Events.ConnectionSnapshot = config.Duration(time.Second)
	r := start(t, cfg, cloud.Options{Devices: []string{"d1"}})
	a, s, ctx := r.admin(dir), r.service(), t.Context()
	for _, route := range []client.Route{
		{Name: "hot", Condition: "$body.t > 20 AND $twin.tags.site = 'west'", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "twin", Source: "TwinChangeEvents", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "lifecycle", Source: "DeviceLifecycleEvents", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "connection", Source: "DeviceConnectionStateEvents", EndpointNames: []string{"events"}, IsEnabled: true},
	} {
		if _, err := a.PutRoute(ctx, "localhost", route); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.SetFallback(ctx, "localhost", false, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := a.PutEnrichment(ctx, "localhost", client.Enrichment{Key: "hub", Value: "$iothubname", EndpointNames: []string{"events"}}); err != nil {
		t.Fatal(err)
	}

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d2", Status: "enabled"})
	must(err)
	_, err = s.CreateModule(ctx, client.ModuleIdentity{DeviceID: "d2", ModuleID: "m1"})
	must(err)
	_, err = s.UpdateTwin(ctx, "d1", "", client.TwinPatch{Tags: json.RawMessage(`{"site":"west"}`)}, "")
	must(err)
	_, err = s.ReplaceTwin(ctx, "d2", "m1", client.TwinPatch{Desired: json.RawMessage(`{"a":1}`)}, "")
	must(err)

	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	for _, v := range []string{"10", "21", "30"} {
		must(d.Send(ctx, &causeway.Message{Body: []byte(`{"t":` + v + `}`), ContentType: "application/json", ContentEncoding: "utf-8"}))
	}
	if _, err := d.Report(ctx, []byte(`{"fw":"1.2"}`)); err != nil {
		t.Fatal(err)
	}
	must(s.DeleteDevice(ctx, "d2", "*"))

	var got []string
	for _, e := range r.read(10) {
		got = append(got, describe(t, &e))
	}
	const common = "hubName deviceId %sopType operationTimestamp iothub-message-schema hub"
	device, module := fmt.Sprintf(common, ""), fmt.Sprintf(common, "moduleId ")
	want := []string{
		"deviceLifecycleEvents d2 createDeviceIdentity deviceLifecycleNotification | " + device + " | deviceId etag properties version",
		"deviceLifecycleEvents d2/m1 createDeviceIdentity deviceLifecycleNotification | " + module + " | deviceId etag moduleId properties version",
		"twinChangeEvents d1 updateTwin twinChangeNotification | " + device + " | tags version",
		"twinChangeEvents d2/m1 replaceTwin twinChangeNotification | " + module + " | deviceId etag moduleId properties tags version",
		"Telemetry d1   | hub | t",
		"Telemetry d1   | hub | t",
		"twinChangeEvents d1 updateTwin twinChangeNotification | " + device + " | properties version",
		"deviceLifecycleEvents d2/m1 deleteDeviceIdentity deviceLifecycleNotification | " + module + " | deviceId etag moduleId properties version",
		"deviceLifecycleEvents d2 deleteDeviceIdentity deviceLifecycleNotification | " + device + " | deviceId etag properties version",
		"deviceConnectionStateEvents d1 deviceConnected deviceConnectionStateNotification | " + device + " | sequenceNumber",
	}
	// When a snapshot is taken is not in the hands of the test.
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestEventsOfJobsAndDigitalTwins: the events that other parts of the cloud make
// go through routes too.
func TestEventsOfJobsAndDigitalTwins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a, s, ctx := r.admin(dir), r.service(), t.Context()
	for _, route := range []client.Route{
		{Name: "jobs", Source: "DeviceJobLifecycleEvents", Condition: "iothub-message-schema = 'deviceJobLifecycleNotification' AND $body.status = 'completed'", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "digital", Source: "DigitalTwinChangeEvents", EndpointNames: []string{"events"}, IsEnabled: true},
	} {
		if _, err := a.PutRoute(ctx, "localhost", route); err != nil {
			t.Fatal(err)
		}
	}
	r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{ModelID: "dtmi:com:example:Thermostat;1"})
	if _, err := s.UpdateTwin(ctx, "d1", "", client.TwinPatch{Desired: json.RawMessage(`{"target":20}`)}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateJob(ctx, client.Job{
		ID: "j1", Type: client.JobUpdateTwin, Condition: "deviceId = 'd1'", Twin: &client.JobTwin{Tags: json.RawMessage(`{"a":1}`)},
	}); err != nil {
		t.Fatal(err)
	}
	events := r.read(2)
	slices.SortFunc(events, func(a, b client.PartitionEvent) int { return strings.Compare(a.Message.Source, b.Message.Source) })
	job, digital := &events[0].Message, &events[1].Message
	if job.Source != causeway.SourceJobLifecycle || !strings.Contains(string(job.Body), `"jobId":"j1"`) || !strings.Contains(string(job.Body), `"status":"completed"`) || job.UserID != "localhost" {
		t.Errorf("event of a job: %s %+v", job.Body, job)
	}
	if digital.Source != causeway.SourceDigitalTwin || digital.From.Device != "d1" || digital.ContentType != "application/json-patch+json" || !strings.Contains(string(digital.Body), `"desiredValue":20`) {
		t.Errorf("event of a digital twin: %s %+v", digital.Body, digital)
	}
}

// describe is an event in a line: source, sender, operation, schema, the names of
// its properties, and those of the members of its body.
func describe(t *testing.T, e *client.PartitionEvent) string {
	t.Helper()
	m := &e.Message
	op, _ := m.Property("opType")
	schema := m.Schema
	var names []string
	for _, p := range m.Properties {
		names = append(names, p.Key)
	}
	if schema == "" {
		schema, _ = m.Property("iothub-message-schema")
	} else {
		names = slices.Insert(names, max(len(names)-1, 0), "iothub-message-schema")
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(m.Body, &body); err != nil {
		t.Errorf("%v: %s", err, m.Body)
	}
	var members []string
	for k := range body {
		members = append(members, k)
	}
	slices.Sort(members)
	if m.Source != causeway.SourceTelemetry {
		hub, _ := m.Property("hubName")
		at, _ := m.Property("operationTimestamp")
		if m.ContentType != "application/json" || m.ContentEncoding != "utf-8" || m.CorrelationID == "" || m.UserID != "localhost" || hub != "localhost" ||
			len(at) != len("2026-05-06T07:08:09.1234567Z") || m.Enqueued.IsZero() || e.PartitionKey != m.From.Device {
			t.Errorf("an event without what all have: %+v", m)
		}
	}
	if hub, _ := m.Property("hub"); hub != "localhost" {
		t.Errorf("without the enrichment: %+v", m)
	}
	return fmt.Sprintf("%s %s %s %s | %s | %s", m.Source, m.From, op, schema, strings.Join(names, " "), strings.Join(members, " "))
}

// TestConfiguredRouting: what the configuration says of routes counts at every
// start, and what is wrong with it stops the start.
func TestConfiguredRouting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	parse := func(text string) config.Config {
		t.Helper()
		cfg, _, err := config.Load("c.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Data, cfg.Listen, cfg.Stop = dir, configFor(dir).Listen, configFor(dir).Stop
		return cfg
	}
	const file = "hubs:\n- name: localhost\n  routing:\n    routes:\n    - name: hot\n      condition: $body.t > 20\n      endpointNames: [events]\n" +
		"    - {name: off, source: TwinChangeEvents, endpointNames: [events], isEnabled: false}\n" +
		"    fallbackRoute: {isEnabled: false}\n    enrichments:\n    - {key: a, value: b, endpointNames: [events]}\n"
	r := start(t, parse(file), cloud.Options{})
	a := r.admin(dir)
	shown := func(a *client.Admin) string {
		t.Helper()
		got, err := a.Routing(t.Context(), "localhost")
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const want = `{"endpoints":[],"routes":[{"name":"hot","source":"DeviceMessages","condition":"$body.t \u003e 20","endpointNames":["events"],"isEnabled":true},` +
		`{"name":"off","source":"TwinChangeEvents","endpointNames":["events"],"isEnabled":false}],` +
		`"fallbackRoute":{"name":"$fallback","source":"DeviceMessages","condition":"true","endpointNames":["events"],"isEnabled":false},` +
		`"enrichments":[{"key":"a","value":"b","endpointNames":["events"]}]}`
	if got := shown(a); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := a.DeleteRoute(t.Context(), "localhost", "hot"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, parse("hubs:\n- name: localhost\n"), cloud.Options{})
	if got := shown(r.admin(dir)); strings.Contains(got, "hot") || !strings.Contains(got, `"off"`) {
		t.Errorf("without a section the routes are left alone, but are %s", got)
	}
	r.stop()
	r = start(t, parse(file), cloud.Options{})
	if got := shown(r.admin(dir)); got != want {
		t.Errorf("after a restart: %s", got)
	}
	r.stop()
	_, err := cloud.New(t.Context(), parse(strings.Replace(file, "t > 20", "t >> 20", 1)), cloud.Options{})
	if err == nil || !strings.Contains(err.Error(), `routing of hub localhost: `) || !strings.Contains(err.Error(), `the condition of route "hot" is wrong: line 1, column 10: Syntax error.`) {
		t.Errorf("a wrong condition: %v", err)
	}
}
