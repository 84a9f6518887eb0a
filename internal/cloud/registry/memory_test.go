package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// TestSideBySide: writers of one twin queue up, those of another do not wait,
// and who waits stops when its context ends.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.device("slow")
		w.device("quick")
		hold := make(chan struct{})
		w.store.trip(func(_ context.Context, call string, id causeway.Identity) error {
			if call == "PutTwin" && id == dev("slow") {
				<-hold
			}
			return nil
		}, nil)
		report := func(ctx context.Context, id string) error {
			_, err := w.Report(ctx, dev(id), causeway.Patch{Properties: []byte(`{"a":1}`)})
			return err
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := report(t.Context(), "slow"); err != nil {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait() // it holds the lock now
		if err := report(t.Context(), "quick"); err != nil {
			t.Errorf("another device: %v", err)
		}
		if v := w.get(dev("slow")).Twin.Reported.Version; v != 1 {
			t.Errorf("a reader sees version %d before it is durable", v)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := report(ctx, "slow"); !errors.Is(err, context.Canceled) {
				t.Errorf("the impatient: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(hold)
		wg.Wait()
		if v := w.get(dev("slow")).Twin.Reported.Version; v != 2 {
			t.Errorf("in the end version %d", v)
		}
	})
}

// TestSingleFlight: many who ask for a record that is not in memory ask the
// store once.
func TestSingleFlight(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	fresh := w.start(registry.Options{})
	before := w.store.count("Get")
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() { fresh.get(dev("d")) })
	}
	wg.Wait()
	if n := w.store.count("Get") - before; n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	for name, o := range map[string]registry.Options{
		"records": {CacheRecords: 10},
		"bytes":   {CacheBytes: 10 * 1200}, // a record counts as a little over 1 KiB
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).start(o)
			for i := range 30 {
				w.device(fmt.Sprint("d", i))
			}
			reads := func(from, to int) int {
				before := w.store.count("Get")
				for i := from; i < to; i++ {
					w.get(dev(fmt.Sprint("d", i)))
				}
				return w.store.count("Get") - before
			}
			if n := reads(22, 30); n != 0 {
				t.Errorf("%d of the last 8 were forgotten", n)
			}
			if n := reads(0, 15); n != 15 {
				t.Errorf("%d of 15 old ones were read from the store", n)
			}
			if n := reads(25, 30); n != 5 {
				t.Errorf("%d of 5 pushed out were read from the store", n)
			}
			for range 50 { // replaced, not added
				if _, err := w.Report(t.Context(), dev("d29"), causeway.Patch{Properties: []byte("{}")}); err != nil {
					t.Fatal(err)
				}
			}
			if n := reads(25, 30); n != 0 {
				t.Errorf("%d were pushed out by changes of one", n)
			}
			for range 5 { // who is asked for stays
				reads(25, 26)
				reads(0, 7)
			}
			if n := reads(25, 26); n != 0 {
				t.Error("the one in use was forgotten")
			}
		})
	}
}

// TestDeletionRacesWithWriters: nothing of a deleted device comes back.
func TestDeletionRacesWithWriters(t *testing.T) {
	w := newWorld(t)
	for round := range 30 {
		d := fmt.Sprint("d", round)
		w.edge(d)
		w.create(registry.Record{ID: mod(d, "m")})
		var wg sync.WaitGroup
		gone := func(err error) {
			if code := causeway.CodeOf(err); code != 0 && code != causeway.DeviceNotFound {
				t.Error(err)
			}
		}
		for _, id := range []causeway.Identity{dev(d), mod(d, "m"), mod(d, registry.EdgeHub)} {
			wg.Go(func() {
				for range 10 {
					_, err := w.Report(t.Context(), id, causeway.Patch{Properties: []byte(`{"a":1}`)})
					gone(err)
					_, err = w.Get(t.Context(), id)
					gone(err)
				}
			})
		}
		wg.Go(func() {
			_, err := w.Create(t.Context(), registry.Record{ID: mod(d, "late")})
			gone(err)
		})
		wg.Go(func() { gone(w.Delete(t.Context(), dev(d), "")) })
		wg.Wait()
		for _, id := range []causeway.Identity{dev(d), mod(d, "m"), mod(d, "late"), mod(d, registry.EdgeHub)} {
			_, err := w.Get(t.Context(), id)
			w.wantCode(err, causeway.DeviceNotFound, "")
		}
	}
}

