package codec_test

import (
	"bytes"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func BenchmarkDecodeMessage(b *testing.B) {
	wire := mustAppend(b, telemetry())
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(wire)))
		b.ReportAllocs()
		var m codec.Message
		for b.Loop() {
			if err := m.Decode(wire); err != nil {
				b.Fatal(err)
			}
			n := 0
			for range m.ApplicationProperties.All() {
				n++
			}
			if n != 3 {
				b.Fatal(n)
			}
		}
	})
	b.Run("go-amqp", func(b *testing.B) {
		b.SetBytes(int64(len(wire)))
		b.ReportAllocs()
		for b.Loop() {
			var m amqp.Message
			if err := m.UnmarshalBinary(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendMessage(b *testing.B) {
	m := telemetry()
	wire := mustAppend(b, m)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(wire)))
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf, _ = m.Append(buf[:0])
		}
	})
	b.Run("go-amqp", func(b *testing.B) {
		b.SetBytes(int64(len(wire)))
		b.ReportAllocs()
		var peer amqp.Message
		if err := peer.UnmarshalBinary(wire); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := peer.MarshalBinary(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func transfer() *codec.Transfer {
	return &codec.Transfer{
		Handle: 1, DeliveryID: codec.Some(uint32(70000)), DeliveryTag: bytes.Repeat([]byte{1}, 16), MessageFormat: codec.Some(uint32(0)),
	}
}

func BenchmarkTransfer(b *testing.B) {
	payload := mustAppend(b, telemetry())
	b.ReportAllocs()
	var buf []byte
	var p codec.Transfer
	t := transfer()
	for b.Loop() {
		buf = codec.AppendFrame(buf[:0], 1, t, payload)
		f, _, _ := codec.Split(buf, 1<<16)
		if _, err := f.Decode(&p); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	m := telemetry()
	wire := mustAppend(t, m)
	frame := codec.AppendFrame(nil, 1, transfer(), wire)
	disposition := codec.Disposition{Role: codec.Receiver, First: 7, Settled: true, State: codec.Accepted()}
	flow := codec.Flow{NextIncomingID: codec.Some(uint32(1)), Handle: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(100))}
	buf := make([]byte, 0, 4096)
	// What is decoded into, and written, is used again and again.
	var got codec.Message
	var tr codec.Transfer
	var di codec.Disposition
	var fl codec.Flow
	var tags codec.MapBuilder
	for name, do := range map[string]func(){
		"decode a message": func() {
			if err := got.Decode(wire); err != nil {
				t.Fatal(err)
			}
			if _, ok := got.ApplicationProperties.Lookup("site"); !ok {
				t.Fatal("site is not there")
			}
			if b, ok := got.Body.Bytes(); !ok || len(b) != 256 {
				t.Fatal("no body")
			}
		},
		"append a message": func() { buf, _ = m.Append(buf[:0]) },
		"decode a transfer": func() {
			f, _, _ := codec.Split(frame, 1<<16)
			if code, _ := f.Code(); code != codec.CodeTransfer {
				t.Fatal(code)
			}
			if _, err := f.Decode(&tr); err != nil {
				t.Fatal(err)
			}
		},
		"append a transfer": func() {
			tr = codec.Transfer{Handle: 1, DeliveryID: codec.Some(uint32(70000))}
			buf = codec.AppendFrame(buf[:0], 1, &tr, wire)
		},
		"disposition there and back": func() {
			buf = codec.AppendFrame(buf[:0], 1, &disposition, nil)
			f, _, _ := codec.Split(buf, 512)
			if _, err := f.Decode(&di); err != nil || di.State.Kind != codec.CodeAccepted {
				t.Fatal(err)
			}
		},
		"flow there and back": func() {
			buf = codec.AppendFrame(buf[:0], 1, &flow, nil)
			f, _, _ := codec.Split(buf, 512)
			if _, err := f.Decode(&fl); err != nil || fl.LinkCredit.V != 100 {
				t.Fatal(err)
			}
		},
		"build a map": func() {
			tags.Reset()
			tags.Add(codec.Symbol("x-opt-sequence-number"), codec.Long(1))
			tags.Add(codec.Symbol("x-opt-offset"), codec.String("12"))
		},
	} {
		do()
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
