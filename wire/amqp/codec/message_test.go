package codec_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func mustAppend(t testing.TB, m *codec.Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// telemetry is a message as devices send it.
func telemetry() *codec.Message {
	return &codec.Message{
		MessageAnnotations: codec.NewMap(codec.Symbol("iothub-interface-id"), codec.String("urn:example:interface:1")),
		Properties: codec.Properties{
			MessageID: codec.String("4f5e0a9e-5bcd-4b0e-8c5d-000000000001"), CorrelationID: codec.UUID([16]byte{1, 2, 3}),
			To: "/devices/device-000001/messages/events", ContentType: "application/json", ContentEncoding: "utf-8",
		},
		ApplicationProperties: codec.NewMap(
			codec.String("level"), codec.String("critical"), codec.String("count"), codec.Int(1200),
			codec.String("site"), codec.String("north")),
		Body: codec.Data(bytes.Repeat([]byte("x"), 256)),
	}
}

func TestRefuseMessage(t *testing.T) {
	for name, c := range map[string]struct{ wire, want string }{
		"not described":             {"a00161", "value is not described"},
		"not a section":             {"00531045", "amqp:open:list is not a section of a message"},
		"header twice":              {"00537045 00537045", "amqp:header:list after amqp:header:list"},
		"header after properties":   {"00537345 00537045", "amqp:header:list after amqp:properties:list"},
		"data after value":          {"00537740 005375a00161", "amqp:data:binary after amqp:amqp-value:*"},
		"value after data":          {"005375a00161 00537740", "amqp:amqp-value:* after amqp:data:binary"},
		"sequence after data":       {"005375a00161 00537645", "amqp:amqp-sequence:list after amqp:data:binary"},
		"two values":                {"00537740 00537740", "amqp:amqp-value:* after amqp:amqp-value:*"},
		"body after footer":         {"005378c10100 00537740", "amqp:amqp-value:* after amqp:footer:map"},
		"data is a string":          {"005375a10161", "amqp:data:binary is a string"},
		"sequence is a map":         {"005376c10100", "amqp:amqp-sequence:list is a map"},
		"properties are a map":      {"005373c10100", "amqp:properties:list is a map"},
		"annotations are a list":    {"00537245", "amqp:message-annotations:map is a list"},
		"annotation by int":         {"005372c103025 40140", ""},
		"property by symbol":        {"005374c10502a3016b40", "amqp:application-properties:map has a symbol as a key"},
		"property is a list":        {"005374c10502a1016b45", `amqp:application-properties:map: value of "k" is a list`},
		"property is described":     {"005374c10802a1016b00532440", `amqp:application-properties:map: value of "k" is a described`},
		"message id is an int":      {"005373c003015401", ""},
		"section without a value":   {"005377", "bytes end within a value"},
		"value with a bad inside":   {"005377c00401a101ff", "string is not valid UTF-8"},
		"symbol that is no section": {"00a3017840", `unknown descriptor "x"`},
	} {
		var m codec.Message
		err := m.Decode(unhex(t, c.wire))
		var e *codec.Error
		if !errors.As(err, &e) || e.Condition != codec.DecodeError || c.want != "" && e.Msg != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, m := range map[string]*codec.Message{
		"message id":           {Properties: codec.Properties{MessageID: codec.Int(1)}},
		"correlation id":       {Properties: codec.Properties{CorrelationID: codec.Symbol("a")}},
		"annotation key":       {MessageAnnotations: codec.NewMap(codec.Int(1), codec.Int(1))},
		"delivery annotation":  {DeliveryAnnotations: codec.NewMap(codec.Value{}, codec.Int(1))},
		"application property": {ApplicationProperties: codec.NewMap(codec.String("a"), codec.List())},
		"footer":               {Footer: codec.NewMap(codec.Bool(true), codec.List())},
	} {
		if b, err := m.Append([]byte("x")); err == nil || string(b) != "x" {
			t.Errorf("%s: appended as %x, %v", name, b, err)
		}
	}
}

func TestMessage(t *testing.T) {
	wire := mustAppend(t, telemetry())
	var m codec.Message
	if err := m.Decode(wire); err != nil {
		t.Fatal(err)
	}
	if id, ok := m.Properties.MessageID.Text(); !ok || id != "4f5e0a9e-5bcd-4b0e-8c5d-000000000001" {
		t.Errorf("message id %v", m.Properties.MessageID)
	}
	if m.Properties.CorrelationID.Kind() != codec.KindUUID || m.Properties.ContentType != "application/json" {
		t.Errorf("properties %+v", m.Properties)
	}
	if b, ok := m.Body.Bytes(); !ok || len(b) != 256 || &b[0] != &wire[len(wire)-256] {
		t.Errorf("body of %d bytes was copied, or is none", len(b))
	}
	if x, ok := m.ApplicationProperties.Lookup("count"); !ok || !x.Equal(codec.Int(1200)) {
		t.Errorf("count is %v", x)
	}
	if _, ok := m.ApplicationProperties.Lookup("absent"); ok {
		t.Error("a property that is not there was found")
	}
	// Decoding into a used message leaves nothing of it.
	if err := m.Decode(nil); err != nil || m.Body.Kind() != 0 || m.ApplicationProperties.Len() != 0 || m.Properties.To != "" {
		t.Errorf("%+v, %v", m, err)
	}
	if b, ok := m.Body.Bytes(); ok || b != nil {
		t.Errorf("no body is %x", b)
	}
}

// TestBatch has a message whose data sections are messages themselves.
func TestBatch(t *testing.T) {
	inner := mustAppend(t, telemetry())
	wire := mustAppend(t, &codec.Message{Body: codec.Data(inner, inner, inner)})
	var m codec.Message
	if err := m.Decode(append(wire, unhex(t, "005378c10502a3016140")...)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for s := range m.Body.Sections() {
		b, _ := s.Bytes()
		var one codec.Message
		if err := one.Decode(b); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if all, ok := m.Body.Bytes(); n != 3 || m.Body.Len() != 3 || m.Footer.Len() != 1 || !ok || len(all) != 3*len(inner) {
		t.Errorf("%d messages, %d sections, footer of %d, %d bytes", n, m.Body.Len(), m.Footer.Len(), len(all))
	}
}
