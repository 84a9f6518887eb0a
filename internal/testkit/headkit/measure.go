package headkit

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// IdleCost opens connections and returns how many bytes of memory each costs
// once it idles, with the sockets of both ends. It opens a few hundred, or as
// many as CAUSEWAY_IDLE says, and then also waits until they have been parked
// anew. What open leaves of the client is measured, too.
func IdleCost(t *testing.T, open func(i int) net.Conn) float64 {
	t.Helper()
	n, long := 200, false
	if s := os.Getenv("CAUSEWAY_IDLE"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
		long = true
	}
	clients := make([]net.Conn, n)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := k; i < n; i += 4 {
				clients[i] = open(i)
			}
		})
	}
	wg.Wait()
	if long { // until they are parked, and parked anew
		time.Sleep(8 * time.Second) //nolint:forbidigo // a measurement of what time does
		runtime.GC()
		time.Sleep(150 * time.Second) //nolint:forbidigo // as above
	}
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	heap := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n)
	stack := float64(int64(after.StackInuse)-int64(before.StackInuse)) / float64(n)
	t.Logf("%d connections: heap %.0f + stack %.0f bytes each, both ends' sockets included", n, heap, stack)
	for _, c := range clients {
		_ = c.Close()
	}
	return heap + stack
}

// Allocations returns how many allocations a call of f makes in the steady
// state. A collection in between empties pools; the best of some runs counts.
// f is called 1406 times.
func Allocations(f func()) float64 {
	for range 200 {
		f()
	}
	best := testing.AllocsPerRun(200, f)
	for range 5 {
		best = min(best, testing.AllocsPerRun(200, f))
	}
	return best
}
