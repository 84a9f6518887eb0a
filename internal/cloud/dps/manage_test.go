package dps_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestManagePolicies(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		change := func(f func(*dps.Instance) error) (dps.Instance, error) { return w.Change(t.Context(), "dps", f) }
		i, err := change(func(i *dps.Instance) error {
			if !i.PutPolicy("reader", dps.EnrollmentRead) {
				t.Error("it was there before")
			}
			return nil
		})
		ok(t, err)
		p, _ := i.Policy("reader")
		token := func(i *dps.Instance) causeway.Secret {
			text, _ := i.ConnectionString("reader")
			cs, err := sas.ParseConnectionString(text)
			ok(t, err)
			signed, err := cs.Token(time.Now().Add(time.Hour))
			ok(t, err)
			return causeway.Secret(signed)
		}
		may := func(what string, token causeway.Secret, want bool) {
			t.Helper()
			i, _ := w.Instance("dps")
			if _, err := i.Authorize(time.Now(), token, dps.EnrollmentRead); (err == nil) != want {
				t.Errorf("%s: %v", what, err)
			}
		}
		first := token(&i)
		may("its token", first, true)
		i, err = change(func(i *dps.Instance) error { return i.RegenerateKey("reader", "swap") })
		ok(t, err)
		if q, _ := i.Policy("reader"); q.Primary != p.Secondary || q.Secondary != p.Primary {
			t.Error("the keys are not swapped")
		}
		may("signed with what is the secondary key now", first, true)
		_, err = change(func(i *dps.Instance) error { return i.RegenerateKey("reader", "secondary") })
		ok(t, err)
		may("signed with a key that was replaced", first, false)
		second := token(&i)
		_, err = change(func(i *dps.Instance) error { i.PutPolicy("reader", dps.RegistrationStatusRead); return nil })
		ok(t, err)
		may("without the right", second, false)
		_, err = change(func(i *dps.Instance) error { return i.RemovePolicy("reader") })
		ok(t, err)
		_, err = change(func(i *dps.Instance) error { return i.RemovePolicy("reader") })
		w.refused("removed twice", err, dps.CodeNotFound, `no policy "reader"`)
		_, err = change(func(i *dps.Instance) error { return i.RegenerateKey("reader", "primary") })
		w.refused("a key of nothing", err, dps.CodeNotFound, `no policy "reader"`)
		_, err = change(func(i *dps.Instance) error { return i.RegenerateKey(dps.OwnerPolicy, "third") })
		w.refused("no such key", err, dps.CodeInvalid, "primary, secondary or swap")
		for name, rights := range map[string]dps.Rights{"": 1, "a b": 1, strings.Repeat("p", 65): 1, "none": 0, "more": 0xff} {
			_, err = change(func(i *dps.Instance) error { i.PutPolicy(name, rights); return nil })
			w.refused("policy "+name, err, dps.CodeInvalid, "policy")
		}
		_, err = dps.ParseRights([]string{"EnrollmentRead", "All"})
		w.refused("no right", err, dps.CodeInvalid, `"All" is no right of a policy`)
		r, err := dps.ParseRights(strings.Split(dps.AllRights.String(), ", "))
		if ok(t, err); r != dps.AllRights {
			t.Errorf("rights %v", r)
		}
		if now, _ := w.Instance("dps"); len(now.Policies) != 1 {
			t.Errorf("what was refused is there: %+v", now.Policies)
		}
	})
}

func TestHosts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := w.Create(t.Context(), "other", []string{"dps.example"})
		w.refused("a name that is taken", err, dps.CodeConflict, `belongs to the provisioning service "dps"`)
		_, err = w.Create(t.Context(), "other", []string{"other.example:443"})
		w.refused("a name with a port", err, dps.CodeInvalid, "without a port")
		_, err = w.Create(t.Context(), "other", []string{"Other.Example", "::1"})
		ok(t, err)
		_, err = w.Change(t.Context(), "other", func(i *dps.Instance) error { i.Hosts = append(i.Hosts, "dps.example"); return nil })
		w.refused("a name that is taken", err, dps.CodeConflict, `belongs to the provisioning service "dps"`)
		_, err = w.Change(t.Context(), "other", func(i *dps.Instance) error { i.Hosts = []string{"a", "a"}; return nil })
		w.refused("twice", err, dps.CodeInvalid, "twice")
		_, err = w.Change(t.Context(), "other", func(i *dps.Instance) error { i.Hosts = []string{"new.example"}; return nil })
		ok(t, err)
		if _, is := w.ByHost("other.example"); is {
			t.Error("it answers to a name that it had")
		}
		if i, _ := w.ByHost("NEW.example"); i.Name != "other" {
			t.Errorf("the new name leads to %q", i.Name)
		}
		for n := len(w.Instances()); n < dps.MaxServices; n++ {
			_, err := w.Create(t.Context(), fmt.Sprintf("s%d", n), nil)
			ok(t, err)
		}
		_, err = w.Create(t.Context(), "one-more", nil)
		w.refused("one more", err, dps.CodeTooMany, "100 provisioning services")
	})
}

// TestLostHub: a hub that is no more is not linked any more, and its devices go to
// another one when they register again. Nothing of theirs can be taken along, and
// none is told it was.
func TestLostHub(t *testing.T) {
	for _, policy := range []dps.Reprovision{{Migrate: true}, {}, {Keep: true}} {
		inWorld(t, func(t *testing.T, w *world) {
			e := keyEnrollment("d")
			e.Allocation, e.Hubs, e.Reprovision = dps.Static, []string{"h1"}, policy
			e.InitialTwin.Tags = raw(`{"first":1}`)
			e = w.put(e)
			r := w.request("d", e.Attestation.Keys.Primary)
			w.assigned(r, "h1", "d", "initialAssignment")
			delete(w.hubs, "h1")
			n, err := w.Unlink(t.Context(), func(l dps.Link) bool { return l.Host == "h1" })
			if ok(t, err); n != 1 {
				t.Fatalf("%d links removed", n)
			}
			if op := w.register(r); op.Status != "failed" || op.Code != dps.FailedNoHub {
				t.Errorf("its enrollment names no other hub: %+v", op)
			}
			e.Hubs = []string{"h2"}
			e = w.put(e)
			w.assigned(r, "h2", "d", "deviceDataReset")
			if d, _ := w.hubs["h2"].device("d"); string(d.Tags) != `{"first":1}` {
				t.Errorf("%+v: its twin begins with %s", policy, d.Tags)
			}
			if n, err := w.Unlink(t.Context(), func(dps.Link) bool { return false }); n != 0 || err != nil {
				t.Errorf("unlinked %d, %v", n, err)
			}
			w.stop()
			w.start()
			if i, _ := w.Instance("dps"); len(i.Links) != 2 {
				t.Errorf("after a restart it has %+v", i.Links)
			}
		})
	}
}
