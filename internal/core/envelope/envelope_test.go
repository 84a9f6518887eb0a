package envelope_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/envelope"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// full returns a message with every field set.
func full() causeway.Message {
	return causeway.Message{
		Body:            []byte(`{"temperature":21.5}`),
		Properties:      []causeway.Property{{Key: "b", Value: "1"}, {Key: "a", Value: ""}, {Key: "b", Value: "ü"}, {}},
		ID:              "m-1",
		CorrelationID:   "c-1",
		UserID:          "u",
		To:              "/devices/d/messages/deviceBound",
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		Expiry:          time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC),
		CreationTime:    "2029-12-31T23:59:59.1234567Z",
		Ack:             causeway.AckFull,
		Schema:          "schema",
		InterfaceID:     "urn:if",
		Component:       "thermostat1",
		Operation:       "op",
		Output:          "alerts",
		Input:           "in1",
		DiagnosticID:    "0af7",
		DiagnosticCtx:   "creationtimeutc=1700000000.000",
		From:            causeway.Identity{Device: "dev-1", Module: "mod-1"},
		Auth:            causeway.AuthMethod{Scope: causeway.ScopeModule, Type: "sas"}.JSON(),
		GenerationID:    "638000000000000000",
		Enqueued:        time.Date(2029, 12, 31, 23, 59, 59, 999000000, time.UTC),
		Source:          causeway.SourceTelemetry,
		ModelID:         "dtmi:com:example:Thermostat;1",
	}
}

// typical returns the usual telemetry message.
func typical() causeway.Message {
	return causeway.Message{
		Body:            bytes.Repeat([]byte("x"), 256),
		Properties:      []causeway.Property{{Key: "level", Value: "critical"}, {Key: "line", Value: "4"}},
		ID:              "6f2c6a0e-0a57-4a5c-9d57-1e2f2f9a3b11",
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		From:            causeway.Identity{Device: "press-0042"},
		Auth:            causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON(),
		GenerationID:    "638000000000000000",
		Enqueued:        time.Date(2029, 12, 31, 23, 59, 59, 999000000, time.UTC),
		Source:          causeway.SourceTelemetry,
	}
}

// TestGoldenV1 pins the bytes of version 1: logs written by a released program
// must stay readable.
func TestGoldenV1(t *testing.T) {
	cases := map[string]causeway.Message{
		"empty":   {},
		"body":    {Body: []byte("hello")},
		"typical": typical(),
		"full":    full(),
	}
	for name, m := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "v1", name+".hex")
			got := envelope.Append(nil, &m)
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), hex.Dump(got)); diff != "" {
				t.Errorf("bytes of version 1 changed (-want +got):\n%s", diff)
			}
			back, err := envelope.Decode(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, back); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryStoredField fails when a field is added to causeway.Message that is
// neither stored nor named here as not stored.
func TestEveryStoredField(t *testing.T) {
	notStored := map[string]bool{"Sequence": true, "DeliveryCount": true, "Lock": true}
	m := full()
	m.From.Hub = "hub"
	back, err := envelope.Decode(envelope.Append(nil, &m))
	if err != nil {
		t.Fatal(err)
	}
	want, got := reflect.ValueOf(m), reflect.ValueOf(back)
	for i := range want.NumField() {
		name := want.Type().Field(i).Name
		switch {
		case name == "From":
			if back.From != (causeway.Identity{Device: "dev-1", Module: "mod-1"}) {
				t.Errorf("From = %+v, want the device and module, and no hub", back.From)
			}
		case notStored[name]:
			if !got.Field(i).IsZero() {
				t.Errorf("%s is not stored, but decoded as %v", name, got.Field(i))
			}
		case want.Field(i).IsZero():
			t.Errorf("the test sets no value for %s", name)
		case !reflect.DeepEqual(want.Field(i).Interface(), got.Field(i).Interface()):
			t.Errorf("%s = %v, want %v", name, got.Field(i), want.Field(i))
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := full()
	good := envelope.Append(nil, &whole)
	cases := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, envelope.ErrMalformed},
		{"version 0", []byte{0, 0}, envelope.ErrVersion},
		{"version 2", append([]byte{2}, good[1:]...), envelope.ErrVersion},
		{"no presence", []byte{1}, envelope.ErrMalformed},
		{"unknown field", []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, envelope.ErrMalformed},
		{"garbage behind", append(append([]byte(nil), good...), 0), envelope.ErrMalformed},
		{"garbage behind empty", []byte{1, 0, 0}, envelope.ErrMalformed},
		{"number not minimal", []byte{1, 0x80, 0x00}, envelope.ErrMalformed},
		{"empty text", []byte{1, 1, 0}, envelope.ErrMalformed},
		{"huge text", []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, envelope.ErrMalformed},
		{"device from the dictionary", []byte{1, 1, 1}, envelope.ErrMalformed},
		{"word beyond the dictionary", []byte{1, 4, 0xff, 0x01}, envelope.ErrMalformed},
		{"source spelled out", append([]byte{1, 1 << 4, 9 << 1}, "Telemetry"...), envelope.ErrMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := envelope.Decode(c.in)
			if !errors.Is(err, c.want) {
				t.Fatalf("Decode = %+v, %v, want %v", m, err, c.want)
			}
		})
	}
	for n := range good {
		if _, err := envelope.Decode(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes decode", n, len(good))
		}
	}
}

