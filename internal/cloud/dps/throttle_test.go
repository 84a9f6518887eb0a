package dps_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// after returns when an error says to come again, and fails when it is none of
// that kind.
func (w *world) after(what string, err error) time.Duration {
	w.t.Helper()
	d := hubhttp.RetryAfter(err)
	if causeway.CodeOf(err) != dps.CodeThrottled || d <= 0 {
		w.t.Errorf("%s: %v, to come again after %v", what, err, d)
	}
	return d
}

func (w *world) throttle(limits map[string]int) {
	w.t.Helper()
	_, err := w.Change(w.t.Context(), "dps", func(i *dps.Instance) error {
		i.Throttle = dps.Throttle{Limits: limits}
		return nil
	})
	ok(w.t, err)
}

func TestThrottle(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := w.put(keyEnrollment("d"))
		other := w.put(keyEnrollment("other"))
		r := w.request("d", e.Attestation.Keys.Primary)
		// Nothing limits them at first.
		for range 100 {
			w.assigned(r, "", "d", "initialAssignment")
			ok(t, w.Operate("dps"))
		}

		w.throttle(map[string]int{"registrations": 3, "operations": 2, "polls": 5})
		op := causeway.Operation{}
		var err error
		for range 3 {
			op, err = w.Register(t.Context(), r)
			ok(t, err)
		}
		_, err = w.Register(t.Context(), r)
		// What is refused is not counted, and who waits as told may come.
		if d := w.after("a fourth registration in a minute", err); d != 20*time.Second {
			t.Errorf("to come again after %v", d)
		}
		_, err = w.Register(t.Context(), w.request("other", other.Attestation.Keys.Primary))
		w.after("a registration of another device", err)
		// Nobody uses it up who cannot prove who it is.
		_, err = w.Register(t.Context(), w.request("d", other.Attestation.Keys.Primary))
		w.refused("the wrong key", err, dps.CodeUnauthorized, "Unauthorized")
		time.Sleep(20 * time.Second) //nolint:forbidigo // simulated time
		op, err = w.Register(t.Context(), r)
		ok(t, err)
		_, err = w.Register(t.Context(), r)
		w.after("one more", err)

		for range 5 {
			_, err = w.Lookup(t.Context(), r, op.ID)
			ok(t, err)
		}
		_, err = w.Lookup(t.Context(), r, op.ID)
		if d := w.after("a sixth question", err); d != 2*time.Second {
			t.Errorf("to come again after %v", d)
		}
		_, err = w.Status(t.Context(), r)
		w.after("a question in other words", err)
		_, err = w.Status(t.Context(), w.request("other", other.Attestation.Keys.Primary))
		w.refused("another device", err, dps.CodeNotFound, "other")

		ok(t, w.Operate("dps"))
		ok(t, w.Operate("dps"))
		w.after("a third operation", w.Operate("dps"))
		w.refused("no service", w.Operate("none"), dps.CodeNotFound, "none")

		// Other settings change without an amnesty.
		w.put(dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		w.after("after a change", w.Operate("dps"))
		w.throttle(nil)
		ok(t, w.Operate("dps"))
	})
}

// TestThrottleForgets: devices that were counted are forgotten, so that many can
// come, and not more are kept than a bound.
func TestThrottleForgets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.throttle(map[string]int{"polls": 1})
		w.put(keyEnrollment("d"))
		g := w.put(dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		for i := range 200 {
			id := fmt.Sprint("x", i)
			_, err := w.Status(t.Context(), w.request(id, w.derived(g.Attestation.Keys.Primary, id)))
			w.refused(id, err, dps.CodeNotFound, id)
		}
	})
}

func TestThrottleSettings(t *testing.T) {
	for want, v := range map[string]dps.Throttle{
		`the preset "gold" is none of standard-s1`: {Preset: "gold"},
		`there is no limit "x"`:                    {Limits: map[string]int{"x": 1}},
		"the limit polls is -1":                    {Limits: map[string]int{"polls": -1}},
	} {
		if _, err := v.Resolve(); causeway.CodeOf(err) != dps.CodeInvalid || len(want) > len(causeway.MessageOf(err)) || causeway.MessageOf(err)[:len(want)] != want {
			t.Errorf("%+v: %v, want %s", v, err, want)
		}
	}
	got, err := (&dps.Throttle{Preset: "standard-s1", Limits: map[string]int{"polls": 0, "operations": 7}}).Resolve()
	if err != nil || got != [dps.NumLimits]int{dps.LimitRegistrations: 1000, dps.LimitOperations: 7} {
		t.Errorf("%v, %v", got, err)
	}
}

// TestMetrics counts what happens.
func TestMetrics(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		reg := prometheus.NewRegistry()
		w.metrics = reg
		w.start()
		e := w.put(keyEnrollment("d"))
		r := w.request("d", e.Attestation.Keys.Primary)
		w.assigned(r, "", "d", "initialAssignment")
		_, err := w.Register(t.Context(), w.request("d", "AAAA"))
		w.refused("the wrong key", err, dps.CodeUnauthorized, "")
		w.throttle(map[string]int{"registrations": 1})
		_, err = w.Register(t.Context(), r)
		ok(t, err)
		_, err = w.Register(t.Context(), r)
		w.after("throttled", err)
		families, err := reg.Gather()
		ok(t, err)
		series := map[string]int{}
		for _, f := range families {
			series[f.GetName()] = len(f.GetMetric())
		}
		for _, name := range []string{"registrations_total", "refused_total", "throttled_total", "assigned_total", "assign_seconds", "registrations_under_way"} {
			if series["causeway_dps_"+name] != 1 {
				t.Errorf("%s has %d series in %v", name, series["causeway_dps_"+name], series)
			}
		}
	})
}
