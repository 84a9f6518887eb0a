package dps_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// interrupt registers a device and stops the service while it is put on a hub, which
// has it by then. It returns the operation and the hub. The service is to be started.
func (w *world) interrupt(r causeway.Registration) (operation, hub string) {
	w.t.Helper()
	for _, h := range w.hubs {
		h.set(func() { h.stall = make(chan struct{}) })
	}
	op, err := w.Register(w.t.Context(), r)
	ok(w.t, err)
	reg, err := w.store.Registration(w.t.Context(), "dps", r.ID)
	ok(w.t, err)
	hub = reg.Pending.Chosen.Hub
	wait()
	w.stop()
	for _, h := range w.hubs {
		h.set(func() { h.stall = nil })
	}
	w.hubs[hub].set(func() {
		id := reg.Pending.Chosen.DeviceID
		w.hubs[hub].devices[id] = dps.Device{ID: id, Tags: raw(`{"interrupted":1}`)}
	})
	return op.ID, hub
}

// only checks that one hub has a device and no other.
func (w *world) only(hub, device string) {
	w.t.Helper()
	for host, h := range w.hubs {
		if _, there := h.device(device); there != (host == hub) {
			w.t.Errorf("hub %s has device %s: %v", host, device, there)
		}
	}
}

// TestDecisionFirst: to which hub a device goes is stored before a hub is called, so that
// what changes between an interruption and the next start sends it to no other.
func TestDecisionFirst(t *testing.T) {
	for name, e := range map[string]dps.Enrollment{
		"hashed": {}, "latency": {Allocation: dps.GeoLatency}, "static": {Allocation: dps.Static, Hubs: []string{"h2"}}, "named": {Hubs: []string{"h1", "h3"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error {
					i.Links[0].Region = "here"
					i.Geo.Networks = []dps.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Region: "here"}}
					return nil
				})
				ok(t, err)
				e.ID, e.Attestation, e.DeviceID, e.Migrate = "d", dps.Attestation{Kind: dps.SymmetricKey}, "first", true
				e = w.put(e)
				r := w.request("d", e.Attestation.Keys.Primary)
				r.Credential.RemoteAddr = "10.1.2.3:4"
				operation, hub := w.interrupt(r)
				// All of it would have the device elsewhere.
				other := "h1"
				if hub == other {
					other = "h2"
				}
				_, err = w.Change(t.Context(), "dps", func(i *dps.Instance) error {
					i.Geo.Networks[0].Region = "there"
					for k := range i.Links {
						l := &i.Links[k]
						l.Excluded, l.Weight, l.Region = l.Host == hub, 1, ""
						if l.Host == other {
							l.Weight, l.Region = dps.MaxWeight, "there"
						}
					}
					return nil
				})
				ok(t, err)
				e.Hubs, e.DeviceID = []string{other}, "second"
				w.put(e)
				w.start()
				if op := w.wait(r, operation); op.Status != "assigned" || op.Hub != hub || op.Device != "first" {
					t.Fatalf("decided for %s, then %+v", hub, op)
				}
				w.only(hub, "first")
				// The next time it moves as it is to, and takes its twin along.
				w.assigned(r, other, "second", "deviceDataMigrated")
				w.only("", "first")
				if d, _ := w.hubs[other].device("second"); string(d.Tags) != `{"interrupted":1}` {
					t.Errorf("twin %s", d.Tags)
				}
			})
		})
	}
}

// TestDecisionUnlinked: a hub that was decided for is not linked any more. The device goes
// elsewhere, and is taken from the first as soon as that can be asked.
func TestDecisionUnlinked(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := w.put(keyEnrollment("d"))
		r := w.request("d", e.Attestation.Keys.Primary)
		operation, hub := w.interrupt(r)
		var gone dps.Link
		_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error {
			gone, _ = i.Link(hub)
			return i.RemoveLink(hub)
		})
		ok(t, err)
		w.start()
		op := w.wait(r, operation)
		if op.Status != "assigned" || op.Hub == hub {
			t.Fatalf("%+v", op)
		}
		e.Hubs = []string{op.Hub}
		w.put(e)
		_, err = w.Change(t.Context(), "dps", func(i *dps.Instance) error { i.PutLink(gone); return nil })
		ok(t, err)
		w.assigned(r, op.Hub, "d", "initialAssignment")
		w.only(op.Hub, "d")
	})
}

