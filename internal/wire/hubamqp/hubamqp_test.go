package hubamqp_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var (
	device = causeway.Identity{Hub: "hub", Device: "dev1"}
	module = causeway.Identity{Hub: "hub", Device: "dev1", Module: "mod1"}
	at     = time.Date(2026, 5, 6, 7, 8, 9, 10e6, time.UTC)
	uuid   = [16]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
)

const uuidText = "00112233-4455-6677-8899-aabbccddeeff"

// same compares messages: no properties are no properties, nil or empty.
var same = cmpopts.EquateEmpty()

func props(kv ...string) []causeway.Property {
	var ps []causeway.Property
	for i := 0; i < len(kv); i += 2 {
		ps = append(ps, causeway.Property{Key: kv[i], Value: kv[i+1]})
	}
	return ps
}

func wire(t testing.TB, m codec.Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *codec.Message {
	t.Helper()
	m := new(codec.Message)
	if err := m.Decode(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return m
}

// wantErr checks the code of err and a part of what a client sees of it.
func wantErr(t testing.TB, err error, code causeway.Code, part string) {
	t.Helper()
	if !errors.Is(err, &causeway.Error{Code: code}) || !strings.Contains(causeway.MessageOf(err), part) {
		t.Errorf("error %v (%v), want %v with %q", err, causeway.CodeOf(err), code, part)
	}
}

// entries returns a map as "key: kind value" lines.
func entries(m codec.Map) []string {
	var out []string
	for k, v := range m.All() {
		name, _ := k.Text()
		out = append(out, k.Kind().String()+" "+name+": "+v.Kind().String()+" "+v.String())
	}
	return out
}

// texts draws text of any kind that is valid UTF-8.
func texts() *rapid.Generator[string] { return rapid.StringN(0, 40, -1) }

// drawn draws a message as a client may send it.
func drawn(t *rapid.T) causeway.Message {
	text, ascii := texts(), rapid.StringMatching(`[a-z/;=. -]{0,20}`)
	user := rapid.StringMatching(`[a-zé日 -]{0,20}`) // binary without control characters is text
	m := causeway.Message{
		ID: text.Draw(t, "id"), CorrelationID: text.Draw(t, "correlation"), UserID: user.Draw(t, "user"), To: text.Draw(t, "to"),
		ContentType: ascii.Draw(t, "content type"), ContentEncoding: ascii.Draw(t, "content encoding"),
		CreationTime: text.Draw(t, "creation time"), Schema: text.Draw(t, "schema"), InterfaceID: text.Draw(t, "interface"),
		Component: text.Draw(t, "component"), Operation: text.Draw(t, "operation"), Output: text.Draw(t, "output"),
		DiagnosticID: text.Draw(t, "diagnostic id"), DiagnosticCtx: text.Draw(t, "diagnostic context"),
		Ack:  rapid.SampledFrom([]causeway.Ack{causeway.AckNone, causeway.AckFull, causeway.AckNegative, causeway.AckPositive}).Draw(t, "ack"),
		Body: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"),
	}
	if rapid.Bool().Draw(t, "expires") {
		m.Expiry = time.UnixMilli(rapid.Int64Range(1, 4_102_444_800_000).Draw(t, "expiry")).UTC()
	}
	for key, value := range rapid.MapOfN(rapid.StringMatching(`[^i].{0,10}`), text, 0, 20).Draw(t, "properties") {
		m.Properties = append(m.Properties, causeway.Property{Key: key, Value: value})
	}
	return m
}
