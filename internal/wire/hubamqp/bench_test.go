package hubamqp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// sent is what an ordinary device sends.
func sent() *causeway.Message {
	return &causeway.Message{
		ID: "4f5e0a9e-5bcd-4b0e-8c5d-000000000001", ContentType: "application/json", ContentEncoding: "utf-8",
		Properties: props("level", "critical", "site", "north"),
		Body:       bytes.Repeat([]byte("x"), 256),
	}
}

// stored is the same with the stamps of the hub.
func stored() *causeway.Message {
	m := sent()
	m.From = causeway.Identity{Hub: "hub", Device: "device-000001"}
	m.Auth = causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON()
	m.GenerationID = "638712345678901234"
	m.Source = causeway.SourceTelemetry
	m.Enqueued = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	return m
}

func BenchmarkDecodeTelemetry(b *testing.B) {
	wire := hubamqp.AppendTelemetry(nil, sent())
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	var m causeway.Message
	var s hubamqp.Scratch
	for b.Loop() {
		s.Reset()
		if err := hubamqp.DecodeTelemetry(&m, &s, wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	m := stored()
	at := hubamqp.Position{Sequence: 123456, Offset: 123456, Enqueued: m.Enqueued}
	wire := hubamqp.AppendEvent(nil, m, at, nil)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		wire = hubamqp.AppendEvent(wire[:0], m, at, nil)
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	m := stored()
	wire := hubamqp.AppendEvent(nil, m, hubamqp.Position{Sequence: 123456, Offset: 123456, Enqueued: m.Enqueued}, nil)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	var e hubamqp.Event
	var s hubamqp.Scratch
	for b.Loop() {
		s.Reset()
		if err := hubamqp.DecodeEvent(&e, &s, wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendTelemetry(b *testing.B) {
	m := sent()
	wire := hubamqp.AppendTelemetry(nil, m)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		wire = hubamqp.AppendTelemetry(wire[:0], m)
	}
}

func BenchmarkAppendCommand(b *testing.B) {
	m := stored()
	m.Lock = causeway.LockToken{1, 2, 3}
	id := m.From
	wire := hubamqp.AppendCommand(nil, id, m)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		wire = hubamqp.AppendCommand(wire[:0], id, m)
	}
}
