package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func TestEdgeDevice(t *testing.T) {
	w := newWorld(t)
	e := w.edge("e")
	if want := "ms-azure-iot-edge://e-" + e.GenerationID; e.DeviceScope != want || len(e.ParentScopes) != 0 {
		t.Errorf("scopes %q %q, want %q and none", e.DeviceScope, e.ParentScopes, want)
	}
	w.same("modules", w.modules(dev("e")), []string{"$edgeAgent", "$edgeHub"})
	for _, name := range []string{registry.EdgeAgent, registry.EdgeHub} {
		m := w.get(mod("e", name))
		if m.ManagedBy != registry.ManagedByEdge || m.Auth.Type != auth.SAS || m.Auth.Primary == "" || !m.Enabled || m.GenerationID == e.GenerationID || m.Twin.Version != 2 {
			t.Errorf("module %+v", m)
		}
		w.wantCode(w.Delete(t.Context(), m.ID, "*"), causeway.SystemModuleModifyUnauthorizedAccess, "cannot be deleted")
		// Its device's runtime gives it keys of its own.
		up := w.update(registry.Record{ID: m.ID, Auth: registry.Authentication{Type: auth.SAS, Primary: key("p"), Secondary: key("s")}})
		if up.Auth.Primary != key("p") || up.ManagedBy != registry.ManagedByEdge {
			t.Errorf("updated module %+v", up)
		}
		if _, err := w.UpdateTwin(t.Context(), m.ID, registry.TwinUpdate{Desired: []byte(`{"a":1}`)}, ""); err != nil {
			t.Errorf("twin of %s: %v", name, err)
		}
	}
	for i := range causeway.MaxModulesPerDevice {
		w.create(registry.Record{ID: mod("e", fmt.Sprint("m", i))})
	}
	_, err := w.Create(t.Context(), registry.Record{ID: mod("e", "more")})
	w.wantCode(err, causeway.TooManyModulesOnDevice, "")
}

func TestEdgeComesAndGoes(t *testing.T) {
	w := newWorld(t)
	d := w.device("d")
	w.create(registry.Record{ID: mod("d", "mine")})
	d.Edge = true
	d = w.update(d)
	scope := "ms-azure-iot-edge://d-" + d.GenerationID
	if !d.Edge || d.DeviceScope != scope {
		t.Errorf("became %+v", d)
	}
	w.same("modules of an edge device", w.modules(dev("d")), []string{"$edgeAgent", "$edgeHub", "mine"})
	leaf := w.create(registry.Record{ID: dev("leaf"), DeviceScope: scope})
	below := w.edge("below", scope)
	w.ear.heard()

	d.Edge = false // the rest sent back as it was read
	d = w.update(d)
	if d.Edge || d.DeviceScope != "" || len(d.ParentScopes) != 0 {
		t.Errorf("became %+v", d)
	}
	w.same("modules of the former", w.modules(dev("d")), []string{"mine"})
	w.same("told", w.ear.heard(), []string{"d/$edgeAgent: identity deleted", "d/$edgeHub: identity deleted"})
	if got := w.get(leaf.ID); got.DeviceScope != "" || len(got.ParentScopes) != 0 || got.ETag == leaf.ETag {
		t.Errorf("leaf of the former %+v", got)
	}
	if got := w.get(below.ID); got.DeviceScope != below.DeviceScope || len(got.ParentScopes) != 0 {
		t.Errorf("edge device below the former %+v", got)
	}

	d.Edge = true
	if d = w.update(d); d.DeviceScope != scope {
		t.Errorf("back with scope %q", d.DeviceScope)
	}
	w.same("modules again", w.modules(dev("d")), []string{"$edgeAgent", "$edgeHub", "mine"})
	if err := w.Delete(t.Context(), dev("d"), ""); err != nil {
		t.Fatal(err)
	}
	w.same("told", w.ear.heard(), []string{"d/$edgeAgent: identity deleted", "d/$edgeHub: identity deleted", "d/mine: identity deleted", "d: identity deleted"})
}

