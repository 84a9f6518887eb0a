package registry_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// TestModel runs histories on two nodes beside a model of counters and etags.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		nodes := []*registry.Service{}
		store := storetest.NewMemory()
		ears := []*ear{new(ear), new(ear)}
		for _, e := range ears {
			s := registry.New(registry.Options{Store: store, Sealer: storetest.Sealer{}, CacheRecords: 1})
			s.Watch(e)
			nodes = append(nodes, s)
		}
		id := dev("d")
		ctx := t.Context()
		r, err := nodes[0].Create(ctx, registry.Record{ID: id, Enabled: true})
		if err != nil {
			rt.Fatal(err)
		}
		etag, tw := r.ETag, r.Twin
		var desired []string
		node := func() *registry.Service { return nodes[rapid.IntRange(0, 1).Draw(rt, "node")] }
		want := func(err error, ok bool) {
			if ok && err != nil || !ok && causeway.CodeOf(err) != causeway.PreconditionFailed {
				rt.Fatalf("error %v, want success %v", err, ok)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"patch": func(rt *rapid.T) {
				u := registry.TwinUpdate{Replace: rapid.Bool().Draw(rt, "replace")}
				if rapid.Bool().Draw(rt, "tags") {
					u.Tags = []byte(`{"t":1}`)
				}
				if rapid.Bool().Draw(rt, "desired") {
					u.Desired = []byte(`{"d":1}`)
				}
				match := rapid.SampledFrom([]string{"", "*", twin.ETagText(tw.ETag), twin.ETagText(tw.ETag - 1)}).Draw(rt, "match")
				ok := match != twin.ETagText(tw.ETag-1)
				_, err := node().UpdateTwin(ctx, id, u, match)
				want(err, ok)
				if !ok || u.Tags == nil && u.Desired == nil {
					return
				}
				tw.Version++
				tw.ETag++
				if u.Desired != nil {
					tw.Desired.Version++
					desired = append(desired, fmt.Sprintf(`{"d":1,"$version":%d}`, tw.Desired.Version))
				}
			},
			"report": func(rt *rapid.T) {
				v := tw.Reported.Version
				expect := rapid.SampledFrom([]int64{0, v, v - 1, v + 1}).Draw(rt, "expect")
				got, err := node().Report(ctx, id, causeway.Patch{Properties: []byte(`{"r":1}`), Version: expect})
				ok := expect == 0 || expect == v
				want(err, ok)
				if ok {
					tw.Version++
					tw.Reported.Version++
					if got != tw.Reported.Version {
						rt.Fatalf("version %d, want %d", got, tw.Reported.Version)
					}
				}
			},
			"update": func(rt *rapid.T) {
				match := rapid.SampledFrom([]string{"", "*", etag, "stale"}).Draw(rt, "match")
				got, err := node().Update(ctx, registry.Record{ID: id, Enabled: true}, match)
				want(err, match != "stale")
				if err == nil {
					if got.ETag == etag {
						rt.Fatal("the etag stayed")
					}
					etag = got.ETag
				}
			},
			"forget": func(*rapid.T) { node().Forget(id) },
			"push out": func(rt *rapid.T) {
				_, err := node().Get(ctx, dev("nobody"))
				if causeway.CodeOf(err) != causeway.DeviceNotFound {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				got, err := store.Get(ctx, id)
				if err != nil {
					rt.Fatal(err)
				}
				if got.ETag != etag || got.Twin.Version != tw.Version || got.Twin.ETag != tw.ETag || got.Twin.Desired.Version != tw.Desired.Version || got.Twin.Reported.Version != tw.Reported.Version {
					rt.Fatalf("stored %s %+v, want %s %+v", got.ETag, got.Twin, etag, tw)
				}
			},
		})
		heard := slices.Concat(ears[0].patches(id), ears[1].patches(id))
		slices.Sort(heard)
		slices.Sort(desired)
		if !slices.Equal(heard, desired) {
			rt.Fatalf("heard %q, want %q", heard, desired)
		}
	})
}
