package presence_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
)

// TestConnected lists who is connected in pages of several sizes.
func TestConnected(t *testing.T) {
	table := presence.New[*conn]()
	var devices, modules []string
	now := time.Unix(1e9, 0)
	for _, i := range rand.Perm(500) {
		id := causeway.Identity{Hub: "hub", Device: fmt.Sprintf("d%03d", i)}
		if i%3 != 0 {
			table.Claim(newConn(id, "1", now), false)
			devices = append(devices, id.String())
		}
		if i%2 == 0 {
			for _, m := range []string{"b", "a"} {
				id.Module = m
				table.Claim(newConn(id, "1", now), false)
				modules = append(modules, id.String())
			}
		}
	}
	gone := newConn(causeway.Identity{Hub: "hub", Device: "d0005"}, "1", now)
	table.Claim(gone, false)
	table.Release(gone, now)
	slices.Sort(devices)
	slices.Sort(modules)
	for _, limit := range []int{1, 7, 100, 333, 334, 1000} {
		for _, x := range []struct {
			modules bool
			want    []string
		}{{false, devices}, {true, modules}} {
			var got []string
			for after := (causeway.Identity{}); ; {
				page := table.Connected(x.modules, after, limit)
				if len(page) > limit {
					t.Fatalf("%d in a page of %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				for _, id := range page {
					got = append(got, id.String())
				}
				after = page[len(page)-1]
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("pages of %d: %d of %d", limit, len(got), len(x.want))
			}
		}
	}
	if got := table.Connected(false, causeway.Identity{}, 0); got != nil {
		t.Errorf("a page of none: %v", got)
	}
}
