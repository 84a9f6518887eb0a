package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

// slow is a store that takes a minute and a half for every outcome.
type slow struct{ *outboxtest.Memory }

const takes = 90 * time.Second

func (s slow) Remove(ctx context.Context, hub string, k outbox.Kind, seq int64) (bool, error) {
	time.Sleep(takes) //nolint:forbidigo // simulated time
	return s.Memory.Remove(ctx, hub, k, seq)
}

func (s slow) SetDeliveryCount(ctx context.Context, hub string, k outbox.Kind, seq int64, n int) error {
	time.Sleep(takes) //nolint:forbidigo // simulated time
	return s.Memory.SetDeliveryCount(ctx, hub, k, seq, n)
}

// TestSettleSlowly settles while the store is slow: the first outcome counts,
// the end of the lock meanwhile does not, and others are not held up.
func TestSettleSlowly(t *testing.T) {
	for _, o := range []causeway.Outcome{causeway.Accepted, causeway.Released} {
		synctest.Test(t, func(t *testing.T) {
			memory := outboxtest.NewMemory(hub)
			b := &bench{T: t, store: memory, Service: outbox.New(outbox.Options{Store: slow{memory}})}
			b.start()
			b.notify("a", "b")
			a := b.receive("a")
			done := make(chan error, 1)
			go func() { done <- b.Settle(context.Background(), hub, files, a.Lock, o) }()
			synctest.Wait()
			b.settle(files, a, causeway.Rejected, causeway.DeviceMessageLockLost)
			b.Unlock(hub, files, a.Lock)
			began := time.Now()
			b.receive("b")
			if time.Since(began) != 0 {
				t.Error("a receiver waited for the settlement of another")
			}
			after(61 * time.Second) // both locks are over
			b.receive("b")
			b.receive("")
			after(30 * time.Second)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if o == causeway.Released {
				if a := b.receive("a"); a.DeliveryCount != 1 {
					t.Errorf("delivery count %d, want 1", a.DeliveryCount)
				}
			} else {
				b.receive("")
			}
		})
	}
}

// TestSettleAfterLeaving settles for a client that has left meanwhile.
func TestSettleAfterLeaving(t *testing.T) {
	bubble(t, outbox.Options{}, func(b *bench) {
		b.notify("a")
		a := b.receive("a")
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := b.Settle(ctx, hub, files, a.Lock, causeway.Accepted); err != nil {
			t.Errorf("Settle: %v", err)
		}
		b.waiting(files, 0)
	})
}
