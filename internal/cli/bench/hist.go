package bench

import (
	"encoding/json"
	"math"
	"math/bits"
	"time"
)

// Latency is the distribution of times.
type Latency struct {
	P50, P95, P99, Max time.Duration
}

// MarshalJSON writes milliseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return json.Marshal(map[string]float64{"p50ms": ms(l.P50), "p95ms": ms(l.P95), "p99ms": ms(l.P99), "maxms": ms(l.Max)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Latency) UnmarshalJSON(b []byte) error {
	var v struct{ P50ms, P95ms, P99ms, Maxms float64 }
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	d := func(ms float64) time.Duration { return time.Duration(math.Round(ms*1000)) * time.Microsecond }
	*l = Latency{P50: d(v.P50ms), P95: d(v.P95ms), P99: d(v.P99ms), Max: d(v.Maxms)}
	return nil
}

// subBuckets is how finely each doubling is divided: quantiles are right to
// one part in 32.
const (
	subBits    = 5
	subBuckets = 1 << subBits
	doublings  = 64 - subBits
)

// histogram counts times in buckets of about 3 % width. It is not safe for
// concurrent use: every connection has its own, and they are added up at the
// end. Its 15 KB are allocated with the first value.
type histogram struct {
	counts []uint64
	n      uint64
	max    time.Duration
}

func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(subBuckets-1)+subBuckets)+1)<<shift - 1
}

func (h *histogram) add(d time.Duration) {
	if h.counts == nil {
		h.counts = make([]uint64, (doublings+1)*subBuckets)
	}
	h.counts[bucket(uint64(max(0, d)))]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, (doublings+1)*subBuckets)
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns a value that the share q of all values is not above.
func (h *histogram) quantile(q float64) time.Duration {
	want := uint64(q * float64(h.n))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen > want {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

func (h *histogram) latency() *Latency {
	if h.n == 0 {
		return nil
	}
	return &Latency{P50: h.quantile(.5), P95: h.quantile(.95), P99: h.quantile(.99), Max: h.max}
}
