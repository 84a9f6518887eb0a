package dps

import (
	"testing"
	"time"
)

// TestClockSetBack: a clock that is set back by hours has nobody wait for hours.
func TestClockSetBack(t *testing.T) {
	var h throttles
	c := callsOf{service: "s", limit: LimitRegistrations}
	at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	take := func(n int) {
		t.Helper()
		for k := range n + 1 {
			wait, ok := h.take(c, n, at)
			if ok != (k < n) || !ok && (wait <= 0 || wait > time.Minute) {
				t.Fatalf("call %d of %d at %v: %v, %v", k, n, at, ok, wait)
			}
		}
	}
	take(10)
	at = at.Add(-5 * time.Hour)
	take(10)
	at = at.Add(time.Minute)
	take(10)
	at = at.Add(24 * time.Hour)
	take(10)
}