// TestChangedMeanwhile: what is changed of an enrollment while a device waits to be assigned
// counts for the device, and what it may have got before is taken from it.
func TestChangedMeanwhile(t *testing.T) {
	other := w64('x')
	for name, c := range map[string]struct {
		change  func(w *world, e dps.Enrollment)
		status  string
		message string
	}{
		"disabled":     {func(w *world, e dps.Enrollment) { e.Disabled = true; w.put(e) }, "disabled", "disabled"},
		"deleted":      {func(w *world, e dps.Enrollment) { ok(w.t, w.DeleteEnrollment(w.t.Context(), "dps", e.Group, e.ID, "")) }, "failed", "deleted"},
		"other keys":   {func(w *world, e dps.Enrollment) { e.Attestation.Keys = keysOf(other, other); w.put(e) }, "failed", "attestation"},
		"another twin": {func(w *world, e dps.Enrollment) { e.InitialTwin.Tags = raw(`{"a":1}`); w.put(e) }, "assigned", ""},
	} {
		for _, grouped := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " group ", grouped), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					e := keyEnrollment("d")
					if e.Group = grouped; grouped {
						e.ID = "g"
					}
					e = w.put(e)
					key := e.Attestation.Keys.Primary
					if grouped {
						key = w.derived(key, "d")
					}
					r := w.request("d", key)
					op, _ := w.interrupt(r)
					c.change(w, e)
					w.start()
					wait()
					reg, err := w.Registration(t.Context(), "dps", "d")
					if err != nil || string(reg.Status) != c.status || !strings.Contains(reg.Message, c.message) || reg.Operation != op {
						t.Fatalf("%+v, %v", reg, err)
					}
					// It is enrolled as before, to a hub of its own.
					e.Hubs = []string{"h3"}
					w.put(e)
					if got := w.register(r); got.Hub != "h3" {
						t.Fatalf("%+v", got)
					}
					w.only("h3", "d")
				})
			})
		}
	}
}

func w64(c byte) causeway.Secret {
	return causeway.Secret(strings.Repeat(string(c), 43) + "=")
}

// TestBlockedMeanwhile: the device of a group gets an enrollment of its own that is
// disabled while it waits to be assigned.
func TestBlockedMeanwhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		r := w.group(dps.Enrollment{})("d")
		w.interrupt(r)
		own := keyEnrollment("d")
		own.Disabled = true
		w.put(own)
		w.start()
		wait()
		if reg, err := w.Registration(t.Context(), "dps", "d"); err != nil || reg.Status != dps.Disabled {
			t.Errorf("%+v, %v", reg, err)
		}
	})
}

// TestMoveHalfDone: the old hub does not let the device go. When it stays there after all,
// the new one has to.
func TestMoveHalfDone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Hubs, e.Allocation = []string{"h1"}, dps.Static
		e = w.put(e)
		r := w.request("d", e.Attestation.Keys.Primary)
		w.assigned(r, "h1", "d", "initialAssignment")
		keep := &keeps{fakeHub: w.hubs["h1"], refuse: causeway.Errorf(causeway.IotHubUnauthorized, "hub", "not you")}
		w.stop()
		w.target = func(host string) dps.Target {
			if host == "h1" {
				return keep
			}
			return nil
		}
		w.start()
		for _, host := range []string{"h2", "h3"} {
			e.Hubs = []string{host}
			w.put(e)
			if op := w.register(r); op.Status != "failed" || op.Code != dps.FailedHub {
				t.Fatalf("%+v", op)
			}
			if _, there := w.hubs[host].device("d"); !there {
				t.Fatal("the test is of a device that is on both")
			}
		}
		if reg, err := w.Registration(t.Context(), "dps", "d"); err != nil || len(reg.Doubts) != 2 || reg.Hub != "h1" {
			t.Errorf("%+v, %v", reg, err)
		}
		e.Hubs = []string{"h1"}
		w.put(e)
		w.assigned(r, "h1", "d", "initialAssignment")
		if reg, err := w.Registration(t.Context(), "dps", "d"); err != nil || len(reg.Doubts) != 0 {
			t.Errorf("%+v, %v", reg, err)
		}
	})
}

