package iothub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/head/iothub"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

// canned is a registry that holds what it was given.
type canned struct {
	iothub.Registry
	recs map[string]registry.Record
}

func (c canned) Get(_ context.Context, id causeway.Identity) (registry.Record, error) {
	r, ok := c.recs[id.String()]
	if !ok {
		return r, causeway.Errorf(causeway.DeviceNotFound, "test", "no %s", id)
	}
	r.ID = id
	return r, nil
}

// TestGolden holds the exact bytes of identities and twins to the files under
// testdata, indented there for reading.
func TestGolden(t *testing.T) {
	at := time.Date(2024, 1, 31, 12, 30, 15, 120_000_000, time.UTC)
	meta := []byte(`{"$lastUpdated":"2024-01-31T12:30:15.1200000Z"}`)
	empty := registry.Twin{Version: 2, ETag: 1, Desired: registry.Section{Version: 1, Metadata: meta}, Reported: registry.Section{Properties: []byte("{}"), Version: 1, Metadata: meta}}
	full := registry.Twin{
		Version: 7, ETag: 258, ModelID: "dtmi:com:example:Thermostat;1", Tags: []byte(`{"site":{"floor":3},"text":"<é\"&>"}`),
		Desired: registry.Section{
			Properties: []byte(`{"a":1.50,"b":{"c":[1,2]}}`), Version: 4,
			Metadata: []byte(`{"$lastUpdated":"2024-01-31T12:30:15.1200000Z","$lastUpdatedVersion":4,"a":{"$lastUpdated":"2024-01-31T12:30:15.1200000Z","$lastUpdatedVersion":4}}`),
		},
		Reported: registry.Section{Properties: []byte(`{"t":-1}`), Version: 9, Metadata: meta},
	}
	recs := map[string]registry.Record{
		"new": {
			GenerationID: "638421678151200000", ETag: "NzY0NTU=", Enabled: true, StatusUpdated: at,
			Auth: registry.Authentication{Type: auth.SAS, Primary: "cHJpbWFyeQ==", Secondary: "c2Vjb25kYXJ5"}, Twin: empty,
		},
		"edge": {
			GenerationID: "2", ETag: "MQ==", Enabled: true, Edge: true, DeviceScope: "ms-azure-iot-edge://edge-2", ParentScopes: []string{"ms-azure-iot-edge://top-1"},
			Auth: registry.Authentication{Type: auth.CA}, Twin: empty,
		},
		"disabled": {
			GenerationID: "3", ETag: "Mg==", StatusReason: "under <repair>", StatusUpdated: at,
			Connected: true, ConnectionStateUpdated: at.Add(-time.Hour), LastActivity: at.Add(-time.Minute),
			Auth: registry.Authentication{Type: auth.SelfSigned, PrimaryThumb: "0123456789ABCDEF0123456789abcdef01234567"}, Twin: full,
		},
		"connected": {
			GenerationID: "4", ETag: "Mw==", Enabled: true, StatusUpdated: at, LastActivity: at,
			Auth: registry.Authentication{Type: auth.None}, Twin: full,
		},
		"connected/m":     {GenerationID: "5", ETag: "NA==", Enabled: true, Auth: registry.Authentication{Type: auth.SAS, Primary: "cA==", Secondary: "cw=="}, Twin: full},
		"edge/$edgeAgent": {GenerationID: "6", ETag: "NQ==", Enabled: true, ManagedBy: "iotEdge", Auth: registry.Authentication{Type: auth.SAS}, Twin: empty},
	}
	w := newWorld(t)
	w.handler = (&iothub.Server{Hubs: w.hubs, Registry: canned{recs: recs}, Commands: w.commands, Feedback: w.outbox}).Handler()
	w.hub.setState(causeway.Identity{Hub: "myhub", Device: "connected"}, presence.State{Connected: true, Updated: at.Add(time.Second), LastActivity: at.Add(100 * time.Nanosecond)})
	for _, tc := range []struct{ path, file string }{
		{"/devices/new", "device-new"},
		{"/devices/edge", "device-edge"},
		{"/devices/disabled", "device-disabled"},
		{"/devices/connected", "device-connected"},
		{"/devices/connected/modules/m", "module"},
		{"/devices/edge/modules/$edgeAgent", "module-system"},
		{"/twins/new", "twin-new"},
		{"/twins/edge", "twin-edge"},
		{"/twins/disabled", "twin-disabled"},
		{"/twins/connected", "twin-connected"},
		{"/twins/connected/modules/m", "twin-module"},
	} {
		t.Run(tc.file, func(t *testing.T) { golden(t, tc.file, w.get(tc.path).want(200).body) })
	}
}

func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	b.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs:\n%s\nwant:\n%s", file, b.Bytes(), want)
	}
	// The file is indented; what was sent is not.
	var compact bytes.Buffer
	if err := json.Compact(&compact, want); err != nil || !bytes.Equal(compact.Bytes(), body) {
		t.Errorf("sent with white space (%v): %s", err, body)
	}
}
