package dps_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// group enrolls a group with a key and returns the request of one of its devices.
func (w *world) group(e dps.Enrollment) func(id string) causeway.Registration {
	w.t.Helper()
	e.ID, e.Group, e.Attestation = "g", true, dps.Attestation{Kind: dps.SymmetricKey}
	keys := w.put(e).Attestation.Keys
	return func(id string) causeway.Registration { return w.request(id, w.derived(keys.Primary, id)) }
}

// idOn returns a registration id that is hashed to a hub while all are healthy.
func (w *world) idOn(device func(string) causeway.Registration, prefix, hub string) string {
	w.t.Helper()
	for n := range 100 {
		id := fmt.Sprintf("%s%d", prefix, n)
		if op := w.register(device(id)); op.Status == "assigned" && op.Hub == hub {
			ok(w.t, w.DeleteRegistration(w.t.Context(), "dps", id, ""))
			w.hubs[hub].set(func() { delete(w.hubs[hub].devices, id) })
			return id
		}
	}
	w.t.Fatal("no id is hashed to " + hub)
	return ""
}

// TestUnhealthyHub: a hub that fails gets no more new devices until it recovers,
// and what it may have got is taken from it then.
func TestUnhealthyHub(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := w.group(dps.Enrollment{})
		first, second, third := w.idOn(device, "a", "h1"), w.idOn(device, "b", "h1"), w.idOn(device, "c", "h1")
		if h := w.HubHealth("h1"); !h.Used || !h.Healthy || h.LastSuccess.IsZero() {
			t.Errorf("at first %+v", h)
		}
		// It takes the device, and the answer is lost.
		w.hubs["h1"].set(func() {
			w.hubs["h1"].devices[first] = dps.Device{ID: first}
			w.hubs["h1"].err = errors.New("connection lost")
		})
		if op := w.register(device(first)); op.Status != "failed" || op.Code != dps.FailedHub {
			t.Fatalf("on a hub that fails: %+v", op)
		}
		if h := w.HubHealth("H1"); h.Healthy || h.Failures < 3 || h.LastError != "connection lost" || !h.RetryAt.After(time.Now().Add(-time.Minute)) {
			t.Errorf("after failures %+v", h)
		}
		// The devices that come now go elsewhere, and so does this one.
		op := w.register(device(second))
		if op.Status != "assigned" || op.Hub == "h1" {
			t.Errorf("while it is unhealthy: %+v", op)
		}
		if op = w.register(device(first)); op.Status != "assigned" || op.Hub == "h1" {
			t.Errorf("again: %+v", op)
		}
		if r, err := w.Registration(t.Context(), "dps", first); err != nil || len(r.Doubts) != 1 || r.Doubts[0] != (dps.Place{Hub: "h1", DeviceID: first}) {
			t.Errorf("the hub may have it: %+v, %v", r, err)
		}
		w.hubs["h1"].set(func() { w.hubs["h1"].err = nil })
		if op = w.register(device(first)); op.Status != "assigned" || op.Hub != "h1" && op.Hub != "h2" && op.Hub != "h3" {
			t.Fatalf("%+v", op)
		}
		if r, err := w.Registration(t.Context(), "dps", first); err != nil || len(r.Doubts) != 0 {
			t.Errorf("the doubt is resolved: %+v, %v", r, err)
		}
		n := 0
		for _, h := range w.hubs {
			if _, there := h.device(first); there {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d hubs have %s", n, first)
		}
		// It is tried again after a while, and takes devices from then on.
		time.Sleep(10 * time.Minute) //nolint:forbidigo // simulated time
		if op = w.register(device(third)); op.Hub != "h1" {
			t.Errorf("a probe went to %s", op.Hub)
		}
		if h := w.HubHealth("h1"); !h.Healthy || h.Failures != 0 {
			t.Errorf("recovered %+v", h)
		}
	})
}

