package deploy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// hundred makes a hub with a hundred configurations in place and one device that
// two of them target.
func hundred(b *testing.B, condition func(i int) string) *world {
	b.Helper()
	w := newWorld(b, deploy.Options{MaxConfigurations: 100})
	for i := range 100 {
		c := deploy.Configuration{
			ID: fmt.Sprint("c", i), Priority: i, TargetCondition: condition(i),
			Content: json.RawMessage(fmt.Sprintf(`{"deviceContent":{"properties.desired.p%d":{"a":1}}}`, i)),
		}
		if _, err := w.service.Put(b.Context(), hub, c, ""); err != nil {
			b.Fatal(err)
		}
	}
	w.create(dev("d"), false, `{"site":7,"k3":1,"floor":2,"customer":"north","line":"press"}`)
	if err := w.service.SettleNow(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n := len(w.get(dev("d")).Configurations); n == 0 {
		b.Fatal("nothing targets the device")
	}
	return w
}

// BenchmarkTwinChange is one change of a twin with a hundred configurations in
// place: what the change waits for (observe), and what a worker does with it
// (look), without the writes of a change of membership, which none of these is.
func BenchmarkTwinChange(b *testing.B) {
	for _, x := range []struct {
		name      string
		condition func(i int) string
		tags      string
	}{
		{"nothing reads it", func(i int) string { return fmt.Sprintf("tags.k%d = 1", i) }, `{"other":1}`},
		{"one condition reads it", func(i int) string { return fmt.Sprintf("tags.k%d = 1", i) }, `{"k5":2}`},
		{"all conditions read it", func(i int) string { return fmt.Sprintf("tags.site = %d AND tags.floor = 2", i) }, `{"site":7}`},
	} {
		w := hundred(b, x.condition)
		rec := w.get(dev("d"))
		e := registry.Event{Kind: registry.TwinChanged, Before: &rec, After: &rec, Tags: []byte(x.tags)}
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := w.service.Observe(b.Context(), e); err != nil {
					b.Fatal(err)
				}
				if err := w.service.SettleNow(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
