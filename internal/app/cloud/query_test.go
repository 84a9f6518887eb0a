package cloud_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// ids returns the device ids that a query finds.
func (r *running) ids(query string) string {
	r.t.Helper()
	var all []string
	for item, err := range r.service().Query(r.t.Context(), query) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, string(item))
	}
	return strings.Join(all, " ")
}

// TestQuery: who is connected is found at once, and nobody is after a crash that
// left something else written down.
func TestQuery(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := cloud.Options{Devices: []string{"d1", "d2"}}
	r := start(t, configFor(dir), o)
	const connected = "SELECT deviceId FROM devices WHERE connectionState = 'Connected'"
	if got := r.ids(connected); got != "" {
		t.Errorf("before anybody connects: %s", got)
	}
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	if got := r.ids(connected); got != `{"deviceId":"d1"}` {
		t.Errorf("connected: %s", got)
	}
	if _, err := d.Report(t.Context(), []byte(`{"fw":"1.2"}`)); err != nil {
		t.Fatal(err)
	}
	if got := r.ids("SELECT deviceId, properties.reported.fw FROM devices WHERE properties.reported.fw > '1.1'"); got != `{"deviceId":"d1","fw":"1.2"}` {
		t.Errorf("reported: %s", got)
	}
	if m := r.metrics(dir); !strings.Contains(m, `causeway_queries_total{result="ok"} 3`) {
		t.Error("the metrics do not have three queries")
	}
	d.Close()
	r.stop()

	id := causeway.Identity{Hub: "localhost", Device: "d2"}
	written := func(f func(s registry.Store)) {
		t.Helper()
		db, err := sqlite.Open(t.Context(), filepath.Join(dir, cloud.DatabaseFile), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		f(db.Registry())
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	written(func(s registry.Store) {
		if err := s.Touch(t.Context(), registry.Activity{ID: id, Connected: true, StateUpdated: time.Now()}); err != nil {
			t.Fatal(err)
		}
	})
	r = start(t, configFor(dir), o)
	if got := r.ids(connected); got != "" {
		t.Errorf("after a crash: %s", got)
	}
	r.stop()
	written(func(s registry.Store) {
		rec, err := s.Get(t.Context(), id)
		if err != nil || rec.Connected {
			t.Errorf("written down: connected %v, %v", rec.Connected, err)
		}
	})
}