// TestProbe: an unhealthy hub is tried with one device at a time, at longer and
// longer intervals.
func TestProbe(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := w.group(dps.Enrollment{Hubs: []string{"h1", "h2"}})
		ids := make([]string, 12)
		for k := range ids {
			ids[k] = w.idOn(device, fmt.Sprintf("%c", 'a'+k), "h1")
		}
		w.hubs["h1"].set(func() { w.hubs["h1"].err = errors.New("down") })
		w.register(device(ids[0]))
		// One after the other comes every minute: most are not lost to the hub.
		lost := 0
		for _, id := range ids[1:] {
			time.Sleep(time.Minute) //nolint:forbidigo // simulated time
			if op := w.register(device(id)); op.Status == "failed" {
				lost++
			}
		}
		if lost == 0 || lost > 6 {
			t.Errorf("%d of %d devices were tried on it", lost, len(ids)-1)
		}
		// When all hubs are unhealthy there is nothing to choose from.
		w.hubs["h2"].set(func() { w.hubs["h2"].err = errors.New("down") })
		for k := range 3 {
			if op := w.register(device(fmt.Sprint("none-", k))); op.Status != "failed" || op.Code != dps.FailedHub {
				t.Errorf("%+v", op)
			}
		}
	})
}

// TestUnhealthyStays: a device is not driven from its hub by the hub's trouble, nor
// put elsewhere when its enrollment names one hub.
func TestUnhealthyStays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := w.group(dps.Enrollment{})
		var op causeway.Operation
		for op = w.register(device("d")); op.Status != "assigned"; op = w.register(device("d")) {
		}
		w.hubs[op.Hub].set(func() { w.hubs[op.Hub].err = errors.New("down") })
		if again := w.register(device("d")); again.Status != "failed" {
			t.Errorf("%+v", again)
		}
		if again := w.register(device("d")); again.Status != "failed" {
			t.Errorf("again: %+v", again)
		}
		w.hubs[op.Hub].set(func() { w.hubs[op.Hub].err = nil })
		w.assigned(device("d"), op.Hub, "d", "initialAssignment")
	})
	inWorld(t, func(t *testing.T, w *world) {
		// What a hub refuses of one device says nothing about others; that it refuses
		// whoever calls does.
		w.hubs["h1"].set(func() { w.hubs["h1"].err = causeway.Errorf(causeway.ArgumentInvalid, "hub", "no") })
		e := w.put(dps.Enrollment{ID: "d", Allocation: dps.Static, Hubs: []string{"h1"}, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		for range 5 {
			w.register(w.request("d", e.Attestation.Keys.Primary))
		}
		if h := w.HubHealth("h1"); !h.Healthy || h.Failures != 0 {
			t.Errorf("it refuses one device: %+v", h)
		}
		w.hubs["h1"].set(func() { w.hubs["h1"].err = causeway.Errorf(causeway.IotHubUnauthorized, "hub", "no") })
		for range 3 {
			w.register(w.request("d", e.Attestation.Keys.Primary))
		}
		if h := w.HubHealth("h1"); h.Healthy {
			t.Errorf("it refuses all: %+v", h)
		}
	})
}

// TestChoiceOutlivesHealth: a device that was sent elsewhere because a hub was
// unhealthy stays there, though the service forgets that in a restart.
func TestChoiceOutlivesHealth(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		device := w.group(dps.Enrollment{Hubs: []string{"h1", "h2"}})
		victim, id := w.idOn(device, "a", "h1"), w.idOn(device, "b", "h1")
		w.hubs["h1"].set(func() { w.hubs["h1"].err = errors.New("down") })
		w.register(device(victim))
		w.hubs["h2"].set(func() { w.hubs["h2"].stall = make(chan struct{}) })
		op, err := w.Register(t.Context(), device(id))
		ok(t, err)
		synctest.Wait()
		w.stop()
		w.hubs["h1"].set(func() { w.hubs["h1"].err = nil })
		w.hubs["h2"].set(func() { w.hubs["h2"].stall = nil })
		w.start()
		if got := w.wait(device(id), op.ID); got.Status != "assigned" || got.Hub != "h2" {
			t.Errorf("after a restart: %+v", got)
		}
	})
}
