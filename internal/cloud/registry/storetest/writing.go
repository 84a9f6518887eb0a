package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// writing: a write does what it says, all of it, and only when what it replaces
// is what the writer saw.
var writing = []contractCase{
	{"Create/exists", func(t *testing.T, s registry.Store) {
		first := record(dev("d"))
		mustCreate(t, s, first, record(mod("d", "m")))
		again := record(dev("d"))
		again.GenerationID = "another"
		wantCode(t, s.Create(t.Context(), again), causeway.DeviceAlreadyExists)
		equal(t, mustGet(t, s, first.ID), first)
		wantCode(t, s.Create(t.Context(), record(mod("d", "m"))), causeway.ModuleAlreadyExistsOnDevice)
		wantCode(t, s.Create(t.Context(), record(mod("nobody", "m"))), causeway.DeviceNotFound)
		mustCreate(t, s, record(dev("D")), record(mod("d", "M")))
	}},
	{"Create/twice in one call", func(t *testing.T, s registry.Store) {
		wantCode(t, s.Create(t.Context(), record(dev("d")), record(dev("d"))), causeway.DeviceAlreadyExists)
		_, err := s.Get(t.Context(), dev("d"))
		wantCode(t, err, causeway.DeviceNotFound)
	}},
	{"Create/all or none", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("taken")), record(mod("taken", "m")))
		for name, c := range map[string]struct {
			recs []registry.Record
			want causeway.Code
		}{
			"a device exists":    {[]registry.Record{record(dev("new")), record(mod("new", "m")), record(dev("taken"))}, causeway.DeviceAlreadyExists},
			"a module exists":    {[]registry.Record{record(dev("new")), record(mod("new", "m")), record(mod("taken", "m"))}, causeway.ModuleAlreadyExistsOnDevice},
			"a module is alone":  {[]registry.Record{record(dev("new")), record(mod("new", "m")), record(mod("nobody", "m"))}, causeway.DeviceNotFound},
			"a module too many":  {append([]registry.Record{record(dev("new"))}, modules("new", causeway.MaxModulesPerDevice+1)...), causeway.TooManyModulesOnDevice},
			"the last is double": {[]registry.Record{record(dev("new")), record(mod("new", "m")), record(mod("new", "m"))}, causeway.ModuleAlreadyExistsOnDevice},
		} {
			t.Run(name, func(t *testing.T) {
				wantCode(t, s.Create(t.Context(), c.recs...), c.want)
				_, err := s.Get(t.Context(), dev("new"))
				wantCode(t, err, causeway.DeviceNotFound)
				same(t, "modules", mustModules(t, s, dev("taken")), []string{"m"})
			})
		}
	}},
	{"Create/device and modules in any order", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(mod("d", "$edgeHub")), record(dev("d")), record(mod("d", "$edgeAgent")))
		same(t, "modules", mustModules(t, s, dev("d")), []string{"$edgeAgent", "$edgeHub"})
	}},
	{"Create/module limit", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("d")), record(mod("d", "$edgeAgent")), record(mod("d", "$edgeHub")))
		all := modules("d", causeway.MaxModulesPerDevice)
		mustCreate(t, s, all[:20]...)
		mustCreate(t, s, all[20:]...)
		one := record(mod("d", "one-more"))
		wantCode(t, s.Create(t.Context(), one), causeway.TooManyModulesOnDevice)
		mustCreate(t, s, record(mod("d", "$more"))) // the system's are not counted
		if err := s.Delete(t.Context(), all[3].ID, "*"); err != nil {
			t.Fatal(err)
		}
		mustCreate(t, s, one)
		mustCreate(t, s, record(dev("d2")), record(mod("d2", "m"))) // a limit of each device
	}},
	{"Create/many at once", func(t *testing.T, s registry.Store) {
		var recs []registry.Record
		for i := range 100 {
			recs = append(recs, record(dev(fmt.Sprintf("d%03d", i))))
		}
		mustCreate(t, s, recs...)
		if n := len(walk(t, s, hub, 30)); n != 100 {
			t.Errorf("%d devices, want 100", n)
		}
	}},
	{"PutIdentity/replaces all but twin and connection", func(t *testing.T, s registry.Store) {
		for _, id := range []causeway.Identity{dev("d"), mod("d", "m")} {
			r := record(id)
			mustCreate(t, s, r)
			fact := registry.Activity{ID: id, Connected: true, StateUpdated: at.Add(time.Hour), LastActivity: at.Add(2 * time.Hour)}
			if err := s.Touch(t.Context(), fact); err != nil {
				t.Fatal(err)
			}
			insist(t, "touch", func() bool { return mustGet(t, s, id).Connected })

			next := r
			next.ETag, next.Enabled, next.StatusReason, next.StatusUpdated = "bmV4dA==", false, "", at.Add(time.Minute)
			next.Auth = registry.Authentication{Type: auth.SelfSigned, PrimaryThumb: "aa", SecondThumb: "bb"}
			next.Edge, next.DeviceScope, next.ParentScopes, next.ManagedBy = false, "", nil, ""
			next.Twin = registry.Twin{Version: 99, ETag: 99, Tags: []byte(`{"not":"this"}`)}
			next.Connected, next.LastActivity = false, time.Time{}
			if err := s.PutIdentity(t.Context(), next, r.ETag); err != nil {
				t.Fatal(err)
			}
			want := next
			want.Twin = r.Twin
			want.Connected, want.ConnectionStateUpdated, want.LastActivity = true, fact.StateUpdated, fact.LastActivity
			equal(t, mustGet(t, s, id), want)
		}
	}},
	{"PutIdentity/match", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		wantCode(t, s.PutIdentity(t.Context(), r, "*"), causeway.DeviceNotFound)
		wantCode(t, s.PutIdentity(t.Context(), r, r.ETag), causeway.DeviceNotFound)
		mustCreate(t, s, r)
		wantCode(t, s.PutIdentity(t.Context(), record(mod("d", "m")), "*"), causeway.ModuleNotFound)
		wantCode(t, s.PutIdentity(t.Context(), record(mod("nobody", "m")), "*"), causeway.DeviceNotFound)

		next := r
		next.ETag, next.StatusReason = "second", "second"
		for _, wrong := range []string{"second", "", "nzy0mq==", r.ETag + " "} {
			wantCode(t, s.PutIdentity(t.Context(), next, wrong), causeway.PreconditionFailed)
		}
		equal(t, mustGet(t, s, r.ID), r)
		if err := s.PutIdentity(t.Context(), next, r.ETag); err != nil {
			t.Fatal(err)
		}
		wantCode(t, s.PutIdentity(t.Context(), r, r.ETag), causeway.PreconditionFailed)
		equal(t, mustGet(t, s, r.ID), next)
		if err := s.PutIdentity(t.Context(), r, "*"); err != nil {
			t.Fatal(err)
		}
		equal(t, mustGet(t, s, r.ID), r)
	}},
	{"PutTwin/replaces the twin only", func(t *testing.T, s registry.Store) {
		for _, id := range []causeway.Identity{dev("d"), mod("d", "m")} {
			r := record(id)
			mustCreate(t, s, r)
			r.Twin = registry.Twin{
				Version: 1 << 40, ETag: 1 << 41, ModelID: "",
				Tags:     []byte(`{}`),
				Desired:  registry.Section{Properties: []byte(`{"a":1}`), Metadata: []byte(`{"a":{}}`), Version: 1 << 42},
				Reported: registry.Section{Properties: []byte(`{"b":2}`), Metadata: []byte(`{"b":{}}`), Version: 1 << 43},
			}
			if err := s.PutTwin(t.Context(), id, r.Twin, 2); err != nil {
				t.Fatal(err)
			}
			equal(t, mustGet(t, s, id), r)
		}
	}},
	{"PutTwin/match", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		wantCode(t, s.PutTwin(t.Context(), dev("d"), r.Twin, 2), causeway.DeviceNotFound)
		mustCreate(t, s, r)
		wantCode(t, s.PutTwin(t.Context(), mod("d", "m"), r.Twin, 2), causeway.ModuleNotFound)
		wantCode(t, s.PutTwin(t.Context(), mod("nobody", "m"), r.Twin, 2), causeway.DeviceNotFound)
		next := r.Twin
		next.Version, next.Tags = 3, []byte(`{"t":3}`)
		for _, wrong := range []int64{0, 1, 3, -1} {
			wantCode(t, s.PutTwin(t.Context(), r.ID, next, wrong), causeway.PreconditionFailed)
		}
		equal(t, mustGet(t, s, r.ID), r)
		if err := s.PutTwin(t.Context(), r.ID, next, 2); err != nil {
			t.Fatal(err)
		}
		wantCode(t, s.PutTwin(t.Context(), r.ID, r.Twin, 2), causeway.PreconditionFailed)
		r.Twin = next
		equal(t, mustGet(t, s, r.ID), r)
	}},
	{"Delete/device with its modules", func(t *testing.T, s registry.Store) {
		wantCode(t, s.Delete(t.Context(), dev("d"), "*"), causeway.DeviceNotFound)
		mustCreate(t, s, record(dev("d")), record(mod("d", "m")), record(dev("d2")), record(mod("d2", "m")))
		if err := s.Delete(t.Context(), dev("d"), "*"); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(t.Context(), dev("d"))
		wantCode(t, err, causeway.DeviceNotFound)
		_, err = s.Get(t.Context(), mod("d", "m"))
		wantCode(t, err, causeway.DeviceNotFound)
		wantCode(t, s.Delete(t.Context(), dev("d"), "*"), causeway.DeviceNotFound)
		same(t, "others", walk(t, s, hub, 10), []string{"d2"})
		same(t, "modules of others", mustModules(t, s, dev("d2")), []string{"m"})
		mustCreate(t, s, record(dev("d")))
		same(t, "modules of the namesake", mustModules(t, s, dev("d")), nil)
	}},
	{"Delete/module", func(t *testing.T, s registry.Store) {
		wantCode(t, s.Delete(t.Context(), mod("d", "m"), "*"), causeway.DeviceNotFound)
		mustCreate(t, s, record(dev("d")), record(mod("d", "m")), record(mod("d", "m2")))
		wantCode(t, s.Delete(t.Context(), mod("d", "M"), "*"), causeway.ModuleNotFound)
		if err := s.Delete(t.Context(), mod("d", "m"), "*"); err != nil {
			t.Fatal(err)
		}
		same(t, "modules", mustModules(t, s, dev("d")), []string{"m2"})
		equal(t, mustGet(t, s, dev("d")), record(dev("d")))
	}},
	{"Delete/match", func(t *testing.T, s registry.Store) {
		d, m := record(dev("d")), record(mod("d", "m"))
		mustCreate(t, s, d, m)
		for _, r := range []registry.Record{m, d} {
			wantCode(t, s.Delete(t.Context(), r.ID, "other"), causeway.PreconditionFailed)
			wantCode(t, s.Delete(t.Context(), r.ID, ""), causeway.PreconditionFailed)
			equal(t, mustGet(t, s, r.ID), r)
			if err := s.Delete(t.Context(), r.ID, r.ETag); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "devices", walk(t, s, hub, 10), nil)
	}},
	{"Touch", func(t *testing.T, s registry.Store) {
		d, m := record(dev("d")), record(mod("d", "m"))
		mustCreate(t, s, d, m, record(dev("untouched")))
		if err := s.Touch(t.Context()); err != nil {
			t.Fatalf("touch nobody: %v", err)
		}
		up := registry.Activity{ID: d.ID, Connected: true, StateUpdated: at, LastActivity: at.Add(time.Second)}
		err := s.Touch(t.Context(),
			registry.Activity{ID: dev("nobody"), Connected: true, StateUpdated: at, LastActivity: at},
			registry.Activity{ID: d.ID, Connected: false, StateUpdated: at.Add(-time.Hour), LastActivity: at.Add(-time.Hour)},
			up, // of several the last wins
			registry.Activity{ID: mod("d", "nobody"), Connected: true},
			registry.Activity{ID: m.ID, Connected: true, StateUpdated: at, LastActivity: at},
		)
		if err != nil {
			t.Fatal(err)
		}
		d.Touch(up)
		m.Touch(registry.Activity{Connected: true, StateUpdated: at, LastActivity: at})
		insist(t, "facts", func() bool {
			return mustGet(t, s, d.ID).Connected && mustGet(t, s, m.ID).Connected
		})
		equal(t, mustGet(t, s, d.ID), d)
		equal(t, mustGet(t, s, m.ID), m)
		equal(t, mustGet(t, s, dev("untouched")), record(dev("untouched")))
		_, err = s.Get(t.Context(), dev("nobody"))
		wantCode(t, err, causeway.DeviceNotFound)

		// Zero times say nothing.
		if err := s.Touch(t.Context(), registry.Activity{ID: d.ID, Connected: false}); err != nil {
			t.Fatal(err)
		}
		d.Connected = false
		insist(t, "disconnect", func() bool { return !mustGet(t, s, d.ID).Connected })
		equal(t, mustGet(t, s, d.ID), d)

		// A fact is no reason for a writer to be refused.
		if err := s.PutIdentity(t.Context(), d, d.ETag); err != nil {
			t.Errorf("put identity after touch: %v", err)
		}
		if err := s.PutTwin(t.Context(), d.ID, d.Twin, d.Twin.Version); err != nil {
			t.Errorf("put twin after touch: %v", err)
		}
	}},
	{"Canceled context", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		mustCreate(t, s, r)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Create(ctx, record(dev("e"))); err == nil {
			t.Error("create went ahead")
		}
		if _, err := s.Get(ctx, r.ID); err == nil {
			t.Error("get went ahead")
		}
		same(t, "devices", walk(t, s, hub, 10), []string{"d"})
	}},
}

// modules returns records of n modules of a device.
func modules(device string, n int) (recs []registry.Record) {
	for i := range n {
		recs = append(recs, record(mod(device, fmt.Sprintf("m%02d", i))))
	}
	return recs
}
