package event_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/event"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

var at = time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)

const stamp = "2026-05-06T07:08:09.1234567Z"

func record(device, module string) *registry.Record {
	return &registry.Record{
		ID: causeway.Identity{Hub: "plant", Device: device, Module: module},
		Twin: registry.Twin{
			Version: 2, ETag: 1, Tags: []byte("{}"),
			Desired:  registry.Section{Properties: []byte("{}"), Metadata: []byte(`{"$lastUpdated":"2026-01-01T00:00:00.0000000Z"}`), Version: 1},
			Reported: registry.Section{Properties: []byte("{}"), Metadata: []byte(`{"$lastUpdated":"2026-01-01T00:00:00.0000000Z"}`), Version: 1},
		},
	}
}

// TestEvents has the exact body and the exact properties of every event.
func TestEvents(t *testing.T) {
	written := record("d", "")
	written.Twin = registry.Twin{
		Version: 5, ETag: 3, Tags: []byte(`{"floor":"1"}`),
		Desired:  registry.Section{Properties: []byte(`{"a":1,"b":2}`), Metadata: []byte(`{"$lastUpdated":"x","a":{"$lastUpdated":"y"}}`), Version: 4},
		Reported: registry.Section{Properties: []byte(`{"t":20}`), Metadata: []byte(`{"$lastUpdated":"z"}`), Version: 7},
	}
	const fresh = `"properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}`
	for name, c := range map[string]struct {
		event  registry.Event
		source string
		props  []string
		body   string
	}{
		"device created": {
			registry.Event{Kind: registry.Created, At: at, After: record("d", "")},
			"deviceLifecycleEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=createDeviceIdentity", "operationTimestamp=" + stamp, "iothub-message-schema=deviceLifecycleNotification"},
			`{"deviceId":"d","etag":"AAAAAAAAAAE=","version":2,` + fresh + `}`,
		},
		"module deleted": {
			registry.Event{Kind: registry.Removed, At: at, Before: record("d", "m\"1")},
			"deviceLifecycleEvents",
			[]string{"hubName=plant", "deviceId=d", "moduleId=m\"1", "opType=deleteDeviceIdentity", "operationTimestamp=" + stamp, "iothub-message-schema=deviceLifecycleNotification"},
			`{"deviceId":"d","moduleId":"m\"1","etag":"AAAAAAAAAAE=","version":2,` + fresh + `}`,
		},
		"written device deleted": {
			registry.Event{Kind: registry.Removed, At: at, Before: written},
			"deviceLifecycleEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=deleteDeviceIdentity", "operationTimestamp=" + stamp, "iothub-message-schema=deviceLifecycleNotification"},
			`{"deviceId":"d","etag":"AAAAAAAAAAM=","version":5,"tags":{"floor":"1"},"properties":{"desired":{"a":1,"b":2,"$metadata":{"$lastUpdated":"x","a":{"$lastUpdated":"y"}},"$version":4},"reported":{"t":20,"$metadata":{"$lastUpdated":"z"},"$version":7}}}`,
		},
		"tags and desired": {
			registry.Event{Kind: registry.TwinChanged, At: at, After: written, Tags: []byte(`{"floor":"1","gone":null}`), Desired: []byte(`{"a":1}`)},
			"twinChangeEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=updateTwin", "operationTimestamp=" + stamp, "iothub-message-schema=twinChangeNotification"},
			`{"version":5,"tags":{"floor":"1","gone":null},"properties":{"desired":{"a":1,"$metadata":{"$lastUpdated":"` + stamp + `","$lastUpdatedVersion":4,"a":{"$lastUpdated":"` + stamp + `","$lastUpdatedVersion":4}},"$version":4}}}`,
		},
		"tags alone": {
			registry.Event{Kind: registry.TwinChanged, At: at, After: written, Tags: []byte(`{"floor":"1"}`)},
			"twinChangeEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=updateTwin", "operationTimestamp=" + stamp, "iothub-message-schema=twinChangeNotification"},
			`{"version":5,"tags":{"floor":"1"}}`,
		},
		"reported": {
			registry.Event{Kind: registry.TwinChanged, At: at, After: written, Reported: []byte(`{"t":20}`)},
			"twinChangeEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=updateTwin", "operationTimestamp=" + stamp, "iothub-message-schema=twinChangeNotification"},
			`{"version":5,"properties":{"reported":{"t":20,"$metadata":{"$lastUpdated":"` + stamp + `","t":{"$lastUpdated":"` + stamp + `"}},"$version":7}}}`,
		},
		"replaced": {
			registry.Event{Kind: registry.TwinChanged, At: at, After: written, Tags: []byte(`{}`), Replace: true},
			"twinChangeEvents",
			[]string{"hubName=plant", "deviceId=d", "opType=replaceTwin", "operationTimestamp=" + stamp, "iothub-message-schema=twinChangeNotification"},
			`{"deviceId":"d","etag":"AAAAAAAAAAM=","version":5,"tags":{"floor":"1"},"properties":{"desired":{"a":1,"b":2,"$metadata":{"$lastUpdated":"x","a":{"$lastUpdated":"y"}},"$version":4},"reported":{"t":20,"$metadata":{"$lastUpdated":"z"},"$version":7}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := event.Source(&c.event); got != c.source {
				t.Errorf("the source is %q, want %q", got, c.source)
			}
			m, err := event.OfRegistry("plant", &c.event)
			if err != nil {
				t.Fatal(err)
			}
			check(t, m, c.source, c.props, c.body)
		})
	}
}

func check(t *testing.T, m causeway.Message, source string, props []string, body string) {
	t.Helper()
	if string(m.Body) != body {
		t.Errorf("body\n got %s\nwant %s", m.Body, body)
	}
	if !json.Valid(m.Body) {
		t.Error("the body is not JSON")
	}
	var got []string
	for _, p := range m.Properties {
		got = append(got, p.Key+"="+p.Value)
	}
	if !slices.Equal(got, props) {
		t.Errorf("properties\n got %q\nwant %q", got, props)
	}
	if m.Source != source || m.ContentType != "application/json" || m.ContentEncoding != "utf-8" || m.UserID != "plant" ||
		len(m.CorrelationID) != 32 || !m.Enqueued.Equal(at) || m.From.Hub != "plant" || m.From.Device != "d" {
		t.Errorf("message %+v", m)
	}
}

func TestConnection(t *testing.T) {
	var s event.Sequencer
	n := s.Next(at)
	m := event.OfConnection("plant", causeway.Identity{Device: "d", Module: "m"}, true, at, n)
	check(t, m, "deviceConnectionStateEvents",
		[]string{"hubName=plant", "deviceId=d", "moduleId=m", "opType=deviceConnected", "operationTimestamp=" + stamp, "iothub-message-schema=deviceConnectionStateNotification"},
		fmt.Sprintf(`{"sequenceNumber":%q}`, n))
	if m.From.Module != "" {
		t.Error("the module is in an annotation")
	}
	m = event.OfConnection("plant", causeway.Identity{Device: "d"}, false, at, n)
	if p, _ := m.Property("opType"); p != "deviceDisconnected" {
		t.Errorf("opType %q", p)
	}
}

// TestSequence: numbers grow as texts, whatever the clock does.
func TestSequence(t *testing.T) {
	var s event.Sequencer
	last := ""
	for _, step := range []time.Duration{0, 0, time.Second, -time.Hour, time.Minute, 2 * time.Hour} {
		n := s.Next(at.Add(step))
		if len(n) != 64 || strings.Trim(n, "0123456789ABCDEF") != "" || n <= last {
			t.Errorf("%q after %q", n, last)
		}
		last = n
	}
	var restarted event.Sequencer
	if n := restarted.Next(at.Add(3 * time.Hour)); n <= last {
		t.Errorf("after a restart %q follows %q", n, last)
	}
}

func TestNoSource(t *testing.T) {
	for _, e := range []registry.Event{
		{Kind: registry.IdentityUpdated, Before: record("d", ""), After: record("d", "")},
		{Kind: registry.TwinChanged, Before: record("d", ""), After: record("d", "")},
	} {
		if s := event.Source(&e); s != "" {
			t.Errorf("%v has the source %q", e.Kind, s)
		}
	}
}
