package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

const files = outbox.FileNotifications

func TestDelivery(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.receive("")
		b.notify("a", "b", "c")
		a, bb := b.receive("a"), b.receive("b")
		if a.Lock == bb.Lock || a.Lock == (causeway.LockToken{}) || a.ID == bb.ID || a.Sequence >= bb.Sequence || !a.File.Enqueued.Equal(a.Enqueued) {
			t.Errorf("deliveries: %+v, %+v", a, bb)
		}
		b.settle(files, a, causeway.Accepted, 0)
		b.settle(files, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(files, bb, causeway.Rejected, 0)
		b.settle(files, bb, causeway.Released, causeway.DeviceMessageLockLost)
		b.waiting(files, 1)
		c := b.receive("c")
		b.settle(files, c, causeway.Outcome(9), causeway.ArgumentInvalid)
		if err := b.Settle(b.Context(), "depot", files, c.Lock, causeway.Accepted); causeway.CodeOf(err) != causeway.DeviceMessageLockLost {
			t.Errorf("a lock was settled on another hub: %v", err)
		}
		b.settle(outbox.Feedback, c, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(files, outbox.Delivery{}, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(files, c, causeway.Accepted, 0)
		b.waiting(files, 0)
		b.receive("")
	})
}

func TestAbandon(t *testing.T) {
	policy := func(_ string, k outbox.Kind) outbox.Policy {
		if k == files {
			return outbox.Policy{MaxDeliveryCount: 3}
		}
		return outbox.Policy{}
	}
	bubble(t, outbox.Options{Policy: policy}, func(b *bench) {
		b.notify("a", "b")
		for i := range 3 {
			a := b.receive("a") // before b: it is older
			if a.DeliveryCount != i {
				t.Errorf("delivery count %d, want %d", a.DeliveryCount, i)
			}
			b.settle(files, a, causeway.Released, 0)
		}
		b.receive("b")
		b.waiting(files, 1)

		b.record(hub, 64)
		for i := range 10 {
			d := b.feedback(hub, 0, 63)
			if d.DeliveryCount != i {
				t.Errorf("delivery count %d, want %d", d.DeliveryCount, i)
			}
			b.settle(outbox.Feedback, d, causeway.Released, 0)
		}
		b.feedback(hub, 0, -1)
		b.waiting(outbox.Feedback, 0)
	})
}

func TestLockExpires(t *testing.T) {
	policy := func(_ string, k outbox.Kind) outbox.Policy {
		if k == files {
			return outbox.Policy{Lock: 5 * time.Second}
		}
		return outbox.Policy{}
	}
	bubble(t, outbox.Options{Policy: policy}, func(b *bench) {
		ready, cancel := b.Subscribe(hub, files)
		defer cancel()
		b.notify("a")
		woken(ready)
		first := b.receive("a")
		after(5*time.Second - time.Millisecond)
		b.receive("")
		if woken(ready) {
			t.Error("woken before the lock was over")
		}
		after(time.Second)
		if !woken(ready) {
			t.Error("not woken when the lock was over")
		}
		b.settle(files, first, causeway.Accepted, causeway.DeviceMessageLockLost)
		again := b.receive("a")
		if again.DeliveryCount != 0 || again.ID != first.ID || again.Lock == first.Lock {
			t.Errorf("delivered again: %+v, first %+v", again, first)
		}
		b.settle(files, again, causeway.Accepted, 0)

		b.record(hub, 64)
		d := b.feedback(hub, 0, 63)
		after(59 * time.Second)
		b.feedback(hub, 0, -1)
		b.settle(outbox.Feedback, d, causeway.Accepted, 0)
	})
}

func TestUnlock(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		ready, cancel := b.Subscribe(hub, files)
		defer cancel()
		b.notify("a", "b", "c")
		first, second := b.receive("a"), b.receive("b")
		woken(ready)
		b.Unlock(hub, files, causeway.LockToken{1}, second.Lock)
		if !woken(ready) {
			t.Error("not woken")
		}
		b.Unlock(hub, files, second.Lock) // again
		b.Unlock(hub, files)
		if woken(ready) {
			t.Error("woken for nothing")
		}
		b.settle(files, second, causeway.Accepted, causeway.DeviceMessageLockLost)
		if d := b.receive("b"); d.DeliveryCount != 0 {
			t.Errorf("delivery count %d", d.DeliveryCount)
		}
		b.receive("c")
		b.settle(files, first, causeway.Accepted, 0)
	})
}

