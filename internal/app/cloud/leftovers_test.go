package cloud_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
)

// keep copies a directory aside and returns what puts it back: as it would be
// found had the process died before it was removed.
func keep(t *testing.T, dir string) (restore func(to string)) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(aside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return func(to string) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(aside))); err != nil {
			t.Fatal(err)
		}
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestLeftEndpoint: a process that dies between taking an endpoint out of the
// database and removing its queue leaves nothing to an endpoint that is made
// under its name later.
func TestLeftEndpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	endpoints := filepath.Join(dir, "hubs", "localhost", "endpoints")
	web := newReceiver(t)
	endpoint := client.Endpoint{Name: "web", Kind: "webhook", Config: map[string]any{"url": web.URL, "delivery": map[string]any{"maxBackoff": "1s"}}}
	route := client.Route{Name: "all", EndpointNames: []string{"web"}, IsEnabled: true}
	ctx := t.Context()
	must := func(_ client.Routing, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a := r.admin(dir)
	web.answer(http.StatusServiceUnavailable)
	must(a.PutEndpoint(ctx, "localhost", endpoint, false))
	must(a.PutRoute(ctx, "localhost", route))
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	sendTelemetry(t, d, 0, 2)
	d.Close()
	r.stop()
	restore := keep(t, filepath.Join(endpoints, "web"))

	r = start(t, configFor(dir), cloud.Options{})
	a = r.admin(dir)
	must(a.DeleteRoute(ctx, "localhost", "all"))
	must(a.DeleteEndpoint(ctx, "localhost", "web", true))
	must(a.PutEndpoint(ctx, "localhost", client.Endpoint{Name: "hub", Kind: "eventHub", Config: map[string]any{"partitions": 1}}, false))
	r.stop()
	restore(filepath.Join(endpoints, "web"))            // it was removed
	restore(filepath.Join(endpoints, "hub"))            // it became an event hub
	restore(filepath.Join(endpoints, ".gone-ENDPOINT")) // the removal was under way

	r = start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a = r.admin(dir)
	if exists(t, filepath.Join(endpoints, "web")) || exists(t, filepath.Join(endpoints, ".gone-ENDPOINT")) {
		t.Error("the queue of an endpoint that was removed is still there")
	}
	web.answer(0)
	must(a.PutEndpoint(ctx, "localhost", endpoint, false))
	route.EndpointNames = []string{"web", "hub"}
	must(a.PutRoute(ctx, "localhost", route))
	d = r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	sendTelemetry(t, d, 100, 100)
	d.Close()
	if m := web.wait(t, 1)[0]; m["Body"].(map[string]any)["n"] != float64(100) {
		t.Errorf("the first message is %v, want number 100", m)
	}

	o := r.options()
	o.AMQPPort = r.Connection().AMQPPort
	cs := r.Connection().EventHubsConnectionString
	e, err := client.NewEvents(client.EventsOptions{Options: o, ConnectionString: cs[:strings.Index(cs, "EntityPath=")] + "EntityPath=hub"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var got []string
	_ = e.Consume(rctx, client.ConsumeOptions{}, func(_ context.Context, events []client.PartitionEvent) error { // ends by cancel
		for i := range events {
			got = append(got, string(events[i].Message.Body))
		}
		cancel()
		return nil
	})
	if len(got) != 1 || got[0] != `{"n":100}` {
		t.Errorf("the event hub has %q", got)
	}
}

// TestLeftHub is the same for hubs, whose events must not be shown to the next
// one of the name.
func TestLeftHub(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	home := filepath.Join(dir, "hubs", "second")
	ctx := t.Context()
	secondHub := client.Hub{Name: "second", Hosts: []string{"second.test"}, Partitions: 1}

	r := start(t, configFor(dir), cloud.Options{})
	a := r.admin(dir)
	send := func(body string) {
		t.Helper()
		if _, err := a.CreateHub(ctx, secondHub); err != nil {
			t.Fatal(err)
		}
		cs, err := a.ConnectionString(ctx, "second", "iothubowner")
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.NewService(cs, r.options())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d"})
		if err != nil {
			t.Fatal(err)
		}
		d := r.device(client.ConnectionString("second.test", "d", "", id.Authentication), client.DeviceOptions{})
		defer d.Close()
		if err := d.Send(ctx, &causeway.Message{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	first := func() (body string) {
		t.Helper()
		rctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := a.Events(rctx, "second", client.EventsQuery{From: "earliest", Max: 1}, func(e client.Event) error {
			return json.Unmarshal(e.Body, &body)
		})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	send("of the first")
	r.stop()
	restore := keep(t, home)

	// The hub is in the database: whether or not somebody was about to delete it,
	// it keeps what it has.
	mark := func(hub string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "hubs", hub, "deleted"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mark("second")
	r = start(t, configFor(dir), cloud.Options{})
	a = r.admin(dir)
	if body := first(); body != "of the first" {
		t.Errorf("the event of the hub is %q", body)
	}
	if exists(t, filepath.Join(home, "deleted")) {
		t.Error("the hub is still marked as one that is deleted")
	}

	// Its deletion could not remove the directory, and the next of the name comes
	// without a restart.
	if err := a.DeleteHub(ctx, "second"); err != nil {
		t.Fatal(err)
	}
	restore(home)
	mark("second")
	send("of the next")
	if body := first(); body != "of the next" {
		t.Errorf("the first event of the next hub is %q", body)
	}

	// Or the process dies.
	if err := a.DeleteHub(ctx, "second"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	restore(home)
	mark("second")
	restore(filepath.Join(dir, "hubs", ".gone-HUB"))
	restore(filepath.Join(dir, "hubs", "unknown")) // nobody deleted it
	r = start(t, configFor(dir), cloud.Options{})
	if exists(t, home) || exists(t, filepath.Join(dir, "hubs", ".gone-HUB")) {
		t.Error("what the deleted hub had is still there")
	}
	if !exists(t, filepath.Join(dir, "hubs", "unknown", "log")) {
		t.Error("the directory of an unknown hub was removed, though nobody deleted it")
	}
}