// keeps is a hub that deletes nothing.
type keeps struct {
	*fakeHub
	refuse error
}

func (k *keeps) Delete(context.Context, string) error { return k.refuse }

// TestResetAfterLoss: the hub of a device is gone, and another one has something of that
// name. Where the twin is to be reset the device does not inherit it.
func TestResetAfterLoss(t *testing.T) {
	for migrate, want := range map[bool]string{true: `{"found":1}`, false: `{"first":1}`} {
		inWorld(t, func(t *testing.T, w *world) {
			e := keyEnrollment("d")
			e.Hubs, e.Allocation, e.Migrate = []string{"h1"}, dps.Static, migrate
			e.InitialTwin.Tags = raw(`{"first":1}`)
			e = w.put(e)
			r := w.request("d", e.Attestation.Keys.Primary)
			w.assigned(r, "h1", "d", "initialAssignment")
			w.hubs["h2"].set(func() { w.hubs["h2"].devices["d"] = dps.Device{ID: "d", Tags: raw(`{"found":1}`)} })
			_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error { return i.RemoveLink("h1") })
			ok(t, err)
			e.Hubs = []string{"h2"}
			w.put(e)
			if op := w.register(r); op.Status != "assigned" || op.Hub != "h2" {
				t.Fatalf("%+v", op)
			}
			if d, _ := w.hubs["h2"].device("d"); string(d.Tags) != want {
				t.Errorf("migrate %v: the twin is %s", migrate, d.Tags)
			}
		})
	}
}

// TestPayloadEnds: what a webhook gave a device is not given again when none is asked any
// more; it is while the device stays where the webhook sent it.
func TestPayloadEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Allocation, e.Webhook = dps.Custom, dps.Webhook{URL: "https://hook/f", APIVersion: "1"}
		e = w.put(e)
		r := w.request("d", e.Attestation.Keys.Primary)
		w.hook.say(200, `{"iotHubHostName":"h1","payload":{"say":1},"initialTwin":{"tags":{"of":"hook"}}}`, nil)
		w.assigned(r, "h1", "d", "initialAssignment")
		e.Keep = true
		e = w.put(e)
		if op := w.assigned(r, "h1", "d", "initialAssignment"); string(op.Payload) != `{"say":1}` {
			t.Errorf("it stays, and gets the payload %s", op.Payload)
		}
		e.Keep, e.Allocation, e.Webhook, e.Hubs, e.Migrate = false, dps.Hashed, dps.Webhook{}, []string{"h2"}, true
		w.put(e)
		if op := w.assigned(r, "h2", "d", "deviceDataMigrated"); op.Payload != nil {
			t.Errorf("no webhook was asked, and it gets the payload %s", op.Payload)
		}
	})
}

// TestUnusableHub: what no time mends is said at once, and to the operator too.
func TestUnusableHub(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Hubs, e.Allocation = []string{"h1"}, dps.Static
		r := w.request("d", w.put(e).Attestation.Keys.Primary)
		w.hubs["h1"].set(func() {
			w.hubs["h1"].err = &dps.UnusableError{Msg: "its certificate is not trusted", Err: errors.New("details")}
		})
		op, err := w.Register(t.Context(), r)
		ok(t, err)
		wait() // for nobody's time
		if op, err = w.Lookup(t.Context(), r, op.ID); err != nil || op.Status != "failed" || op.Code != dps.FailedHub ||
			!strings.Contains(op.Message, "its certificate is not trusted") || strings.Contains(op.Message, "details") {
			t.Errorf("%+v, %v", op, err)
		}
		for range 2 {
			w.register(r)
		}
		if h := w.HubHealth("h1"); h.Healthy || !strings.Contains(h.LastError, "details") {
			t.Errorf("%+v", h)
		}
		if reg, err := w.Registration(t.Context(), "dps", "d"); err != nil || len(reg.Doubts) != 0 {
			t.Errorf("it cannot have the device: %+v, %v", reg, err)
		}
	})
}
