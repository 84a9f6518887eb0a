package mqtt_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// answer is what the head does about bad input.
type answer string

const (
	closes     answer = "closes the connection"
	connack1   answer = "CONNACK 1, closes"
	connack84  answer = "CONNACK 0x84 (MQTT 5), closes"
	suback80   answer = "SUBACK 0x80, connection stays"
	ignores    answer = "ignores it, connection stays"
	acksIgnore answer = "PUBACK, otherwise ignores it"
)

// badInput is every kind of bad input and what is done about it. It is the
// source of the MQTT table in docs/bad-input.md.
var badInput = []struct {
	name   string
	first  bool   // sent in place of CONNECT
	bytes  string // on the wire
	answer answer
	reason mqtt.Reason // counted under; "" for not counted
}{
	// Instead of a CONNECT.
	{"first packet is not CONNECT", true, "\xc0\x00", closes, mqtt.ReasonNoConnect},
	{"first packet is PUBLISH", true, "\x30\x05\x00\x03abc", closes, mqtt.ReasonNoConnect},
	{"HTTP instead of MQTT", true, "GET / HTTP/1.1\r\n\r\n", closes, mqtt.ReasonNoConnect},
	{"TLS inside TLS", true, "\x16\x03\x01\x00\x05\x01", closes, mqtt.ReasonMalformed},
	{"packet type 0", true, "\x00\x00", closes, mqtt.ReasonNoConnect},
	{"CONNECT with reserved flags in its header", true, "\x11\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT with the reserved connect flag", true, "\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT with another protocol name", true, "\x10\x0c\x00\x04XQTT\x04\x02\x00\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT of MQTT 3.1 (MQIsdp, level 3)", true, "\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", connack1, mqtt.ReasonProtocolVersion},
	{"CONNECT with level 3", true, "\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", connack1, mqtt.ReasonProtocolVersion},
	{"CONNECT of MQTT 5", true, "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", connack84, mqtt.ReasonProtocolVersion},
	{"CONNECT of MQTT 5, malformed", true, "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x09\x00\x00", connack84, mqtt.ReasonProtocolVersion},
	{"CONNECT with level 6", true, "\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00", connack84, mqtt.ReasonProtocolVersion},
	{"CONNECT with a bridge's level 0x84", true, "\x10\x0c\x00\x04MQTT\x84\x02\x00\x00\x00\x00", connack84, mqtt.ReasonProtocolVersion},
	{"CONNECT with a client id that is not UTF-8", true, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\xff", closes, mqtt.ReasonMalformed},
	{"CONNECT with a client id with NUL", true, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT with a password but no user name", true, "\x10\x0f\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x01x", closes, mqtt.ReasonMalformed},
	{"CONNECT with will flags but no will", true, "\x10\x0c\x00\x04MQTT\x04\x22\x00\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT with will QoS 3", true, "\x10\x10\x00\x04MQTT\x04\x1e\x00\x00\x00\x00\x00\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT with bytes after its end", true, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x00x", closes, mqtt.ReasonMalformed},
	{"CONNECT cut short within", true, "\x10\x0b\x00\x04MQTT\x04\x02\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"CONNECT larger than 192 KiB", true, "\x10\xff\xff\x7f", closes, mqtt.ReasonTooLarge},
	{"CONNECT with a remaining length of five bytes", true, "\x10\xff\xff\xff\xff\x01", closes, mqtt.ReasonMalformed},

	// Packets of the wrong kind.
	{"second CONNECT", false, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", closes, mqtt.ReasonSecondConnect},
	{"packet of reserved type 0", false, "\x00\x00", closes, mqtt.ReasonMalformed},
	{"packet of reserved type 15 (AUTH)", false, "\xf0\x00", closes, mqtt.ReasonMalformed},
	{"CONNACK from a client", false, "\x20\x02\x00\x00", closes, mqtt.ReasonUnexpected},
	{"SUBACK from a client", false, "\x90\x03\x00\x01\x00", closes, mqtt.ReasonUnexpected},
	{"UNSUBACK from a client", false, "\xb0\x02\x00\x01", closes, mqtt.ReasonUnexpected},
	{"PINGRESP from a client", false, "\xd0\x00", closes, mqtt.ReasonUnexpected},
	{"PUBREC", false, "\x50\x02\x00\x01", closes, mqtt.ReasonUnexpected},
	{"PUBREL", false, "\x62\x02\x00\x01", closes, mqtt.ReasonUnexpected},
	{"PUBCOMP", false, "\x70\x02\x00\x01", closes, mqtt.ReasonUnexpected},
	{"remaining length of five bytes", false, "\x30\xff\xff\xff\xff\x01", closes, mqtt.ReasonMalformed},
	{"remaining length of 256 MiB", false, "\x30\xff\xff\xff\x7f", closes, mqtt.ReasonTooLarge},

	// PUBLISH.
	{"PUBLISH with QoS 2", false, wirePublish("devices/dev1/messages/events/", 2, 1, ""), closes, mqtt.ReasonQoS2},
	{"PUBLISH with QoS 3", false, "\x36\x05\x00\x01a\x00\x01", closes, mqtt.ReasonMalformed},
	{"PUBLISH with QoS 0 and DUP", false, "\x38\x03\x00\x01a", closes, mqtt.ReasonMalformed},
	{"PUBLISH with packet id 0", false, "\x32\x05\x00\x01a\x00\x00", closes, mqtt.ReasonMalformed},
	{"PUBLISH with an empty topic", false, "\x30\x02\x00\x00", closes, mqtt.ReasonMalformed},
	{"PUBLISH with a wildcard in its topic", false, "\x30\x22\x00\x20devices/dev1/messages/events/a=+", closes, mqtt.ReasonMalformed},
	{"PUBLISH with a topic that is not UTF-8", false, "\x30\x03\x00\x01\xff", closes, mqtt.ReasonMalformed},
	{"PUBLISH with a topic with NUL", false, "\x30\x03\x00\x01\x00", closes, mqtt.ReasonMalformed},
	{"PUBLISH with a topic beyond its end", false, "\x30\x03\x00\x09a", closes, mqtt.ReasonMalformed},
	{"PUBLISH without a topic length", false, "\x30\x01\x00", closes, mqtt.ReasonMalformed},
	{"PUBLISH to a free topic", false, wirePublish("sensors/temperature", 1, 1, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH to $SYS", false, wirePublish("$SYS/broker", 0, 0, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH to an unknown $iothub topic", false, wirePublish("$iothub/jobs/1", 0, 0, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH to a topic in another case", false, wirePublish("devices/dev1/Messages/events/", 0, 0, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH to the device's own C2D topic", false, wirePublish("devices/dev1/messages/devicebound/", 0, 0, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH to a method request topic", false, wirePublish("$iothub/methods/POST/m/?$rid=1", 0, 0, "x"), closes, mqtt.ReasonUnknownTopic},
	{"PUBLISH for another device", false, wirePublish("devices/dev2/messages/events/", 1, 1, "x"), closes, mqtt.ReasonForeignTopic},
	{"PUBLISH for a module of the device", false, wirePublish("devices/dev1/modules/m1/messages/events/", 1, 1, "x"), closes, mqtt.ReasonForeignTopic},
	{"PUBLISH for a device with this one's id as prefix", false, wirePublish("devices/dev11/messages/events/", 1, 1, "x"), closes, mqtt.ReasonForeignTopic},
	{"PUBLISH with a property that is not UTF-8 after decoding", false, wirePublish("devices/dev1/messages/events/a=%ff", 1, 1, "x"), closes, mqtt.ReasonMalformedTopic},
	{"PUBLISH with more than 512 properties", false, wirePublish("devices/dev1/messages/events/"+manyProperties(), 1, 1, "x"), closes, mqtt.ReasonMalformedTopic},
	{"PUBLISH with a body above 256 KiB", false, wirePublish("devices/dev1/messages/events/", 0, 0, strings.Repeat("x", causeway.MaxMessageSize+1)), closes, mqtt.ReasonTooLarge},
	{"PUBLISH above 256 KiB with its properties", false, wirePublish("devices/dev1/messages/events/k=v", 0, 0, strings.Repeat("x", causeway.MaxMessageSize-1)), closes, mqtt.ReasonTooLarge},
	{"PUBLISH above the largest body and the longest topic", false, "\x32\x84\x80\x14", closes, mqtt.ReasonTooLarge},
	{"method response with a status that is no number", false, wirePublish("$iothub/methods/res/ok/?$rid=1", 0, 0, ""), closes, mqtt.ReasonMalformedTopic},
	{"method response without a request id", false, wirePublish("$iothub/methods/res/200/?x=1", 0, 0, ""), closes, mqtt.ReasonMalformedTopic},
	{"method response nobody waits for", false, wirePublish("$iothub/methods/res/200/?$rid=77", 1, 1, "{}"), acksIgnore, ""},
	{"twin request without a request id", false, wirePublish("$iothub/twin/GET/", 0, 0, ""), closes, mqtt.ReasonMalformedTopic},
	{"twin request with an endless request id", false, wirePublish("$iothub/twin/GET/?$rid="+strings.Repeat("9", 300), 0, 0, ""), closes, mqtt.ReasonMalformedTopic},
	{"twin patch with a version that is no number", false, wirePublish("$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", 0, 0, "{}"), closes, mqtt.ReasonMalformedTopic},
	{"twin request without a subscription to the answers", false, wirePublish("$iothub/twin/GET/?$rid=1", 1, 1, ""), acksIgnore, ""},

	// PUBACK, SUBSCRIBE, UNSUBSCRIBE and the rest.
	{"PUBACK of an unknown packet id", false, "\x40\x02\x00\x63", ignores, ""},
	{"PUBACK with packet id 0", false, "\x40\x02\x00\x00", closes, mqtt.ReasonMalformed},
	{"PUBACK with reserved flags", false, "\x42\x02\x00\x01", closes, mqtt.ReasonMalformed},
	{"PUBACK with bytes after its end", false, "\x40\x03\x00\x01\x00", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with wrong flags", false, "\x80\x06\x00\x01\x00\x01a\x00", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with packet id 0", false, "\x82\x06\x00\x00\x00\x01a\x00", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE without a filter", false, "\x82\x02\x00\x01", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with an empty filter", false, "\x82\x05\x00\x01\x00\x00\x00", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with QoS 3", false, "\x82\x06\x00\x01\x00\x01a\x03", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with reserved option bits", false, "\x82\x06\x00\x01\x00\x01a\x80", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE with a filter that is not UTF-8", false, "\x82\x06\x00\x01\x00\x01\xff\x00", closes, mqtt.ReasonMalformed},
	{"SUBSCRIBE to everything", false, wireSubscribe("#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to an unknown filter", false, wireSubscribe("sensors/+/temperature"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to a known filter without its wildcard", false, wireSubscribe("$iothub/twin/res/"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to a known filter in another case", false, wireSubscribe("$iothub/Twin/res/#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE with misplaced wildcards", false, wireSubscribe("$iothub/methods/POST/a#/#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to a shared subscription", false, wireSubscribe("$share/g/devices/dev1/messages/devicebound/#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to $SYS", false, wireSubscribe("$SYS/#"), suback80, mqtt.ReasonUnknownFilter},
	{"SUBSCRIBE to another device", false, wireSubscribe("devices/dev2/messages/devicebound/#"), suback80, mqtt.ReasonForeignFilter},
	{"SUBSCRIBE of a device to a module's messages", false, wireSubscribe("devices/dev1/modules/m1/messages/devicebound/#"), suback80, mqtt.ReasonForeignFilter},
	{"UNSUBSCRIBE with wrong flags", false, "\xa0\x05\x00\x01\x00\x01a", closes, mqtt.ReasonMalformed},
	{"UNSUBSCRIBE without a filter", false, "\xa2\x02\x00\x01", closes, mqtt.ReasonMalformed},
	{"UNSUBSCRIBE with an empty filter", false, "\xa2\x04\x00\x01\x00\x00", closes, mqtt.ReasonMalformed},
	{"PINGREQ with a body", false, "\xc0\x01\x00", closes, mqtt.ReasonMalformed},
	{"PINGREQ with reserved flags", false, "\xc8\x00", closes, mqtt.ReasonMalformed},
	{"DISCONNECT with a body", false, "\xe0\x01\x00", closes, mqtt.ReasonMalformed},
	{"DISCONNECT with reserved flags", false, "\xe1\x00", closes, mqtt.ReasonMalformed},
}

func wirePublish(topic string, qos byte, id uint16, body string) string {
	b, err := (&wire.Publish{Topic: topic, QoS: qos, ID: id, Payload: []byte(body)}).Append(nil, wire.V311)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func wireSubscribe(filter string) string {
	b, err := (&wire.Subscribe{ID: 1, Subscriptions: []wire.Subscription{{Filter: filter, QoS: 1}}}).Append(nil, wire.V311)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func manyProperties() string {
	var b strings.Builder
	for i := range 513 {
		b.WriteByte(byte('a' + i%26))
		b.WriteByte(byte('a' + i/26%26))
		b.WriteString("=&")
	}
	return b.String()
}

func TestBadInput(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range badInput {
		if seen[c.name] {
			t.Errorf("two rows are called %q", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl := w.dial()
				if !c.first {
					_ = cl.nc.Close()
					cl = w.connect(w.dev1)
					// What came before is not lost with the connection.
					cl.send(pub(cl.events(""), "before", 50))
					cl.acked(50)
				}
				cl.write([]byte(c.bytes))
				switch c.answer {
				case closes:
					cl.closed()
				case connack1:
					if a := expect[*wire.Connack](cl); a.Code != wire.RefusedVersion {
						t.Errorf("CONNACK %d", a.Code)
					}
					cl.closed()
				case connack84:
					cl.r.Version = wire.V5
					if a := expect[*wire.Connack](cl); a.Code != wire.UnsupportedVersion {
						t.Errorf("CONNACK %v", a.Code)
					}
					cl.closed()
				case suback80:
					if a := expect[*wire.Suback](cl); a.ID != 1 || len(a.Codes) != 1 || a.Codes[0] != 0x80 {
						t.Errorf("SUBACK %+v", a)
					}
					cl.ping()
				case acksIgnore:
					cl.acked(1)
					cl.ping()
				case ignores:
					cl.ping()
				}
				synctest.Wait()
				if c.reason != "" && w.refused(c.reason) != 1 {
					t.Errorf("not counted as %s", c.reason)
				}
				want := ""
				if !c.first {
					want = "before"
				}
				if got := strings.Join(w.telemetry(), ","); got != want {
					t.Errorf("stored %q, want %q", got, want)
				}
			})
		})
	}
}

// TestBadInputKeepsWhatCameBefore sends good messages and bad input in one
// piece: the good ones are stored and acknowledged.
func TestBadInputKeepsWhatCameBefore(t *testing.T) {
	for _, c := range badInput {
		if c.first || c.answer != closes {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.net.Buffer = 1 << 20
				cl := w.connect(w.dev1)
				good, err := pub(cl.events(""), "good", 9).Append(nil, wire.V311)
				if err != nil {
					t.Fatal(err)
				}
				cl.write(append(good, c.bytes...))
				cl.acked(9)
				cl.closed()
			})
		})
	}
}
