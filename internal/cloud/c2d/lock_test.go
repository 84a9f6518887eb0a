package c2d_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

func TestLockExpires(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		b.enqueue(dev, message("a"))
		b.enqueue(dev, message("b"))
		a := b.receive(dev, "a")
		after(causeway.CommandLock - 2*time.Second)
		second := b.receive(dev, "b")
		b.heard(dev, dev)
		after(1500 * time.Millisecond)
		b.receive(dev, "") // still held
		after(1500 * time.Millisecond)
		b.heard(dev) // once, for a
		b.settle(dev, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		again := b.receive(dev, "a")
		if again.DeliveryCount != 0 || again.Lock == a.Lock || again.Sequence != a.Sequence {
			t.Errorf("delivered again: count %d, lock %x, sequence %d", again.DeliveryCount, again.Lock, again.Sequence)
		}
		b.settle(dev, second, causeway.Accepted, 0)
		b.settle(dev, again, causeway.Accepted, 0)
		b.depth(dev, 0)
	})
}

// TestLockEndsOnTime settles at the instant a lock ends, before any sweep.
func TestLockEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, c2dtest.NewMemory(), c2d.Options{Policy: func(string) c2d.Policy { return c2d.Policy{Lock: 10 * time.Second} }})
		b.enqueue(dev, message("a"))
		a := b.receive(dev, "a")
		after(10*time.Second - 1)
		b.receive(dev, "")
		after(1)
		b.settle(dev, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		a = b.receive(dev, "a")
		b.settle(dev, a, causeway.Accepted, 0)
	})
}

func TestDeliveryCount(t *testing.T) {
	for _, tc := range []struct{ set, want int }{{0, causeway.MaxDeliveryCount}, {1, 1}, {3, 3}} {
		t.Run(fmt.Sprint(tc.set), func(t *testing.T) {
			bubble(t, c2d.Options{Policy: func(string) c2d.Policy { return c2d.Policy{MaxDeliveryCount: tc.set} }}, func(b *bench) {
				b.enqueue(dev, message("a"))
				for n := range tc.want {
					m := b.receive(dev, "a")
					if m.DeliveryCount != n {
						t.Errorf("delivery %d has count %d", n, m.DeliveryCount)
					}
					b.Unlock(dev, m.Lock) // does not count
					m = b.receive(dev, "a")
					b.watch.take()
					b.settle(dev, m, causeway.Released, 0)
					b.settle(dev, m, causeway.Released, causeway.DeviceMessageLockLost)
					if n < tc.want-1 {
						b.heard(dev)
					} else {
						b.heard()
					}
				}
				b.receive(dev, "")
				b.depth(dev, 0)
				b.wantFeedback("a DeliveryCountExceeded")
			})
		})
	}
}

func TestAbandonedKeepsItsPlace(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		for _, id := range []string{"a", "b", "c"} {
			b.enqueue(dev, message(id))
		}
		a, second := b.receive(dev, "a"), b.receive(dev, "b")
		b.settle(dev, second, causeway.Released, 0)
		b.settle(dev, a, causeway.Released, 0)
		b.receive(dev, "a")
		b.receive(dev, "b")
		b.receive(dev, "c")
	})
}

func TestUnlock(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		for _, id := range []string{"a", "b", "c"} {
			b.enqueue(dev, message(id))
		}
		a, second := b.receive(dev, "a"), b.receive(dev, "b")
		b.watch.take()
		b.Unlock(dev, a.Lock, second.Lock, causeway.LockToken{9})
		b.heard(dev)
		b.Unlock(dev, a.Lock)
		b.Unlock(other, a.Lock)
		b.heard()
		b.settle(dev, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		if m := b.receive(dev, "a"); m.DeliveryCount != 0 {
			t.Errorf("count is %d", m.DeliveryCount)
		}
		b.receive(dev, "b")
		b.receive(dev, "c")
	})
}

// TestReceiversCompete has several connections of one identity drain a queue:
// every message is had by exactly one.
func TestReceiversCompete(t *testing.T) {
	b := newBench(t, c2dtest.NewMemory(), c2d.Options{})
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("m%02d", i))
		b.enqueue(dev, message(want[i]))
	}
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				m, ok, err := b.Receive(t.Context(), dev)
				if err != nil || !ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if err := b.Settle(t.Context(), dev, m.Lock, causeway.Accepted); err != nil {
					t.Error(err)
				}
				mu.Lock()
				got = append(got, m.ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("received (-want +got):\n%s", d)
	}
	b.depth(dev, 0)
}
