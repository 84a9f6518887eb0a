package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

func TestUpdateTwin(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	patch := func(u registry.TwinUpdate, match string) registry.Twin {
		t.Helper()
		r, err := w.UpdateTwin(t.Context(), dev("d"), u, match)
		if err != nil {
			t.Fatalf("update twin: %v", err)
		}
		if again := w.get(dev("d")).Twin; fmt.Sprint(again) != fmt.Sprint(r.Twin) {
			t.Errorf("returned %v, stored %v", r.Twin, again)
		}
		return r.Twin
	}
	want := func(got registry.Twin, version, etag int64, tags, desired string, desiredVersion int64, told ...string) {
		t.Helper()
		if got.Version != version || got.ETag != etag || string(got.Tags) != tags || string(got.Desired.Properties) != desired || got.Desired.Version != desiredVersion || got.Reported.Version != 1 {
			t.Errorf("version %d etag %d tags %s desired %s v%d", got.Version, got.ETag, got.Tags, got.Desired.Properties, got.Desired.Version)
		}
		w.same("told", w.ear.patches(dev("d")), told)
	}
	tw := patch(registry.TwinUpdate{Tags: []byte(`{"site":"a"}`), Desired: []byte(`{"x":1.0,"y":{"z":[1]}}`)}, "*")
	want(tw, 3, 2, `{"site":"a"}`, `{"x":1.0,"y":{"z":[1]}}`, 2, `{"x":1.0,"y":{"z":[1]},"$version":2}`)
	tw = patch(registry.TwinUpdate{Tags: []byte(`{"n":1}`)}, twin.ETagText(2))
	want(tw, 4, 3, `{"site":"a","n":1}`, `{"x":1.0,"y":{"z":[1]}}`, 2)
	tw = patch(registry.TwinUpdate{Desired: []byte(`{"y":{"z":null},"$version":1}`)}, "")
	want(tw, 5, 4, `{"site":"a","n":1}`, `{"x":1.0,"y":{}}`, 3, `{"y":{"z":null},"$version":3}`)
	tw = patch(registry.TwinUpdate{Desired: []byte(`{}`)}, "")
	want(tw, 6, 5, `{"site":"a","n":1}`, `{"x":1.0,"y":{}}`, 4, `{"$version":4}`)
	tw = patch(registry.TwinUpdate{Replace: true, Desired: []byte(`{"y":2}`)}, "")
	want(tw, 7, 6, `{"site":"a","n":1}`, `{"y":2}`, 5, `{"y":2,"x":null,"$version":5}`)
	tw = patch(registry.TwinUpdate{Tags: []byte(` null`)}, "")
	want(tw, 8, 7, `{}`, `{"y":2}`, 5)
	tw = patch(registry.TwinUpdate{Desired: []byte(`null`)}, "")
	want(tw, 9, 8, `{}`, `{}`, 6, `{"y":null,"$version":6}`)
	tw = patch(registry.TwinUpdate{Replace: true}, "")
	want(tw, 9, 8, `{}`, `{}`, 6)
	if !strings.Contains(string(tw.Desired.Metadata), `"$lastUpdatedVersion":6`) {
		t.Errorf("metadata %s", tw.Desired.Metadata)
	}

	for _, bad := range []struct {
		u     registry.TwinUpdate
		match string
		code  causeway.Code
		msg   string
	}{
		{registry.TwinUpdate{Tags: []byte(`{}`)}, twin.ETagText(7), causeway.PreconditionFailed, "read it again"},
		{registry.TwinUpdate{Tags: []byte(`{}`)}, "junk", causeway.PreconditionFailed, ""},
		{registry.TwinUpdate{}, "junk", causeway.PreconditionFailed, ""},
		{registry.TwinUpdate{Tags: []byte(`[]`)}, "", causeway.DeserializationError, "tags"},
		{registry.TwinUpdate{Tags: []byte(`{"ok":1}`), Desired: []byte(`{"a b":1}`)}, "", causeway.ArgumentInvalid, "desired"},
		{registry.TwinUpdate{Tags: fmt.Appendf(nil, `{"a":"%s","b":"%[1]s","c":"%[1]s"}`, strings.Repeat("x", 3000))}, "", causeway.ArgumentInvalid, "8192"},
	} {
		_, err := w.UpdateTwin(t.Context(), dev("d"), bad.u, bad.match)
		w.wantCode(err, bad.code, bad.msg)
	}
	want(w.get(dev("d")).Twin, 9, 8, `{}`, `{}`, 6)
	_, err := w.UpdateTwin(t.Context(), dev("nobody"), registry.TwinUpdate{Tags: []byte("{}")}, "")
	w.wantCode(err, causeway.DeviceNotFound, "nobody")
}

