package twinview_test

import (
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

var at = time.Date(2024, 1, 2, 3, 4, 5, 600, time.UTC)

func TestJSON(t *testing.T) {
	device := registry.Record{
		ID: causeway.Identity{Hub: "hub", Device: "d"}, ETag: "MQ==", Enabled: true, Edge: true,
		Auth:        registry.Authentication{Type: auth.SelfSigned, Primary: "secret", PrimaryThumb: "AA"},
		DeviceScope: "ms-azure-iot-edge://d-1", ParentScopes: []string{"ms-azure-iot-edge://top-1"},
		Configurations: map[string]string{"b": "Targeted", "a": "Applied"},
		Twin: registry.Twin{
			Version: 3, ETag: 2, ModelID: "dtmi:a;1", Tags: []byte(`{"html":"<&>"}`),
			Desired:  registry.Section{Properties: []byte(`{"n":1.0}`), Metadata: []byte(`{"n":{}}`), Version: 4},
			Reported: registry.Section{Version: 1},
		},
	}
	module := registry.Record{ID: causeway.Identity{Hub: "hub", Device: "d", Module: "m"}, StatusReason: "off", Edge: true, DeviceScope: "x"}
	for name, x := range map[string]struct {
		r    registry.Record
		l    twinview.Live
		want string
	}{
		"device": {device, twinview.Live{Connected: true, LastActivity: at, Queued: 2}, `{"deviceId":"d","modelId":"dtmi:a;1","etag":"AAAAAAAAAAI=","deviceEtag":"MQ==","status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Connected","lastActivityTime":"2024-01-02T03:04:05.0000006Z","cloudToDeviceMessageCount":2,"authenticationType":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":null},"version":3,"tags":{"html":"<&>"},"properties":{"desired":{"n":1.0,"$metadata":{"n":{}},"$version":4},"reported":{"$metadata":{},"$version":1}},"capabilities":{"iotEdge":true},"deviceScope":"ms-azure-iot-edge://d-1","parentScopes":["ms-azure-iot-edge://top-1"],"configurations":{"a":{"status":"Applied"},"b":{"status":"Targeted"}}}`},
		"module": {module, twinview.Live{}, `{"deviceId":"d","moduleId":"m","modelId":"","etag":"AAAAAAAAAAA=","deviceEtag":"","status":"disabled","statusReason":"off","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"","x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":0,"tags":{},"properties":{"desired":{"$metadata":{},"$version":0},"reported":{"$metadata":{},"$version":0}}}`},
	} {
		got, err := twinview.JSON(&x.r, x.l)
		if err != nil || string(got) != x.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, x.want)
		}
	}
	device.Twin.Tags = []byte("{")
	if got, err := twinview.JSON(&device, twinview.Live{}); err == nil {
		t.Errorf("of damaged tags: %s", got)
	}
}

// TestOverlay: the hub knows better who is connected, and the later activity
// counts, whoever knows of it.
func TestOverlay(t *testing.T) {
	r := registry.Record{Connected: true, ConnectionStateUpdated: at, LastActivity: at}
	for name, x := range map[string]struct {
		s    presence.State
		want twinview.Live
	}{
		"nothing known":     {presence.State{}, twinview.Live{StateUpdated: at, LastActivity: at}},
		"connected now":     {presence.State{Connected: true, Updated: at.Add(2), LastActivity: at.Add(3)}, twinview.Live{Connected: true, StateUpdated: at.Add(2), LastActivity: at.Add(3)}},
		"written later":     {presence.State{Updated: at.Add(2), LastActivity: at.Add(-3)}, twinview.Live{StateUpdated: at.Add(2), LastActivity: at}},
		"only its activity": {presence.State{LastActivity: at.Add(1)}, twinview.Live{StateUpdated: at, LastActivity: at.Add(1)}},
	} {
		if got := twinview.Overlay(&r, x.s); got != x.want {
			t.Errorf("%s: %+v, want %+v", name, got, x.want)
		}
	}
}
