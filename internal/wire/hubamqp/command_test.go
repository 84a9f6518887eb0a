package hubamqp_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestAppendCommand has every row of a command's form, with its type.
func TestAppendCommand(t *testing.T) {
	m := causeway.Message{
		ID: "m1", CorrelationID: "c1", UserID: "u1", ContentType: "text/plain", ContentEncoding: "utf-8", Expiry: at.Add(time.Hour),
		Enqueued: at, DeliveryCount: 2, Sequence: 7, Lock: uuid, Ack: causeway.AckFull, Properties: props("k", "v"), Body: []byte("hello"),
	}
	x := parse(t, hubamqp.AppendCommand(nil, device, &m))
	if x.Header.DeliveryCount != 2 {
		t.Errorf("delivery count %d", x.Header.DeliveryCount)
	}
	if d := cmp.Diff([]string{
		`symbol x-opt-sequence-number: ulong 7`,
		`symbol iothub-enqueuedtime: timestamp 2026-05-06T07:08:09.01Z`,
		`symbol iothub-deliverycount: ubyte 2`,
		`symbol x-opt-lock-token: uuid ` + uuidText,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("message annotations (-want +got):\n%s", d)
	}
	p := x.Properties
	if !p.MessageID.Equal(codec.String("m1")) || !p.CorrelationID.Equal(codec.String("c1")) || string(p.UserID) != "u1" ||
		p.To != "/devices/dev1/messages/devicebound" || p.ContentType != "text/plain" || p.ContentEncoding != "utf-8" ||
		p.AbsoluteExpiryTime.V.Time() != at.Add(time.Hour) {
		t.Errorf("properties %+v", p)
	}
	if d := cmp.Diff([]string{`string iothub-ack: string "full"`, `string k: string "v"`}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	if b, ok := x.Body.Bytes(); !ok || string(b) != "hello" {
		t.Errorf("body %q", b)
	}

	// The least command: it has an address and a body all the same.
	x = parse(t, hubamqp.AppendCommand(nil, module, &causeway.Message{DeliveryCount: -1, Sequence: -1}))
	if x.Properties.To != "/devices/dev1/modules/mod1/messages/devicebound" || x.Body.Kind() != codec.CodeData || x.ApplicationProperties.Len() != 0 {
		t.Errorf("%+v", x)
	}
	if d := cmp.Diff([]string{`symbol x-opt-sequence-number: ulong 0`, `symbol iothub-deliverycount: ubyte 0`}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("message annotations (-want +got):\n%s", d)
	}
	x = parse(t, hubamqp.AppendCommand(nil, device, &causeway.Message{To: "/devices/dev1/messages/deviceBound", DeliveryCount: 1000}))
	if v, _ := x.MessageAnnotations.Lookup("iothub-deliverycount"); x.Properties.To != "/devices/dev1/messages/deviceBound" || !v.Equal(codec.Ubyte(255)) || x.Header.DeliveryCount != 1000 {
		t.Errorf("to %q, delivery count %v and %d", x.Properties.To, v, x.Header.DeliveryCount)
	}
	long := causeway.Identity{Device: string(make([]byte, 128)), Module: string(make([]byte, 128))}
	x = parse(t, hubamqp.AppendCommand(nil, long, &causeway.Message{}))
	if d, m, err := hubamqp.ParseCommandTarget(x.Properties.To); d != long.Device || m != long.Module || err != nil {
		t.Errorf("the longest address is read as %q, %q, %v", d, m, err)
	}
}

func TestAppendInput(t *testing.T) {
	m := causeway.Message{From: causeway.Identity{Device: "dev1", Module: "sender"}, Input: "in1", Output: "out1", Body: []byte("x")}
	x := parse(t, hubamqp.AppendInput(nil, &m))
	if d := cmp.Diff([]string{
		`symbol x-opt-sequence-number: ulong 0`,
		`symbol iothub-deliverycount: ubyte 0`,
		`symbol iothub-connection-device-id: string "dev1"`,
		`symbol iothub-connection-module-id: string "sender"`,
		`symbol x-opt-input-name: string "in1"`,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("message annotations (-want +got):\n%s", d)
	}
	if x.Properties.To != "" {
		t.Errorf("to %q", x.Properties.To)
	}
	var got causeway.Message
	if err := hubamqp.DecodeCommand(&got, new(hubamqp.Scratch), hubamqp.AppendInput(nil, &m)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got, same); d != "" {
		t.Errorf("(-sent +got):\n%s", d)
	}
}

// What a hub delivers is what a client gets.
func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawn(t)
		want.DeliveryCount = rapid.IntRange(0, 300).Draw(t, "count")
		want.Sequence = rapid.Int64Range(0, 1<<62).Draw(t, "sequence")
		if rapid.Bool().Draw(t, "locked") {
			want.Lock = uuid
			want.Enqueued = at
		}
		if rapid.Bool().Draw(t, "input") {
			want.Input = "in"
			want.From = causeway.Identity{Device: "d", Module: "m"}
		}
		b := hubamqp.AppendCommand(nil, module, &want)
		if want.To == "" {
			want.To = hubamqp.DeviceAddress(hubamqp.KindCommands, module)
		}
		var s hubamqp.Scratch
		got := causeway.Message{Source: "old", Properties: props("old", "old")}
		if err := hubamqp.DecodeCommand(&got, &s, b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, same); d != "" {
			t.Fatalf("(-sent +got):\n%s", d)
		}
	})
}

