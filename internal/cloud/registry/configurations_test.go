package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

func configure(id causeway.Identity, configuration, status string) registry.ConfigurationChange {
	return registry.ConfigurationChange{ID: id, Configuration: configuration, Status: status}
}

// TestSetConfigurations: what is in memory follows the store, and neither etags
// nor other records change.
func TestSetConfigurations(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	w.create(registry.Record{ID: mod("d", "m")})
	before, module := w.get(dev("d")), w.get(mod("d", "m"))
	var changes []registry.ConfigurationChange
	for i := range 600 { // more than go together
		changes = append(changes, configure(dev(fmt.Sprint("nobody", i)), "c", registry.ConfigurationTargeted))
	}
	changes = append(changes,
		configure(mod("d", "m"), "c", registry.ConfigurationApplied),
		configure(dev("d"), "c", registry.ConfigurationTargeted),
		configure(dev("d"), "c", registry.ConfigurationApplied),
		configure(dev("d"), "other", registry.ConfigurationTargeted))
	if err := w.SetConfigurations(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	check := func(w *world, id causeway.Identity, want string) {
		t.Helper()
		if got := fmt.Sprint(w.get(id).Configurations); got != want {
			t.Errorf("%s has %s, want %s", id, got, want)
		}
	}
	for _, w := range []*world{w, w.start(registry.Options{})} {
		check(w, dev("d"), "map[c:Applied other:Targeted]")
		check(w, mod("d", "m"), "map[c:Applied]")
		if now := w.get(dev("d")); now.ETag != before.ETag || now.Twin.Version != before.Twin.Version {
			t.Errorf("etag %s and version %d, were %s and %d", now.ETag, now.Twin.Version, before.ETag, before.Twin.Version)
		}
	}
	if len(before.Configurations)+len(module.Configurations) != 0 {
		t.Errorf("records handed out before have changed: %v %v", before.Configurations, module.Configurations)
	}
	w.same("told", w.ear.heard(), nil)

	w.update(registry.Record{ID: dev("d"), Enabled: false})
	if _, err := w.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Tags: []byte(`{"a":1}`)}, "*"); err != nil {
		t.Fatal(err)
	}
	check(w, dev("d"), "map[c:Applied other:Targeted]")
	if err := w.SetConfigurations(t.Context(), configure(dev("d"), "c", ""), configure(dev("d"), "other", "")); err != nil {
		t.Fatal(err)
	}
	check(w, dev("d"), "map[]")
}

func TestSetConfigurationsRefuses(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	w.wantCode(w.SetConfigurations(t.Context(), configure(dev("d"), "ok", registry.ConfigurationApplied), configure(dev("d"), "", registry.ConfigurationApplied)), causeway.ArgumentInvalid, "1 to 128 characters")
	w.wantCode(w.SetConfigurations(t.Context(), configure(dev("d"), strings.Repeat("x", 129), "")), causeway.ArgumentInvalid, "has 129")
	w.wantCode(w.SetConfigurations(t.Context(), configure(dev("d"), "c", "applied")), causeway.ArgumentInvalid, `status of configuration "c" is "applied"`)
	if got := w.get(dev("d")).Configurations; got != nil {
		t.Errorf("a refused call left %v", got)
	}
	w.store.trip(func(_ context.Context, call string, _ causeway.Identity) error {
		if call == "SetConfigurations" {
			return errors.New("disk on fire")
		}
		return nil
	}, nil)
	if err := w.SetConfigurations(t.Context(), configure(dev("d"), "c", registry.ConfigurationApplied)); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("error %v", err)
	}
	if got := w.get(dev("d")).Configurations; got != nil {
		t.Errorf("a failed call left %v in memory", got)
	}
}

// TestSetConfigurationsRace: twins and configurations of the same devices
// change at once, and neither loses anything.
func TestSetConfigurationsRace(t *testing.T) {
	w := newWorld(t)
	const devices, rounds = 20, 20
	for i := range devices {
		w.device(fmt.Sprint("d", i))
	}
	var wg sync.WaitGroup
	for r := range rounds {
		wg.Go(func() {
			var changes []registry.ConfigurationChange
			for i := range devices {
				changes = append(changes, configure(dev(fmt.Sprint("d", i)), fmt.Sprint("c", r), registry.ConfigurationApplied))
			}
			if err := w.SetConfigurations(t.Context(), changes...); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for i := range devices {
				if _, err := w.Report(t.Context(), dev(fmt.Sprint("d", i)), causeway.Patch{Properties: []byte(`{"a":1}`)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, w := range []*world{w, w.start(registry.Options{})} {
		for i := range devices {
			r := w.get(dev(fmt.Sprint("d", i)))
			if len(r.Configurations) != rounds || r.Twin.Reported.Version != 1+rounds {
				t.Errorf("%s: %d configurations and version %d, want %d and %d", r.ID, len(r.Configurations), r.Twin.Reported.Version, rounds, 1+rounds)
			}
		}
	}
}
