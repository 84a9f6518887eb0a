package bench_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/internal/cli/bench"
)

func TestMerge(t *testing.T) {
	round := func(server string, depth, rate float64) bench.Result {
		r := bench.Run{Rate: rate}
		return bench.Result{
			Server: server, Workload: "d2c", Setting: map[string]any{"depth": depth, "tags": []any{"odd"}},
			Median: r, Runs: []bench.Run{r},
		}
	}
	in := []bench.Result{round("a", 10, 5), round("b", 10, 1), round("a", 10, 9), round("a", 100, 2), round("a", 10, 7)}
	got := bench.Merge(in)
	want := []bench.Result{round("a", 10, 7), round("b", 10, 1), round("a", 100, 2)}
	want[0].Runs = []bench.Run{{Rate: 5}, {Rate: 9}, {Rate: 7}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(in[0].Runs) != 1 || in[0].Median.Rate != 5 {
		t.Errorf("what was given is changed: %+v", in[0])
	}
}
