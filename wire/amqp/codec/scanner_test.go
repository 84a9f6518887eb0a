package codec_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// scan reads what a Scanner can read into a Message; ok is false when it gave up.
func scan(b []byte) (m codec.Message, ok bool) {
	r := codec.NewScanner(b)
	last := codec.Code(0)
	mapping := func(key, value func() codec.Value) codec.Map {
		var pairs codec.MapBuilder
		for n := r.Map(); n > 0 && !r.Failed(); n -= 2 {
			if k, v := key(), value(); !r.Failed() && !pairs.Add(k, v) {
				r.Fail()
			}
		}
		r.End()
		return pairs.Map()
	}
	symbol := func() codec.Value { return codec.Symbol(r.Symbol()) }
	text := func() codec.Value { return codec.String(r.String()) }
	long := func() codec.Value { return codec.Long(r.Long()) }
	for r.More() {
		code := r.Section()
		if code <= last {
			r.Fail()
		}
		switch last = code; code {
		case codec.CodeDeliveryAnnotations:
			m.DeliveryAnnotations = mapping(symbol, long)
		case codec.CodeMessageAnnotations:
			m.MessageAnnotations = mapping(symbol, text)
		case codec.CodeApplicationProperties:
			m.ApplicationProperties = mapping(text, text)
		case codec.CodeProperties:
			for i, n := 0, r.List(); i < n && !r.Failed(); i++ {
				switch {
				case r.Null():
				case i == 0 && r.IsUUID():
					m.Properties.MessageID = codec.UUID(r.UUID())
				case i == 0:
					m.Properties.MessageID = codec.String(r.String())
				case i == 2:
					m.Properties.To = r.String()
				case i == 6:
					m.Properties.ContentType = r.Symbol()
				case i == 8:
					m.Properties.AbsoluteExpiryTime = codec.Some(r.Timestamp())
				default:
					r.Fail()
				}
			}
			r.End()
		case codec.CodeData:
			m.Body = codec.Data(r.Binary())
		default:
			r.Fail()
		}
	}
	return m, !r.Failed()
}

// agree reports a message that was scanned but is not what Message.Decode reads.
func agree(t interface {
	Helper()
	Fatalf(string, ...any)
}, b []byte,
) (scanned bool) {
	t.Helper()
	got, ok := scan(b)
	if !ok {
		return false
	}
	var want codec.Message
	if err := want.Decode(b); err != nil {
		t.Fatalf("%x was scanned: %v", b, err)
	}
	g, err1 := got.Append(nil)
	w, err2 := want.Append(nil)
	if err1 != nil || err2 != nil || !bytes.Equal(g, w) {
		t.Fatalf("%x\nscanned %x, %v\ndecoded %x, %v", b, g, err1, w, err2)
	}
	return true
}

func TestScanner(t *testing.T) {
	text := rapid.StringN(0, 300, -1)
	rapid.Check(t, func(t *rapid.T) {
		m := codec.Message{
			DeliveryAnnotations: mapsOf(20, codec.Symbol, rapid.Map(rapid.Int64(), codec.Long)).Draw(t, "numbers"),
			MessageAnnotations:  mapsOf(20, codec.Symbol, rapid.Map(text, codec.String)).Draw(t, "annotations"),
			Properties: codec.Properties{
				MessageID: simple(t, rapid.SampledFrom([]codec.Kind{codec.KindNull, codec.KindUUID, codec.KindString}).Draw(t, "id")),
				To:        text.Draw(t, "to"), ContentType: symbols().Draw(t, "content type"),
				AbsoluteExpiryTime: optional(t, timestamps(), 0),
			},
			ApplicationProperties: mapsOf(20, codec.String, rapid.Map(text, codec.String)).Draw(t, "properties"),
			Body:                  codec.Data(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")),
		}
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, wire) {
			t.Fatalf("gave up on %x", wire)
		}
		for i := range wire { // of a part there is nothing, or a shorter message
			agree(t, wire[:i])
		}
	})
}

func TestScannerGivesUp(t *testing.T) {
	for name, wire := range map[string]string{
		"not a section":       "a00161",
		"ulong of eight":      "00800000000000000075a00161",
		"map with a list":     "005374c10502a1016b45",
		"odd map":             "005374c10301a10161",
		"map too long":        "005374c10502a1016ba1",
		"size too small":      "005374c10002a1016ba10161",
		"bytes after the map": "005374c10702a1016ba1016140",
		"not UTF-8":           "005374c10602a101ffa10161",
		"not ASCII":           "005372c10602a301ffa10161",
		"four-byte length":    "005375b0ffffffff61",
		"length without end":  "005375a00261",
		"wide map, short":     "005374d100000003",
		"wide map, size 0":    "005374d10000000000000000",
		"short uuid":          "005373c0030198 00",
		"short timestamp":     "005373c00a09404040404040404083 00",
		"short long":          "005371c10702a3016b81000000",
		"int for a long":      "005371c10602a3016b5401",
	} {
		if m, ok := scan(unhex(t, wire)); ok {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
}

// FuzzScanner: what is scanned is what Message.Decode reads, in bytes of any kind.
func FuzzScanner(f *testing.F) {
	f.Add(mustAppend(f, telemetry()))
	f.Add(unhex(f, "005372c10702a30161a10162005373c00401a1016d005374c10702a10161a10162005375a00161"))
	f.Add(unhex(f, "005373d0000000190000000998000102030405060708090a0b0c0d0e0f4040404040404040"))
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}
