package mqtt_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

const limit = 1 << 20

// everyPacket is one packet of each kind and shape for version v.
func everyPacket(v mqtt.Version) map[string]mqtt.Packet {
	packets := map[string]mqtt.Packet{
		"connect":               &mqtt.Connect{Version: v, ClientID: "dev1", CleanStart: true, KeepAlive: 60},
		"connect, credentials":  &mqtt.Connect{Version: v, ClientID: "dev1", HasUserName: true, UserName: "hub/dev1/?api-version=2021-04-12", HasPassword: true, Password: "SharedAccessSignature sr=\xff"},
		"connect, empty fields": &mqtt.Connect{Version: v, HasUserName: true, HasPassword: true},
		"connect, will": &mqtt.Connect{
			Version: v, ClientID: "d", KeepAlive: 65535,
			Will: &mqtt.Will{Topic: "devices/d/messages/events/", Payload: []byte("gone"), QoS: 1, Retain: true},
		},
		"connect, empty will":       &mqtt.Connect{Version: v, Will: &mqtt.Will{Topic: "t", Payload: []byte{}, QoS: 2}},
		"connack":                   &mqtt.Connack{},
		"connack, session":          &mqtt.Connack{SessionPresent: true},
		"publish":                   &mqtt.Publish{Topic: "a/b", Payload: []byte("hello")},
		"publish, QoS 1":            &mqtt.Publish{Topic: "a/b", Payload: []byte("hello"), QoS: 1, ID: 10},
		"publish, duplicate":        &mqtt.Publish{Topic: "ä/✓", Payload: []byte{}, QoS: 2, ID: 65535, Dup: true, Retain: true},
		"publish, two-byte length":  &mqtt.Publish{Topic: "a", Payload: bytes.Repeat([]byte("x"), 200)},
		"publish, three-byte":       &mqtt.Publish{Topic: "a", Payload: bytes.Repeat([]byte("x"), 16_500)},
		"puback":                    &mqtt.Ack{Kind: mqtt.PUBACK, ID: 1},
		"pubrec":                    &mqtt.Ack{Kind: mqtt.PUBREC, ID: 2},
		"pubrel":                    &mqtt.Ack{Kind: mqtt.PUBREL, ID: 3},
		"pubcomp":                   &mqtt.Ack{Kind: mqtt.PUBCOMP, ID: 4},
		"subscribe":                 &mqtt.Subscribe{ID: 5, Subscriptions: []mqtt.Subscription{{Filter: "a/#", QoS: 1}, {Filter: "+/b", QoS: 2}}},
		"subscribe, two-byte":       &mqtt.Subscribe{ID: 5, Subscriptions: []mqtt.Subscription{{Filter: strings.Repeat("f", 300)}}},
		"suback":                    &mqtt.Suback{ID: 5, Codes: []mqtt.Reason{0, 1, 2, 0x80}},
		"unsubscribe":               &mqtt.Unsubscribe{ID: 6, Filters: []string{"a/#", "b"}},
		"pingreq":                   &mqtt.Ping{},
		"pingresp":                  &mqtt.Ping{Response: true},
		"disconnect":                &mqtt.Disconnect{},
		"publish, payload with NUL": &mqtt.Publish{Topic: "t", Payload: []byte{0, 1, 0xFF}},
	}
	if v != mqtt.V5 {
		packets["connack, refusal"] = &mqtt.Connack{Code: mqtt.RefusedUnauthorized}
		packets["unsuback"] = &mqtt.Unsuback{ID: 7}
		return packets
	}
	user := mqtt.Property{ID: mqtt.UserProperty, Text: "k", Value: "v"}
	reason := mqtt.Property{ID: mqtt.ReasonString, Text: "because"}
	more := map[string]mqtt.Packet{
		"unsuback":         &mqtt.Unsuback{ID: 7, Codes: []mqtt.Reason{0, 0x11}, Properties: mqtt.Properties{reason}},
		"connack, refusal": &mqtt.Connack{Code: mqtt.UnsupportedVersion, Properties: mqtt.Properties{reason, user}},
		"connect, properties": &mqtt.Connect{
			Version: v, ClientID: "d", Properties: mqtt.Properties{
				{ID: mqtt.SessionExpiry, Num: 0xFFFFFFFF},
				{ID: mqtt.ReceiveMaximum, Num: 16},
				{ID: mqtt.MaximumPacketSize, Num: 262144},
				{ID: mqtt.TopicAliasMaximum, Num: 10},
				{ID: mqtt.RequestResponseInfo, Num: 1},
				{ID: mqtt.RequestProblemInfo},
				user, user,
				{ID: mqtt.AuthMethod, Text: "SAS"},
				{ID: mqtt.AuthData, Text: "\x00\xff"},
			},
			Will: &mqtt.Will{Topic: "w", Payload: []byte("x"), Properties: mqtt.Properties{
				{ID: mqtt.WillDelay, Num: 5},
				{ID: mqtt.PayloadFormat, Num: 1},
				{ID: mqtt.MessageExpiry, Num: 9},
				{ID: mqtt.ContentType, Text: "text/plain"},
				{ID: mqtt.ResponseTopic, Text: "r"},
				{ID: mqtt.CorrelationData, Text: "\x00"},
				user,
			}},
		},
		"connack, properties": &mqtt.Connack{Properties: mqtt.Properties{
			{ID: mqtt.SessionExpiry, Num: 1},
			{ID: mqtt.ReceiveMaximum, Num: 16},
			{ID: mqtt.MaximumQoS, Num: 1},
			{ID: mqtt.RetainAvailable},
			{ID: mqtt.MaximumPacketSize, Num: 262144},
			{ID: mqtt.AssignedClientID, Text: "x"},
			{ID: mqtt.TopicAliasMaximum, Num: 10},
			reason, user,
			{ID: mqtt.WildcardsAvailable},
			{ID: mqtt.SubscriptionIDsAvail, Num: 1},
			{ID: mqtt.SharedSubsAvailable},
			{ID: mqtt.ServerKeepAlive, Num: 1140},
			{ID: mqtt.ResponseInfo, Text: "ri"},
			{ID: mqtt.ServerReference, Text: "other"},
			{ID: mqtt.AuthMethod, Text: "m"},
		}},
		"publish, properties": &mqtt.Publish{Topic: "a", Payload: []byte("p"), QoS: 1, ID: 1, Properties: mqtt.Properties{
			{ID: mqtt.PayloadFormat},
			{ID: mqtt.MessageExpiry, Num: 3},
			{ID: mqtt.TopicAlias, Num: 65535},
			{ID: mqtt.ResponseTopic, Text: "r/t"},
			{ID: mqtt.CorrelationData, Text: "c"},
			user,
			{ID: mqtt.SubscriptionID, Num: 1},
			{ID: mqtt.SubscriptionID, Num: 268435455},
			{ID: mqtt.ContentType, Text: "ct"},
		}},
		"publish, alias only": &mqtt.Publish{Payload: []byte("p"), Properties: mqtt.Properties{{ID: mqtt.TopicAlias, Num: 1}}},
		"puback, reason":      &mqtt.Ack{Kind: mqtt.PUBACK, ID: 1, Reason: mqtt.QuotaExceeded},
		"puback, properties":  &mqtt.Ack{Kind: mqtt.PUBACK, ID: 1, Reason: mqtt.NoMatchingSubscribers, Properties: mqtt.Properties{reason}},
		"pubrel, reason":      &mqtt.Ack{Kind: mqtt.PUBREL, ID: 1, Reason: mqtt.PacketIDNotFound},
		"subscribe, options": &mqtt.Subscribe{
			ID: 1, Properties: mqtt.Properties{{ID: mqtt.SubscriptionID, Num: 7}},
			Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}},
		},
		"suback, v5 codes":   &mqtt.Suback{ID: 5, Codes: []mqtt.Reason{0x8F, 0xA2}, Properties: mqtt.Properties{user}},
		"disconnect, reason": &mqtt.Disconnect{Reason: mqtt.ServerShuttingDown},
		"disconnect, properties": &mqtt.Disconnect{Reason: mqtt.DisconnectWithWill, Properties: mqtt.Properties{
			{ID: mqtt.SessionExpiry, Num: 0}, {ID: mqtt.ServerReference, Text: "s"}, reason, user,
		}},
		"auth":          &mqtt.Auth{Reason: mqtt.ContinueAuthentication, Properties: mqtt.Properties{{ID: mqtt.AuthMethod, Text: "m"}, {ID: mqtt.AuthData, Text: "d"}}},
		"auth, success": &mqtt.Auth{},
	}
	for k, p := range more {
		packets[k] = p
	}
	return packets
}

