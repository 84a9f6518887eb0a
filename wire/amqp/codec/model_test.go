package codec_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestValuesRoundTrip writes and reads values of all kinds and shapes.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := values(3, simpleValues()).Draw(t, "value")
		wire := v.Append(nil)
		got, rest, err := codec.Decode(wire)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%v from %x: %v, %d bytes left over", v, wire, err, len(rest))
		}
		if !got.Equal(v) || !v.Equal(got) || !got.Clone().Equal(v) {
			t.Fatalf("%v became %v: %x", v, got, wire)
		}
		if again := got.Append(nil); !bytes.Equal(again, wire) {
			t.Fatalf("%v written as\n%x, then as\n%x", v, wire, again)
		}
		n := 0
		for e := range got.Elements() {
			n++
			if x, _, err := codec.Decode(e.Append(nil)); err != nil || !x.Equal(e) {
				t.Fatalf("element %v became %v: %v", e, x, err)
			}
		}
		want := got.Len()
		switch got.Kind() {
		case codec.KindMap:
			want *= 2
		case codec.KindBinary, codec.KindString, codec.KindSymbol:
			want = 0
		}
		if n != want {
			t.Fatalf("%d elements, want %d", n, want)
		}
	})
}

// TestMessagesRoundTrip writes and reads messages with everything in them.
func TestMessagesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messages(20, simpleValues()).Draw(t, "message")
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got codec.Message
		if err := got.Decode(wire); err != nil {
			t.Fatal(err)
		}
		again, err := got.Append([]byte("before"))
		if err != nil || !bytes.Equal(again, append([]byte("before"), wire...)) {
			t.Fatalf("written as\n%x, then as\n%x, %v", wire, again, err)
		}
		if got.Header != m.Header || got.Body.Len() != m.Body.Len() || got.Body.Kind() != m.Body.Kind() {
			t.Fatalf("%+v became %+v", m, got)
		}
		if a, b := got.Properties, m.Properties; a.To != b.To || a.ContentType != b.ContentType ||
			!a.MessageID.Equal(b.MessageID) || !a.CorrelationID.Equal(b.CorrelationID) || !bytes.Equal(a.UserID, b.UserID) ||
			a.AbsoluteExpiryTime != b.AbsoluteExpiryTime || a.GroupSequence != b.GroupSequence {
			t.Fatalf("%+v became %+v", b, a)
		}
	})
}