func TestReport(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	w.create(registry.Record{ID: mod("d", "m")})
	report := func(id causeway.Identity, properties string, version, want int64) {
		t.Helper()
		if got, err := w.Report(t.Context(), id, causeway.Patch{Properties: []byte(properties), Version: version}); err != nil || got != want {
			t.Errorf("report %s: version %d, %v; want %d", properties, got, err, want)
		}
	}
	report(dev("d"), `{"battery":87}`, 0, 2)
	report(dev("d"), `{}`, 0, 3)
	report(dev("d"), `{"battery":null,"on":true}`, 3, 4)
	report(mod("d", "m"), `{"x":1}`, 1, 2)
	tw := w.get(dev("d")).Twin
	if tw.Version != 5 || tw.ETag != 1 || string(tw.Reported.Properties) != `{"on":true}` || strings.Contains(string(tw.Reported.Metadata), "Version") {
		t.Errorf("twin %d %d %s %s", tw.Version, tw.ETag, tw.Reported.Properties, tw.Reported.Metadata)
	}
	for _, version := range []int64{3, 5, -1} {
		_, err := w.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{}`), Version: version})
		w.wantCode(err, causeway.PreconditionFailed, "at version 4")
	}
	_, err := w.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{"a":[null]}`)})
	w.wantCode(err, causeway.ArgumentInvalid, "reported.a[0]")
	_, err = w.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`7`)})
	w.wantCode(err, causeway.DeserializationError, "")
	_, err = w.Report(t.Context(), mod("d", "x"), causeway.Patch{Properties: []byte(`{}`)})
	w.wantCode(err, causeway.ModuleNotFound, "")

	got, err := w.DeviceTwin(t.Context(), dev("d"))
	if err != nil || string(got.Desired) != `{"$version":1}` || string(got.Reported) != `{"on":true,"$version":4}` || got.DesiredVersion != 1 || got.ReportedVersion != 4 {
		t.Errorf("device twin %s %s %d %d, %v", got.Desired, got.Reported, got.DesiredVersion, got.ReportedVersion, err)
	}
	w.same("nobody is told of reports", w.ear.patches(dev("d")), nil)
}

func TestSetModel(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	for range 2 {
		if err := w.SetModel(t.Context(), dev("d"), "dtmi:com:example:Thing;1"); err != nil {
			t.Fatal(err)
		}
	}
	if tw := w.get(dev("d")).Twin; tw.ModelID != "dtmi:com:example:Thing;1" || tw.Version != 3 || tw.ETag != 1 {
		t.Errorf("twin %+v", tw)
	}
	if n := w.store.count("PutTwin"); n != 1 {
		t.Errorf("%d writes for one change", n)
	}
	w.wantCode(w.SetModel(t.Context(), dev("d"), strings.Repeat("x", registry.MaxModelID+1)), causeway.ArgumentInvalid, "")
	w.wantCode(w.SetModel(t.Context(), dev("x"), ""), causeway.DeviceNotFound, "")
}

