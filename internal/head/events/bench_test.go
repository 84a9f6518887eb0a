package events_test

import (
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// counter counts what arrives, and says when it was enough.
type counter struct {
	n, want atomic.Int64
	done    chan struct{}
}

func (c *counter) Transfer(_ *amqp.Receiver, d amqp.Delivery) {
	if c.n.Add(1) == c.want.Load() {
		c.done <- struct{}{}
	}
}

func (c *counter) Detached(*amqp.Receiver, error) {}

// BenchmarkRead reads events of 256 bytes with one reader over TCP, client
// included.
func BenchmarkRead(b *testing.B) {
	w := open(b, nil)
	const n = 200_000
	w.fill(0, n, event(256))
	s := w.client()
	c := &counter{done: make(chan struct{}, 1)}
	c.want.Store(n)
	total := 0
	b.ReportAllocs()
	for b.Loop() {
		c.n.Store(0)
		r, err := s.AttachReceiver(b.Context(), amqp.LinkConfig{Source: address("0"), SndSettleMode: codec.SendSettled},
			amqp.ReceiverOptions{Handler: c, Credit: 20_000})
		if err != nil {
			b.Fatal(err)
		}
		<-c.done
		r.Close(nil)
		total += n
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/event")
}