// TestModuleMadeWhileItsDeviceGoes: the deletion waits, and takes the module
// along, also from memory.
func TestModuleMadeWhileItsDeviceGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.device("d")
		hold := make(chan struct{})
		w.store.trip(nil, func(_ context.Context, call string, _ causeway.Identity) error {
			if call == "Create" {
				<-hold
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { w.create(registry.Record{ID: mod("d", "m")}) })
		synctest.Wait() // stored, but its maker does not know yet
		wg.Go(func() {
			if err := w.Delete(t.Context(), dev("d"), ""); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(hold)
		wg.Wait()
		_, err := w.Get(t.Context(), mod("d", "m"))
		w.wantCode(err, causeway.DeviceNotFound, "")
		w.same("told", w.ear.heard(), []string{"d/m: identity deleted", "d: identity deleted"})
	})
}

// TestModuleMadeOnADeviceThatGoes: the making waits, and finds no device.
func TestModuleMadeOnADeviceThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.device("d")
		hold := make(chan struct{})
		w.store.trip(func(_ context.Context, call string, _ causeway.Identity) error {
			if call == "Delete" {
				<-hold
			}
			return nil
		}, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.Delete(t.Context(), dev("d"), ""); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // it has seen which modules there are
		wg.Go(func() {
			_, err := w.Create(t.Context(), registry.Record{ID: mod("d", "m")})
			w.wantCode(err, causeway.DeviceNotFound, "")
		})
		synctest.Wait()
		close(hold)
		wg.Wait()
		_, err := w.Get(t.Context(), mod("d", "m"))
		w.wantCode(err, causeway.DeviceNotFound, "")
	})
}

// TestTouchDuringAWrite: connection facts and other changes do not undo each
// other in memory.
func TestTouchDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.device("d")
		hold := make(chan struct{})
		w.store.trip(nil, func(_ context.Context, call string, _ causeway.Identity) error {
			if call == "PutTwin" {
				<-hold
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(`{}`)}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := w.Touch(t.Context(), registry.Activity{ID: dev("d"), Connected: true}); err != nil {
			t.Fatal(err)
		}
		close(hold)
		wg.Wait()
		if r := w.get(dev("d")); !r.Connected || r.Twin.Reported.Version != 2 {
			t.Errorf("connected %v, reported version %d", r.Connected, r.Twin.Reported.Version)
		}
	})
}

func TestNamesakeStartsAfresh(t *testing.T) {
	a := newWorld(t)
	b := a.start(registry.Options{})
	a.device("d")
	b.get(dev("d"))
	if err := b.Touch(t.Context(), registry.Activity{ID: dev("d"), Connected: true}); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), dev("d"), ""); err != nil {
		t.Fatal(err)
	}
	b.device("d")
	if b.get(dev("d")).Connected {
		t.Error("a new device is connected since before it was made")
	}
}

// TestUnreadableKeys: keys that do not open are an error of the server, which
// tells a client nothing.
func TestUnreadableKeys(t *testing.T) {
	w := newWorld(t)
	r := w.device("d")
	r.Auth.Primary = "sealed(elsewhere)secret"
	if err := w.store.Store.PutIdentity(t.Context(), r, "*"); err != nil {
		t.Fatal(err)
	}
	w.Forget(dev("d"))
	_, err := w.Get(t.Context(), dev("d"))
	w.wantCode(err, causeway.ServerError, "internal error")
	_, err = w.List(t.Context(), hub, "", 0)
	w.wantCode(err, causeway.ServerError, "internal error")
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the key: %v", err)
	}
}

// TestSweepFails: a deletion that could not set all children free is done.
func TestSweepFails(t *testing.T) {
	w := newWorld(t)
	e := w.edge("e")
	w.create(registry.Record{ID: dev("leaf"), DeviceScope: e.DeviceScope})
	w.store.trip(func(_ context.Context, call string, _ causeway.Identity) error {
		if call == "List" {
			return errors.New("disk gone")
		}
		return nil
	}, nil)
	if err := w.Delete(t.Context(), dev("e"), ""); err != nil {
		t.Errorf("delete: %v", err)
	}
	// The scope that is left is no obstacle for the child.
	leaf := w.get(dev("leaf"))
	if leaf.DeviceScope != e.DeviceScope {
		t.Fatalf("scope %q", leaf.DeviceScope)
	}
	leaf.StatusReason = "changed"
	if leaf = w.update(leaf); leaf.StatusReason != "changed" {
		t.Errorf("update of a child: %+v", leaf)
	}
}

func TestSubject(t *testing.T) {
	d := registry.Record{ID: dev("d"), Enabled: false, StatusReason: "stolen"}
	m := registry.Record{ID: mod("d", "m"), Enabled: true, Auth: registry.Authentication{Primary: key("p")}}
	if s := m.Subject(nil); s.Disabled || s.Primary != key("p") || s.ID != m.ID {
		t.Errorf("alone: disabled %v", s.Disabled)
	}
	if s := m.Subject(&d); !s.Disabled || s.DisabledCause != "stolen" {
		t.Errorf("of a disabled device: disabled %v because %q", s.Disabled, s.DisabledCause)
	}
	if s := d.Subject(nil); !s.Disabled || s.DisabledCause != "stolen" {
		t.Errorf("disabled: %v because %q", s.Disabled, s.DisabledCause)
	}
}
