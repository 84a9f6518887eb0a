package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// configs are the changes of configurations of an identity: pairs of a
// configuration and its status.
func configs(id causeway.Identity, pairs ...string) (changes []registry.ConfigurationChange) {
	for i := 0; i < len(pairs); i += 2 {
		changes = append(changes, registry.ConfigurationChange{ID: id, Configuration: pairs[i], Status: pairs[i+1]})
	}
	return changes
}

func mustConfigure(t *testing.T, s registry.Store, changes ...registry.ConfigurationChange) {
	t.Helper()
	if err := s.SetConfigurations(t.Context(), changes...); err != nil {
		t.Fatalf("set configurations: %v", err)
	}
}

// configuring: configurations belong to an identity, change nothing else of it,
// and are changed by nothing else.
var configuring = []contractCase{
	{"SetConfigurations/sets, changes and removes", func(t *testing.T, s registry.Store) {
		d, m := record(dev("d")), record(mod("d", "m"))
		mustCreate(t, s, d, m, record(dev("D")))
		mustConfigure(t, s)
		odd := "a-b.c:d+e%f'g''h$i é\"\\" + strings.Repeat("x", 60)
		mustConfigure(t, s, append(configs(d.ID, "one", registry.ConfigurationTargeted, "two", registry.ConfigurationApplied, odd, registry.ConfigurationTargeted),
			configs(m.ID, "one", registry.ConfigurationApplied)...)...)
		d.Configurations = map[string]string{"one": registry.ConfigurationTargeted, "two": registry.ConfigurationApplied, odd: registry.ConfigurationTargeted}
		m.Configurations = map[string]string{"one": registry.ConfigurationApplied}
		equal(t, mustGet(t, s, d.ID), d)
		equal(t, mustGet(t, s, m.ID), m)
		equal(t, mustGet(t, s, dev("D")), record(dev("D")))

		// The last change of one configuration wins.
		mustConfigure(t, s, configs(d.ID, "one", registry.ConfigurationApplied, "two", "", "two", registry.ConfigurationTargeted, "three", registry.ConfigurationTargeted, "three", "", "never", "")...)
		d.Configurations = map[string]string{"one": registry.ConfigurationApplied, "two": registry.ConfigurationTargeted, odd: registry.ConfigurationTargeted}
		equal(t, mustGet(t, s, d.ID), d)
		mustConfigure(t, s, configs(d.ID, "one", "", "two", "", odd, "")...)
		d.Configurations = nil
		equal(t, mustGet(t, s, d.ID), d)
		equal(t, mustGet(t, s, m.ID), m)
	}},
	{"SetConfigurations/unknown identities", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("d")))
		mustConfigure(t, s, append(configs(dev("nobody"), "c", registry.ConfigurationApplied),
			append(configs(mod("d", "nobody"), "c", registry.ConfigurationApplied), configs(dev("d"), "c", registry.ConfigurationApplied)...)...)...)
		if got := mustGet(t, s, dev("d")).Configurations["c"]; got != registry.ConfigurationApplied {
			t.Errorf("status %q behind identities that are gone", got)
		}
		mustCreate(t, s, record(dev("nobody")))
		equal(t, mustGet(t, s, dev("nobody")), record(dev("nobody")))
	}},
	{"SetConfigurations/nothing else changes them", func(t *testing.T, s registry.Store) {
		d := record(dev("d"))
		mustCreate(t, s, d)
		mustConfigure(t, s, configs(d.ID, "c", registry.ConfigurationApplied)...)
		next := d
		next.ETag, next.Configurations = "next", map[string]string{"not": "this"}
		if err := s.PutIdentity(t.Context(), next, "*"); err != nil {
			t.Fatal(err)
		}
		next.Twin.Version++
		next.Twin.Tags = []byte(`{}`)
		if err := s.PutTwin(t.Context(), d.ID, next.Twin, next.Twin.Version-1); err != nil {
			t.Fatal(err)
		}
		if err := s.Touch(t.Context(), registry.Activity{ID: d.ID, Connected: true, StateUpdated: at}); err != nil {
			t.Fatal(err)
		}
		insist(t, "touch", func() bool { return mustGet(t, s, d.ID).Connected })
		next.Connected, next.ConnectionStateUpdated = true, at
		next.Configurations = map[string]string{"c": registry.ConfigurationApplied}
		equal(t, mustGet(t, s, d.ID), next)
	}},
	{"SetConfigurations/go with their identity", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("d")), record(mod("d", "m")))
		mustConfigure(t, s, append(configs(dev("d"), "c", registry.ConfigurationApplied), configs(mod("d", "m"), "c", registry.ConfigurationApplied)...)...)
		if err := s.Delete(t.Context(), dev("d"), "*"); err != nil {
			t.Fatal(err)
		}
		mustCreate(t, s, record(dev("d")), record(mod("d", "m")))
		equal(t, mustGet(t, s, dev("d")), record(dev("d")))
		equal(t, mustGet(t, s, mod("d", "m")), record(mod("d", "m")))
	}},
	{"SetConfigurations/many, and created with some", func(t *testing.T, s registry.Store) {
		var recs []registry.Record
		var changes []registry.ConfigurationChange
		for _, id := range oddIDs() {
			r := record(dev(id))
			r.Configurations = map[string]string{"first": registry.ConfigurationTargeted}
			recs = append(recs, r)
			for c := range 30 {
				changes = append(changes, configs(r.ID, "c"+string(rune('a'+c)), registry.ConfigurationTargeted)...)
			}
		}
		mustCreate(t, s, recs...)
		began := time.Now()
		mustConfigure(t, s, changes...)
		t.Logf("%d changes took %v", len(changes), time.Since(began))
		for _, r := range recs {
			if got := mustGet(t, s, r.ID).Configurations; len(got) != 31 || got["first"] != registry.ConfigurationTargeted || got["cb"] != registry.ConfigurationTargeted {
				t.Errorf("%s has %v", r.ID, got)
			}
		}
	}},
}