// TestEdgeInterrupted: a failure between the steps of becoming an edge device is
// mended by the next try.
func TestEdgeInterrupted(t *testing.T) {
	w := newWorld(t)
	d := w.device("d")
	d.Edge = true
	broken := errors.New("disk gone")
	w.store.trip(func(_ context.Context, call string, _ causeway.Identity) error {
		if call == "PutIdentity" {
			return broken
		}
		return nil
	}, nil)
	if _, err := w.Update(t.Context(), d, "*"); !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	w.store.trip(nil, nil)
	if got := w.get(dev("d")); got.Edge {
		t.Error("half an edge device")
	}
	if err := w.Delete(t.Context(), mod("d", registry.EdgeAgent), ""); err != nil {
		t.Errorf("a system module that is left over cannot be deleted: %v", err)
	}
	if got := w.update(d); !got.Edge {
		t.Errorf("second try %+v", got)
	}
	w.same("modules", w.modules(dev("d")), []string{"$edgeAgent", "$edgeHub"})
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	a, b := w.edge("a-1"), w.edge("b")
	w.device("plain")
	set := func(r registry.Record, device string, parents ...string) (registry.Record, error) {
		r.DeviceScope, r.ParentScopes = device, parents
		return w.Update(t.Context(), r, "*")
	}
	accept := func(what, device string, parents []string, r registry.Record, err error) registry.Record {
		t.Helper()
		if err != nil || r.DeviceScope != device || strings.Join(r.ParentScopes, " ") != strings.Join(parents, " ") {
			t.Errorf("%s: %q %q, %v; want %q %q", what, r.DeviceScope, r.ParentScopes, err, device, parents)
		}
		return w.get(r.ID)
	}
	A, B := a.DeviceScope, b.DeviceScope

	leaf, err := w.Create(t.Context(), registry.Record{ID: dev("leaf"), DeviceScope: A})
	leaf = accept("create by deviceScope", A, []string{A}, leaf, err)
	r, err := w.Create(t.Context(), registry.Record{ID: dev("leaf2"), ParentScopes: []string{A}})
	accept("create by parentScopes", A, []string{A}, r, err)
	r, err = w.Create(t.Context(), registry.Record{ID: dev("leaf3"), DeviceScope: A, ParentScopes: []string{A}})
	accept("create by both", A, []string{A}, r, err)
	_, err = w.Create(t.Context(), registry.Record{ID: dev("leaf4"), DeviceScope: A, ParentScopes: []string{B}})
	w.wantCode(err, causeway.InvalidDeviceScope, "different parents")

	r, err = set(leaf, B, A)
	accept("deviceScope changed, the other as read", B, []string{B}, r, err)
	r, err = set(leaf, B, A)
	accept("then parentScopes changed, the other as read", A, []string{A}, r, err)
	r, err = set(leaf, "", B)
	accept("by parentScopes alone", B, []string{B}, r, err)
	r, err = set(leaf, "")
	accept("none", "", nil, r, err)

	r, err = set(b, B, A)
	b = accept("edge below edge", B, []string{A}, r, err)
	r, err = set(b, "", A)
	accept("edge without its own", B, []string{A}, r, err)
	_, err = set(b, A)
	w.wantCode(err, causeway.InvalidDeviceScope, "cannot be set")
	_, err = w.Create(t.Context(), registry.Record{ID: dev("c"), Edge: true, DeviceScope: A})
	w.wantCode(err, causeway.InvalidDeviceScope, "cannot be set")
	_, err = set(a, A, B)
	w.wantCode(err, causeway.InvalidDeviceScope, "above itself")
	_, err = set(a, A, A)
	w.wantCode(err, causeway.InvalidDeviceScope, "above itself")
	_, err = set(b, B, A, A)
	w.wantCode(err, causeway.InvalidDeviceScope, "at most one parent")

	leaf = w.get(leaf.ID)
	for _, bad := range []string{
		"x", "ms-azure-iot-edge://", "ms-azure-iot-edge://a", "ms-azure-iot-edge://a-1", "ms-azure-iot-edge://a-1-", "ms-azure-iot-edge://-1",
		A + "0", A + "x", strings.ToUpper(A), "ms-azure-iot-edge://plain-1", "ms-azure-iot-edge://nobody-1",
	} {
		_, err = set(leaf, bad)
		w.wantCode(err, causeway.InvalidDeviceScope, "scope")
		_, err = set(b, B, bad)
		w.wantCode(err, causeway.InvalidDeviceScope, "scope")
	}

	// A leaf becomes an edge device and keeps its parent.
	leaf.DeviceScope, leaf.ParentScopes = A, nil
	leaf = w.update(leaf)
	leaf.Edge = true
	if leaf = w.update(leaf); leaf.DeviceScope != "ms-azure-iot-edge://leaf-"+leaf.GenerationID || len(leaf.ParentScopes) != 1 || leaf.ParentScopes[0] != A {
		t.Errorf("leaf became %q %q", leaf.DeviceScope, leaf.ParentScopes)
	}
	leaf.Edge = false
	if leaf = w.update(leaf); leaf.DeviceScope != A || leaf.ParentScopes[0] != A {
		t.Errorf("and again a leaf %q %q", leaf.DeviceScope, leaf.ParentScopes)
	}
}

func TestNestingIsBounded(t *testing.T) {
	w := newWorld(t)
	parent := w.edge("e1").DeviceScope
	for i := 2; i <= registry.MaxNesting; i++ {
		parent = w.edge(fmt.Sprint("e", i), parent).DeviceScope
	}
	_, err := w.Create(t.Context(), registry.Record{ID: dev("e6"), Edge: true, ParentScopes: []string{parent}})
	w.wantCode(err, causeway.InvalidDeviceScope, "at most 5 levels")
	w.create(registry.Record{ID: dev("leaf"), DeviceScope: parent})
}

// TestParentGone: the children of a deleted edge device are set free, also when
// there are more than one page of them.
func TestParentGone(t *testing.T) {
	w := newWorld(t)
	e := w.edge("edge")
	for i := range 1100 {
		r := registry.Record{ID: dev(fmt.Sprintf("d%04d", i))}
		if i%11 == 0 {
			r.DeviceScope = e.DeviceScope
		}
		w.create(r)
	}
	if err := w.Delete(t.Context(), dev("edge"), ""); err != nil {
		t.Fatal(err)
	}
	for after := ""; ; {
		recs, err := w.List(t.Context(), hub, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			break
		}
		for _, r := range recs {
			if after = r.ID.Device; r.DeviceScope != "" || len(r.ParentScopes) != 0 {
				t.Errorf("%s still names its parent", r.ID)
			}
		}
	}
}