// TestSubMicrosecond checks the one time that is not zero but rounds to it.
func TestSubMicrosecond(t *testing.T) {
	m := causeway.Message{Enqueued: time.Time{}.Add(500 * time.Nanosecond)}
	back, err := envelope.Decode(envelope.Append(nil, &m))
	if err != nil || !back.Enqueued.IsZero() {
		t.Fatalf("Decode = %v, %v, want the zero time", back.Enqueued, err)
	}
}

func TestAllocations(t *testing.T) {
	m := typical()
	buf := envelope.Append(nil, &m)
	if n := testing.AllocsPerRun(100, func() { buf = envelope.Append(buf[:0], &m) }); n != 0 {
		t.Errorf("Append allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := envelope.Decode(buf); err != nil {
			t.Fatal(err)
		}
	}); n > 2 { // the texts, the properties
		t.Errorf("Decode allocates %v times, want 2", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := envelope.View(&m, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("View allocates %v times, want 0", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []causeway.Message{{}, typical(), full()} {
		f.Add(envelope.Append(nil, &m))
	}
	f.Add([]byte{1, 0x80, 0x80, 0x80, 0x08, 3, 0, 0, 0, 0, 0, 0})
	var view causeway.Message
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := envelope.Decode(b)
		if viewErr := envelope.View(&view, b); (err == nil) != (viewErr == nil) {
			t.Fatalf("Decode says %v, View says %v", err, viewErr)
		}
		if err != nil {
			return
		}
		sameAsDecoded(t, &view, b)
		if len(m.Properties) > len(b)/2 {
			t.Fatalf("%d properties from %d bytes", len(m.Properties), len(b))
		}
		if again := envelope.Append(nil, &m); !bytes.Equal(again, b) {
			t.Fatalf("a second form of one message:\n%x\n%x", b, again)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("device", "module", "Telemetry", "application/json", "k=v;k=;=", int64(0), int64(1), []byte("body"))
	f.Add("", "", "", "", "", int64(-62135596800_000000), int64(-1), []byte(nil))
	f.Fuzz(func(t *testing.T, device, id, source, contentType, props string, enqueued, expiry int64, body []byte) {
		m := causeway.Message{
			From: causeway.Identity{Device: device}, ID: id, CorrelationID: device, Source: source, Auth: source,
			ContentType: contentType, Ack: causeway.Ack(contentType), Schema: contentType,
			Enqueued: time.UnixMicro(enqueued).UTC(), Expiry: time.UnixMicro(expiry).UTC(), Body: body,
		}
		for p := range strings.SplitSeq(props, ";") {
			k, v, _ := strings.Cut(p, "=")
			m.Properties = append(m.Properties, causeway.Property{Key: k, Value: v})
		}
		if len(body) == 0 {
			m.Body = nil
		}
		back, err := envelope.Decode(envelope.Append(nil, &m))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestViewIsDecode reads messages of many kinds one after the other into one.
func TestViewIsDecode(t *testing.T) {
	var m causeway.Message
	for i, want := range []causeway.Message{full(), typical(), {}, typical(), {Body: []byte("b")}, full()} {
		b := envelope.Append(nil, &want)
		if err := envelope.View(&m, b); err != nil {
			t.Fatal(err)
		}
		sameAsDecoded(t, &m, b)
		if i == 1 {
			// A message that cannot be read leaves nothing of the one before.
			if err := envelope.View(&m, b[:len(b)-1]); !errors.Is(err, envelope.ErrMalformed) {
				t.Fatalf("half a message: %v", err)
			}
			if m.ID != "" || m.Body != nil || len(m.Properties) != 0 {
				t.Fatalf("half a message left %+v", m)
			}
		}
	}
}

// sameAsDecoded compares what View made of b with what Decode makes.
func sameAsDecoded(t *testing.T, got *causeway.Message, b []byte) {
	t.Helper()
	want, err := envelope.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m := *got
	if len(m.Properties) == 0 {
		m.Properties = nil // kept for the next message
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Fatalf("View differs from Decode:\n%s", diff)
	}
}

func BenchmarkAppend(b *testing.B) {
	m := typical()
	buf := envelope.Append(nil, &m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = envelope.Append(buf[:0], &m)
	}
}

func BenchmarkDecode(b *testing.B) {
	m := typical()
	buf := envelope.Append(nil, &m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	m := typical()
	buf := envelope.Append(nil, &m)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if err := envelope.View(&m, buf); err != nil {
			b.Fatal(err)
		}
	}
}