func TestTimeToLive(t *testing.T) {
	policy := func(_ string, k outbox.Kind) outbox.Policy {
		if k == files {
			return outbox.Policy{TTL: 2 * time.Minute}
		}
		return outbox.Policy{}
	}
	bubble(t, outbox.Options{Policy: policy}, func(b *bench) {
		b.record(hub, 64)
		b.notify("free", "held", "lost")
		after(110 * time.Second)
		b.receive("free")
		after(5 * time.Second) // 115
		held, lost := b.receive("held"), b.receive("lost")
		after(5 * time.Second)  // 120: over
		b.waiting(files, 0)     // nobody gets them any more
		after(50 * time.Second) // 170: the lock of the first is over too
		b.receive("")
		b.settle(files, held, causeway.Accepted, 0)
		after(10 * time.Second)
		b.settle(files, lost, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.receive("")
		b.waiting(outbox.Feedback, 1)
		b.feedback(hub, 0, 63)
		after(57*time.Minute + time.Second)
		b.waiting(outbox.Feedback, 0)
		b.feedback(hub, 0, -1)
		// What was not received is deleted.
		after(10 * time.Minute)
		for _, k := range []outbox.Kind{outbox.Feedback, files} {
			items, err := b.store.Index(b.Context(), hub, k, 0, time.Time{}, 10)
			if len(items) != 0 || err != nil {
				t.Errorf("%s: %+v, %v", k, items, err)
			}
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := outboxtest.NewMemory(hub)
		b := newBench(t, store, outbox.Options{})
		stop := b.start()
		b.notify("settled", "abandoned", "held", "free")
		b.record(hub, 64)
		feedback := b.feedback(hub, 0, 63)
		b.settle(files, b.receive("settled"), causeway.Accepted, 0)
		b.settle(files, b.receive("abandoned"), causeway.Released, 0)
		b.receive("abandoned")
		held := b.receive("held")
		stop()

		b = newBench(t, store, outbox.Options{})
		b.start()
		b.settle(files, held, causeway.Accepted, causeway.DeviceMessageLockLost)
		if d := b.receive("abandoned"); d.DeliveryCount != 1 {
			t.Errorf("delivery count %d, want 1", d.DeliveryCount)
		}
		if d := b.receive("held"); d.ID != held.ID || d.Sequence != held.Sequence || !d.Enqueued.Equal(held.Enqueued) {
			t.Errorf("delivered %+v, before the restart %+v", d, held)
		}
		b.receive("free")
		b.receive("")
		if d := b.feedback(hub, 0, 63); d.ID != feedback.ID || d.DeliveryCount != 0 {
			t.Errorf("feedback %+v, before the restart %+v", d, feedback)
		}
	})
}

func TestNotify(t *testing.T) {
	disabled := false
	policy := func(string, outbox.Kind) outbox.Policy { return outbox.Policy{Disabled: disabled} }
	bubble(t, outbox.Options{Policy: policy}, func(b *bench) {
		edit := func(f func(n *outbox.FileNotification)) outbox.FileNotification {
			n := file("a")
			f(&n)
			return n
		}
		for name, n := range map[string]outbox.FileNotification{
			"no device": edit(func(n *outbox.FileNotification) { n.DeviceID = "" }),
			"no name":   edit(func(n *outbox.FileNotification) { n.BlobName = "" }),
			"no URI":    edit(func(n *outbox.FileNotification) { n.BlobURI = "" }),
			"size":      edit(func(n *outbox.FileNotification) { n.Size = -1 }),
			"long":      edit(func(n *outbox.FileNotification) { n.BlobURI = strings.Repeat("x", outbox.MaxField+1) }),
		} {
			if err := b.Notify(b.Context(), hub, n); causeway.CodeOf(err) != causeway.ArgumentInvalid {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := b.Notify(b.Context(), "nowhere", file("a")); causeway.CodeOf(err) != causeway.GenericNotFound {
			t.Errorf("no hub: %v", err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := b.Notify(ctx, hub, file("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
		b.store.Fail(causeway.Errorf(causeway.ServiceUnavailable, "", "disk"))
		if err := b.Notify(b.Context(), hub, file("a")); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			t.Errorf("a store that fails: %v", err)
		}
		b.store.Fail(nil)
		disabled = true
		b.notify("a")
		if b.Enabled(hub, files) {
			t.Error("enabled")
		}
		b.waiting(files, 0)
		disabled = false
		b.notify("b")
		if !b.Enabled(hub, files) {
			t.Error("disabled")
		}
		b.receive("b")
	})
}

// TestFailure lets the store fail while messages are received and settled.
func TestFailure(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.notify("a", "b")
		down := causeway.Errorf(causeway.ServiceUnavailable, "", "disk")
		fails := func(what string, err error) {
			t.Helper()
			if causeway.CodeOf(err) != causeway.ServiceUnavailable {
				t.Errorf("%s: %v", what, err)
			}
		}
		b.store.Fail(down)
		_, _, err := b.Receive(b.Context(), hub, files)
		fails("Receive", err)
		b.store.Fail(nil)
		a := b.receive("a")
		b.store.Fail(down)
		for _, o := range []causeway.Outcome{causeway.Accepted, causeway.Rejected, causeway.Released} {
			fails("Settle", b.Settle(b.Context(), hub, files, a.Lock, o))
		}
		_, _, err = b.Receive(b.Context(), hub, files) // b is known but cannot be read
		fails("Receive", err)
		_, err = b.Waiting(b.Context(), hub, files)
		fails("Waiting", err)
		b.store.Fail(nil)
		b.settle(files, a, causeway.Accepted, 0)
		b.receive("b")
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, _, err := b.Receive(ctx, hub, files); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	})
}

// TestWaitingCostsNothing holds a receiver that waits to not asking the store.
func TestWaitingCostsNothing(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		ready, cancel := b.Subscribe(hub, files)
		b.receive("")
		before, _ := b.store.Calls()
		after(24 * time.Hour)
		for range 100 {
			b.receive("")
		}
		if reads, _ := b.store.Calls(); reads != before {
			t.Errorf("%d reads while there was nothing", reads-before)
		}
		if woken(ready) {
			t.Error("woken for nothing")
		}
		b.notify("a")
		if !woken(ready) {
			t.Error("not woken")
		}
		cancel()
		b.notify("b")
		if woken(ready) {
			t.Error("woken after the end of the subscription")
		}
	})
}

// TestManyLocked gives receivers as many messages as they may have.
func TestManyLocked(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		ready, cancel := b.Subscribe(hub, files)
		defer cancel()
		for range outbox.MaxLocked + 10 {
			b.notify("x")
		}
		var held []outbox.Delivery
		for range outbox.MaxLocked {
			held = append(held, b.receive("x"))
		}
		b.receive("")
		woken(ready)
		b.settle(files, held[500], causeway.Accepted, 0)
		if !woken(ready) {
			t.Error("not woken when there was room again")
		}
		next := b.receive("x")
		if next.Sequence <= held[len(held)-1].Sequence {
			t.Errorf("delivered %d", next.Sequence)
		}
		b.receive("")
		after(61 * time.Second)
		if d := b.receive("x"); d.Sequence != held[0].Sequence {
			t.Errorf("delivered %d again, want the oldest, %d", d.Sequence, held[0].Sequence)
		}
	})
}

func TestForget(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.record(hub, 3)
		b.notify("a", "b")
		a := b.receive("a")
		ready, cancel := b.Subscribe(hub, files)
		b.Forget(hub)
		b.Forget("nowhere")
		b.settle(files, a, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.receive("a") // the store still has it: here it was not the hub that went
		b.notify("c")
		if !woken(ready) {
			t.Error("a subscriber was forgotten")
		}
		cancel()
		b.Forget(hub)
		b.receive("a")
	})
}
