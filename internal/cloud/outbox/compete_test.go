package outbox_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

// TestCompete lets receivers share a queue while records arrive. Some abandon,
// lose their connection or forget to settle. Every record must be accepted
// exactly once, and none may be with two receivers at one time.
func TestCompete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const receivers, batches, each = 6, 40, 50
		b := newBench(t, outboxtest.NewMemory(hub), outbox.Options{
			Policy: func(string, outbox.Kind) outbox.Policy {
				return outbox.Policy{MaxDeliveryCount: outbox.MaxDeliveryCount}
			},
		})
		b.start()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		held := map[string]int{}     // by message: who has it
		accepted := map[string]int{} // by record
		var wg sync.WaitGroup
		for who := 1; who <= receivers; who++ {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(who)))
				ready, end := b.Subscribe(hub, outbox.Feedback)
				defer end()
				for {
					d, ok, err := b.Receive(ctx, hub, outbox.Feedback)
					if ctx.Err() != nil {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if !ok {
						select {
						case <-ready:
							continue
						case <-ctx.Done():
							return
						}
					}
					mu.Lock()
					if other := held[d.ID]; other != 0 {
						t.Errorf("%d got %s while %d has it", who, d.ID, other)
					}
					held[d.ID] = who
					mu.Unlock()
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond) //nolint:forbidigo // simulated time
					mu.Lock()
					delete(held, d.ID)
					mu.Unlock()
					switch rng.IntN(6) {
					case 0:
						err = b.Settle(ctx, hub, outbox.Feedback, d.Lock, causeway.Released)
					case 1:
						b.Unlock(hub, outbox.Feedback, d.Lock)
					case 2: // forgotten: the lock ends by itself
					default:
						if err = b.Settle(ctx, hub, outbox.Feedback, d.Lock, causeway.Accepted); err == nil {
							mu.Lock()
							for _, r := range d.Records {
								accepted[r.OriginalMessageID]++
							}
							mu.Unlock()
						}
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range batches {
			b.record(hub, each)
			after(300 * time.Millisecond)
		}
		after(30 * time.Minute)
		cancel()
		wg.Wait()
		if len(accepted) != batches*each {
			t.Errorf("%d records were accepted, want %d", len(accepted), batches*each)
		}
		for id, n := range accepted {
			if n != 1 {
				t.Errorf("record %s was accepted %d times", id, n)
			}
		}
		b.waiting(outbox.Feedback, 0)
	})
}
