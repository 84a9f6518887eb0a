//go:build unix

package events_test

import (
	"sync/atomic"
	"syscall"
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

// processor returns the time that the process has computed for, in nanoseconds:
// what an event costs, no matter what else the machine does.
func processor() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkRead reads events of 256 bytes with one reader over TCP, client
// included.
func BenchmarkRead(b *testing.B) {
	w := open(b, nil)
	const n = 200_000
	w.fill(0, n, event(256))
	s := w.client()
	c := &counter{done: make(chan struct{}, 1)}
	c.want.Store(n)
	total, before := 0, processor()
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
	b.ReportMetric(float64(processor()-before)/float64(total), "cpu-ns/event")
}

// BenchmarkWake appends an event and waits until a reader has it: the commit of
// the log, and the way to the client.
func BenchmarkWake(b *testing.B) {
	w := open(b, nil)
	c := &counter{done: make(chan struct{}, 1)}
	if _, err := w.client().AttachReceiver(b.Context(), amqp.LinkConfig{Source: address("0"), SndSettleMode: codec.SendSettled},
		amqp.ReceiverOptions{Handler: c, Credit: 1000}); err != nil {
		b.Fatal(err)
	}
	m := event(256)
	for b.Loop() {
		c.want.Store(c.n.Load() + 1)
		w.fill(0, 1, m)
		<-c.done
	}
}
