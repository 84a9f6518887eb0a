package cloudhub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
)

// shelf is an endpoint in memory.
type shelf struct {
	mu   sync.Mutex
	msgs []causeway.Message
	fail error
}

func (s *shelf) Append(_ context.Context, msgs ...causeway.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for i := range msgs {
		s.msgs = append(s.msgs, msgs[i].Clone())
	}
	return nil
}

func (s *shelf) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for i := range s.msgs {
		list = append(list, line(&s.msgs[i]))
	}
	s.msgs = nil
	return list
}

// line is a message in a line: its source, who sent it, its body, and two of
// its properties.
func line(m *causeway.Message) string {
	text := m.Source + " " + m.From.String() + " " + string(m.Body)
	for _, k := range []string{"opType", "added"} {
		if v, ok := m.Property(k); ok {
			text += " " + k + "=" + v
		}
	}
	return text
}

// shelves are the custom endpoints of a hub.
type shelves map[string]*shelf

func (s shelves) Endpoint(_, name string) (routing.Endpoint, bool) {
	e, ok := s[name]
	return e, ok
}

// routedCloud is a cloud whose hub has routes.
type routedCloud struct {
	*cloud
	shelves shelves
}

func settings(routes ...routing.Route) *routing.Settings {
	for i := range routes {
		routes[i].IsEnabled = true
		routes[i].Name = fmt.Sprint("r", i)
	}
	return &routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a"}, {Name: "b"}}, Routes: routes}
}

