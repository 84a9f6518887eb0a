package hubamqp_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/topic"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// everything is a message with every field that a reader of events sees.
func everything() causeway.Message {
	return causeway.Message{
		Body: []byte(`{"t":1}`), Properties: props("level", "critical", "empty", ""),
		ID: "m1", CorrelationID: "c1", UserID: "u1", To: "somewhere", ContentType: "application/json", ContentEncoding: "utf-8",
		Expiry: at, CreationTime: "2026-05-06T07:08:09Z", Schema: "s", InterfaceID: "urn:i", Component: "thermostat1", Operation: "op",
		DiagnosticID: "d1", DiagnosticCtx: "creationtimeutc=1",
		From: module, Auth: `{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`, GenerationID: "g1",
		Enqueued: at.Add(time.Second), Source: "Telemetry", ModelID: "dtmi:x;1",
	}
}

// TestAppendEvent has every row of what readers get, with its type.
func TestAppendEvent(t *testing.T) {
	m := everything()
	m.Output, m.Ack = "out", causeway.AckFull // neither is for readers
	x := parse(t, hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 5, Offset: 12345, Enqueued: at.Add(2 * time.Second)}, nil))
	if d := cmp.Diff([]string{
		`symbol x-opt-sequence-number: long 5`,
		`symbol x-opt-offset: string "12345"`,
		`symbol x-opt-enqueued-time: timestamp 2026-05-06T07:08:11.01Z`,
		`symbol x-opt-partition-key: string "dev1"`,
		`symbol iothub-connection-device-id: string "dev1"`,
		`symbol iothub-connection-module-id: string "mod1"`,
		`symbol iothub-connection-auth-method: string ` + codec.String(m.Auth).String(),
		`symbol iothub-connection-auth-generation-id: string "g1"`,
		`symbol iothub-enqueuedtime: timestamp 2026-05-06T07:08:10.01Z`,
		`symbol iothub-message-source: string "Telemetry"`,
		`symbol dt-dataschema: string "dtmi:x;1"`,
		`symbol iothub-interface-id: string "urn:i"`,
		`symbol dt-subject: string "thermostat1"`,
		`symbol Diagnostic-Id: string "d1"`,
		`symbol Correlation-Context: string "creationtimeutc=1"`,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("message annotations (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{
		`string iothub-message-schema: string "s"`,
		`string iothub-creation-time-utc: string "2026-05-06T07:08:09Z"`,
		`string iothub-operation: string "op"`,
		`string level: string "critical"`,
		`string empty: string ""`,
	}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	p := x.Properties
	if id, _ := p.MessageID.Text(); id != "m1" || p.MessageID.Kind() != codec.KindString || p.CorrelationID.Kind() != codec.KindString ||
		string(p.UserID) != "u1" || p.To != m.To || p.ContentType != "application/json" || p.ContentEncoding != "utf-8" || p.AbsoluteExpiryTime.V.Time() != at ||
		p.CreationTime.OK || p.Subject != "" {
		t.Errorf("properties %+v", p)
	}
	if b, ok := x.Body.Bytes(); !ok || string(b) != `{"t":1}` || x.Body.Len() != 1 {
		t.Errorf("body %q", b)
	}
	if n := x.DeliveryAnnotations.Len() + x.Footer.Len(); n > 0 || x.Header != (codec.Header{}) {
		t.Error("sections that say nothing")
	}

	x = parse(t, hubamqp.AppendEvent(nil, &causeway.Message{From: device}, hubamqp.Position{Enqueued: at}, &hubamqp.Runtime{
		Last: hubamqp.Position{Sequence: 9, Offset: 900, Enqueued: at.Add(time.Second)}, Retrieved: at.Add(time.Minute),
	}))
	if d := cmp.Diff([]string{
		`symbol last_enqueued_sequence_number: long 9`,
		`symbol last_enqueued_offset: string "900"`,
		`symbol last_enqueued_time_utc: timestamp 2026-05-06T07:08:10.01Z`,
		`symbol runtime_info_retrieval_time_utc: timestamp 2026-05-06T07:09:09.01Z`,
	}, entries(x.DeliveryAnnotations)); d != "" {
		t.Errorf("delivery annotations (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{
		`symbol x-opt-sequence-number: long 0`,
		`symbol x-opt-offset: string "0"`,
		`symbol x-opt-enqueued-time: timestamp 2026-05-06T07:08:09.01Z`,
		`symbol x-opt-partition-key: string "dev1"`,
		`symbol iothub-connection-device-id: string "dev1"`,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("message annotations of the least message (-want +got):\n%s", d)
	}
}

func TestDecodeEvent(t *testing.T) {
	m := everything()
	m.Sequence = 5
	at2, at3 := at.Add(2*time.Second), at.Add(3*time.Second)
	b := hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 5, Offset: 12345, Enqueued: at2},
		&hubamqp.Runtime{Last: hubamqp.Position{Sequence: 9, Offset: 900, Enqueued: at2}, Retrieved: at3})
	m.From.Hub = ""
	want := hubamqp.Event{
		Message: m, Sequence: 5, Offset: "12345", Enqueued: at2, PartitionKey: "dev1",
		Runtime:    hubamqp.Runtime{Last: hubamqp.Position{Sequence: 9, Offset: 900, Enqueued: at2}, Retrieved: at3},
		LastOffset: "900",
	}
	got := hubamqp.Event{PartitionKey: "old", Message: causeway.Message{Lock: causeway.LockToken{1}, Properties: props("old", "old")}}
	var s hubamqp.Scratch
	if err := hubamqp.DecodeEvent(&got, &s, b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !hubamqp.FastEvent(&got, &s, b) {
		t.Error("the fast decoder gives up on what we write")
	}
	if err := hubamqp.GeneralEvent(&got, &s, b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("the general decoder (-want +got):\n%s", d)
	}
	err := hubamqp.DecodeEvent(&got, &s, []byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}

// A message arrives at readers the same whether it was sent by MQTT or by AMQP:
// one row for each property, and one for all.
func TestTransportsAgree(t *testing.T) {
	rows := map[string]causeway.Message{
		"nothing":             {},
		"body":                {Body: []byte{0, 1, 0xff}},
		"message id":          {ID: "m-1:é"},
		"correlation id":      {CorrelationID: "c1"},
		"correlation uuid":    {CorrelationID: uuidText},
		"user id":             {UserID: "ué"},
		"to":                  {To: "somewhere"},
		"expiry":              {Expiry: at},
		"content type":        {ContentType: "application/json;charset=utf-8"},
		"content encoding":    {ContentEncoding: "utf-8"},
		"creation time":       {CreationTime: "2026-05-06T07:08:09.0000000Z"},
		"schema":              {Schema: "s"},
		"interface id":        {InterfaceID: "urn:azureiot:Security:SecurityAgent:1"},
		"component":           {Component: "thermostat1"},
		"operation":           {Operation: "op"},
		"output":              {Output: "out"},
		"ack":                 {Ack: causeway.AckFull},
		"diagnostic id":       {DiagnosticID: "abc"},
		"diagnostic context":  {DiagnosticCtx: "creationtimeutc=1506054516.100"},
		"property":            {Properties: props("k", "v")},
		"property, empty":     {Properties: props("k", "")},
		"property, odd":       {Properties: props("a/b &=%+#? é", "=&%+#? é/日")},
		"properties, ordered": {Properties: props("b", "1", "a", "2")},
		"two of everything": func() causeway.Message {
			m := everything()
			m.From, m.Auth, m.GenerationID, m.Enqueued, m.Source, m.ModelID = causeway.Identity{}, "", "", time.Time{}, "", ""
			return m
		}(),
	}
	// What the hub stamps does not depend on how the message came.
	stamp := func(m *causeway.Message) {
		m.From, m.Auth, m.GenerationID = module, "{}", "g1"
		m.Enqueued, m.Source, m.ModelID = at, causeway.SourceTelemetry, "dtmi:x;1"
	}
	check := func(t interface {
		Helper()
		Fatalf(string, ...any)
	}, name string, sent causeway.Message,
	) {
		t.Helper()
		mqtt := causeway.Message{Body: sent.Body}
		if _, _, err := topic.ParsePublish(topic.AppendTelemetry(nil, module, &sent), module, &mqtt, nil); err != nil {
			t.Fatalf("%s: MQTT: %v", name, err)
		}
		var amqp causeway.Message
		var s hubamqp.Scratch
		if err := hubamqp.DecodeTelemetry(&amqp, &s, hubamqp.AppendTelemetry(nil, &sent)); err != nil {
			t.Fatalf("%s: AMQP: %v", name, err)
		}
		if d := cmp.Diff(mqtt, amqp, same); d != "" {
			t.Fatalf("%s (-MQTT +AMQP):\n%s", name, d)
		}
		stamp(&mqtt)
		stamp(&amqp)
		position := hubamqp.Position{Sequence: 3, Offset: 3, Enqueued: at}
		var one, two hubamqp.Event
		if err := hubamqp.DecodeEvent(&one, new(hubamqp.Scratch), hubamqp.AppendEvent(nil, &mqtt, position, nil)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := hubamqp.DecodeEvent(&two, new(hubamqp.Scratch), hubamqp.AppendEvent(nil, &amqp, position, nil)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(one, two, same); d != "" {
			t.Fatalf("%s: events (-MQTT +AMQP):\n%s", name, d)
		}
		// And it is what was sent, but for what readers are not told.
		stamp(&sent)
		sent.From.Hub, sent.Sequence = "", 3
		if d := cmp.Diff(sent, two.Message, same, cmpopts.IgnoreFields(causeway.Message{}, "Output", "Ack")); d != "" {
			t.Fatalf("%s (-sent +read):\n%s", name, d)
		}
	}
	for name, m := range rows {
		check(t, name, m)
	}
	rapid.Check(t, func(t *rapid.T) {
		m := drawn(t)
		for i := range m.Properties { // what MQTT takes for a system property
			if len(m.Properties[i].Key) > 1 && m.Properties[i].Key[:2] == "$." {
				m.Properties[i].Key = "x" + m.Properties[i].Key
			}
		}
		check(t, "drawn", m)
	})
}

func TestAppendEventDoesNotAllocate(t *testing.T) {
	m, dst := stored(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		hubamqp.AppendEvent(dst, m, hubamqp.Position{Sequence: 1 << 40, Offset: 1 << 40, Enqueued: at}, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A property of the name of a system property does not make a map with a key
// twice.
func TestEventHasNoKeyTwice(t *testing.T) {
	m := causeway.Message{Schema: "s", Properties: props("iothub-message-schema", "other", "iothub-creation-time-utc", "kept", "k", "1", "k", "2")}
	x := parse(t, hubamqp.AppendEvent(nil, &m, hubamqp.Position{}, nil))
	if d := cmp.Diff([]string{
		`string iothub-message-schema: string "s"`,
		`string iothub-creation-time-utc: string "kept"`,
		`string k: string "2"`,
	}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
