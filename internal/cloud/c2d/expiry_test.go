package c2d_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
)

func TestTimeToLive(t *testing.T) {
	policy := func(hub string) c2d.Policy {
		if hub == dev.Hub {
			return c2d.Policy{TTL: 10 * time.Minute}
		}
		return c2d.Policy{}
	}
	bubble(t, c2d.Options{Policy: policy}, func(b *bench) {
		abroad := causeway.Identity{Hub: "depot", Device: "press-1"}
		b.enqueue(dev, message("policy"))
		b.enqueue(abroad, message("default"))
		own := message("own")
		own.Expiry = time.Now().Add(2 * time.Minute)
		b.enqueue(dev, own)
		past := message("past")
		past.Expiry = time.Now().Add(-time.Second)
		b.enqueue(dev, past)

		after(time.Second)
		b.wantFeedback("past Expired")
		after(2 * time.Minute)
		b.wantFeedback("past Expired", "own Expired")
		b.depth(dev, 1)
		after(8*time.Minute - 2*time.Second)
		b.depth(dev, 1)
		after(2 * time.Second)
		b.depth(dev, 0)
		b.wantFeedback("past Expired", "own Expired", "policy Expired")
		b.depth(abroad, 1)
		after(50 * time.Minute)
		b.depth(abroad, 0)
	})
}

// TestTimeToLiveOfDelivered checks that a client that has a message when its
// time is over may still settle it, and that nobody else gets it.
func TestTimeToLiveOfDelivered(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		for _, id := range []string{"settled", "abandoned", "kept"} {
			m := message(id)
			m.Expiry = time.Now().Add(30 * time.Second)
			b.enqueue(dev, m)
		}
		settled, abandoned := b.receive(dev, "settled"), b.receive(dev, "abandoned")
		b.receive(dev, "kept")
		after(31 * time.Second)
		b.depth(dev, 3)
		b.settle(dev, settled, causeway.Accepted, 0)
		b.settle(dev, abandoned, causeway.Released, 0)
		b.receive(dev, "")
		b.wantFeedback("settled Success", "abandoned Expired")
		after(30 * time.Second)
		b.depth(dev, 0)
		b.wantFeedback("settled Success", "abandoned Expired", "kept Expired")
	})
}

// TestManyExpire ends more messages at once than one batch holds, with others
// that a client has among them.
func TestManyExpire(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		const devices, each = 100, 20
		var held []causeway.Message
		for d := range devices {
			id := causeway.Identity{Hub: "plant", Device: fmt.Sprint(d)}
			for range each {
				m := message("x")
				m.Expiry = time.Now().Add(20 * time.Second)
				b.enqueue(id, m)
			}
			for range d % 4 * 5 {
				held = append(held, b.receive(id, "x"))
			}
		}
		after(22 * time.Second)
		if n := len(b.feedback()); n != devices*each-len(held) {
			t.Errorf("there are %d records of feedback, want %d", n, devices*each-len(held))
		}
		total := 0
		for d := range devices {
			id := causeway.Identity{Hub: "plant", Device: fmt.Sprint(d)}
			n, err := b.Depth(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		if total != len(held) {
			t.Errorf("%d messages are left, want the %d that clients have", total, len(held))
		}
		after(time.Minute)
		for d := range devices {
			b.depth(causeway.Identity{Hub: "plant", Device: fmt.Sprint(d)}, 0)
		}
	})
}
