package codec_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// put writes v with the method for its type.
func put(w *codec.Writer, v codec.Value) {
	switch v.Kind() {
	case codec.KindBool:
		x, _ := v.Bool()
		w.Bool(x)
	case codec.KindUbyte:
		x, _ := v.Uint64()
		w.Ubyte(uint8(x))
	case codec.KindUint:
		x, _ := v.Uint64()
		w.Uint(uint32(x))
	case codec.KindUlong:
		x, _ := v.Uint64()
		w.Ulong(x)
	case codec.KindInt:
		x, _ := v.Int64()
		w.Int(int32(x))
	case codec.KindLong:
		x, _ := v.Int64()
		w.Long(x)
	case codec.KindTimestamp:
		x, _ := v.Timestamp()
		w.Timestamp(x)
	case codec.KindUUID:
		x, _ := v.UUID()
		w.UUID(x)
	case codec.KindBinary:
		x, _ := v.Bytes()
		w.Binary(x)
	case codec.KindString:
		x, _ := v.Text()
		w.String(x)
	case codec.KindSymbol:
		x, _ := v.Text()
		w.Symbol(x)
	case codec.KindNull:
		w.Null()
	default:
		w.Value(v)
	}
}

// write writes m with a Writer.
func write(dst []byte, m *codec.Message) []byte {
	w := codec.NewWriter(dst)
	section := func(code codec.Code, s codec.Map) {
		w.Map(code)
		for k, v := range s.All() {
			put(&w, k)
			put(&w, v)
		}
		w.End()
	}
	text := func(s string, of func(string)) {
		if s == "" {
			w.Null()
		} else {
			of(s)
		}
	}
	time := func(t codec.Optional[codec.Timestamp]) {
		if t.OK {
			w.Timestamp(t.V)
		} else {
			w.Null()
		}
	}
	section(codec.CodeDeliveryAnnotations, m.DeliveryAnnotations)
	section(codec.CodeMessageAnnotations, m.MessageAnnotations)
	p := &m.Properties
	w.List(codec.CodeProperties)
	put(&w, p.MessageID)
	if p.UserID == nil {
		w.Null()
	} else {
		w.Binary(p.UserID)
	}
	text(p.To, w.String)
	text(p.Subject, w.String)
	text(p.ReplyTo, w.String)
	put(&w, p.CorrelationID)
	text(p.ContentType, w.Symbol)
	text(p.ContentEncoding, w.Symbol)
	time(p.AbsoluteExpiryTime)
	time(p.CreationTime)
	text(p.GroupID, w.String)
	if p.GroupSequence.OK {
		w.Uint(p.GroupSequence.V)
	} else {
		w.Null()
	}
	text(p.ReplyToGroupID, w.String)
	w.End()
	section(codec.CodeApplicationProperties, m.ApplicationProperties)
	if v, ok := m.Body.Value(); ok {
		w.ValueSection(v)
	} else {
		for v := range m.Body.Sections() {
			b, _ := v.Bytes()
			w.Data(b)
		}
	}
	section(codec.CodeFooter, m.Footer)
	return w.Bytes()
}

// TestWriter: what a Writer writes is what Message.Append does.
func TestWriter(t *testing.T) {
	check := func(t interface {
		Helper()
		Fatalf(string, ...any)
	}, m *codec.Message,
	) {
		t.Helper()
		want, err := m.Append([]byte("before"))
		if err != nil {
			t.Fatalf("%v", err)
		}
		if got := write([]byte("before"), m); !bytes.Equal(got, want) {
			t.Fatalf("writer  %x\nmessage %x", got, want)
		}
	}
	check(t, telemetry())
	check(t, &codec.Message{})
	rapid.Check(t, func(t *rapid.T) {
		m := messages(20, simpleValues()).Draw(t, "message")
		m.Header = codec.Header{}
		if m.Body.Kind() == codec.CodeSequence {
			m.Body = codec.Body{}
		}
		check(t, &m)
	})
}

// TestWriterHeader writes a section of which the first fields are absent, and
// text that has to be mended.
func TestWriterHeader(t *testing.T) {
	w := codec.NewWriter(nil)
	w.List(codec.CodeHeader)
	for range 4 {
		w.Null()
	}
	w.Uint(3)
	w.End()
	w.Map(codec.CodeApplicationProperties)
	w.String("a\xff")
	w.Symbol("\u00e9\u00e9\u00e9\u00e9 symbol")
	w.End()
	want := mustAppend(t, &codec.Message{
		Header:                codec.Header{DeliveryCount: 3},
		ApplicationProperties: codec.NewMap(codec.String("a\xff"), codec.Symbol("???? symbol")),
	})
	// The header says false where the Writer says null, which is the default.
	var m codec.Message
	if err := m.Decode(w.Bytes()); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, &m); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		w := codec.NewWriter(b)
		w.Map(codec.CodeMessageAnnotations)
		w.Symbol("x-opt-sequence-number")
		w.Long(1 << 40)
		w.End()
		w.Data([]byte("content"))
		b = w.Bytes()[:0]
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
