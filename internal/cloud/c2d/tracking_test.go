package c2d_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

// TestEmptyQueuesCostNothing has ten thousand devices connect.
func TestEmptyQueuesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := c2dtest.NewMemory()
		first := newBench(t, store, c2d.Options{})
		for i := range 30 {
			first.enqueue(causeway.Identity{Hub: "plant", Device: fmt.Sprint(i * 100)}, message("waiting"))
		}
		b := newBench(t, store, c2d.Options{})
		b.start()
		before := store.Reads()
		found := 0
		for i := range 10_000 {
			id := causeway.Identity{Hub: "plant", Device: fmt.Sprint(i)}
			m, ok, err := b.Receive(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				found++
				b.settle(id, m, causeway.Accepted, 0)
				b.receive(id, "")
			}
			b.depth(id, 0)
			if n, err := b.Purge(t.Context(), id); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			b.Unlock(id, m.Lock)
			b.Forget(id)
		}
		if reads := store.Reads() - before; found != 30 || reads != 2*30 {
			t.Errorf("%d messages found with %d reads; want 30 with 2 each", found, reads)
		}
		before = store.Reads()
		b.enqueue(other, message("new"))
		b.settle(other, b.receive(other, "new"), causeway.Accepted, 0)
		b.receive(other, "")
		if reads := store.Reads() - before; reads != 1 {
			t.Errorf("a message to a device without any took %d reads, want 1: itself", reads)
		}
	})
}

// TestMoreQueuesThanTracked checks that nothing is missed when there are more
// queues than are remembered.
func TestMoreQueuesThanTracked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := c2dtest.NewMemory()
		id := func(i int) causeway.Identity { return causeway.Identity{Hub: "plant", Device: fmt.Sprint(i)} }
		first := newBench(t, store, c2d.Options{Limit: 5})
		first.start()
		for i := range 20 {
			first.enqueue(id(i), message("a"))
			first.enqueue(id(i), message("b"))
		}
		for _, b := range []*bench{first, newBench(t, store, c2d.Options{Limit: 5})} {
			if b != first {
				b.start()
			}
			for i := range 20 {
				m := b.receive(id(i), "a")
				b.depth(id(i), 2)
				second := b.receive(id(i), "b") // the first is held
				b.receive(id(i), "")
				b.settle(id(i), second, causeway.Released, 0)
				b.Unlock(id(i), m.Lock)
			}
			after(10 * time.Minute) // reloads
			for i := range 25 {
				want := ""
				if i < 20 {
					want = "a"
				}
				m := b.receive(id(i), want)
				b.Unlock(id(i), m.Lock)
			}
		}
		for i := range 18 {
			if n, err := first.Purge(t.Context(), id(i)); n != 2 || err != nil {
				t.Fatal(n, err)
			}
		}
		after(10 * time.Minute) // few enough again to know all
		before := store.Reads()
		for i := range 18 {
			first.receive(id(i), "")
		}
		if reads := store.Reads() - before; reads != 0 {
			t.Errorf("%d reads of queues that are known to be empty", reads)
		}
		first.receive(id(19), "a")
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := c2dtest.NewMemory()
		b := newBench(t, store, c2d.Options{})
		b.start()
		for _, id := range []causeway.Identity{dev, module, other} {
			b.enqueue(id, message("a"))
			b.enqueue(id, message("b"))
		}
		held, heldByModule := b.receive(dev, "a"), b.receive(module, "a")
		store.Delete(dev)
		b.enqueue(dev, message("of-the-next-device")) // created again already
		b.Forget(dev)
		b.settle(dev, held, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(module, heldByModule, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.depth(module, 0)
		b.depth(other, 2)
		b.receive(dev, "of-the-next-device")
		b.wantFeedback()

		// Without Forget a deletion is noticed too.
		store.Delete(other)
		b.receive(other, "")
		b.depth(other, 0)
	})
}

func TestStoreFails(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		full := causeway.Errorf(causeway.ServiceUnavailable, "test", "no space left")
		b.enqueue(dev, message("a"))
		a := b.receive(dev, "a")
		b.enqueue(dev, message("b"))
		b.watch.take()
		b.store.Fail(full)
		if err := b.Enqueue(b.Context(), dev, message("c"), "g"); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			b.Errorf("Enqueue: %v", err)
		}
		for _, o := range []causeway.Outcome{causeway.Accepted, causeway.Rejected, causeway.Released} {
			b.settle(dev, a, o, causeway.ServiceUnavailable)
		}
		if _, _, err := b.Receive(b.Context(), dev); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			b.Errorf("Receive: %v", err)
		}
		if _, err := b.Purge(b.Context(), dev); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			b.Errorf("Purge: %v", err)
		}
		after(10 * time.Second) // sweeps fail too
		b.heard()
		b.store.Fail(nil)
		b.settle(dev, a, causeway.Released, 0)
		if a = b.receive(dev, "a"); a.DeliveryCount != 1 {
			b.Errorf("count is %d", a.DeliveryCount)
		}
		b.settle(dev, a, causeway.Accepted, 0)
		b.settle(dev, b.receive(dev, "b"), causeway.Accepted, 0)
		b.receive(dev, "")
		b.enqueue(dev, message("d"))
		b.receive(dev, "d")
		after(2 * time.Hour)
		b.depth(dev, 0) // sweeps work again
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := c2dtest.NewMemory()
		b := newBench(t, store, c2d.Options{})
		for _, id := range []string{"a", "b", "c"} {
			b.enqueue(dev, message(id))
		}
		b.settle(dev, b.receive(dev, "a"), causeway.Released, 0)
		a := b.receive(dev, "a")
		b.settle(dev, b.receive(dev, "b"), causeway.Accepted, 0)

		b = newBench(t, store, c2d.Options{})
		b.start()
		b.settle(dev, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		if m := b.receive(dev, "a"); m.DeliveryCount != 1 {
			t.Errorf("count is %d", m.DeliveryCount)
		}
		b.receive(dev, "c")
		b.receive(dev, "")
	})
}
