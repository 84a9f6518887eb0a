package twin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/twin"
)

func BenchmarkMerge(b *testing.B) {
	var wide strings.Builder
	wide.WriteString(`{"k":0`)
	for i := range 1000 {
		fmt.Fprintf(&wide, `,"k%03d":{"value":%d.5,"unit":"°C"}`, i, i)
	}
	wide.WriteString("}")
	for _, c := range []struct{ name, old, patch string }{
		{"small", `{"firmware":"1.2.3","telemetry":{"interval":30,"unit":"s"},"battery":87}`, `{"battery":86,"telemetry":{"interval":60}}`},
		{"wide", wide.String(), `{"k500":{"value":7}}`},
		{"wide patch", wide.String(), wide.String()},
	} {
		b.Run(c.name, func(b *testing.B) {
			old := made(b, twin.Reported, c.old)
			patch := []byte(c.patch)
			change := twin.Change{Section: twin.Reported, Version: 2, At: noon}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := twin.Merge(old, patch, change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestMergeAllocations keeps the hot path at the one allocation its result is.
func TestMergeAllocations(t *testing.T) {
	old := made(t, twin.Reported, `{"firmware":"1.2.3","telemetry":{"interval":30,"unit":"s"},"battery":87}`)
	patch := []byte(`{"battery":86,"telemetry":{"interval":60}}`)
	n := testing.AllocsPerRun(100, func() {
		if _, err := twin.Merge(old, patch, twin.Change{Section: twin.Reported, At: noon}); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 && !raceEnabled { // the pool may be emptied at any time, and under -race it drops at random
		t.Errorf("%.0f allocations, want 1", n)
	}
}