func TestDeliveryTag(t *testing.T) {
	// The bytes of 00112233-4455-6677-8899-aabbccddeeff as .NET has them.
	want := [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	tag := hubamqp.DeliveryTag(uuid)
	if tag != want {
		t.Errorf("tag %x, want %x", tag, want)
	}
	if lock, ok := hubamqp.LockOf(tag[:]); !ok || lock != uuid {
		t.Errorf("lock %x, %v", lock, ok)
	}
	for _, bad := range [][]byte{nil, tag[:15], append(tag[:], 0)} {
		if _, ok := hubamqp.LockOf(bad); ok {
			t.Errorf("%x is a lock", bad)
		}
	}
}

func TestServiceCommand(t *testing.T) {
	for name, c := range map[string]struct {
		in   codec.Message
		want causeway.Message
		to   causeway.Identity
	}{
		"Node": {
			codec.Message{
				Properties:            codec.Properties{To: "/devices/dev1/messages/devicebound", MessageID: codec.String("m1"), AbsoluteExpiryTime: codec.Some(codec.TimestampOf(at))},
				ApplicationProperties: text("iothub-ack", "full", "k", "v"), Body: codec.Data([]byte("hello")),
			},
			causeway.Message{To: "/devices/dev1/messages/devicebound", ID: "m1", Expiry: at, Ack: causeway.AckFull, Properties: props("k", "v"), Body: []byte("hello")},
			device,
		},
		"C#, a module": {
			codec.Message{Properties: codec.Properties{To: "/devices/dev1/modules/mod1/messages/deviceBound", CorrelationID: codec.String("c")}, ApplicationProperties: text("iothub-ack", "positive")},
			causeway.Message{To: "/devices/dev1/modules/mod1/messages/deviceBound", CorrelationID: "c", Ack: causeway.AckPositive},
			module,
		},
		"Python, raw id and a value": {
			codec.Message{Properties: codec.Properties{To: "/devices/a b/messages/devicebound", UserID: []byte("u"), ContentType: "a/b", ContentEncoding: "utf-8"}, Body: codec.ValueBody(codec.String("hello"))},
			causeway.Message{To: "/devices/a b/messages/devicebound", UserID: "u", ContentType: "a/b", ContentEncoding: "utf-8", Body: []byte("hello")},
			causeway.Identity{Device: "a b"},
		},
		"escaped id, no feedback": {
			codec.Message{Properties: codec.Properties{To: "/devices/a%20b/messages/devicebound"}, ApplicationProperties: text("iothub-ack", "none")},
			causeway.Message{To: "/devices/a%20b/messages/devicebound"},
			causeway.Identity{Device: "a b"},
		},
	} {
		var m causeway.Message
		to, err := hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), wire(t, c.in))
		if c.to.Hub = ""; err != nil || to != c.to {
			t.Errorf("%s: to %v, %v", name, to, err)
		}
		if d := cmp.Diff(c.want, m, same); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	// A user id may come as a string.
	var m causeway.Message
	b := []byte("\x00\x53\x73\xc0\x29\x03\x40\xa1\x01u\xa1\x22/devices/dev1/messages/devicebound")
	b[4] = byte(len(b) - 5)
	if _, err := hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), b); err != nil || m.UserID != "u" {
		t.Errorf("user %q, %v", m.UserID, err)
	}

	for to, part := range map[string]string{"": `has no "to"`, "/devices/d": `"to" is "/devices/d"`} {
		_, err := hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), wire(t, codec.Message{Properties: codec.Properties{To: to}}))
		wantErr(t, err, causeway.ArgumentInvalid, part)
	}
	for word, want := range map[string]causeway.Ack{"none": causeway.AckNone, "": causeway.AckNone, "full": causeway.AckFull, "positiveonly": causeway.AckPositive} {
		x := codec.Message{
			Properties:            codec.Properties{To: "/devices/d/messages/devicebound"},
			ApplicationProperties: codec.NewMap(codec.String("iothub-ack"), codec.String(word)),
		}
		if _, err := hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), wire(t, x)); err != nil || m.Ack != want {
			t.Errorf("iothub-ack %q is %q, %v", word, m.Ack, err)
		}
	}
	_, err := hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), wire(t, codec.Message{
		Properties:            codec.Properties{To: "/devices/d/messages/devicebound"},
		ApplicationProperties: codec.NewMap(codec.String("iothub-ack"), codec.String("ful")),
	}))
	wantErr(t, err, causeway.ArgumentInvalid, `iothub-ack is "ful"`)
	_, err = hubamqp.DecodeServiceCommand(&m, new(hubamqp.Scratch), []byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")

	rapid.Check(t, func(t *rapid.T) {
		want := drawn(t)
		var got causeway.Message
		to, err := hubamqp.DecodeServiceCommand(&got, new(hubamqp.Scratch), hubamqp.AppendServiceCommand(nil, module, &want))
		if err != nil || to != (causeway.Identity{Device: "dev1", Module: "mod1"}) {
			t.Fatalf("to %v, %v", to, err)
		}
		want.To = hubamqp.CommandTo(module)
		if d := cmp.Diff(want, got, same); d != "" {
			t.Fatalf("(-sent +got):\n%s", d)
		}
	})
}
