package mqtt_test

import (
	"bytes"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func telemetry(b testing.TB) []byte {
	return mustAppend(b, &mqtt.Publish{
		Topic: "devices/device-000001/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8", QoS: 1, ID: 7,
		Payload: bytes.Repeat([]byte("x"), 256),
	}, mqtt.V311)
}

func BenchmarkDecodePublish(b *testing.B) {
	stream := bytes.Repeat(telemetry(b), 10)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	var p mqtt.Publish
	for b.Loop() {
		for rest := stream; len(rest) > 0; {
			f, n, _, err := mqtt.Split(rest, mqtt.V311, 256<<10)
			if err != nil || n == 0 {
				b.Fatal(err)
			}
			if err := p.Decode(f, mqtt.V311); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	p := mqtt.Publish{Topic: "devices/device-000001/messages/events/", QoS: 1, ID: 7, Payload: bytes.Repeat([]byte("x"), 256)}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = p.Append(buf[:0], mqtt.V311); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	b := telemetry(t)
	five := mustAppend(t, everyPacket(mqtt.V5)["publish, properties"], mqtt.V5)
	var p mqtt.Publish
	var out []byte
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"split and decode 3.1.1", func() {
			fr, _, _, _ := mqtt.Split(b, mqtt.V311, limit)
			if err := p.Decode(fr, mqtt.V311); err != nil {
				t.Fatal(err)
			}
		}},
		{"split and decode 5", func() {
			fr, _, _, _ := mqtt.Split(five, mqtt.V5, limit)
			if err := p.Decode(fr, mqtt.V5); err != nil {
				t.Fatal(err)
			}
		}},
		{"append publish", func() {
			var err error
			if out, err = p.Append(out[:0], mqtt.V5); err != nil {
				t.Fatal(err)
			}
		}},
		{"append puback", func() { out = mqtt.AppendPuback(out[:0], 9) }},
	} {
		c.do()
		if n := testing.AllocsPerRun(100, c.do); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