func mustAppend(t testing.TB, p mqtt.Packet, v mqtt.Version) []byte {
	t.Helper()
	b, err := p.Append(nil, v)
	if err != nil {
		t.Fatalf("append %s: %v", p.Type(), err)
	}
	return b
}

func split(t testing.TB, b []byte, v mqtt.Version) mqtt.Frame {
	t.Helper()
	f, n, _, err := mqtt.Split(b, v, limit)
	if err != nil || n != len(b) {
		t.Fatalf("split: took %d of %d bytes, error %v", n, len(b), err)
	}
	return f
}

func TestRoundTrip(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for name, p := range everyPacket(v) {
			t.Run(v.String()+"/"+name, func(t *testing.T) {
				prefix := []byte("before")
				b, err := p.Append(prefix, v)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(b, prefix) {
					t.Fatalf("append changed what stood before: %q", b)
				}
				got, err := mqtt.Decode(split(t, b[len(prefix):], v), v)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(p, got, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("decoded packet differs (-want +got):\n%s", d)
				}
				// Decoding over an old packet leaves nothing of it.
				dirty, err := mqtt.Decode(split(t, mustAppend(t, dirtyOf(p), mqtt.V5), mqtt.V5), mqtt.V5)
				if err != nil {
					t.Fatal(err)
				}
				if err := dirty.Decode(split(t, b[len(prefix):], v), v); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(p, dirty, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("decoding over another packet differs (-want +got):\n%s", d)
				}
			})
		}
	}
}

