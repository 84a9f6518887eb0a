package sqlite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// rollout is configurations at work on a database.
type rollout struct {
	registry *registry.Service
	service  *deploy.Service
	stop     func()
}

func startRollout(t *testing.T, db *sqlite.DB, rate int) *rollout {
	t.Helper()
	reg := registry.New(registry.Options{Store: db.Registry(), Sealer: storetest.Sealer{}})
	s, err := deploy.Open(t.Context(), deploy.Options{
		Store: db.Deployments(), Registry: reg, Query: query.New(query.Options{Registry: reg}), Rate: rate,
	})
	if err != nil {
		t.Fatal(err)
	}
	reg.Observe(s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	r := &rollout{registry: reg, service: s, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(r.stop)
	return r
}

// applied counts the devices that have a configuration, in their twin and as
// their status.
func (r *rollout) applied(t *testing.T, id, path string) (n int) {
	t.Helper()
	recs, err := r.registry.List(t.Context(), "plant", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		var desired map[string]json.RawMessage
		if err := json.Unmarshal(rec.Twin.Desired.Properties, &desired); err != nil {
			t.Fatal(err)
		}
		if desired[path] != nil && rec.Configurations[id] == registry.ConfigurationApplied {
			n++
		}
	}
	return n
}

// wait waits until so many devices have a configuration.
func (r *rollout) wait(t *testing.T, id, path string, enough func(n int) bool) int {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n := r.applied(t, id, path)
		if enough(n) {
			return n
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d devices have %s", n, id)
		}
		<-tick.C
	}
}

// TestCrashInARollout takes the database as a crash in the middle of a rollout
// leaves it, and finishes on that; then the same with the configuration's end.
func TestCrashInARollout(t *testing.T) {
	const devices = 120
	path := filepath.Join(t.TempDir(), "state.db")
	r := startRollout(t, openWithHubs(t, path), 200)
	for i := range devices {
		if _, err := r.registry.Create(t.Context(), registry.Record{ID: causeway.Identity{Hub: "plant", Device: fmt.Sprintf("d%03d", i)}, Enabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	c := deploy.Configuration{ID: "fan", TargetCondition: "*", Content: json.RawMessage(`{"deviceContent":{"properties.desired.fan":{"speed":3}}}`)}
	if _, err := r.service.Put(t.Context(), "plant", c, ""); err != nil {
		t.Fatal(err)
	}
	some := func(n int) bool { return n > 10 && n < devices }
	r.wait(t, "fan", "fan", some)
	crashed := crash(t, path)
	r.stop()

	r = startRollout(t, openAt(t, crashed, sqlite.Options{}), 100_000)
	if n := r.applied(t, "fan", "fan"); n == devices {
		t.Fatal("the crash came too late")
	}
	r.wait(t, "fan", "fan", func(n int) bool { return n == devices })
	r.stop()

	slow := openAt(t, crash(t, crashed), sqlite.Options{})
	r = startRollout(t, slow, 200)
	if err := r.service.Delete(t.Context(), "plant", "fan", ""); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "fan", "fan", func(n int) bool { return n < devices-10 })
	// The end of the work is written down here: an orderly stop.
	r.stop()
	r = startRollout(t, slow, 100_000)
	r.wait(t, "fan", "fan", func(n int) bool { return n == 0 })
	recs, err := r.registry.List(t.Context(), "plant", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		if string(rec.Twin.Desired.Properties) != "{}" && len(rec.Configurations) == 0 {
			t.Errorf("%s keeps %s", rec.ID, rec.Twin.Desired.Properties)
		}
	}
}
