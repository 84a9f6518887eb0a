package client

import (
	"context"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// A reader of events allocates nothing for an event, once it has read as many.
func TestReadingAllocatesNothing(t *testing.T) {
	m := causeway.Message{
		Body: make([]byte, 256), ContentType: "application/json", From: causeway.Identity{Device: "d1"}, Source: causeway.SourceTelemetry,
		Properties: []causeway.Property{{Key: "a", Value: "b"}}, Enqueued: time.Now(), Auth: "{}", GenerationID: "1",
	}
	wire := hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 1 << 20, Offset: 1 << 20, Enqueued: time.Now()}, nil)
	f := newFeed(t.Context(), DefaultPrefetch)
	f.left = 1 << 30 // no credit is due
	r := &EventReader{partition: "0", ctx: t.Context(), feed: f, batch: &arena{}}
	const events = 1000
	read := func() {
		for range events {
			f.Transfer(nil, amqp.Delivery{Settled: true, Payload: wire})
		}
		for n := 0; n < events; {
			list, err := r.Receive(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			n += len(list)
		}
	}
	read()
	read() // the other arena
	if n := testing.AllocsPerRun(20, read); n > 1 {
		t.Errorf("%v allocations for %d events", n, events)
	}
}

func BenchmarkReceive(b *testing.B) {
	m := causeway.Message{
		Body: make([]byte, 256), ContentType: "application/json", ContentEncoding: "utf-8", From: causeway.Identity{Device: "d1"},
		Source: causeway.SourceTelemetry, Enqueued: time.Now(), Auth: causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON(), GenerationID: "1",
	}
	wire := hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 1 << 20, Offset: 1 << 20, Enqueued: time.Now()}, nil)
	f := newFeed(b.Context(), DefaultPrefetch)
	f.left = 1 << 60
	r := &EventReader{partition: "0", ctx: b.Context(), feed: f, batch: &arena{}}
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		f.Transfer(nil, amqp.Delivery{Settled: true, Payload: wire})
		if n++; n%256 == 0 {
			if _, err := r.Receive(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