// dirtyOf returns a packet of the same Go type as p with many fields set.
func dirtyOf(p mqtt.Packet) mqtt.Packet {
	all := everyPacket(mqtt.V5)
	switch p.(type) {
	case *mqtt.Connect:
		return all["connect, properties"]
	case *mqtt.Connack:
		return all["connack, properties"]
	case *mqtt.Publish:
		return all["publish, properties"]
	case *mqtt.Ack:
		return all["puback, properties"]
	case *mqtt.Subscribe:
		return all["subscribe, options"]
	case *mqtt.Suback:
		return all["suback, v5 codes"]
	case *mqtt.Disconnect:
		return all["disconnect, properties"]
	case *mqtt.Auth:
		return all["auth"]
	case *mqtt.Unsuback:
		return all["unsuback"]
	}
	return p
}

// TestTruncated takes every prefix of every packet: none is a packet, none is
// an error before its end, and a body cut short is always refused.
func TestTruncated(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for name, p := range everyPacket(v) {
			b := mustAppend(t, p, v)
			if len(b) > 1000 {
				continue
			}
			for i := range b {
				_, n, need, err := mqtt.Split(b[:i], v, limit)
				if n != 0 || err != nil || need <= i || need > len(b) {
					t.Fatalf("%s %s: split of the first %d of %d bytes: n=%d need=%d err=%v", v, name, i, len(b), n, need, err)
				}
			}
			f := split(t, b, v)
			for i := range f.Body {
				_, err := mqtt.Decode(mqtt.Frame{Type: f.Type, Flags: f.Flags, Body: f.Body[:i]}, v)
				if err == nil && !mayEndAt(p, v, i) {
					t.Errorf("%s %s: body cut to %d of %d bytes was accepted", v, name, i, len(f.Body))
				}
				var e *mqtt.Error
				if err != nil && !errors.As(err, &e) {
					t.Errorf("%s %s: error %v is not an *Error", v, name, err)
				}
			}
		}
	}
}

