package c2d_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
)

func TestFeedbackRules(t *testing.T) {
	outcomes := map[c2d.Status]func(b *bench, m causeway.Message){
		c2d.Success:          func(b *bench, m causeway.Message) { b.settle(dev, m, causeway.Accepted, 0) },
		c2d.RejectedByDevice: func(b *bench, m causeway.Message) { b.settle(dev, m, causeway.Rejected, 0) },
		c2d.DeliveryCountExceeded: func(b *bench, m causeway.Message) {
			b.settle(dev, m, causeway.Released, 0)
		},
		c2d.Purged: func(b *bench, _ causeway.Message) {
			if n, err := b.Purge(b.Context(), dev); n != 1 || err != nil {
				b.Fatalf("Purge = %d, %v", n, err)
			}
		},
		c2d.Expired: func(b *bench, m causeway.Message) {
			b.Unlock(dev, m.Lock)
			after(2 * time.Hour)
		},
	}
	for status, cause := range outcomes {
		for _, ack := range []causeway.Ack{causeway.AckNone, causeway.AckPositive, causeway.AckNegative, causeway.AckFull} {
			t.Run(fmt.Sprintf("%s of %q", status, string(ack)), func(t *testing.T) {
				policy := func(string) c2d.Policy { return c2d.Policy{MaxDeliveryCount: 1} }
				bubble(t, c2d.Options{Policy: policy}, func(b *bench) {
					m := message("a")
					m.Ack = ack
					b.enqueue(dev, m)
					cause(b, b.receive(dev, "a"))
					b.depth(dev, 0)
					got := b.store.Feedback(dev.Hub)
					wanted := ack == causeway.AckFull || (ack == causeway.AckPositive) == (status == c2d.Success) && ack != causeway.AckNone
					if len(got) != 1 || !wanted {
						if len(got) != 0 || wanted {
							t.Fatalf("feedback %+v, wanted: %v", got, wanted)
						}
						return
					}
					f := got[0]
					want := c2d.Feedback{OriginalMessageID: "a", Device: dev.Device, GenerationID: "gen-1", Status: status, Time: f.Time}
					if d := cmp.Diff(want, f); d != "" {
						t.Errorf("feedback (-want +got):\n%s", d)
					}
					if since := time.Since(f.Time); since < 0 || since > 2*time.Hour {
						t.Errorf("feedback is of %v ago", since)
					}
				})
			})
		}
	}
}
