package cloud

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A storm of connections leaves garbage and large stacks behind, and the
// collector, which is driven by allocation, does not run again while the
// connections idle. Then memory is given back by hand.
const (
	trimEvery = 5 * time.Second
	// trimAfter is how much must have been allocated since the last time to
	// make it worth while, and quietBytes how much may be, in trimEvery, for
	// the cloud to count as idle.
	trimAfter  = 16 << 20
	quietBytes = 4 << 20
	// trimRounds is how many collections follow one another: each halves the
	// stacks that have become too large.
	trimRounds = 3
)

// trim decides when memory is given back.
type trim struct {
	before, seen uint64 // bytes allocated: at the last trim, at the last look
	rounds       int    // still to do
}

// look takes the number of bytes allocated so far and reports whether to give
// memory back now.
func (t *trim) look(allocated uint64) bool {
	quiet := allocated-t.seen < quietBytes
	t.seen = allocated
	if !quiet {
		return false
	}
	if allocated-t.before >= trimAfter {
		t.rounds = trimRounds
	}
	if t.rounds == 0 {
		return false
	}
	t.rounds--
	t.before = allocated
	return true
}

// trimMemory gives memory back to the system whenever the cloud has become
// idle, until ctx ends.
func trimMemory(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var t trim
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if metrics.Read(sample); t.look(sample[0].Value.Uint64()) {
				debug.FreeOSMemory()
			}
		}
	}
}