// mayEndAt reports whether the first i bytes of p's body are a packet too.
func mayEndAt(p mqtt.Packet, v mqtt.Version, i int) bool {
	switch p := p.(type) {
	case *mqtt.Publish: // the payload is the rest
		return i >= 2+len(p.Topic)
	case *mqtt.Ack:
		return v == mqtt.V5 && i >= 2
	case *mqtt.Disconnect:
		return i <= 1
	case *mqtt.Auth:
		return i == 0
	case *mqtt.Suback, *mqtt.Unsuback, *mqtt.Subscribe, *mqtt.Unsubscribe:
		return i >= 3 // a list may be shorter
	}
	return false
}

func TestMalformed(t *testing.T) {
	const v4, v5 = mqtt.V311, mqtt.V5
	for _, c := range []struct {
		name string
		v    mqtt.Version
		b    string
		want mqtt.Reason
	}{
		{"type 0", v4, "\x00\x00", mqtt.MalformedPacket},
		{"AUTH in 3.1.1", v4, "\xf0\x00", mqtt.MalformedPacket},
		{"remaining length of five bytes", v4, "\x30\xff\xff\xff\xff\x01", mqtt.MalformedPacket},
		{"remaining length not shortest in 5", v5, "\xc0\x80\x00", mqtt.MalformedPacket},
		{"packet above the limit", v4, "\x30\x81\x80\x40", mqtt.PacketTooLarge},
		{"CONNECT flags", v4, "\x11\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT reserved flag", v4, "\x10\x0c\x00\x04MQTT\x04\x01\x00\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT protocol name", v4, "\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00", mqtt.ProtocolError},
		{"CONNECT will flags without will", v4, "\x10\x0c\x00\x04MQTT\x04\x20\x00\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT will QoS without will", v4, "\x10\x0c\x00\x04MQTT\x04\x08\x00\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT will QoS 3", v4, "\x10\x11\x00\x04MQTT\x04\x1c\x00\x00\x00\x00\x00\x01w\x00\x00", mqtt.MalformedPacket},
		{"CONNECT will topic with wildcard", v4, "\x10\x11\x00\x04MQTT\x04\x04\x00\x00\x00\x00\x00\x01#\x00\x00", mqtt.TopicNameInvalid},
		{"CONNECT will topic empty", v4, "\x10\x10\x00\x04MQTT\x04\x04\x00\x00\x00\x00\x00\x00\x00\x00", mqtt.TopicNameInvalid},
		{"CONNECT password without user name", v4, "\x10\x0e\x00\x04MQTT\x04\x40\x00\x00\x00\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT client id not UTF-8", v4, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\xff", mqtt.MalformedPacket},
		{"CONNECT client id with NUL", v4, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", mqtt.MalformedPacket},
		{"CONNECT client id with surrogate", v4, "\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03\xed\xa0\x80", mqtt.MalformedPacket},
		{"CONNECT trailing byte", v4, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x00x", mqtt.MalformedPacket},
		{"CONNECT property twice", v5, "\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x04\x19\x00\x19\x00\x00\x00", mqtt.ProtocolError},
		{"CONNECT property of PUBLISH", v5, "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x23\x00\x01\x00\x00", mqtt.MalformedPacket},
		{"CONNECT property unknown", v5, "\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x02\x7f\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT property id above a byte", v5, "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x97\x02\x00\x00\x00", mqtt.MalformedPacket},
		{"CONNECT receive maximum 0", v5, "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00", mqtt.ProtocolError},
		{"CONNECT flag property 2", v5, "\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x02\x17\x02\x00\x00", mqtt.ProtocolError},
		{"CONNECT auth data without method", v5, "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x16\x00\x00\x00\x00", mqtt.ProtocolError},
		{"CONNECT properties beyond the end", v5, "\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x0a\x00\x00", mqtt.MalformedPacket},
		{"CONNACK reserved flags", v4, "\x20\x02\x02\x00", mqtt.MalformedPacket},
		{"CONNACK unknown code", v4, "\x20\x02\x00\x06", mqtt.MalformedPacket},
		{"CONNACK session in refusal", v4, "\x20\x02\x01\x05", mqtt.ProtocolError},
		{"PUBLISH QoS 3", v4, "\x36\x05\x00\x01a\x00\x01", mqtt.MalformedPacket},
		{"PUBLISH duplicate with QoS 0", v4, "\x38\x03\x00\x01a", mqtt.MalformedPacket},
		{"PUBLISH id 0", v4, "\x32\x05\x00\x01a\x00\x00", mqtt.MalformedPacket},
		{"PUBLISH without id", v4, "\x32\x03\x00\x01a", mqtt.MalformedPacket},
		{"PUBLISH empty topic", v4, "\x30\x02\x00\x00", mqtt.ProtocolError},
		{"PUBLISH empty topic without alias", v5, "\x30\x03\x00\x00\x00", mqtt.ProtocolError},
		{"PUBLISH topic beyond the end", v4, "\x30\x03\x00\x05a", mqtt.MalformedPacket},
		{"PUBLISH topic wildcard +", v4, "\x30\x03\x00\x01+", mqtt.TopicNameInvalid},
		{"PUBLISH topic wildcard # after UTF-8", v4, "\x30\x05\x00\x03\xc3\xa4#", mqtt.TopicNameInvalid},
		{"PUBLISH topic not UTF-8", v4, "\x30\x03\x00\x01\xff", mqtt.MalformedPacket},
		{"PUBLISH topic with NUL", v4, "\x30\x03\x00\x01\x00", mqtt.MalformedPacket},
		{"PUBLISH topic alias 0", v5, "\x30\x07\x00\x01a\x03\x23\x00\x00", mqtt.ProtocolError},
		{"PUBLISH response topic wildcard", v5, "\x30\x08\x00\x01a\x04\x08\x00\x01#", mqtt.ProtocolError},
		{"PUBACK flags", v4, "\x41\x02\x00\x01", mqtt.MalformedPacket},
		{"PUBACK id 0", v4, "\x40\x02\x00\x00", mqtt.MalformedPacket},
		{"PUBACK trailing byte", v4, "\x40\x03\x00\x01\x00", mqtt.MalformedPacket},
		{"PUBACK reason of another packet", v5, "\x40\x03\x00\x01\x92", mqtt.MalformedPacket},
		{"PUBREL flags 0", v4, "\x60\x02\x00\x01", mqtt.MalformedPacket},
		{"SUBSCRIBE flags 0", v4, "\x80\x06\x00\x01\x00\x01a\x00", mqtt.MalformedPacket},
		{"SUBSCRIBE id 0", v4, "\x82\x06\x00\x00\x00\x01a\x00", mqtt.MalformedPacket},
		{"SUBSCRIBE no filter", v4, "\x82\x02\x00\x01", mqtt.ProtocolError},
		{"SUBSCRIBE empty filter", v4, "\x82\x05\x00\x01\x00\x00\x00", mqtt.MalformedPacket},
		{"SUBSCRIBE QoS 3", v4, "\x82\x06\x00\x01\x00\x01a\x03", mqtt.MalformedPacket},
		{"SUBSCRIBE reserved bits", v4, "\x82\x06\x00\x01\x00\x01a\x04", mqtt.MalformedPacket},
		{"SUBSCRIBE without QoS", v4, "\x82\x05\x00\x01\x00\x01a", mqtt.MalformedPacket},
		{"SUBSCRIBE retain handling 3", v5, "\x82\x07\x00\x01\x00\x00\x01a\x30", mqtt.MalformedPacket},
		{"SUBSCRIBE subscription id 0", v5, "\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", mqtt.ProtocolError},
		{"SUBACK unknown code", v4, "\x90\x03\x00\x01\x03", mqtt.MalformedPacket},
		{"SUBACK no code", v4, "\x90\x02\x00\x01", mqtt.MalformedPacket},
		{"UNSUBSCRIBE flags 0", v4, "\xa0\x05\x00\x01\x00\x01a", mqtt.MalformedPacket},
		{"UNSUBSCRIBE no filter", v4, "\xa2\x02\x00\x01", mqtt.ProtocolError},
		{"UNSUBSCRIBE empty filter", v4, "\xa2\x04\x00\x01\x00\x00", mqtt.MalformedPacket},
		{"UNSUBACK with code in 3.1.1", v4, "\xb0\x03\x00\x01\x00", mqtt.MalformedPacket},
		{"PINGREQ with body", v4, "\xc0\x01\x00", mqtt.MalformedPacket},
		{"PINGREQ flags", v4, "\xc1\x00", mqtt.MalformedPacket},
		{"DISCONNECT with body in 3.1.1", v4, "\xe0\x01\x00", mqtt.MalformedPacket},
		{"DISCONNECT unknown reason", v5, "\xe0\x01\x7f", mqtt.MalformedPacket},
		{"AUTH unknown reason", v5, "\xf0\x02\x01\x00", mqtt.MalformedPacket},
		{"AUTH reason without properties", v5, "\xf0\x01\x18", mqtt.MalformedPacket},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n, _, err := mqtt.Split([]byte(c.b), c.v, limit)
			if err == nil {
				if n != len(c.b) {
					t.Fatalf("bad vector: %d of %d bytes form a packet", n, len(c.b))
				}
				_, err = mqtt.Decode(f, c.v)
			}
			var e *mqtt.Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %v, want an *Error", err)
			}
			if e.Reason != c.want {
				t.Errorf("reason %v (%v), want %v", e.Reason, e, c.want)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		b    string
		want mqtt.VersionError
	}{
		{"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", mqtt.VersionError{Name: "MQIsdp", Level: 3}},
		{"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", mqtt.VersionError{Name: "MQTT", Level: 3}},
		{"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00", mqtt.VersionError{Name: "MQTT", Level: 6}},
	} {
		var p mqtt.Connect
		err := p.Decode(split(t, []byte(c.b), 0), 0)
		var e *mqtt.VersionError
		if !errors.As(err, &e) || *e != c.want {
			t.Errorf("%q: error %v, want %v", c.b, err, &c.want)
		}
	}
	if _, err := (&mqtt.Connect{}).Append(nil, mqtt.V31); err == nil {
		t.Error("a CONNECT of version 3.1 was written")
	}
}

// TestAppendRefuses shows that nothing is written that Decode would refuse.
func TestAppendRefuses(t *testing.T) {
	long := strings.Repeat("x", mqtt.MaxText+1)
	prop := func(ps ...mqtt.Property) mqtt.Properties { return ps }
	for name, p := range map[string]mqtt.Packet{
		"client id too long":        &mqtt.Connect{Version: mqtt.V5, ClientID: long},
		"password too long":         &mqtt.Connect{Version: mqtt.V5, HasPassword: true, Password: long},
		"user name not UTF-8":       &mqtt.Connect{Version: mqtt.V5, HasUserName: true, UserName: "\xff"},
		"will topic":                &mqtt.Connect{Version: mqtt.V5, Will: &mqtt.Will{Topic: "#"}},
		"will QoS":                  &mqtt.Connect{Version: mqtt.V5, Will: &mqtt.Will{Topic: "t", QoS: 3}},
		"password alone in 3.1.1":   &mqtt.Connect{Version: mqtt.V311, HasPassword: true},
		"connack code":              &mqtt.Connack{Code: 0x11},
		"connack session":           &mqtt.Connack{Code: mqtt.NotAuthorized, SessionPresent: true},
		"topic empty":               &mqtt.Publish{},
		"topic wildcard":            &mqtt.Publish{Topic: "a/+"},
		"topic too long":            &mqtt.Publish{Topic: long},
		"publish QoS 3":             &mqtt.Publish{Topic: "t", QoS: 3, ID: 1},
		"publish QoS 0 with id":     &mqtt.Publish{Topic: "t", ID: 1},
		"publish QoS 1 without id":  &mqtt.Publish{Topic: "t", QoS: 1},
		"ack id 0":                  &mqtt.Ack{Kind: mqtt.PUBACK},
		"ack of another kind":       &mqtt.Ack{Kind: mqtt.SUBACK, ID: 1},
		"subscribe nothing":         &mqtt.Subscribe{ID: 1},
		"subscribe empty":           &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{}}},
		"subscribe QoS 3":           &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 3}}},
		"suback nothing":            &mqtt.Suback{ID: 1},
		"suback code":               &mqtt.Suback{ID: 1, Codes: []mqtt.Reason{3}},
		"unsubscribe nothing":       &mqtt.Unsubscribe{ID: 1},
		"unsubscribe empty":         &mqtt.Unsubscribe{ID: 1, Filters: []string{""}},
		"property elsewhere":        &mqtt.Suback{ID: 1, Codes: []mqtt.Reason{0}, Properties: prop(mqtt.Property{ID: mqtt.TopicAlias, Num: 1})},
		"property unknown":          &mqtt.Suback{ID: 1, Codes: []mqtt.Reason{0}, Properties: prop(mqtt.Property{ID: 0xFF})},
		"property twice":            &mqtt.Disconnect{Properties: prop(mqtt.Property{ID: mqtt.ReasonString}, mqtt.Property{ID: mqtt.ReasonString})},
		"property zero":             &mqtt.Publish{Topic: "t", Properties: prop(mqtt.Property{ID: mqtt.TopicAlias})},
		"property above two bytes":  &mqtt.Publish{Topic: "t", Properties: prop(mqtt.Property{ID: mqtt.TopicAlias, Num: 1 << 16})},
		"property flag 2":           &mqtt.Publish{Topic: "t", Properties: prop(mqtt.Property{ID: mqtt.PayloadFormat, Num: 2})},
		"property response topic":   &mqtt.Publish{Topic: "t", Properties: prop(mqtt.Property{ID: mqtt.ResponseTopic, Text: "+"})},
		"property id too large":     &mqtt.Publish{Topic: "t", Properties: prop(mqtt.Property{ID: mqtt.SubscriptionID, Num: 1 << 28})},
		"auth data without method":  &mqtt.Auth{Properties: prop(mqtt.Property{ID: mqtt.AuthData})},
		"auth reason":               &mqtt.Auth{Reason: 1},
		"packet beyond the maximum": &mqtt.Publish{Topic: "t", Payload: make([]byte, mqtt.MaxRemaining)},
	} {
		b, err := p.Append([]byte("kept"), mqtt.V5)
		if err == nil || string(b) != "kept" {
			t.Errorf("%s: appended %d bytes, error %v", name, len(b)-4, err)
		}
	}
	if _, err := (&mqtt.Auth{}).Append(nil, mqtt.V311); err == nil {
		t.Error("AUTH was written for 3.1.1")
	}
}

