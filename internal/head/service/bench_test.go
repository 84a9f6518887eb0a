package service_test

import (
	"fmt"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// BenchmarkSend sends bursts of messages to 100 devices, whose queues take no
// time: what is left is the way there and back.
func BenchmarkSend(b *testing.B) {
	w := open(b, nil)
	w.setEnqueue(func(causeway.Identity, *causeway.Message) error { return errQueued })
	raw := w.raw()
	const burst = 100
	payloads := make([][]byte, burst)
	for i := range payloads {
		payloads[i] = hubamqp.AppendServiceCommand(nil, causeway.Identity{Device: fmt.Sprint("bulk-", i)}, &causeway.Message{ID: "m", Body: make([]byte, 256)})
	}
	id := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range payloads {
			raw.queue(id, p)
			id++
		}
		raw.flush()
		for settled := 0; settled < burst; {
			switch p := raw.next().(type) {
			case *codec.Disposition:
				settled += int(p.Last.Or(p.First)-p.First) + 1
			case *codec.Detach, *codec.Close:
				b.Fatalf("%+v", p)
			}
		}
	}
	b.ReportMetric(float64(b.N)*burst/b.Elapsed().Seconds(), "messages/s")
}