// TestConcurrentPatches: none is lost, versions are without gaps, and devices
// hear of them in order.
func TestConcurrentPatches(t *testing.T) {
	w := newWorld(t)
	node2 := w.start(registry.Options{})
	w.device("d")
	const writers, rounds = 8, 25
	var wg sync.WaitGroup
	for i := range writers {
		node := []*world{w, node2}[i%2]
		wg.Go(func() {
			for n := range rounds {
				u := registry.TwinUpdate{Desired: fmt.Appendf(nil, `{"w%d":%d}`, i, n)}
				for {
					_, err := node.UpdateTwin(t.Context(), dev("d"), u, "")
					if causeway.CodeOf(err) == causeway.ServerBusy {
						continue // the other node was faster too often
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	w.Forget(dev("d"))
	tw := w.get(dev("d")).Twin
	if tw.Desired.Version != 1+writers*rounds || tw.ETag != 1+writers*rounds {
		t.Errorf("desired version %d, etag %d", tw.Desired.Version, tw.ETag)
	}
	var values map[string]int
	if err := json.Unmarshal(tw.Desired.Properties, &values); err != nil {
		t.Fatal(err)
	}
	for i := range writers {
		if values[fmt.Sprint("w", i)] != rounds-1 {
			t.Errorf("writer %d is at %d", i, values[fmt.Sprint("w", i)])
		}
	}
	heard := 0
	for _, e := range []*ear{w.ear, node2.ear} {
		last := int64(0)
		for _, p := range e.desired[dev("d")] {
			if p.Version <= last {
				t.Fatalf("version %d heard after %d", p.Version, last)
			}
			last = p.Version
			heard++
		}
	}
	if heard != writers*rounds {
		t.Errorf("%d changes heard, want %d", heard, writers*rounds)
	}
}

// TestOtherNode: what another node wrote is seen when it matters.
func TestOtherNode(t *testing.T) {
	a := newWorld(t)
	b := a.start(registry.Options{})
	a.device("d")
	b.get(dev("d")) // b remembers

	r, err := a.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Desired: []byte(`{"a":1}`)}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Desired: []byte(`{"b":1}`)}, twin.ETagText(1)); causeway.CodeOf(err) != causeway.PreconditionFailed {
		t.Errorf("an etag that is stale only elsewhere was accepted: %v", err)
	}
	if r, err = b.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Desired: []byte(`{"b":1}`)}, twin.ETagText(r.Twin.ETag)); err != nil || string(r.Twin.Desired.Properties) != `{"a":1,"b":1}` {
		t.Errorf("with the new etag: %s, %v", r.Twin.Desired.Properties, err)
	}
	if v, err := a.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{}`)}); err != nil || v != 2 {
		t.Errorf("report on the first node: %d, %v", v, err)
	}
	if v, err := b.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{}`), Version: 2}); err != nil || v != 3 {
		t.Errorf("report on the second: %d, %v", v, err)
	}
	up := a.update(registry.Record{ID: dev("d"), Enabled: true, StatusReason: "a"})
	if up, err = b.Update(t.Context(), registry.Record{ID: dev("d"), Enabled: false, StatusReason: "b"}, up.ETag); err != nil || up.StatusReason != "b" {
		t.Errorf("update on the second: %+v, %v", up, err)
	}
	if err := a.Delete(t.Context(), dev("d"), up.ETag); err != nil {
		t.Errorf("delete on the first: %v", err)
	}
	_, err = b.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{}`)})
	b.wantCode(err, causeway.DeviceNotFound, "")
	_, err = b.Get(t.Context(), dev("d"))
	b.wantCode(err, causeway.DeviceNotFound, "")
}

// TestWriteOfUnknownOutcome: when nobody knows whether a write happened, memory
// does not pretend to.
func TestWriteOfUnknownOutcome(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	lost := errors.New("connection lost")
	for _, late := range []bool{false, true} {
		fail := func(_ context.Context, call string, _ causeway.Identity) error {
			if strings.HasPrefix(call, "Put") {
				return lost
			}
			return nil
		}
		if late { // the write happens, its answer does not arrive
			w.store.trip(nil, fail)
		} else {
			w.store.trip(fail, nil)
		}
		before := w.get(dev("d"))
		if _, err := w.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{"a":1}`)}); !errors.Is(err, lost) {
			t.Fatalf("report: %v", err)
		}
		if _, err := w.Update(t.Context(), registry.Record{ID: dev("d"), StatusReason: fmt.Sprint(late)}, ""); !errors.Is(err, lost) {
			t.Fatalf("update: %v", err)
		}
		if _, err := w.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Desired: []byte(`{"a":1}`)}, ""); !errors.Is(err, lost) {
			t.Fatalf("update twin: %v", err)
		}
		w.store.trip(nil, nil)
		after := w.get(dev("d"))
		stored, err := w.store.Store.Get(t.Context(), dev("d"))
		if err != nil || after.ETag != stored.ETag || after.Twin.Version != stored.Twin.Version {
			t.Errorf("memory %s %d, store %s %d (%v)", after.ETag, after.Twin.Version, stored.ETag, stored.Twin.Version, err)
		}
		if changed := after.Twin.Version != before.Twin.Version; changed != late {
			t.Errorf("late %v, changed %v", late, changed)
		}
	}
	w.same("nobody is told of what may not be", w.ear.patches(dev("d")), nil)
}
