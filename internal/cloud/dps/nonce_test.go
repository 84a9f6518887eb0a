package dps

import (
	"fmt"
	"testing"
	"time"
)

// TestNoncesAreBounded asks for more challenges than are kept.
func TestNoncesAreBounded(t *testing.T) {
	var n nonces
	n.init()
	now := time.Now()
	key := func(i int) []byte { return fmt.Append(nil, "key ", i) }
	for i := range 10 * noncesEach {
		if !n.add("one", key(i), nil, now) {
			t.Fatalf("challenge %d of one device is refused", i)
		}
	}
	if keys := n.of("one", now); len(keys) != noncesEach || string(keys[noncesEach-1].key) != string(key(10*noncesEach-1)) {
		t.Errorf("outstanding are %+v", keys)
	}
	kept := 0
	for i := range 2 * maxNonces {
		if n.add(fmt.Sprint("device ", i), key(i), nil, now) {
			kept++
		}
	}
	if kept != maxNonces-noncesEach || n.total != maxNonces {
		t.Errorf("%d are kept beside %d, %d in all", kept, noncesEach, n.total)
	}
	// Another one of a device that has as many as it may takes the place of the oldest.
	if !n.add("one", key(0), nil, now) || n.total != maxNonces {
		t.Errorf("a device of before is refused, %d in all", n.total)
	}
	// Time makes room.
	now = now.Add(NonceTTL)
	if !n.add("late", key(0), nil, now) || n.total != 1 || len(n.byID) != 1 {
		t.Errorf("%d challenges of %d devices are kept for too long", n.total, len(n.byID))
	}
}
