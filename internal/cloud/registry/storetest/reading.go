package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// reading: what is stored comes back, in the order promised, and nothing else.
var reading = []contractCase{
	{"Get/every field", func(t *testing.T, s registry.Store) {
		device, module := record(dev("d")), record(mod("d", "m"))
		mustCreate(t, s, device, module)
		equal(t, mustGet(t, s, device.ID), device)
		equal(t, mustGet(t, s, module.ID), module)
	}},
	{"Get/empty fields", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		r.StatusReason, r.Auth = "", registry.Authentication{Type: "none"}
		r.Enabled, r.Edge, r.DeviceScope, r.ParentScopes = false, false, "", nil
		r.StatusUpdated, r.Created, r.Twin.ModelID = time.Time{}, time.Time{}, ""
		mustCreate(t, s, r)
		got := mustGet(t, s, r.ID)
		equal(t, got, r)
		if !got.Created.IsZero() || !got.LastActivity.IsZero() {
			t.Errorf("zero times came back as %v and %v", got.Created, got.LastActivity)
		}
	}},
	{"Get/codes", func(t *testing.T, s registry.Store) {
		_, err := s.Get(t.Context(), dev("d"))
		wantCode(t, err, causeway.DeviceNotFound)
		_, err = s.Get(t.Context(), mod("d", "m"))
		wantCode(t, err, causeway.DeviceNotFound)
		mustCreate(t, s, record(dev("d")))
		_, err = s.Get(t.Context(), mod("d", "m"))
		wantCode(t, err, causeway.ModuleNotFound)
		_, err = s.Get(t.Context(), dev("D"))
		wantCode(t, err, causeway.DeviceNotFound)
	}},
	{"Get/ids are bytes", func(t *testing.T, s registry.Store) {
		for i, id := range oddIDs() {
			r, m := record(dev(id)), record(mod(id, id))
			r.GenerationID, m.GenerationID = fmt.Sprint("device", i), fmt.Sprint("module", i)
			mustCreate(t, s, r, m)
		}
		for i, id := range oddIDs() {
			if got, want := mustGet(t, s, dev(id)).GenerationID, fmt.Sprint("device", i); got != want {
				t.Errorf("device %q is %q, want %q", id, got, want)
			}
			if got, want := mustGet(t, s, mod(id, id)).GenerationID, fmt.Sprint("module", i); got != want {
				t.Errorf("module %q is %q, want %q", id, got, want)
			}
			same(t, "modules of "+id, mustModules(t, s, dev(id)), []string{id})
		}
	}},
	{"Get/documents byte for byte", func(t *testing.T, s registry.Store) {
		for i, doc := range []string{
			`{}`,
			`{"z":1,"a":2,"m":{"z":1,"a":2}}`,
			`{"int":4503599627370495,"one":1.0,"exp":1e3,"E":1E+3,"zero":-0,"long":0.1000000000000000055511151231257827}`,
			`{"text":"\u0000\u001f\u2028 \ud83d\ude00 😀 é é \"\\/\b"}`,
			`{"ключ":"значение","日本":["語",[[]],{}],"emoji":"👩‍👩‍👧‍👦"}`,
			`{"quote":"'); DROP TABLE twins; --","percent":"%s %d","null":"null"}`,
		} {
			r := record(dev(fmt.Sprint("d", i)))
			r.Twin.Tags, r.Twin.Desired.Properties, r.Twin.Reported.Properties = []byte(doc), []byte(doc), []byte(doc)
			mustCreate(t, s, r)
			equal(t, mustGet(t, s, r.ID), r)
			r.Twin.Version++
			if err := s.PutTwin(t.Context(), r.ID, r.Twin, 2); err != nil {
				t.Fatalf("put twin %s: %v", doc, err)
			}
			equal(t, mustGet(t, s, r.ID), r)
		}
	}},
	{"Get/big documents", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		doc := []byte(`{"k":"` + strings.Repeat("é", 100<<10) + `"}`)
		for _, at := range []*[]byte{
			&r.Twin.Tags, &r.Twin.Desired.Properties, &r.Twin.Desired.Metadata, &r.Twin.Reported.Properties, &r.Twin.Reported.Metadata,
		} {
			*at = doc
		}
		mustCreate(t, s, r)
		equal(t, mustGet(t, s, r.ID), r)
	}},
	{"Get/hands out memory of its own", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		want := record(dev("d"))
		mustCreate(t, s, r)
		scribble(&r)
		got := mustGet(t, s, r.ID)
		equal(t, got, want)
		scribble(&got)
		equal(t, mustGet(t, s, r.ID), want)

		tw := want.Twin
		tw.Tags = bytes.Clone(tw.Tags)
		tw.Version = 3
		if err := s.PutTwin(t.Context(), r.ID, tw, 2); err != nil {
			t.Fatal(err)
		}
		clear(tw.Tags)
		want.Twin.Version = 3
		equal(t, mustGet(t, s, r.ID), want)
	}},
	{"List/pages in order", func(t *testing.T, s registry.Store) {
		ids := oddIDs()
		for i, id := range ids {
			mustCreate(t, s, record(dev(id)))
			if i%3 == 0 {
				mustCreate(t, s, record(mod(id, "m")))
			}
		}
		slices.Sort(ids)
		for _, page := range []int{1, 2, 7, len(ids), 1000} {
			same(t, fmt.Sprintf("pages of %d", page), walk(t, s, hub, page), ids)
		}
		recs, err := s.List(t.Context(), hub, "a", 3)
		if err != nil {
			t.Fatal(err)
		}
		from := slices.Index(ids, "a") + 1
		for i, r := range recs {
			equal(t, r, record(dev(ids[from+i])))
		}
		for _, after := range []string{ids[len(ids)-1], "~~~", "\xff"} {
			if recs, err := s.List(t.Context(), hub, after, 10); err != nil || len(recs) != 0 {
				t.Errorf("list after %q: %d records, error %v; want none", after, len(recs), err)
			}
		}
	}},
	{"List/between ids", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("b")), record(dev("d")))
		for after, want := range map[string][]string{"": {"b", "d"}, "a": {"b", "d"}, "b": {"d"}, "c": {"d"}, "d": nil} {
			recs, err := s.List(t.Context(), hub, after, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range recs {
				got = append(got, r.ID.Device)
			}
			same(t, "after "+after, got, want)
		}
	}},
	{"List/unknown hub", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, record(dev("d")))
		if ids := walk(t, s, "nowhere", 10); len(ids) != 0 {
			t.Errorf("unknown hub has %q", ids)
		}
	}},
	{"Modules", func(t *testing.T, s registry.Store) {
		_, err := s.Modules(t.Context(), dev("d"))
		wantCode(t, err, causeway.DeviceNotFound)
		mustCreate(t, s, record(dev("d")), record(dev("d2")), record(mod("d2", "x")))
		same(t, "no modules", mustModules(t, s, dev("d")), nil)
		for _, name := range []string{"b", "$edgeHub", "B", "a", "$edgeAgent", "a-b"} {
			mustCreate(t, s, record(mod("d", name)))
		}
		same(t, "modules", mustModules(t, s, dev("d")), []string{"$edgeAgent", "$edgeHub", "B", "a", "a-b", "b"})
		recs, err := s.Modules(t.Context(), dev("d"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, recs[0], record(mod("d", "$edgeAgent")))
	}},
	{"Count", func(t *testing.T, s registry.Store) {
		count := func(hub string, want registry.Counts) {
			t.Helper()
			got, err := s.Count(t.Context(), hub)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("count of %s: %+v, want %+v", hub, got, want)
			}
		}
		count(hub, registry.Counts{})
		off := record(dev("off"))
		off.Enabled = false
		mustCreate(t, s, record(dev("on1")), record(dev("on2")), off, record(mod("on1", "m")))
		count(hub, registry.Counts{Total: 3, Enabled: 2, Disabled: 1})
		count(other, registry.Counts{})
		r := record(dev("on1"))
		r.Enabled = false
		if err := s.PutIdentity(t.Context(), r, "*"); err != nil {
			t.Fatal(err)
		}
		count(hub, registry.Counts{Total: 3, Enabled: 1, Disabled: 2})
		if err := s.Delete(t.Context(), dev("off"), "*"); err != nil {
			t.Fatal(err)
		}
		count(hub, registry.Counts{Total: 2, Enabled: 1, Disabled: 1})
	}},
	{"Hubs are apart", func(t *testing.T, s registry.Store) {
		mine, theirs := record(dev("d")), record(dev("d"))
		mineM, theirsM := record(mod("d", "m")), record(mod("d", "m"))
		theirs.ID.Hub, theirs.GenerationID = other, "theirs"
		theirsM.ID.Hub, theirsM.GenerationID = other, "theirs"
		mustCreate(t, s, mine, mineM)
		_, err := s.Get(t.Context(), theirs.ID)
		wantCode(t, err, causeway.DeviceNotFound)
		wantCode(t, s.PutIdentity(t.Context(), theirs, "*"), causeway.DeviceNotFound)
		wantCode(t, s.Create(t.Context(), theirsM), causeway.DeviceNotFound)
		mustCreate(t, s, theirs, theirsM)
		equal(t, mustGet(t, s, mine.ID), mine)
		equal(t, mustGet(t, s, theirs.ID), theirs)
		same(t, "list", walk(t, s, other, 5), []string{"d"})
		if err := s.Delete(t.Context(), mine.ID, "*"); err != nil {
			t.Fatal(err)
		}
		equal(t, mustGet(t, s, theirs.ID), theirs)
		equal(t, mustGet(t, s, theirsM.ID), theirsM)
		same(t, "list of the hub left empty", walk(t, s, hub, 5), nil)
	}},
}

// scribble writes over everything that r refers to.
func scribble(r *registry.Record) {
	for i := range r.ParentScopes {
		r.ParentScopes[i] = "scribbled"
	}
	for _, b := range [][]byte{
		r.Twin.Tags, r.Twin.Desired.Properties, r.Twin.Desired.Metadata, r.Twin.Reported.Properties, r.Twin.Reported.Metadata,
	} {
		for i := range b {
			b[i] = '#'
		}
	}
}
