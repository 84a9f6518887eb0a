package cloud_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
)

// receiver is a webhook that can be out of order.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int // 0 is 200
	posts  int
	got    []map[string]any
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.posts++
		if r.status != 0 {
			w.WriteHeader(r.status)
			return
		}
		var list []map[string]any
		if err = errors.Join(err, json.Unmarshal(body, &list)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if req.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
			fmt.Fprintf(w, `{"validationResponse":%q}`, list[0]["data"].(map[string]any)["validationCode"])
			return
		}
		r.got = append(r.got, list...)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// wait waits until there are n messages.
func (r *receiver) wait(t *testing.T, n int) []map[string]any {
	t.Helper()
	for until := time.Now().Add(patience); ; {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(until) {
			t.Fatalf("%d of %d messages came", len(got), n)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// health waits until an endpoint has a state of health.
func (r *running) health(a *client.Admin, endpoint string, is func(client.EndpointHealth) bool) client.EndpointHealth {
	r.t.Helper()
	for until := time.Now().Add(patience); ; {
		list, err := a.EndpointHealth(r.t.Context(), "localhost")
		if err != nil {
			r.t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(h client.EndpointHealth) bool { return h.Endpoint == endpoint })
		if i >= 0 && is(list[i]) {
			return list[i]
		}
		if time.Now().After(until) {
			r.t.Fatalf("health is %+v", list)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func sendTelemetry(t *testing.T, d *client.Device, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		m := &causeway.Message{Body: fmt.Appendf(nil, `{"n":%d}`, i), ContentType: "application/json", ContentEncoding: "utf-8"}
		if err := d.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEndpoints: routes lead to a webhook, which goes away, comes back after a
// restart and gets all in order; and to an event hub, which is read as the hub's
// events are.
func TestEndpoints(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a, ctx := r.admin(dir), t.Context()
	web := newReceiver(t)
	must := func(_ client.Routing, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.PutEndpoint(ctx, "localhost", client.Endpoint{
		Name: "web", Kind: "webhook", Config: map[string]any{"url": web.URL, "delivery": map[string]any{"maxBackoff": "1s"}}, Secrets: map[string]string{"token": "hidden"},
	}, false))
	must(a.PutEndpoint(ctx, "localhost", client.Endpoint{Name: "alarms", Kind: "eventHub", Config: map[string]any{"partitions": 1}}, false))
	must(a.PutRoute(ctx, "localhost", client.Route{Name: "all", EndpointNames: []string{"web", "alarms"}, IsEnabled: true}))
	if h := r.health(a, "web", func(client.EndpointHealth) bool { return true }); h.Status != "unknown" {
		t.Errorf("health %+v", h)
	}
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	sendTelemetry(t, d, 0, 49)
	web.wait(t, 50)
	r.health(a, "web", func(h client.EndpointHealth) bool { return h.Status == "healthy" && h.Sent == 50 && h.Waiting == 0 })

	web.answer(http.StatusServiceUnavailable)
	began := time.Now()
	sendTelemetry(t, d, 50, 99)
	t.Logf("50 messages with a dead webhook took %v", time.Since(began))
	h := r.health(a, "web", func(h client.EndpointHealth) bool { return h.Status == "unhealthy" })
	if h.Waiting != 50 || !strings.Contains(h.LastError, "503") || strings.Contains(fmt.Sprint(h), "hidden") {
		t.Errorf("health %+v", h)
	}
	if text := r.metrics(dir); !strings.Contains(text, `causeway_endpoint_waiting{endpoint="web",hub="localhost"} 50`) {
		t.Error("the metric of what waits is not there")
	}
	// The event hub has all, and is read under its own name.
	o := r.options()
	o.AMQPPort = r.Connection().AMQPPort
	cs := r.Connection().EventHubsConnectionString
	cs = cs[:strings.Index(cs, "EntityPath=")] + "EntityPath=alarms"
	e, err := client.NewEvents(client.EventsOptions{Options: o, ConnectionString: cs})
	if err != nil {
		t.Fatal(err)
	}
	rctx, cancel := context.WithTimeout(ctx, patience)
	n := 0
	if err := e.Consume(rctx, client.ConsumeOptions{}, func(_ context.Context, events []client.PartitionEvent) error {
		for i := range events {
			if want := fmt.Sprintf(`{"n":%d}`, n); string(events[i].Message.Body) != want {
				t.Errorf("event %d is %s", n, events[i].Message.Body)
			}
			if n++; n == 100 {
				cancel()
			}
		}
		return nil
	}); n != 100 {
		t.Errorf("%d events: %v", n, err)
	}
	cancel()
	e.Close()
	d.Close()
	r.stop()

	web.answer(0)
	r = start(t, configFor(dir), cloud.Options{})
	a = r.admin(dir)
	got := web.wait(t, 100)
	for i, m := range got[50:100] {
		if n := m["Body"].(map[string]any)["n"]; n != float64(50+i) {
			t.Fatalf("message %d is %v", 50+i, m)
		}
	}
	routing, err := a.Routing(ctx, "localhost")
	if err != nil || len(routing.Endpoints) != 2 || len(routing.Endpoints[0].Secrets) != 0 {
		t.Errorf("%+v, %v", routing, err)
	}
	must(a.DeleteRoute(ctx, "localhost", "all"))
	r.health(a, "web", func(h client.EndpointHealth) bool { return h.Waiting == 0 })
	must(a.DeleteEndpoint(ctx, "localhost", "web", false))
	must(a.DeleteEndpoint(ctx, "localhost", "alarms", false))
	if list, err := a.EndpointHealth(ctx, "localhost"); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "hubs", "localhost", "endpoints", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEventGrid: a subscription to events of a hub is an endpoint with a webhook.
func TestEventGrid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a, s, ctx := r.admin(dir), r.service(), t.Context()
	web := newReceiver(t)
	if _, err := a.PutEndpoint(ctx, "localhost", client.Endpoint{Name: "grid", Kind: "webhook", Config: map[string]any{"url": web.URL, "format": "eventGrid"}}, false); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"DeviceLifecycleEvents", "DeviceMessages"} {
		if _, err := a.PutRoute(ctx, "localhost", client.Route{Name: source, Source: source, EndpointNames: []string{"grid"}, IsEnabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d2", Status: "enabled"}); err != nil {
		t.Fatal(err)
	}
	sendTelemetry(t, r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{}), 7, 7)
	if err := s.DeleteDevice(ctx, "d2", "*"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range web.wait(t, 3) {
		data := e["data"].(map[string]any)
		switch e["eventType"] {
		case "Microsoft.Devices.DeviceTelemetry":
			got = append(got, fmt.Sprint(e["subject"], " ", e["eventType"], " ", data["body"], " ", data["systemProperties"].(map[string]any)["iothub-connection-device-id"]))
		default:
			got = append(got, fmt.Sprint(e["subject"], " ", e["eventType"], " ", data["hubName"], " ", data["deviceId"], " ", data["twin"].(map[string]any)["deviceId"]))
		}
	}
	slices.Sort(got)
	want := []string{
		"devices/d1 Microsoft.Devices.DeviceTelemetry map[n:7] d1",
		"devices/d2 Microsoft.Devices.DeviceCreated localhost d2 d2",
		"devices/d2 Microsoft.Devices.DeviceDeleted localhost d2 d2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDeadLetters: what a webhook refuses can be seen and sent again.
func TestDeadLetters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, configFor(dir), cloud.Options{Devices: []string{"d1"}})
	a, ctx := r.admin(dir), t.Context()
	web := newReceiver(t)
	web.answer(http.StatusUnprocessableEntity)
	if _, err := a.PutEndpoint(ctx, "localhost", client.Endpoint{Name: "web", Kind: "webhook", Config: map[string]any{"url": web.URL, "delivery": map[string]any{"maxAttempts": 1}}}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := a.PutRoute(ctx, "localhost", client.Route{Name: "all", EndpointNames: []string{"web"}, IsEnabled: true}); err != nil {
		t.Fatal(err)
	}
	sendTelemetry(t, r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{}), 0, 4)
	r.health(a, "web", func(h client.EndpointHealth) bool { return h.DeadLettered == 5 })
	page, next, more, err := a.DeadLetters(ctx, "localhost", "web", 0, 3)
	if err != nil || len(page) != 3 || !more || page[2].Reason != "refused" || string(page[2].Body) != `{"n":2}` || page[2].DeviceID != "d1" || !strings.Contains(page[2].Detail, "422") {
		t.Fatalf("%+v, %v, %v", page, more, err)
	}
	if page, _, more, err := a.DeadLetters(ctx, "localhost", "", next, 3); err != nil || len(page) != 2 || more {
		t.Errorf("%+v, %v, %v", page, more, err)
	}
	web.answer(0)
	if n, err := a.ReplayDeadLetters(ctx, "localhost", "web"); err != nil || n != 5 {
		t.Errorf("replayed %d: %v", n, err)
	}
	web.wait(t, 5)
	if page, _, _, err := a.DeadLetters(ctx, "localhost", "web", 0, 10); err != nil || len(page) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
	if err := a.DeleteDeadLetters(ctx, "localhost", "web"); err != nil {
		t.Error(err)
	}
	if _, err := a.ReplayDeadLetters(ctx, "localhost", "none"); causeway.CodeOf(err).HTTPStatus() != http.StatusNotFound {
		t.Errorf("replay for nobody: %v", err)
	}
	kinds, queue, err := a.EndpointKinds(ctx)
	if err != nil || len(kinds) < 9 || len(queue) != 6 {
		t.Errorf("%+v, %+v, %v", kinds, queue, err)
	}
}
