package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// notebook is an observer that writes down what it hears.
type notebook struct {
	mu    sync.Mutex
	lines []string
	fail  error
}

func (n *notebook) Observe(_ context.Context, e registry.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := e.Record()
	line := fmt.Sprintf("%d %s v%d", e.Kind, r.ID, r.Twin.Version)
	for _, s := range []struct {
		name  string
		patch []byte
	}{{"tags", e.Tags}, {"desired", e.Desired}, {"reported", e.Reported}} {
		if s.patch != nil {
			line += " " + s.name + string(s.patch)
		}
	}
	if e.Replace {
		line += " replaced"
	}
	if e.At.IsZero() {
		line += " without a time"
	}
	n.lines = append(n.lines, line)
	return n.fail
}

func (n *notebook) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return lines
}

func observed(t *testing.T) (*registry.Service, *notebook) {
	t.Helper()
	s := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: sealer{}})
	n := &notebook{}
	s.Observe(n)
	return s, n
}

// sealer is one that does not seal.
type sealer struct{}

func (sealer) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (sealer) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

func TestObserve(t *testing.T) {
	s, n := observed(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(what string, want ...string) {
		t.Helper()
		if got := n.take(); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", what, got, want)
		}
	}
	r, err := s.Create(ctx, registry.Record{ID: dev("d"), Enabled: true})
	must(err)
	is("creation", "1 d v2")
	_, err = s.UpdateTwin(ctx, dev("d"), registry.TwinUpdate{Tags: []byte(`{"a":1}`), Desired: []byte(`{"b":{"c":null}}`)}, "")
	must(err)
	is("patch", `3 d v3 tags{"a":1} desired{"b":{"c":null}}`)
	_, err = s.UpdateTwin(ctx, dev("d"), registry.TwinUpdate{Tags: []byte(`{"z":1}`), Replace: true}, "")
	must(err)
	is("replacement", `3 d v4 tags{"z":1,"a":null} replaced`)
	_, err = s.Report(ctx, dev("d"), causeway.Patch{Properties: []byte(`{"t":20}`)})
	must(err)
	is("report", `3 d v5 reported{"t":20}`)
	must(s.SetModel(ctx, dev("d"), "dtmi:x;1"))
	is("model", "3 d v6")
	must(s.SetModel(ctx, dev("d"), "dtmi:x;1"))
	is("the same model")
	r.Edge = true
	_, err = s.Update(ctx, r, "")
	must(err)
	is("becoming an edge device", "1 d/$edgeAgent v2", "1 d/$edgeHub v2", "2 d v6")
	_, err = s.Create(ctx, registry.Record{ID: mod("d", "m")})
	must(err)
	is("a module", "1 d/m v2")
	_, err = s.UpdateTwin(ctx, dev("d"), registry.TwinUpdate{Tags: []byte(`[]`)}, "")
	if err == nil {
		t.Error("a bad patch was taken")
	}
	is("a refused patch")
	must(s.Delete(ctx, dev("d"), ""))
	is("deletion", "4 d/$edgeAgent v2", "4 d/$edgeHub v2", "4 d/m v2", "4 d v6")
}

// TestObserverFails: the caller hears of it, and the change stands.
func TestObserverFails(t *testing.T) {
	s, n := observed(t)
	ctx := t.Context()
	broken := errors.New("no space")
	n.fail = broken
	if _, err := s.Create(ctx, registry.Record{ID: dev("d"), Enabled: true}); !errors.Is(err, broken) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.Report(ctx, dev("d"), causeway.Patch{Properties: []byte(`{"t":20}`)}); !errors.Is(err, broken) {
		t.Errorf("report: %v", err)
	}
	if r, err := s.Get(ctx, dev("d")); err != nil || string(r.Twin.Reported.Properties) != `{"t":20}` {
		t.Errorf("the twin is %s, %v", r.Twin.Reported.Properties, err)
	}
	r, err := s.Get(ctx, dev("d"))
	if err != nil {
		t.Fatal(err)
	}
	r.Enabled = false
	if _, err := s.Update(ctx, r, ""); err != nil {
		t.Errorf("disabling a device must not depend on observers: %v", err)
	}
	if err := s.Delete(ctx, dev("d"), ""); !errors.Is(err, broken) {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.Get(ctx, dev("d")); causeway.CodeOf(err) != causeway.DeviceNotFound {
		t.Errorf("after the deletion: %v", err)
	}
}

func TestSectionMetadata(t *testing.T) {
	s := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: sealer{}})
	var got string
	s.Observe(observer(func(e registry.Event) error {
		if e.Desired == nil {
			return nil
		}
		b, err := e.SectionMetadata(twin.Desired, e.Desired, e.After.Twin.Desired.Version)
		got = string(b)
		at := e.At.UTC().Format("2006-01-02T15:04:05.0000000Z")
		want := fmt.Sprintf(`{"$lastUpdated":%[1]q,"$lastUpdatedVersion":2,"a":{"$lastUpdated":%[1]q,"$lastUpdatedVersion":2,"b":{"$lastUpdated":%[1]q,"$lastUpdatedVersion":2}}}`, at)
		if got != want {
			t.Errorf("metadata\n got %s\nwant %s", got, want)
		}
		return err
	}))
	if _, err := s.Create(t.Context(), registry.Record{ID: dev("d"), Enabled: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateTwin(t.Context(), dev("d"), registry.TwinUpdate{Desired: []byte(`{"a":{"b":1,"gone":null}}`)}, ""); err != nil {
		t.Fatal(err)
	}
	if got == "" {
		t.Error("nothing was observed")
	}
}

type observer func(registry.Event) error

func (f observer) Observe(_ context.Context, e registry.Event) error { return f(e) }
