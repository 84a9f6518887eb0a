// Package deploytest is the contract of [deploy.Store] as tests: every driver is
// held to it. It also has a store in memory for the tests of others, which is
// held to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package deploytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// Fixture is a store without configurations, with the hubs "plant" and "depot".
type Fixture struct {
	Store deploy.Store
	// Register registers identities, a device before its modules.
	Register func(ids ...causeway.Identity)
	// Delete removes an identity, a device with its modules.
	Delete func(id causeway.Identity)
	// DeleteHub forgets a hub, and makes it again.
	DeleteHub func(hub string)
}

// Open returns a fixture of its own, closed by t.Cleanup.
type Open func(t *testing.T) Fixture

// Run holds the stores that open returns to the contract.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"configurations come back whole", testWhole},
		{"replace", testReplace},
		{"unknown hub", testUnknownHub},
		{"settled", testSettled},
		{"traces", testTraces},
		{"traces go with their identities", testTracesGo},
		{"traced", testTraced},
		{"a hub goes", testHubGoes},
		{"begin and end", testWork},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const hub, abroad = "plant", "depot"

var base = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

// configuration returns one that has everything.
func configuration(hub, id string) deploy.Stored {
	return deploy.Stored{
		Hub: hub, Pending: true,
		Configuration: deploy.Configuration{
			ID: id, SchemaVersion: "1.0", Labels: map[string]string{"App": "Ünïcode"},
			Content:         json.RawMessage(`{"deviceContent":{"properties.desired.a":1.50}}`),
			TargetCondition: `tags.site = 'a''b' AND "x" <> '<&>'`, Priority: 7,
			Metrics: map[string]string{"m": "select deviceId from devices"},
			Created: base, Updated: base.Add(time.Second), ETag: "etag-" + id,
		},
	}
}

func dev(device string) causeway.Identity { return causeway.Identity{Hub: hub, Device: device} }

func mod(device, module string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: module}
}

func check(t *testing.T, s deploy.Store, want ...deploy.Stored) {
	t.Helper()
	all, err := s.Configurations(t.Context())
	suitetest.Must(t, err)
	suitetest.Same(t, "what is stored", all, want)
}

func checkTrace(t *testing.T, s deploy.Store, want deploy.Trace) {
	t.Helper()
	got, err := s.Trace(t.Context(), want.ID)
	suitetest.Must(t, err)
	suitetest.Same(t, "what is stored", got, want)
}

func testWhole(t *testing.T, f Fixture) {
	check(t, f.Store)
	odd, plain, other := configuration(hub, "a-b+c%d_e*f!g'h"), configuration(hub, "z"), configuration(abroad, "z")
	odd.Labels, odd.Metrics, odd.TargetCondition, odd.Pending, odd.Leaving = nil, nil, "", false, true
	for _, c := range []deploy.Stored{plain, other, odd} {
		suitetest.Must(t, f.Store.PutConfiguration(t.Context(), c))
	}
	check(t, f.Store, other, odd, plain)
}

func testReplace(t *testing.T, f Fixture) {
	c := configuration(hub, "c")
	suitetest.Must(t, f.Store.PutConfiguration(t.Context(), c))
	c.Priority, c.Labels, c.Leaving, c.ETag, c.Updated = 8, map[string]string{"x": ""}, true, "other", base.Add(time.Hour)
	suitetest.Must(t, f.Store.PutConfiguration(t.Context(), c))
	check(t, f.Store, c)
}

func testUnknownHub(t *testing.T, f Fixture) {
	if err := f.Store.PutConfiguration(t.Context(), configuration("nowhere", "c")); causeway.CodeOf(err) != causeway.GenericNotFound {
		t.Errorf("a configuration of no hub: %v", err)
	}
	check(t, f.Store)
}

func testSettled(t *testing.T, f Fixture) {
	stays, goes := configuration(hub, "stays"), configuration(hub, "goes")
	goes.Leaving = true
	for _, c := range []deploy.Stored{stays, goes, configuration(abroad, "stays")} {
		suitetest.Must(t, f.Store.PutConfiguration(t.Context(), c))
	}
	for _, x := range [][3]string{{hub, "stays", "older"}, {hub, "goes", "older"}, {hub, "nobody", ""}, {"nowhere", "stays", stays.ETag}} {
		suitetest.Must(t, f.Store.Settled(t.Context(), x[0], x[1], x[2]))
	}
	check(t, f.Store, configuration(abroad, "stays"), goes, stays)
	suitetest.Must(t, f.Store.Settled(t.Context(), hub, "stays", stays.ETag))
	suitetest.Must(t, f.Store.Settled(t.Context(), hub, "goes", goes.ETag))
	stays.Pending = false
	check(t, f.Store, configuration(abroad, "stays"), stays)
}

