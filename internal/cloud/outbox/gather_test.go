package outbox_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

func TestGatherDelay(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		ready, cancel := b.Subscribe(hub, outbox.Feedback)
		defer cancel()
		b.record(hub, 2)
		after(10 * time.Second)
		b.record(hub, 1) // does not make the others wait longer
		after(5*time.Second - time.Millisecond)
		b.feedback(hub, 0, -1)
		if woken(ready) {
			t.Error("woken for nothing")
		}
		after(time.Millisecond)
		if !woken(ready) {
			t.Error("not woken")
		}
		b.waiting(outbox.Feedback, 1)
		d := b.feedback(hub, 0, 2)
		if d.ID == "" || d.Sequence == 0 || d.DeliveryCount != 0 || !d.Enqueued.Equal(time.Now()) || d.File != nil {
			t.Errorf("delivery: %+v", d)
		}
		b.settle(outbox.Feedback, d, causeway.Accepted, 0)
		b.feedback(hub, 0, -1)
		b.record(hub, 1)
		after(15 * time.Second)
		b.feedback(hub, 3, 3)
	})
}

func TestGatherFull(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.record(hub, 60)
		b.feedback(hub, 0, -1)
		b.record(hub, 4)
		b.feedback(hub, 0, 63) // at once
		b.record(hub, 3*64+5)
		for i := range 3 {
			b.feedback(hub, 64*(i+1), 64*(i+2)-1)
		}
		b.feedback(hub, 0, -1)
		after(15 * time.Second)
		b.feedback(hub, 256, 260)
		b.waiting(outbox.Feedback, 5)
	})
}

func TestGatherSettings(t *testing.T) {
	bubble(t, outbox.Options{Delay: 100 * time.Millisecond}, func(b *bench) {
		b.record(hub, 1)
		after(99 * time.Millisecond)
		b.feedback(hub, 0, -1)
		after(time.Millisecond)
		b.feedback(hub, 0, 0)
	})
}

func TestGatherHubsApart(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.record(hub, 1)
		after(5 * time.Second)
		b.record("depot", 64)
		b.feedback("depot", 1, 64)
		b.feedback(hub, 0, -1)
		after(10 * time.Second)
		b.feedback(hub, 0, 0)
		b.feedback("depot", 0, -1)
	})
}

// TestGatherAfterRestart finds feedback that an earlier run has left.
func TestGatherAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := outboxtest.NewMemory(hub, "depot")
		first := newBench(t, store, outbox.Options{})
		first.record(hub, 3)
		first.record("depot", 70)
		after(10 * time.Second)

		b := newBench(t, store, outbox.Options{})
		b.start()
		b.feedback("depot", 3, 66)
		b.feedback(hub, 0, -1)
		after(5 * time.Second) // 15 after they were recorded
		b.feedback(hub, 0, 2)
		b.feedback("depot", 67, 72)
	})
}

// TestGatherFailure lets the store fail when a message is due.
func TestGatherFailure(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.record(hub, 1)
		b.store.Fail(errors.New("disk"))
		after(20 * time.Second)
		b.store.Fail(nil)
		after(time.Second)
		b.feedback(hub, 0, 0)
	})
}

// TestGatherDeleted deletes the device while its feedback waits.
func TestGatherDeleted(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.record(hub, 3)
		b.store.Delete(causeway.Identity{Hub: hub, Device: "press-1"})
		after(16 * time.Second)
		b.waiting(outbox.Feedback, 0)
		b.record(hub, 2)
		after(15 * time.Second)
		b.store.Delete(causeway.Identity{Hub: hub, Device: "press-1"})
		b.waiting(outbox.Feedback, 1)
		b.feedback(hub, 0, -1) // a message without records is none
		b.waiting(outbox.Feedback, 0)
		b.record(hub, 64)
		b.feedback(hub, 5, 68)
	})
}
