package hubamqp_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func text(kv ...string) codec.Map {
	var b codec.MapBuilder
	for i := 0; i < len(kv); i += 2 {
		b.Add(codec.String(kv[i]), codec.String(kv[i+1]))
	}
	return b.Map()
}

// TestDecodeTelemetry has every row of the mapping of telemetry.
func TestDecodeTelemetry(t *testing.T) {
	p := func(p codec.Properties) codec.Message { return codec.Message{Properties: p} }
	app := func(v codec.Value) codec.Message {
		return codec.Message{ApplicationProperties: codec.NewMap(codec.String("k"), v)}
	}
	value := func(s string) causeway.Message { return causeway.Message{Properties: props("k", s)} }
	for name, c := range map[string]struct {
		in   codec.Message
		want causeway.Message
	}{
		"nothing":                  {},
		"id, string":               {p(codec.Properties{MessageID: codec.String("m1")}), causeway.Message{ID: "m1"}},
		"id, uuid":                 {p(codec.Properties{MessageID: codec.UUID(uuid)}), causeway.Message{ID: uuidText}},
		"id, ulong":                {p(codec.Properties{MessageID: codec.Ulong(1 << 40)}), causeway.Message{ID: "1099511627776"}},
		"id, binary that is text":  {p(codec.Properties{MessageID: codec.Binary([]byte("m1"))}), causeway.Message{ID: "m1"}},
		"id, binary":               {p(codec.Properties{MessageID: codec.Binary([]byte{0, 0xff})}), causeway.Message{ID: "00ff"}},
		"correlation, string":      {p(codec.Properties{CorrelationID: codec.String("c1")}), causeway.Message{CorrelationID: "c1"}},
		"correlation, uuid (Node)": {p(codec.Properties{CorrelationID: codec.UUID(uuid)}), causeway.Message{CorrelationID: uuidText}},
		"correlation, ulong":       {p(codec.Properties{CorrelationID: codec.Ulong(7)}), causeway.Message{CorrelationID: "7"}},
		"user":                     {p(codec.Properties{UserID: []byte("é")}), causeway.Message{UserID: "é"}},
		"user that is no text":     {p(codec.Properties{UserID: []byte{0xff}}), causeway.Message{UserID: "ff"}},
		"to":                       {p(codec.Properties{To: "somewhere"}), causeway.Message{To: "somewhere"}},
		"to the link (Node)":       {p(codec.Properties{To: "/devices/d/messages/events"}), causeway.Message{}},
		"to the link of a module":  {p(codec.Properties{To: "devices/d/modules/m/Messages/Events"}), causeway.Message{}},
		"to the redirect":          {p(codec.Properties{To: "/messages/events"}), causeway.Message{To: "/messages/events"}},
		"content type":             {p(codec.Properties{ContentType: "application/json"}), causeway.Message{ContentType: "application/json"}},
		"content encoding":         {p(codec.Properties{ContentEncoding: "utf-8"}), causeway.Message{ContentEncoding: "utf-8"}},
		"expiry":                   {p(codec.Properties{AbsoluteExpiryTime: codec.Some(codec.TimestampOf(at))}), causeway.Message{Expiry: at}},
		"expiry beyond all years":  {p(codec.Properties{AbsoluteExpiryTime: codec.Some(codec.Timestamp(1 << 60))}), causeway.Message{}},
		"creation time":            {p(codec.Properties{CreationTime: codec.Some(codec.TimestampOf(at))}), causeway.Message{CreationTime: "2026-05-06T07:08:09.010Z"}},
		"subject, group and so on": {p(codec.Properties{Subject: "s", ReplyTo: "r", GroupID: "g", GroupSequence: codec.Some(uint32(1)), ReplyToGroupID: "rg"}), causeway.Message{}},
		"creation time, both": {
			codec.Message{Properties: codec.Properties{CreationTime: codec.Some(codec.TimestampOf(at))}, ApplicationProperties: text("iothub-creation-time-utc", "as sent")},
			causeway.Message{CreationTime: "as sent"},
		},
		"annotations": {
			codec.Message{MessageAnnotations: codec.NewMap(
				codec.Symbol("iothub-interface-id"), codec.String("urn:i"), codec.Symbol("dt-subject"), codec.String("thermostat1"),
				codec.Symbol("Diagnostic-Id"), codec.String("d1"), codec.Symbol("Correlation-Context"), codec.Symbol("creationtimeutc=1"),
				codec.Symbol("x-opt-unknown"), codec.List())},
			causeway.Message{InterfaceID: "urn:i", Component: "thermostat1", DiagnosticID: "d1", DiagnosticCtx: "creationtimeutc=1"},
		},
		"annotations by string": {
			codec.Message{MessageAnnotations: text("dt-subject", "thermostat1")}, causeway.Message{Component: "thermostat1"},
		},
		"stamps of the hub are not for devices to set": {
			codec.Message{MessageAnnotations: codec.NewMap(
				codec.Symbol("iothub-connection-device-id"), codec.String("other"), codec.Symbol("iothub-connection-module-id"), codec.String("m"),
				codec.Symbol("iothub-enqueuedtime"), codec.TimestampOf(at).Value(), codec.Symbol("iothub-connection-auth-method"), codec.String("{}"),
				codec.Symbol("iothub-message-source"), codec.String("twinChangeEvents"), codec.Symbol("dt-dataschema"), codec.String("dtmi:x;1"),
				codec.Symbol("x-opt-sequence-number"), codec.Long(3), codec.Symbol("x-opt-partition-key"), codec.String("p"))},
			causeway.Message{},
		},
		"system properties": {
			codec.Message{ApplicationProperties: text("iothub-ack", "full", "iothub-message-schema", "s", "iothub-creation-time-utc", "t",
				"iothub-outputname", "o", "iothub-operation", "op")},
			causeway.Message{Ack: causeway.AckFull, Schema: "s", CreationTime: "t", Output: "o", Operation: "op"},
		},
		"no feedback":               {codec.Message{ApplicationProperties: text("iothub-ack", "none")}, causeway.Message{}},
		"feedback, positive (Java)": {codec.Message{ApplicationProperties: text("iothub-ack", "positiveonly")}, causeway.Message{Ack: causeway.AckPositive}},
		"feedback, negative (Java)": {codec.Message{ApplicationProperties: text("iothub-ack", "negativeonly")}, causeway.Message{Ack: causeway.AckNegative}},
		"odd feedback":              {codec.Message{ApplicationProperties: text("iothub-ack", "loud")}, causeway.Message{}},
		"property":                  {app(codec.String("v")), value("v")},
		"property, empty":           {app(codec.String("")), value("")},
		"property, symbol":          {app(codec.Symbol("v")), value("v")},
		"property, null":            {app(codec.Value{}), value("")},
		"property, true":            {app(codec.Bool(true)), value("true")},
		"property, ubyte":           {app(codec.Ubyte(200)), value("200")},
		"property, ushort":          {app(codec.Ushort(60000)), value("60000")},
		"property, uint":            {app(codec.Uint(1 << 31)), value("2147483648")},
		"property, ulong":           {app(codec.Ulong(1 << 63)), value("9223372036854775808")},
		"property, byte":            {app(codec.Byte(-1)), value("-1")},
		"property, short":           {app(codec.Short(-300)), value("-300")},
		"property, int":             {app(codec.Int(-70000)), value("-70000")},
		"property, long":            {app(codec.Long(-1 << 63)), value("-9223372036854775808")},
		"property, float":           {app(codec.Float(1.1)), value("1.1")},
		"property, double":          {app(codec.Double(0.1)), value("0.1")},
		"property, char":            {app(codec.Char('é')), value("é")},
		"property, time":            {app(codec.TimestampOf(at).Value()), value("2026-05-06T07:08:09.010Z")},
		"property, odd time":        {app(codec.Timestamp(1 << 60).Value()), value("1152921504606846976")},
		"property, uuid":            {app(codec.UUID(uuid)), value(uuidText)},
		"property, binary":          {app(codec.Binary([]byte{1, 2, 3})), value("AQID")},
		"property without a name": {
			codec.Message{ApplicationProperties: text("", "x", "a", "b")}, causeway.Message{Properties: props("a", "b")},
		},
		"properties in their order": {codec.Message{ApplicationProperties: text("b", "1", "a", "2", "B", "3")}, causeway.Message{Properties: props("b", "1", "a", "2", "B", "3")}},
		"data":                      {codec.Message{Body: codec.Data([]byte("hello"))}, causeway.Message{Body: []byte("hello")}},
		"data, several":             {codec.Message{Body: codec.Data([]byte("hel"), nil, []byte("lo"))}, causeway.Message{Body: []byte("hello")}},
		"data, empty":               {codec.Message{Body: codec.Data(nil)}, causeway.Message{}},
		"value, string":             {codec.Message{Body: codec.ValueBody(codec.String("hello"))}, causeway.Message{Body: []byte("hello")}},
		"value, binary":             {codec.Message{Body: codec.ValueBody(codec.Binary([]byte("hello")))}, causeway.Message{Body: []byte("hello")}},
		"value, null":               {codec.Message{Body: codec.ValueBody(codec.Value{})}, causeway.Message{}},
		"header and footer": {
			codec.Message{Header: codec.Header{Durable: true}, Footer: text("a", "b"), DeliveryAnnotations: text("a", "b"), Body: codec.Data([]byte("x"))},
			causeway.Message{Body: []byte("x")},
		},
	} {
		// What was in m before does not matter.
		got := causeway.Message{ID: "old", From: device, Properties: props("old", "old"), Body: []byte("old"), Expiry: at, Sequence: 3}
		var s hubamqp.Scratch
		if err := hubamqp.DecodeTelemetry(&got, &s, wire(t, c.in)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got, same); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestRefuseTelemetry(t *testing.T) {
	app := func(v codec.Value) codec.Message {
		return codec.Message{ApplicationProperties: codec.NewMap(codec.String("k"), v)}
	}
	var many codec.MapBuilder
	for i := range hubamqp.MaxProperties + 1 {
		many.Add(codec.String(strings.Repeat("k", i+1)), codec.String(""))
	}
	for name, c := range map[string]struct {
		in   codec.Message
		code causeway.Code
		part string
	}{
		"decimal":             {app(codec.Decimal32(1)), causeway.ArgumentInvalid, `application property "k" is of type decimal32`},
		"sequence":            {codec.Message{Body: codec.Sequences(codec.List())}, causeway.ArgumentInvalid, "the body is a sequence"},
		"value, int":          {codec.Message{Body: codec.ValueBody(codec.Int(1))}, causeway.ArgumentInvalid, "the body is of type int"},
		"value, map":          {codec.Message{Body: codec.ValueBody(text("a", "b").Value())}, causeway.ArgumentInvalid, "the body is of type map"},
		"too many properties": {codec.Message{ApplicationProperties: many.Map()}, causeway.ArgumentInvalid, "more than 512 application properties"},
		"too large":           {codec.Message{Body: codec.Data(make([]byte, causeway.MaxMessageSize+1))}, causeway.MessageTooLarge, "262145"},
		"too large with properties": {
			codec.Message{Body: codec.Data(make([]byte, causeway.MaxMessageSize-3)), ApplicationProperties: text("ab", "cd")}, causeway.MessageTooLarge, "262145",
		},
	} {
		var m causeway.Message
		var s hubamqp.Scratch
		err := hubamqp.DecodeTelemetry(&m, &s, wire(t, c.in))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantErr(t, err, c.code, c.part)
	}
	var m causeway.Message
	var s hubamqp.Scratch
	// A property twice: which one is meant?
	twice := []byte("\x00\x53\x74\xc1\x09\x04\xa1\x01a\x40\xa1\x01a\x40")
	for _, bad := range []string{"x", string(twice), "\x00\x53\x75\xa0\xff", "\x00\x53\x75\xa0\x01a\x00\x53\x73\x45"} {
		err := hubamqp.DecodeTelemetry(&m, &s, []byte(bad))
		wantErr(t, err, causeway.IotHubFormatError, "the message cannot be read")
		if c := hubamqp.ConditionOf(err); c.Name != codec.DecodeError {
			t.Errorf("%q ends with %s", bad, c.Name)
		}
	}
	largest := codec.Message{Body: codec.Data(make([]byte, causeway.MaxMessageSize-4)), ApplicationProperties: text("ab", "cd")}
	if err := hubamqp.DecodeTelemetry(&m, &s, wire(t, largest)); err != nil {
		t.Errorf("the largest message: %v", err)
	}
}

// What a client writes is what the hub reads.
// TestTelemetryLargest has a message of the largest size, which a client sends
// with the address of its link.
func TestTelemetryLargest(t *testing.T) {
	for _, n := range []int{causeway.MaxMessageSize, causeway.MaxMessageSize + 1} {
		var m causeway.Message
		payload := hubamqp.AppendTelemetry(nil, &causeway.Message{To: "/devices/d/messages/events", Body: make([]byte, n)})
		err := hubamqp.DecodeTelemetry(&m, new(hubamqp.Scratch), payload)
		if tooLarge := causeway.CodeOf(err) == causeway.MessageTooLarge; tooLarge != (n > causeway.MaxMessageSize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestTelemetryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawn(t)
		b := hubamqp.AppendTelemetry([]byte("before"), &want)
		b = b[len("before"):]
		var got causeway.Message
		var s hubamqp.Scratch
		if err := hubamqp.DecodeTelemetry(&got, &s, b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, same); d != "" {
			t.Fatalf("(-sent +got):\n%s", d)
		}
		if !hubamqp.Fast(&got, &s, b) && len(want.Properties) <= 10 {
			t.Fatalf("the fast decoder gave up on %x", b)
		}
	})
}

func TestPropertiesThatWouldBeTakenForOthers(t *testing.T) {
	m := causeway.Message{Properties: props("iothub-ack", "full", "iothub-operation", "x", "", "y", "a", "first", "b", "1", "a", "last")}
	for name, b := range map[string][]byte{
		"telemetry": hubamqp.AppendTelemetry(nil, &m),
		"command":   hubamqp.AppendCommand(nil, device, &m),
		"service":   hubamqp.AppendServiceCommand(nil, device, &m),
	} {
		want := []string{`string b: string "1"`, `string a: string "last"`}
		if d := cmp.Diff(want, entries(parse(t, b).ApplicationProperties)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Nothing is copied that need not be.
func TestDecodeTelemetryBorrows(t *testing.T) {
	b := hubamqp.AppendTelemetry(nil, sent())
	var m causeway.Message
	var s hubamqp.Scratch
	if err := hubamqp.DecodeTelemetry(&m, &s, b); err != nil {
		t.Fatal(err)
	}
	if &m.Body[0] != &b[len(b)-256] {
		t.Error("the body was copied")
	}
	b[bytes.Index(b, []byte("north"))] = 'N'
	if m.Properties[1].Value != "North" {
		t.Error("text was copied")
	}
	b = wire(t, codec.Message{
		Properties: codec.Properties{MessageID: codec.UUID(uuid), CorrelationID: codec.UUID(uuid), ContentType: "a/b"},
		Body:       codec.Data([]byte("x")),
	})
	if n := testing.AllocsPerRun(100, func() {
		s.Reset()
		if err := hubamqp.DecodeTelemetry(&m, &s, b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m.ID != uuidText || m.CorrelationID != uuidText {
		t.Errorf("ids %q and %q", m.ID, m.CorrelationID)
	}
}

// A scratch serves many messages until it is reset.
func TestScratch(t *testing.T) {
	var s hubamqp.Scratch
	var ms [200]causeway.Message
	for i := range ms {
		b := wire(t, codec.Message{
			Properties: codec.Properties{MessageID: codec.Ulong(uint64(i))},
			Body:       codec.Data([]byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 1000)),
		})
		if err := hubamqp.DecodeTelemetry(&ms[i], &s, b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ms {
		if ms[i].Body[1000] != byte(i) || len(ms[i].Body) != 1001 {
			t.Fatalf("message %d was overwritten", i)
		}
	}
}

func TestBatch(t *testing.T) {
	read := func(b []byte) (bodies []string, err error) {
		var s hubamqp.Scratch
		for one, err := range hubamqp.Batch(b) {
			if err != nil {
				return bodies, err
			}
			var m causeway.Message
			if err := hubamqp.DecodeTelemetry(&m, &s, one); err != nil {
				return bodies, err
			}
			bodies = append(bodies, m.ID+"="+string(m.Body))
		}
		return bodies, nil
	}
	three := []causeway.Message{{ID: "1", Body: []byte("a")}, {ID: "2", Body: []byte("b"), Properties: props("k", "v")}, {ID: "3"}}
	b := hubamqp.AppendBatch(nil, three)
	got, err := read(b)
	if d := cmp.Diff([]string{"1=a", "2=b", "3="}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	// What is around the messages applies to none.
	outer := parse(t, b)
	outer.Properties.MessageID = codec.String("outer")
	outer.MessageAnnotations = text("dt-subject", "outer")
	if got, err = read(wire(t, *outer)); len(got) != 3 || err != nil {
		t.Errorf("with outer sections: %q, %v", got, err)
	}
	if got, err = read(hubamqp.AppendBatch(nil, three[:1])); len(got) != 1 || err != nil {
		t.Errorf("one message: %q, %v", got, err)
	}
	for range hubamqp.Batch(b) {
		break // may stop early
	}

	_, err = read(wire(t, codec.Message{Body: codec.ValueBody(codec.String("x"))}))
	wantErr(t, err, causeway.ArgumentInvalid, "data sections")
	_, err = read(nil)
	wantErr(t, err, causeway.ArgumentInvalid, "data sections")
	_, err = read([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
	_, err = read(hubamqp.AppendBatch(nil, make([]causeway.Message, hubamqp.MaxBatch+1)))
	wantErr(t, err, causeway.MessageTooLarge, "16385 messages")
	_, err = read(wire(t, codec.Message{Body: codec.Data([]byte("good"), make([]byte, 400<<10))}))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read") // "good" is no message
	got, err = read(hubamqp.AppendBatch(nil, []causeway.Message{{ID: "1"}, {Body: make([]byte, 400<<10)}}))
	wantErr(t, err, causeway.MessageTooLarge, "a message of the batch")
	if len(got) != 1 {
		t.Errorf("%q before the one that is too large", got)
	}
	_, err = read(hubamqp.AppendBatch(nil, []causeway.Message{{Body: make([]byte, causeway.MaxMessageSize+1)}}))
	wantErr(t, err, causeway.MessageTooLarge, "the limit is 262144")
}

func TestExpiryIsUTC(t *testing.T) {
	m := causeway.Message{Expiry: at.In(time.FixedZone("", 3600))}
	var got causeway.Message
	var s hubamqp.Scratch
	if err := hubamqp.DecodeTelemetry(&got, &s, hubamqp.AppendTelemetry(nil, &m)); err != nil || got.Expiry != at {
		t.Errorf("%v, %v", got.Expiry, err)
	}
}
