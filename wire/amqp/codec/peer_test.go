package codec_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestPeerReadsOurs lets go-amqp read what we write, write it again, and reads
// that: nothing may have changed. Maps have one pair at most, because go-amqp
// has no order for them.
func TestPeerReadsOurs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messages(1, commonValues().Filter(peerKeeps)).Draw(t, "message")
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !peerTakes(&m) {
			t.Skip("go-amqp has no words for this")
		}
		var peer amqp.Message
		if err := peer.UnmarshalBinary(wire); err != nil {
			t.Fatalf("go-amqp reads %x: %v", wire, err)
		}
		theirs, err := peer.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got codec.Message
		if err := got.Decode(theirs); err != nil {
			t.Fatalf("read %x: %v", theirs, err)
		}
		again, err := got.Append(nil)
		if err != nil || !bytes.Equal(again, wire) {
			t.Fatalf("%v\nsent     %x\nreceived %x\ngo-amqp  %x", err, wire, again, theirs)
		}
	})
}

// peerKeeps leaves out what go-amqp does not keep: a symbol becomes a string, an
// array of ubyte binary.
func peerKeeps(v codec.Value) bool {
	return !v.IsNull() && v.Kind() != codec.KindUbyte && v.Kind() != codec.KindSymbol
}

// peerTakes reports whether go-amqp can read m: it knows no descriptors inside
// of values, and no empty lists as arrays.
func peerTakes(m *codec.Message) bool {
	var known func(v codec.Value) bool
	known = func(v codec.Value) bool {
		switch v.Kind() {
		case codec.KindDescribed:
			return false
		case codec.KindArray:
			// go-amqp 1.7.0 writes int and long below -128 with one byte in arrays.
			for e := range v.Elements() {
				if n, ok := e.Int64(); ok && n < -128 {
					return false
				}
			}
			return v.Len() > 0
		case codec.KindMap:
			if v.Len() > 1 {
				return false
			}
			m, _ := v.Map()
			for k := range m.All() {
				switch k.Kind() {
				case codec.KindString, codec.KindSymbol, codec.KindUlong, codec.KindInt:
				default:
					return false
				}
			}
		}
		for e := range v.Elements() {
			if !known(e) {
				return false
			}
		}
		return true
	}
	for _, s := range []codec.Map{m.DeliveryAnnotations, m.MessageAnnotations, m.ApplicationProperties, m.Footer} {
		if !known(s.Value()) {
			return false
		}
	}
	for s := range m.Body.Sections() {
		if !known(s) {
			return false
		}
	}
	v, ok := m.Body.Value()
	return !ok || !v.IsNull()
}

// TestOursReadsPeer reads what go-amqp writes, writes it again, and lets go-amqp
// read that.
func TestOursReadsPeer(t *testing.T) {
	text := func(s string) *string { return &s }
	at := time.Date(2026, 5, 6, 7, 8, 9, 10e6, time.UTC)
	u32 := uint32(77)
	for name, m := range map[string]*amqp.Message{
		"empty": {},
		"data":  amqp.NewMessage([]byte("hello")),
		"everything": {
			Header: &amqp.MessageHeader{Durable: true, Priority: 9, TTL: time.Minute, FirstAcquirer: true, DeliveryCount: 3},
			DeliveryAnnotations: amqp.Annotations{
				"x-opt-last": int64(5),
			},
			Annotations: amqp.Annotations{
				"x-opt-offset": "12", "x-opt-sequence-number": int64(-1), "x-opt-enqueued-time": at,
				"byte": int8(-1), "ubyte": uint8(200), "short": int16(-300), "ushort": uint16(60000), "int": int32(-70000),
				"uint": uint32(70000), "ulong": uint64(1 << 40), "float": float32(1.5), "double": 2.5, "bool": true,
				"symbol": amqp.Symbol("sym"), "binary": []byte{1, 2}, "uuid": amqp.UUID{1, 2, 3},
				"list": []any{"a", int32(1), []any{}}, "map": map[string]any{"k": "v", "n": int64(1)},
				"ints": []int32{1, -1, 1000}, "small ints": []int32{1, -1}, "strings": []string{"a", "b"},
				"bools": []bool{true, false}, "symbols": []amqp.Symbol{"a", "b"}, "longs": []int64{1, 2, 1 << 40},
				"times": []time.Time{at}, "uuids": []amqp.UUID{{1}, {2}}, "binaries": [][]byte{{1}, {}},
				"doubles": []float64{1, 2}, "uints": []uint32{0, 1, 2}, "ulongs": []uint64{0, 300},
			},
			Properties: &amqp.MessageProperties{
				MessageID: amqp.UUID{9, 8, 7}, UserID: []byte("me"), To: text("/devices/d"), Subject: text("s"), ReplyTo: text("r"),
				CorrelationID: uint64(12), ContentType: text("application/json"), ContentEncoding: text("utf-8"),
				AbsoluteExpiryTime: &at, CreationTime: &at, GroupID: text("g"), GroupSequence: &u32, ReplyToGroupID: text("rg"),
			},
			ApplicationProperties: map[string]any{"a": "b", "n": int32(200), "t": at},
			Data:                  [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 200)},
			Footer:                amqp.Annotations{"hash": []byte{1}},
		},
		"value":     {Value: map[string]any{"partition_ids": []string{"0", "1"}, "created_at": at, "partition_count": int32(2)}},
		"sequences": {Sequence: [][]any{{"a", int32(1)}, {}, {true}}},
		"ids":       {Properties: &amqp.MessageProperties{MessageID: "text", CorrelationID: []byte("bin")}},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, err := m.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var ours codec.Message
			if err := ours.Decode(theirs); err != nil {
				t.Fatalf("%v: %x", err, theirs)
			}
			wire, err := ours.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			var want, got amqp.Message
			if err := want.UnmarshalBinary(theirs); err != nil {
				t.Fatal(err)
			}
			if err := got.UnmarshalBinary(wire); err != nil {
				t.Fatalf("go-amqp reads ours: %v", err)
			}
			if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(amqp.Message{}), cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
			if name == "everything" {
				if b, ok := ours.Body.Bytes(); !ok || len(b) != 603 {
					t.Errorf("body of %d bytes", len(b))
				}
				if x, ok := ours.MessageAnnotations.Lookup("ushort"); !ok || !x.Equal(codec.Ushort(60000)) {
					t.Errorf("ushort is %v", x)
				}
			}
		})
	}
}
