package codec_test

import (
	"bytes"
	"testing"

	"github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// FuzzValue: what is decoded has a canonical form that says the same, and all
// that is inside can be reached.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		"40", "5601", "7000000007", "a103e282ac", "c0050243a10161", "d1000000090000 0002a301615101", "e00402520102",
		"e00802 00a30175520102", "00532445", "c10a0443407000000001 40", "f0000000070000 0002520102", "e0020341",
		"e00a02c00201 40c0020140", "98000102030405060708090a0b0c0d0e0f",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := codec.Decode(b)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(b, rest) {
			t.Fatal("what is left over is not the end of the input")
		}
		reach(t, v)
		wire := v.Append(nil)
		w, rest, err := codec.Decode(wire)
		if err != nil || len(rest) > 0 {
			t.Fatalf("canonical form %x: %v, %d bytes left over", wire, err, len(rest))
		}
		if again := w.Append(nil); !bytes.Equal(again, wire) || !v.Equal(w) {
			t.Fatalf("canonical form %x has the canonical form %x", wire, again)
		}
	})
}

func reach(t *testing.T, v codec.Value) {
	if v.String() == "" {
		t.Fatal("value has no description")
	}
	n := 0
	for e := range v.Elements() {
		n++
		reach(t, e)
	}
	if k := v.Kind(); k == codec.KindList || k == codec.KindArray {
		if n != v.Len() {
			t.Fatalf("%v has %d elements, says %d", v, n, v.Len())
		}
	}
	if d, x, ok := v.Described(); ok {
		reach(t, d)
		reach(t, x)
	}
}

// FuzzFrame: whatever a stream has, frames are cut without harm, and a
// performative that was decoded is written so that it says the same.
func FuzzFrame(f *testing.F) {
	for _, c := range everyPerformative(f) {
		f.Add(codec.AppendFrame(nil, 1, c.p, nil))
	}
	f.Add(codec.AppendFrame(nil, 1, nil, nil))
	f.Add(codec.AppendFrame(nil, 1, &codec.Transfer{More: true}, []byte("payload")))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := codec.Split(b, 1<<16)
		if err != nil || n == 0 {
			return
		}
		if n > len(b) || len(fr.Body) > n-codec.FrameHeaderSize {
			t.Fatalf("frame of %d bytes with a body of %d from %d", n, len(fr.Body), len(b))
		}
		p, payload, err := fr.Performative()
		if err != nil {
			return
		}
		wire := codec.AppendFrame(nil, fr.Channel, p, payload)
		again, m, err := codec.Split(wire, 1<<17)
		if err != nil || m != len(wire) || again.Channel != fr.Channel || again.Type != fr.Type {
			t.Fatalf("%x: frame of %d of %d bytes, %v", wire, m, len(wire), err)
		}
		q, rest, err := again.Performative()
		if err != nil || !bytes.Equal(rest, payload) {
			t.Fatalf("%x: %v", wire, err)
		}
		if third := codec.AppendFrame(nil, fr.Channel, q, rest); !bytes.Equal(third, wire) {
			t.Fatalf("written as\n%x, then as\n%x", wire, third)
		}
	})
}

// FuzzMessage: a message that was decoded is written so that it says the same,
// and so that go-amqp can still read it if it could before.
func FuzzMessage(f *testing.F) {
	f.Add(mustAppend(f, telemetry()))
	f.Add(mustAppend(f, &codec.Message{Body: codec.Data([]byte("a"), []byte("b")), Header: codec.Header{Durable: true}}))
	f.Add(mustAppend(f, &codec.Message{Body: codec.Sequences(codec.List(codec.Int(1)), codec.List())}))
	f.Add(mustAppend(f, &codec.Message{Body: codec.ValueBody(codec.Strings("0", "1")), Footer: codec.NewMap(codec.Symbol("a"), codec.Int(1))}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m codec.Message
		if err := m.Decode(b); err != nil {
			return
		}
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatalf("decoded, but not written: %v", err)
		}
		var again codec.Message
		if err := again.Decode(wire); err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		third, err := again.Append(nil)
		if err != nil || !bytes.Equal(third, wire) {
			t.Fatalf("written as\n%x, then as\n%x, %v", wire, third, err)
		}
		if peerReads(b) && !peerReads(wire) {
			t.Fatalf("go-amqp reads\n%x, but not\n%x", b, wire)
		}
	})
}

// peerReads reports whether go-amqp can read a message. It panics at some,
// which counts as no.
func peerReads(b []byte) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	var m amqp.Message
	return m.UnmarshalBinary(b) == nil
}