func TestReader(t *testing.T) {
	var stream []byte
	var want []mqtt.Packet
	for _, p := range []mqtt.Packet{
		&mqtt.Connect{Version: mqtt.V311, ClientID: "d"},
		&mqtt.Publish{Topic: "t", Payload: bytes.Repeat([]byte("x"), 9_000), QoS: 1, ID: 1},
		&mqtt.Ping{}, &mqtt.Ping{}, &mqtt.Disconnect{},
	} {
		stream = append(stream, mustAppend(t, p, mqtt.V311)...)
		want = append(want, p)
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":      func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
		"halves":       iotest.HalfReader,
		"data and EOF": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := mqtt.NewReader(wrap(bytes.NewReader(stream)), mqtt.V311, limit)
			for i, w := range want {
				got, err := r.Packet()
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if d := cmp.Diff(w, got, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("packet %d differs:\n%s", i, d)
				}
			}
			if r.Buffered() {
				t.Error("a packet is left in the buffer")
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("at the end: %v, want io.EOF", err)
			}
		})
	}
	r := mqtt.NewReader(bytes.NewReader(stream[:20]), mqtt.V311, limit)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("end within a packet: %v, want io.ErrUnexpectedEOF", err)
	}
}

// endless yields a header that claims much, then trickles bytes.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	header := []byte{0x30, 0xff, 0xff, 0xff, 0x7f}
	if e.sent >= 10_000 {
		return 0, io.EOF
	}
	n := copy(p, "x")
	if e.sent < len(header) {
		p[0] = header[e.sent]
	}
	e.sent += n
	return n, nil
}

