package c2d_test

import (
	"context"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

func BenchmarkReceiveEmpty(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	s := c2d.New(c2d.Options{Store: c2dtest.NewMemory()})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.Enqueue(ctx, other, message("a"), "g"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := s.Receive(ctx, dev); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkCycle(b *testing.B) {
	ctx := context.Background()
	s := c2d.New(c2d.Options{Store: c2dtest.NewMemory()})
	m := message("a")
	m.Ack = causeway.AckNone
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Enqueue(ctx, dev, m, "g"); err != nil {
			b.Fatal(err)
		}
		got, ok, err := s.Receive(ctx, dev)
		if !ok || err != nil {
			b.Fatal(ok, err)
		}
		if err := s.Settle(ctx, dev, got.Lock, causeway.Accepted); err != nil {
			b.Fatal(err)
		}
	}
}
