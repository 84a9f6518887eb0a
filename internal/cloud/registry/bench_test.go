package registry_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

func benchService(b *testing.B, devices int) *registry.Service {
	b.Helper()
	s := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: storetest.Sealer{}})
	for i := range devices {
		r := registry.Record{ID: dev(fmt.Sprint("d", i)), Enabled: true}
		r.Twin.Reported.Properties = []byte(`{"firmware":"1.2.3","telemetry":{"interval":30,"unit":"s"},"battery":87}`)
		if _, err := s.Create(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkReport is a small reported patch, everything but the disk.
func BenchmarkReport(b *testing.B) {
	patch := causeway.Patch{Properties: []byte(`{"battery":86,"telemetry":{"interval":60}}`)}
	b.Run("one device", func(b *testing.B) {
		s := benchService(b, 1)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Report(b.Context(), dev("d0"), patch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many devices", func(b *testing.B) {
		const devices = 1000
		s := benchService(b, devices)
		ids := make([]causeway.Identity, devices)
		for i := range ids {
			ids[i] = dev(fmt.Sprint("d", i))
		}
		var next atomic.Int64
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Report(b.Context(), ids[next.Add(1)%devices], patch); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkGet(b *testing.B) {
	s := benchService(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), dev("d0")); err != nil {
			b.Fatal(err)
		}
	}
}