func testTraces(t *testing.T, f Fixture) {
	f.Register(dev("d"), mod("d", "m"), dev("D"))
	checkTrace(t, f.Store, deploy.Trace{ID: dev("d")})
	device := deploy.Trace{ID: dev("d"), Own: []string{"a", "b.c", "ü"}, Manual: "base@1 layer@2"}
	module := deploy.Trace{ID: mod("d", "m"), Edge: []string{""}, Own: []string{"x"}}
	suitetest.Must(t, f.Store.PutTrace(t.Context(), device))
	suitetest.Must(t, f.Store.PutTrace(t.Context(), module))
	checkTrace(t, f.Store, device)
	checkTrace(t, f.Store, module)
	checkTrace(t, f.Store, deploy.Trace{ID: dev("D")})

	module.Edge = nil
	suitetest.Must(t, f.Store.PutTrace(t.Context(), module))
	checkTrace(t, f.Store, module)
	suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: dev("d")}))
	checkTrace(t, f.Store, deploy.Trace{ID: dev("d")})
	checkTrace(t, f.Store, module)
}

func testTracesGo(t *testing.T, f Fixture) {
	f.Register(dev("d"), mod("d", "m"), mod("d", "n"))
	for _, id := range []causeway.Identity{dev("d"), mod("d", "m"), mod("d", "n")} {
		suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: id, Own: []string{"a"}}))
	}
	f.Delete(mod("d", "m"))
	checkTrace(t, f.Store, deploy.Trace{ID: mod("d", "m")})
	checkTrace(t, f.Store, deploy.Trace{ID: mod("d", "n"), Own: []string{"a"}})
	f.Delete(dev("d"))
	suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: dev("d"), Own: []string{"late"}}))
	suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: mod("d", "n"), Own: []string{"late"}}))
	f.Register(dev("d"), mod("d", "n"))
	checkTrace(t, f.Store, deploy.Trace{ID: dev("d")})
	checkTrace(t, f.Store, deploy.Trace{ID: mod("d", "n")})
	ids, err := f.Store.Traced(t.Context(), hub, causeway.Identity{}, 10)
	suitetest.Must(t, err)
	suitetest.Same(t, "what is stored", ids, []causeway.Identity(nil))
}

func testTraced(t *testing.T, f Fixture) {
	var want []causeway.Identity
	elsewhere := causeway.Identity{Hub: abroad, Device: "d2"}
	f.Register(elsewhere)
	suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: elsewhere, Own: []string{"a"}}))
	for i := range 5 {
		d := dev(fmt.Sprint("d", i))
		m := mod(d.Device, "m")
		f.Register(d, m)
		suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: d, Own: []string{"a"}}))
		want = append(want, d)
		if i%2 == 0 {
			suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: m, Edge: []string{""}}))
			want = append(want, m)
		}
	}
	var got []causeway.Identity
	for after := (causeway.Identity{}); ; {
		ids, err := f.Store.Traced(t.Context(), hub, after, 3)
		suitetest.Must(t, err)
		if len(ids) > 3 {
			t.Fatalf("%d of at most 3", len(ids))
		}
		if got = append(got, ids...); len(ids) < 3 {
			break
		}
		after = ids[2]
	}
	suitetest.Same(t, "what is stored", got, want)
}

func testHubGoes(t *testing.T, f Fixture) {
	f.Register(dev("d"))
	suitetest.Must(t, f.Store.PutConfiguration(t.Context(), configuration(hub, "c")))
	suitetest.Must(t, f.Store.PutConfiguration(t.Context(), configuration(abroad, "c")))
	suitetest.Must(t, f.Store.PutTrace(t.Context(), deploy.Trace{ID: dev("d"), Own: []string{"a"}}))
	f.DeleteHub(hub)
	check(t, f.Store, configuration(abroad, "c"))
	f.Register(dev("d"))
	checkTrace(t, f.Store, deploy.Trace{ID: dev("d")})
}

func testWork(t *testing.T, f Fixture) {
	begin := func(want deploy.Ending) {
		t.Helper()
		got, err := f.Store.Begin(t.Context())
		suitetest.Must(t, err)
		suitetest.Same(t, "what is stored", got, want)
	}
	begin(deploy.Ending{Clean: true}) // nobody ever worked
	begin(deploy.Ending{})            // the last one did not end
	waiting := []causeway.Identity{dev("d"), {Hub: abroad, Device: "e"}}
	suitetest.Must(t, f.Store.End(t.Context(), deploy.Ending{Clean: true, Waiting: waiting}))
	begin(deploy.Ending{Clean: true, Waiting: waiting})
	begin(deploy.Ending{})
	suitetest.Must(t, f.Store.End(t.Context(), deploy.Ending{}))
	begin(deploy.Ending{})
	suitetest.Must(t, f.Store.End(t.Context(), deploy.Ending{Clean: true}))
	begin(deploy.Ending{Clean: true})
}

func testContext(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Store.Configurations(ctx)
	errs := []error{err, f.Store.PutConfiguration(ctx, configuration(hub, "c")), f.Store.Settled(ctx, hub, "c", "e")}
	_, err = f.Store.Trace(ctx, dev("d"))
	errs = append(errs, err, f.Store.PutTrace(ctx, deploy.Trace{ID: dev("d"), Own: []string{"a"}}))
	_, err = f.Store.Traced(ctx, hub, causeway.Identity{}, 1)
	errs = append(errs, err)
	_, err = f.Store.Begin(ctx)
	errs = append(errs, err, f.Store.End(ctx, deploy.Ending{}))
	for i, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	check(t, f.Store)
}
