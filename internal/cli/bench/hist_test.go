package bench

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A quantile of the histogram is never below the true one, and above it by at
// most the width of a bucket.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b histogram
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 500).Draw(t, "values")
		for i, v := range values {
			h := &a
			if i%2 == 1 {
				h = &b
			}
			h.add(time.Duration(v))
		}
		a.merge(&b)
		slices.Sort(values)
		for _, q := range []float64{0, .5, .95, .99} {
			want := time.Duration(values[min(int(q*float64(len(values))), len(values)-1)])
			got := a.quantile(q)
			if got < want || got > want+want/subBuckets+1 {
				t.Fatalf("quantile %v is %v, want %v", q, got, want)
			}
		}
		if a.n != uint64(len(values)) || a.max != time.Duration(values[len(values)-1]) {
			t.Fatalf("n %d, max %v", a.n, a.max)
		}
	})
}

func TestBuckets(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<20; v++ {
		i := bucket(v)
		if i < last || i > last+1 || upper(i) < v {
			t.Fatalf("%d is in bucket %d after %d, which ends at %d", v, i, last, upper(i))
		}
		last = i
	}
	if i := bucket(1<<63 - 1); i >= (doublings+1)*subBuckets {
		t.Errorf("the largest value is in bucket %d", i)
	}
}

func TestEmptyHistogram(t *testing.T) {
	var h histogram
	h.merge(&histogram{})
	if h.latency() != nil || h.quantile(.5) != 0 {
		t.Error("nothing has a latency")
	}
}

func TestLatencyJSON(t *testing.T) {
	l := Latency{P50: 1500 * time.Microsecond, P95: time.Second, P99: 2 * time.Second, Max: time.Minute}
	b, err := json.Marshal(l)
	if err != nil || string(b) != `{"maxms":60000,"p50ms":1.5,"p95ms":1000,"p99ms":2000}` {
		t.Errorf("%s, %v", b, err)
	}
	var got Latency
	if err := json.Unmarshal(b, &got); err != nil || got != l {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMedian(t *testing.T) {
	runs := []Run{{Rate: 3, Bytes: 30}, {Rate: 1, Bytes: 10}, {Rate: 2, Bytes: 20}, {Rate: 4, Bytes: 40}}
	if m := median("d2c", runs); m.Rate != 2 {
		t.Errorf("median rate %v: of two in the middle the worse counts", m.Rate)
	}
	if m := median("idle", runs); m.Bytes != 30 {
		t.Errorf("median bytes %v", m.Bytes)
	}
	if m := median("d2c", runs[:3]); m.Rate != 2 {
		t.Errorf("median rate of three %v", m.Rate)
	}
}

func TestPayload(t *testing.T) {
	for _, n := range []int{0, 1, 10, 45, 46, 256, 4096} {
		if b := payload(n); len(b) != n {
			t.Errorf("payload(%d) has %d bytes", n, len(b))
		} else if n > 64 && !json.Valid(b) {
			t.Errorf("payload(%d) is not JSON: %s", n, b)
		}
	}
}

func BenchmarkHistogramAdd(b *testing.B) {
	b.ReportAllocs()
	var h histogram
	v := time.Duration(rand.Int64N(int64(time.Second)))
	h.add(v)
	for b.Loop() {
		h.add(v)
	}
}