func newRouted(t testing.TB, s *routing.Settings, log eventlog.Log) *routedCloud {
	t.Helper()
	c := &routedCloud{
		cloud: &cloud{
			set:      cloudhub.NewSet(),
			registry: registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}}),
			commands: c2d.New(c2d.Options{Store: c2dtest.NewMemory()}),
			log:      newMemLog(4),
		},
		shelves: shelves{"a": {}, "b": {}},
	}
	if log == nil {
		log = c.log
	}
	c.registry.Watch(c.set)
	c.registry.Observe(c.set)
	c.commands.Watch(c.set)
	var err error
	c.hub, err = cloudhub.New(cloudhub.Options{
		Hub: c.described(s), Registry: c.registry, Commands: c.commands, Events: log, Endpoints: c.shelves,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.set.Add(c.hub)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.hub.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the hub: %v", err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

func (c *routedCloud) described(s *routing.Settings) directory.Hub {
	return directory.Hub{Name: hubName, Hosts: []string{hubHost}, Settings: directory.Settings{Routing: s}}
}

// events takes what was appended to the event log.
func (c *routedCloud) events(t *testing.T) []string {
	t.Helper()
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var list []string
	for p := range c.log.records {
		for _, r := range c.log.records[p] {
			m, err := envelope.Decode(r.Payload)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, line(&m))
		}
		c.log.records[p] = nil
	}
	return list
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func body(text string) causeway.Message {
	return causeway.Message{Body: []byte(text), ContentType: "application/json", ContentEncoding: "utf-8"}
}

func TestRoutes(t *testing.T) {
	s := settings(
		routing.Route{Source: routing.DeviceMessages, Condition: "$body.t > 20", EndpointNames: []string{"a"}},
		routing.Route{Source: routing.DeviceMessages, Condition: "$body.t > 30", EndpointNames: []string{"a", "b", "events"}},
		routing.Route{Source: routing.DeviceMessages, Condition: "$twin.tags.vip = true AND {$connectionDeviceId} = 'd1'", EndpointNames: []string{"b"}},
	)
	s.Enrichments = []routing.Enrichment{{Key: "added", Value: "$twin.tags.site", EndpointNames: []string{"a"}}}
	c := newRouted(t, s, nil)
	cred := c.Add(t, "d1", "")
	if _, err := c.registry.UpdateTwin(t.Context(), ident(cred.Identity), registry.TwinUpdate{Tags: []byte(`{"site":"west"}`)}, ""); err != nil {
		t.Fatal(err)
	}
	session := connect(t, c.cloud, cred, &settler{}, 0)
	// One batch: every message goes its own way, in order.
	err := session.Send(t.Context(), body(`{"t":25}`), body(`{"t":5}`), body(`{"t":35}`), body(`no`), body(`{"t":26}`))
	if err != nil {
		t.Fatal(err)
	}
	const from = "Telemetry d1 "
	same(t, "a", c.shelves["a"].take(), from+`{"t":25} added=west`, from+`{"t":35} added=west`, from+`{"t":26} added=west`)
	same(t, "b", c.shelves["b"].take(), from+`{"t":35}`)
	same(t, "events", c.events(t), from+`{"t":5}`, from+`{"t":35}`, from+`no`)

	// The twin of the moment counts.
	if _, err := c.registry.UpdateTwin(t.Context(), ident(cred.Identity), registry.TwinUpdate{Tags: []byte(`{"vip":true}`)}, ""); err != nil {
		t.Fatal(err)
	}
	if err := session.Send(t.Context(), body(`{}`)); err != nil {
		t.Fatal(err)
	}
	same(t, "b", c.shelves["b"].take(), from+`{}`)
	same(t, "events", c.events(t))

	// Routes are exchanged under an open session.
	off := settings()
	off.FallbackRoute = &routing.Route{}
	c.hub.SetHub(c.described(off))
	if err := session.Send(t.Context(), body(`{"t":35}`)); err != nil {
		t.Fatal(err)
	}
	same(t, "nothing", slices.Concat(c.events(t), c.shelves["a"].take(), c.shelves["b"].take()))
	c.hub.SetHub(c.described(nil))
	if err := session.Send(t.Context(), body(`{"t":35}`)); err != nil {
		t.Fatal(err)
	}
	same(t, "without routes", c.events(t), from+`{"t":35}`)
}

// TestRoutesChangeUnderLoad: while routes change back and forth every message goes
// to exactly one of the endpoints that they lead to, and in order.
func TestRoutesChangeUnderLoad(t *testing.T) {
	const devices, batches, size = 4, 200, 5
	sets := []*routing.Settings{
		nil, // events
		settings(routing.Route{Source: routing.DeviceMessages, Condition: "$body.n >= 0", EndpointNames: []string{"a"}}),
		settings(routing.Route{Source: routing.DeviceMessages, Condition: "level = 'x' OR $body.n = - 1", EndpointNames: []string{"b"}}),
	}
	c := newRouted(t, sets[1], nil)
	ctx, cancel := context.WithCancel(t.Context())
	var change, send sync.WaitGroup
	change.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			c.hub.SetHub(c.described(sets[i%len(sets)]))
		}
	})
	for d := range devices {
		session := connect(t, c.cloud, c.Add(t, fmt.Sprint("d", d), ""), &settler{}, 0)
		send.Go(func() {
			for b := range batches {
				msgs := make([]causeway.Message, size)
				for i := range msgs {
					msgs[i] = body(fmt.Sprintf(`{"n":%d}`, b*size+i))
					msgs[i].Properties = []causeway.Property{{Key: "level", Value: "x"}}
				}
				if err := session.Send(ctx, msgs...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	send.Wait()
	cancel()
	change.Wait()
	got := map[string]int{}
	for _, list := range [][]string{c.events(t), c.shelves["a"].take(), c.shelves["b"].take()} {
		last := map[string]int{}
		for _, l := range list {
			var source, device string
			var n int
			if _, err := fmt.Sscanf(l, `%s %s {"n":%d}`, &source, &device, &n); err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			if before, ok := last[device]; ok && n <= before {
				t.Errorf("%s: %d after %d", device, n, before)
			}
			last[device] = n
			got[l]++
		}
	}
	for l, n := range got {
		if n != 1 {
			t.Errorf("%q came %d times", l, n)
		}
	}
	if want := devices * batches * size; len(got) != want {
		t.Errorf("%d different messages came, %d were sent", len(got), want)
	}
}

// TestReservedPropertiesOfRoutedMessages: what pretends to be a stamp does not
// get past routes either.
func TestReservedPropertiesOfRoutedMessages(t *testing.T) {
	c := newRouted(t, settings(routing.Route{Source: routing.DeviceMessages, Condition: "true", EndpointNames: []string{"a"}}), nil)
	session := connect(t, c.cloud, c.Add(t, "d1", ""), &settler{}, 0)
	m := body("1")
	m.Properties = []causeway.Property{{Key: "iothub-connection-device-id", Value: "d2"}, {Key: "added", Value: "1"}}
	n := body("2")
	n.Properties = []causeway.Property{{Key: "added", Value: "2"}, {Key: "iothub-message-source", Value: "twinChangeEvents"}}
	if err := session.Send(t.Context(), m, n); err != nil {
		t.Fatal(err)
	}
	c.shelves["a"].mu.Lock()
	var got []string
	for _, m := range c.shelves["a"].msgs {
		got = append(got, fmt.Sprint(m.Properties))
	}
	c.shelves["a"].mu.Unlock()
	same(t, "properties", got, "[{added 1}]", "[{added 2}]")
}

// TestSendFailsWithItsEndpoint: what is not durable everywhere is not
// acknowledged.
func TestSendFailsWithItsEndpoint(t *testing.T) {
	c := newRouted(t, settings(routing.Route{Source: routing.DeviceMessages, Condition: "true", EndpointNames: []string{"a", "events"}}), nil)
	session := connect(t, c.cloud, c.Add(t, "d1", ""), &settler{}, 0)
	c.shelves["a"].fail = errors.New("disk on fire")
	err := session.Send(t.Context(), body("1"))
	if causeway.CodeOf(err) != causeway.ServiceUnavailable || strings.Contains(causeway.MessageOf(err), "fire") {
		t.Errorf("a broken endpoint: %v", err)
	}
	c.shelves["a"].fail = nil
	c.log.setFail(eventlog.ErrFull)
	if err := session.Send(t.Context(), body("1")); causeway.CodeOf(err) != causeway.ServiceUnavailable {
		t.Errorf("a full log: %v", err)
	}
	c.log.setFail(nil)
	delete(c.shelves, "a")
	c.hub.SetHub(c.described(settings(routing.Route{Source: routing.DeviceMessages, Condition: "true", EndpointNames: []string{"a"}})))
	if err := session.Send(t.Context(), body("1")); causeway.CodeOf(err) != causeway.ServiceUnavailable {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

// TestEvents: changes of twins and identities are where routes take them when
// the call that made them returns.
func TestEvents(t *testing.T) {
	c := newRouted(t, settings(
		routing.Route{Source: routing.TwinChanges, Condition: "twin_change_includes(properties.reported.t)", EndpointNames: []string{"events"}},
		routing.Route{Source: routing.TwinChanges, Condition: "opType = 'replaceTwin' OR $twin.tags.loud = true", EndpointNames: []string{"a"}},
		routing.Route{Source: routing.DeviceLifecycle, Condition: "true", EndpointNames: []string{"b"}},
	), nil)
	ctx := t.Context()
	cred := c.Add(t, "d1", "")
	const none = `"properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}`
	same(t, "created", c.shelves["b"].take(), `deviceLifecycleEvents d1 {"deviceId":"d1","etag":"AAAAAAAAAAE=","version":2,`+none+`} opType=createDeviceIdentity`)
	c.Add(t, "d1", "m1")
	same(t, "module created", c.shelves["b"].take(),
		`deviceLifecycleEvents d1/m1 {"deviceId":"d1","moduleId":"m1","etag":"AAAAAAAAAAE=","version":2,`+none+`} opType=createDeviceIdentity`)

	session := connect(t, c.cloud, cred, &settler{}, 0)
	for _, p := range []string{`{"x":1}`, `{"t":20}`} {
		if _, err := session.Report(ctx, causeway.Patch{Properties: []byte(p)}); err != nil {
			t.Fatal(err)
		}
	}
	got := c.events(t)
	if len(got) != 1 || !strings.HasPrefix(got[0], `twinChangeEvents d1 {"version":4,"properties":{"reported":{"t":20,"$metadata":{"$lastUpdated":"2`) ||
		!strings.HasSuffix(got[0], `"$version":3}}} opType=updateTwin`) {
		t.Errorf("reported: %q", got)
	}
	for _, u := range []registry.TwinUpdate{{Tags: []byte(`{"q":1}`)}, {Tags: []byte(`{"loud":true}`)}, {Tags: []byte(`{"quiet":1}`), Replace: true}} {
		if _, err := c.registry.UpdateTwin(ctx, ident(cred.Identity), u, ""); err != nil {
			t.Fatal(err)
		}
	}
	got = c.shelves["a"].take()
	if len(got) != 2 || got[0] != `twinChangeEvents d1 {"version":6,"tags":{"loud":true}} opType=updateTwin` ||
		!strings.HasPrefix(got[1], `twinChangeEvents d1 {"deviceId":"d1","etag":"AAAAAAAAAAQ=","version":7,"tags":{"quiet":1},"properties":{`) {
		t.Errorf("service: %q", got)
	}
	c.shelves["a"].fail = errors.New("broken")
	if _, err := c.registry.UpdateTwin(ctx, ident(cred.Identity), registry.TwinUpdate{Tags: []byte(`{"loud":true}`)}, ""); causeway.CodeOf(err) != causeway.ServiceUnavailable {
		t.Errorf("an event that could not be kept: %v", err)
	}
	c.Delete(t, cred.Identity)
	got = c.shelves["b"].take()
	if len(got) != 2 || !strings.HasSuffix(got[0], "opType=deleteDeviceIdentity") || !strings.HasPrefix(got[0], "deviceLifecycleEvents d1/m1 ") ||
		!strings.HasPrefix(got[1], "deviceLifecycleEvents d1 ") {
		t.Errorf("deleted: %q", got)
	}
}

func TestPublish(t *testing.T) {
	c := newRouted(t, settings(
		routing.Route{Source: routing.DeviceJobLifecycle, Condition: "$body.status = 'completed'", EndpointNames: []string{"a"}},
		routing.Route{Source: routing.DigitalTwinChanges, Condition: "true", EndpointNames: []string{"events"}},
	), nil)
	for source, want := range map[string]bool{causeway.SourceJobLifecycle: true, causeway.SourceDigitalTwin: true, causeway.SourceTwinChange: false} {
		if c.set.Wants(hubName, source) != want || c.set.Wants("nope", source) {
			t.Errorf("Wants(%s) is %v", source, !want)
		}
	}
	for _, status := range []string{"running", "completed"} {
		m := body(`{"status":"` + status + `"}`)
		m.Source = causeway.SourceJobLifecycle
		if err := c.set.Publish(t.Context(), hubName, m); err != nil {
			t.Fatal(err)
		}
	}
	a := c.shelves["a"]
	a.mu.Lock()
	if len(a.msgs) != 1 || a.msgs[0].UserID != hubName || len(a.msgs[0].CorrelationID) != 32 || a.msgs[0].Enqueued.IsZero() {
		t.Errorf("published %+v", a.msgs)
	}
	a.mu.Unlock()
	same(t, "a", a.take(), `deviceJobLifecycleEvents  {"status":"completed"}`)
	if err := c.set.Publish(t.Context(), "nope", causeway.Message{}); causeway.CodeOf(err) != causeway.IotHubNotFound {
		t.Errorf("an unknown hub: %v", err)
	}
	m := body("{}")
	m.Source = causeway.SourceLifecycle
	if err := c.set.Publish(t.Context(), hubName, m); err != nil {
		t.Errorf("an event that nobody wants: %v", err)
	}
}

// TestConnectionEvents: who came, went, or only passed by between two snapshots.
func TestConnectionEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRouted(t, settings(routing.Route{Source: routing.DeviceConnectionStates, Condition: "true", EndpointNames: []string{"a"}}), nil)
		a := c.shelves["a"]
		d1, d2, m := c.Add(t, "d1", ""), c.Add(t, "d2", ""), c.Add(t, "d1", "m1")
		s1 := connect(t, c.cloud, d1, &settler{}, 0)
		s2 := connect(t, c.cloud, d2, &settler{}, 0)
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		connect(t, c.cloud, m, &settler{}, 0)
		s2.Close(nil)
		time.Sleep(cloudhub.DefaultSnapshot) //nolint:forbidigo // simulated time
		synctest.Wait()
		ops := func() (list []string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			last := ""
			for i := range a.msgs {
				m := &a.msgs[i]
				op, _ := m.Property("opType")
				device, _ := m.Property("deviceId")
				module, _ := m.Property("moduleId")
				if string(m.Body) <= last || len(m.Body) != len(`{"sequenceNumber":""}`)+64 {
					t.Errorf("body %s after %s", m.Body, last)
				}
				last = string(m.Body)
				list = append(list, op+" "+device+" "+module)
			}
			a.msgs = nil
			return list
		}
		same(t, "first minute", ops(), "deviceConnected d1 ", "deviceConnected d1 m1")

		s1.Close(nil)
		s1 = connect(t, c.cloud, d1, &settler{}, 0) // it was away for a moment only
		connect(t, c.cloud, d1, &settler{}, 0)      // and took over
		time.Sleep(cloudhub.DefaultSnapshot)        //nolint:forbidigo // simulated time
		synctest.Wait()
		same(t, "second minute", ops())
		_ = s1

		a.mu.Lock()
		a.fail = errors.New("broken")
		a.mu.Unlock()
		c.Delete(t, d1.Identity)
		time.Sleep(cloudhub.DefaultSnapshot) //nolint:forbidigo // simulated time
		synctest.Wait()
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		time.Sleep(cloudhub.DefaultSnapshot) //nolint:forbidigo // simulated time
		synctest.Wait()
		got := ops()
		slices.Sort(got)
		same(t, "after a failure", got, "deviceDisconnected d1 ", "deviceDisconnected d1 m1")

		connect(t, c.cloud, d2, &settler{}, 0)
		time.Sleep(cloudhub.DefaultSnapshot) //nolint:forbidigo // simulated time
		synctest.Wait()
		same(t, "connected", ops(), "deviceConnected d2 ")
		c.stop()
		same(t, "at the end of the hub", ops(), "deviceDisconnected d2 ")
	})
}

// hundred is as many routes as there may be, with conditions on the body that do
// not hold: those of bench/run.sh.
func hundred(to string) *routing.Settings {
	routes := make([]routing.Route, routing.MaxRoutes)
	for i := range routes {
		routes[i] = routing.Route{Source: routing.DeviceMessages, EndpointNames: []string{to}, Condition: []string{
			fmt.Sprintf("$body.temperature > %d", 100+i),
			fmt.Sprintf("$body.humidity < -%d AND $body.temperature > 20", i),
			fmt.Sprintf("$body.kind = 'k%d' OR $body.temperature < -%d", i, i),
			fmt.Sprintf("$body.room%d.level >= %d", i, i),
		}[i%4]}
	}
	return settings(routes...)
}

// reading is n messages of 256 bytes, as `causeway bench` sends them, or with more
// in them.
func reading(n int, more string) []causeway.Message {
	msgs := telemetry(n)
	for i := range msgs {
		text := `{"temperature":21.5,"humidity":48.2,` + more + `"pad":"`
		msgs[i].Properties = nil
		msgs[i].Body = []byte(text + strings.Repeat("x", 254-len(text)) + `"}`)
	}
	return msgs
}

func TestRoutedSendDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	c := newRouted(t, hundred("events"), discard{})
	s := connect(t, c.cloud, c.Add(t, "d1", ""), &settler{}, 0)
	ctx := context.Background()
	for _, n := range []int{1, 10, 100} {
		msgs := reading(n, "")
		if got := testing.AllocsPerRun(200, func() { _ = s.Send(ctx, msgs...) }); got > 0.1 {
			t.Errorf("a routed Send of %d messages allocates %v times", n, got)
		}
	}
}

// BenchmarkSendRoutes is what routes cost a hub: without any, with one, and with
// a hundred conditions on the body that do not hold.
func BenchmarkSendRoutes(b *testing.B) {
	logs := map[string]func(b *testing.B) eventlog.Log{
		"discard": func(*testing.B) eventlog.Log { return discard{} },
		"seglog": func(b *testing.B) eventlog.Log {
			l, err := seglog.Open(b.TempDir(), seglog.Options{Partitions: 4})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { l.Close() })
			return l
		},
	}
	for _, log := range []string{"discard", "seglog"} {
		for _, r := range []struct {
			name string
			s    *routing.Settings
		}{
			{"none", nil},
			{"one", settings(routing.Route{Source: routing.DeviceMessages, Condition: "$body.temperature > 100", EndpointNames: []string{"events"}})},
			{"hundred", hundred("events")},
		} {
			b.Run(log+"/"+r.name, func(b *testing.B) {
				const n = 10 // in flight
				c := newRouted(b, r.s, logs[log](b))
				b.Cleanup(c.stop)
				s := connect(b, c.cloud, c.Add(b, "d1", ""), &settler{}, 0)
				msgs := reading(n, "")
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Send(ctx, msgs...); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
			})
		}
	}
}
