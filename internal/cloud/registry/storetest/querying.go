package storetest

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

// found returns the ids that a selection finds.
func found(t *testing.T, s registry.Store, sel registry.Selection) []string {
	t.Helper()
	var ids []string
	err := s.Query(t.Context(), sel, func(r *registry.Record) error {
		if r.ID.Hub != sel.Hub || r.ID.IsModule() != sel.Modules {
			t.Errorf("%+v was found in the modules=%v of %s", r.ID, sel.Modules, sel.Hub)
		}
		if r.Auth.Primary != "" || r.Auth.Secondary != "" {
			t.Errorf("%s comes with keys", r.ID)
		}
		ids = append(ids, r.ID.String())
		return nil
	})
	if err != nil {
		t.Fatalf("query: %v", err)
	}
	return ids
}

// querying: a selection finds what it asks for, all of it, in order.
var querying = []contractCase{
	{"Query/order and pages", func(t *testing.T, s registry.Store) {
		theirs := record(dev("a"))
		theirs.ID.Hub = other
		mustCreate(t, s, theirs)
		var devices, mods []string
		var ids []causeway.Identity
		for _, id := range oddIDs() {
			mustCreate(t, s, record(dev(id)), record(mod(id, "m")), record(mod(id, "$edgeAgent")))
		}
		for _, id := range walk(t, s, hub, 7) {
			devices, ids = append(devices, dev(id).String()), append(ids, dev(id))
			mods = append(mods, mod(id, "$edgeAgent").String(), mod(id, "m").String())
		}
		for _, need := range []registry.Parts{0, registry.PartIdentity, registry.PartStatus | registry.PartDesired, registry.PartTags, registry.PartReported, registry.AllParts} {
			same(t, fmt.Sprint("devices with parts ", need), found(t, s, registry.Selection{Hub: hub, Need: need}), devices)
			same(t, fmt.Sprint("modules with parts ", need), found(t, s, registry.Selection{Hub: hub, Modules: true, Need: need}), mods)
		}
		same(t, "of another hub", found(t, s, registry.Selection{Hub: other}), []string{"a"})
		same(t, "of no hub", found(t, s, registry.Selection{Hub: "nowhere"}), nil)
		for i, id := range ids {
			same(t, "devices after "+id.Device, found(t, s, registry.Selection{Hub: hub, After: id}), devices[i+1:])
			same(t, "modules after the first of "+id.Device, found(t, s, registry.Selection{Hub: hub, Modules: true, After: mod(id.Device, "$edgeAgent")}), mods[2*i+1:])
			same(t, "modules after the last of "+id.Device, found(t, s, registry.Selection{Hub: hub, Modules: true, After: mod(id.Device, "m")}), mods[2*i+2:])
		}
		same(t, "devices after one that is gone", found(t, s, registry.Selection{Hub: hub, After: dev("aaa")})[:1], devices[index(devices, "aaa"):][:1])
		some := []causeway.Identity{ids[9], ids[3], dev("nobody"), theirs.ID, mod(ids[3].Device, "m")}
		same(t, "of some identities", found(t, s, registry.Selection{Hub: hub, IDs: some}), []string{devices[3], devices[9]})
		same(t, "of some identities after one", found(t, s, registry.Selection{Hub: hub, IDs: some, After: ids[3]}), []string{devices[9]})
		same(t, "modules of some", found(t, s, registry.Selection{Hub: hub, Modules: true, IDs: some}), []string{mods[7]})
		same(t, "of no identities", found(t, s, registry.Selection{Hub: hub, IDs: []causeway.Identity{}}), nil)
	}},
	{"Query/parts", func(t *testing.T, s registry.Store) {
		full := record(dev("d"))
		full.Configurations = map[string]string{"c": registry.ConfigurationApplied}
		mustCreate(t, s, full)
		full.Auth.Primary, full.Auth.Secondary = "", ""
		whole := func(r registry.Record) registry.Record { return r }
		for name, x := range map[string]struct {
			sel  registry.Selection
			want func(r registry.Record) registry.Record // what is looked at, of a whole record
		}{
			"all":           {registry.Selection{Need: registry.AllParts}, whole},
			"whole":         {registry.Selection{Whole: true}, whole},
			"whole, looked": {registry.Selection{Whole: true, Need: registry.PartTags, Keep: func(r *registry.Record) bool { return strings.Contains(string(r.Twin.Tags), "Köln") }}, whole},
			"nothing":       {registry.Selection{}, func(r registry.Record) registry.Record { return registry.Record{ID: r.ID} }},
			"identity":      {registry.Selection{Need: registry.PartIdentity | registry.PartAuthentication | registry.PartThumbprints | registry.PartStatus | registry.PartEdge | registry.PartActivity}, func(r registry.Record) registry.Record { r.Twin = registry.Twin{}; return r }},
			"status": {registry.Selection{Need: registry.PartStatus}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Enabled: r.Enabled, StatusReason: r.StatusReason, StatusUpdated: r.StatusUpdated}
			}},
			"authentication": {registry.Selection{Need: registry.PartAuthentication}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Auth: registry.Authentication{Type: r.Auth.Type}}
			}},
			"thumbprints": {registry.Selection{Need: registry.PartThumbprints}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Auth: registry.Authentication{PrimaryThumb: r.Auth.PrimaryThumb, SecondThumb: r.Auth.SecondThumb}}
			}},
			"identity and versions": {registry.Selection{Need: registry.PartAuthentication | registry.PartVersions}, func(r registry.Record) registry.Record {
				t := registry.Twin{Desired: registry.Section{Version: r.Twin.Desired.Version}, Reported: registry.Section{Version: r.Twin.Reported.Version}}
				return registry.Record{ID: r.ID, Auth: registry.Authentication{Type: r.Auth.Type}, Twin: t}
			}},
			"edge": {registry.Selection{Need: registry.PartEdge}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Edge: r.Edge, DeviceScope: r.DeviceScope, ParentScopes: r.ParentScopes}
			}},
			"activity": {registry.Selection{Need: registry.PartActivity}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Connected: r.Connected, ConnectionStateUpdated: r.ConnectionStateUpdated, LastActivity: r.LastActivity}
			}},
			"tags": {registry.Selection{Need: registry.PartTags}, func(r registry.Record) registry.Record {
				return registry.Record{ID: r.ID, Twin: registry.Twin{Tags: r.Twin.Tags}}
			}},
			"sections": {registry.Selection{Need: registry.PartTwin | registry.PartVersions | registry.PartDesired | registry.PartReportedMetadata}, func(r registry.Record) registry.Record {
				t := r.Twin
				t.Tags, t.Desired.Metadata, t.Reported.Properties = nil, nil, nil
				return registry.Record{ID: r.ID, Twin: t}
			}},
		} {
			x.sel.Hub = hub
			n := 0
			err := s.Query(t.Context(), x.sel, func(r *registry.Record) error {
				n++
				// A store may give more than it was asked for.
				got, want := x.want(*r), x.want(full)
				equal(t, got, want)
				return nil
			})
			if err != nil || n != 1 {
				t.Errorf("%s: %d records, %v", name, n, err)
			}
		}
	}},
	{"Query/kept, ended and refused", func(t *testing.T, s registry.Store) {
		for i := range 10 {
			mustCreate(t, s, record(dev(fmt.Sprint("d", i))))
		}
		even := func(r *registry.Record) bool { return (r.ID.Device[1]-'0')%2 == 0 }
		same(t, "kept", found(t, s, registry.Selection{Hub: hub, Keep: even}), []string{"d0", "d2", "d4", "d6", "d8"})
		end := errors.New("end")
		n := 0
		err := s.Query(t.Context(), registry.Selection{Hub: hub, Keep: even}, func(*registry.Record) error {
			if n++; n == 2 {
				return end
			}
			return nil
		})
		if !errors.Is(err, end) || n != 2 {
			t.Errorf("after the end: %d records, %v", n, err)
		}
		coded := causeway.Errorf(causeway.ArgumentInvalid, "test", "no")
		err = s.Query(t.Context(), registry.Selection{Hub: hub}, func(*registry.Record) error { return coded })
		wantCode(t, err, causeway.ArgumentInvalid)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Query(ctx, registry.Selection{Hub: hub}, func(*registry.Record) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	}},
	{"Query/reads while others read", func(t *testing.T, s registry.Store) {
		for i := range 5 {
			mustCreate(t, s, record(dev(fmt.Sprint("d", i))))
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				err := s.Query(t.Context(), registry.Selection{Hub: hub, Need: registry.PartTags}, func(r *registry.Record) error {
					if _, err := s.Get(t.Context(), r.ID); err != nil {
						return err
					}
					return s.Touch(t.Context(), registry.Activity{ID: r.ID, Connected: true, StateUpdated: at})
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}},
	{"Disconnect", func(t *testing.T, s registry.Store) {
		theirs := record(dev("d"))
		theirs.ID.Hub = other
		mustCreate(t, s, record(dev("d")), record(mod("d", "m")), record(dev("e")), theirs)
		up := func(id causeway.Identity) registry.Activity {
			return registry.Activity{ID: id, Connected: true, StateUpdated: at, LastActivity: at}
		}
		if err := s.Touch(t.Context(), up(dev("d")), up(mod("d", "m")), up(theirs.ID)); err != nil {
			t.Fatal(err)
		}
		insist(t, "touch", func() bool { return mustGet(t, s, theirs.ID).Connected })
		if err := s.Disconnect(t.Context(), hub); err != nil {
			t.Fatal(err)
		}
		for _, id := range []causeway.Identity{dev("d"), mod("d", "m")} {
			if r := mustGet(t, s, id); r.Connected || !r.ConnectionStateUpdated.Equal(at) || !r.LastActivity.Equal(at) {
				t.Errorf("%s: connected %v, %v, %v", id, r.Connected, r.ConnectionStateUpdated, r.LastActivity)
			}
		}
		if !mustGet(t, s, theirs.ID).Connected {
			t.Error("another hub's device is not connected any more")
		}
	}},
}

func index(sorted []string, id string) int {
	for i, s := range sorted {
		if s > id {
			return i
		}
	}
	return len(sorted)
}
