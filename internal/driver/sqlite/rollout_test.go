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
	return startRolloutOn(t, db, rate, func(r *registry.Service) deploy.Registry { return r })
}

// startRolloutOn does so on what through makes of the registry.
func startRolloutOn(t *testing.T, db *sqlite.DB, rate int, through func(*registry.Service) deploy.Registry) *rollout {
	t.Helper()
	reg := registry.New(registry.Options{Store: db.Registry(), Sealer: storetest.Sealer{}})
	s, err := deploy.Open(t.Context(), deploy.Options{
		Store: db.Deployments(), Registry: through(reg), Query: query.New(query.Options{Registry: reg}), Rate: rate,
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
	r := startRollout(t, openWithHubs(t, path), 20)
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
	r = startRollout(t, slow, 20)
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

// gate is a registry that holds the writes of one kind back.
type gate struct {
	*registry.Service
	hold    string // the kind
	arrived chan struct{}
	open    chan struct{}
}

func (g *gate) wait(ctx context.Context, call string) error {
	if call != g.hold {
		return nil
	}
	select {
	case g.arrived <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error) {
	if err := g.wait(ctx, "twins"); err != nil {
		return registry.Record{}, err
	}
	return g.Service.UpdateTwin(ctx, id, u, match)
}

func (g *gate) SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error {
	if err := g.wait(ctx, "statuses"); err != nil {
		return err
	}
	return g.Service.SetConfigurations(ctx, changes...)
}

// TestCrashBetweenParts: many devices are worked on side by side, so a crash
// finds many of them after the note and before the twin, or after the twin and
// before the status. The configuration, or its end, gets to all of them.
func TestCrashBetweenParts(t *testing.T) {
	const devices = 40
	all := func(n int) bool { return n == devices }
	for _, hold := range []string{"twins", "statuses"} {
		t.Run(hold, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			g := &gate{hold: hold, arrived: make(chan struct{}, devices), open: make(chan struct{})}
			r := startRolloutOn(t, openWithHubs(t, path), 100_000, func(s *registry.Service) deploy.Registry { g.Service = s; return g })
			for i := range devices {
				if _, err := r.registry.Create(t.Context(), registry.Record{ID: causeway.Identity{Hub: "plant", Device: fmt.Sprintf("d%03d", i)}, Enabled: true}); err != nil {
					t.Fatal(err)
				}
			}
			c := deploy.Configuration{ID: "fan", TargetCondition: "*", Content: json.RawMessage(`{"deviceContent":{"properties.desired.fan":{"speed":3}}}`)}
			if _, err := r.service.Put(t.Context(), "plant", c, ""); err != nil {
				t.Fatal(err)
			}
			for range devices {
				<-g.arrived
			}
			finished, undone := crash(t, path), crash(t, path)
			close(g.open)
			r.stop()

			db := openAt(t, finished, sqlite.Options{})
			traced, err := db.Deployments().Traced(t.Context(), "plant", causeway.Identity{}, devices+1)
			if err != nil || len(traced) != devices {
				t.Fatalf("%d devices are noted (%v)", len(traced), err)
			}
			recs, err := db.Registry().List(t.Context(), "plant", "", devices)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs {
				if set := string(rec.Twin.Desired.Properties) != "{}"; set != (hold == "statuses") || len(rec.Configurations) != 0 {
					t.Fatalf("%s has %s and %v", rec.ID, rec.Twin.Desired.Properties, rec.Configurations)
				}
			}
			r = startRollout(t, db, 100_000)
			r.wait(t, "fan", "fan", all)
			r.stop()

			db = openAt(t, undone, sqlite.Options{})
			r = startRollout(t, db, 100_000)
			if err := r.service.Delete(t.Context(), "plant", "fan", ""); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(time.Minute)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				if traced, err = db.Deployments().Traced(t.Context(), "plant", causeway.Identity{}, devices); err != nil {
					t.Fatal(err)
				}
				if len(traced) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d devices are still noted", len(traced))
				}
				<-tick.C
			}
			if recs, err = r.registry.List(t.Context(), "plant", "", devices); err != nil {
				t.Fatal(err)
			}
			for _, rec := range recs {
				if string(rec.Twin.Desired.Properties) != "{}" || len(rec.Configurations) != 0 {
					t.Errorf("%s keeps %s and %v", rec.ID, rec.Twin.Desired.Properties, rec.Configurations)
				}
			}
		})
	}
}