func TestClaimsAllocateNothing(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := mqtt.NewReader(&endless{}, mqtt.V311, mqtt.MaxRemaining)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocs := after.TotalAlloc - before.TotalAlloc
	if allocs > 64<<10 {
		t.Errorf("10,000 bytes of a packet that claims 256 MiB cost %d bytes", allocs)
	}
}

func TestValidFilter(t *testing.T) {
	for f, want := range map[string]bool{
		"a": true, "/": true, "#": true, "+": true, "a/#": true, "a/+/b": true, "+/+": true, "$iothub/twin/res/#": true,
		"": false, "a#": false, "a/#/b": false, "a+": false, "a/b+/c": false, "#/": false, "a/\x00": false, "\xff": false,
	} {
		if got := mqtt.ValidFilter(f); got != want {
			t.Errorf("ValidFilter(%q) = %v", f, got)
		}
	}
}

func TestWillClone(t *testing.T) {
	w := &mqtt.Will{Topic: "t", Payload: []byte("p"), Properties: mqtt.Properties{{ID: mqtt.UserProperty, Text: "k", Value: "v"}}}
	c := w.Clone()
	if d := cmp.Diff(w, c); d != "" {
		t.Fatal(d)
	}
	w.Payload[0] = 'x'
	w.Properties[0].Text = "x"
	if string(c.Payload) != "p" || c.Properties[0].Text != "k" {
		t.Error("the clone shares memory")
	}
}

func TestProperties(t *testing.T) {
	ps := mqtt.Properties{{ID: mqtt.TopicAlias, Num: 3}, {ID: mqtt.ContentType, Text: "x"}, {ID: mqtt.UserProperty, Text: "k", Value: "v"}}
	if n, ok := ps.Num(mqtt.TopicAlias); n != 3 || !ok {
		t.Error("Num")
	}
	if s, ok := ps.Text(mqtt.ContentType); s != "x" || !ok {
		t.Error("Text")
	}
	if s, ok := ps.User("k"); s != "v" || !ok {
		t.Error("User")
	}
	_, a := ps.Num(mqtt.WillDelay)
	_, b := ps.Text(mqtt.ReasonString)
	_, c := ps.User("x")
	if a || b || c {
		t.Error("found what is not there")
	}
}
