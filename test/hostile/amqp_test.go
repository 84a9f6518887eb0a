package hostile

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// raw opens a connection of TLS to the AMQP port.
func (w *world) raw() *amqppeer.Raw {
	w.t.Helper()
	return amqppeer.NewRaw(w.dialTLS(w.amqp))
}

// tryRaw is raw for goroutines that are not the test's.
func (w *world) tryRaw() *amqppeer.Raw {
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.amqp, w.tls)
	if err != nil {
		w.t.Errorf("dial: %v", err)
		return nil
	}
	return amqppeer.NewRaw(nc)
}

// frames appends performatives on channel 0.
func frames(b []byte, ps ...codec.Performative) []byte {
	for _, p := range ps {
		b = codec.AppendFrame(b, 0, p, nil)
	}
	return b
}

// provoke writes b after a connection was opened and a session was begun, then
// a close, and returns what the server says of it until it ends the connection:
// the conditions of closes, ends and detaches, and of messages that it rejects,
// and the statuses of replies.
func (w *world) provoke(b []byte) (said []string) {
	w.t.Helper()
	raw := w.raw()
	defer raw.Close()
	_, _ = raw.Write(frames(append(amqppeer.AppendHello(nil), b...), &codec.Close{})) // may fail: refused in the middle
	_ = raw.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if err := raw.Welcome(); err != nil {
		w.t.Fatal(err)
	}
	say := func(what string, c *codec.Condition) {
		if c != nil {
			said = append(said, what+" "+c.Name)
		}
	}
	for {
		p, payload, err := raw.Next()
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of the connection itself
			w.t.Fatalf("the server does not let go; it said %q", said)
		}
		if err != nil {
			return said
		}
		switch p := p.(type) {
		case *codec.Close:
			say("close", p.Error)
		case *codec.End:
			say("end", p.Error)
		case *codec.Detach:
			say("detach", p.Error)
		case *codec.Disposition:
			say("reject", p.State.Error)
		case *codec.Transfer:
			if r, err := hubamqp.DecodePutTokenResponse(payload); err == nil {
				said = append(said, fmt.Sprint("reply ", r.Status))
			}
		}
	}
}

// cbs appends the links to $cbs, with handles 0 and 1, and a token.
func cbs(b []byte, name, token string) []byte {
	b = frames(b, amqppeer.SendTo(hubamqp.CBSAddress, 0), amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1), amqppeer.Credit(1, 100))
	return amqppeer.AppendTransfer(b, 0, 0, 0, amqppeer.PutToken(name, token))
}

// policyToken is the token of a policy of the hub.
func (w *world) policyToken(connection string) string {
	w.t.Helper()
	cs, err := sas.ParseConnectionString(connection)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(cs.SharedAccessKey)
	if err != nil {
		w.t.Fatal(err)
	}
	return sas.Sign("localhost", key, cs.SharedAccessKeyName, time.Now().Add(time.Hour))
}

// TestAMQPAccess has clients with tokens of every kind attach links of every
// kind: each gets what it proved, nothing else.
func TestAMQPAccess(t *testing.T) {
	w := newWorld(t)
	key := w.key("attacker")
	inAnHour := time.Now().Add(time.Hour)
	const device, service, nobody = "device", "service", "nobody"
	tokens := []struct{ name, audience, token, who, said string }{
		{"no token", "", "", nobody, ""},
		{"token of the device", "localhost/devices/attacker", proof(key), device, "reply 200"},
		{"token of a policy of services", "localhost", w.policyToken(w.Connection().ServiceConnectionString), service, "reply 200"},
		{"token of the device, expired", "localhost/devices/attacker", sas.Sign("localhost/devices/attacker", key, "", time.Now().Add(-time.Hour)), nobody, "reply 401"},
		{"token of the device for another hub", "localhost/devices/attacker", sas.Sign("other.example/devices/attacker", key, "", inAnHour), nobody, "reply 401"},
		{"token for another device, signed with its own key", "localhost/devices/bystander", sas.Sign("localhost/devices/bystander", key, "", inAnHour), nobody, "reply 401"},
		{"token of the device under the name of another", "localhost/devices/bystander", proof(key), device, "reply 200"},
		{"token of the device for the whole hub", "localhost", sas.Sign("localhost", key, "", inAnHour), nobody, "reply 401"},
		{"token of a policy, signed with the key of the device", "localhost", sas.Sign("localhost", key, "iothubowner", inAnHour), nobody, "reply 401"},
		{"token of a policy that there is not", "localhost", sas.Sign("localhost", key, "root", inAnHour), nobody, "reply 401"},
		{"bytes for a token", "localhost/devices/attacker", garbage(200), nobody, "reply 401"},
	}
	links := []struct {
		address string
		role    codec.Role // of the client
		who     string
	}{
		{"/devices/attacker/messages/events", codec.Sender, device},
		{"/devices/attacker/messages/devicebound", codec.Receiver, device},
		{"/devices/attacker/twin", codec.Receiver, device},
		{"/devices/attacker/methods/devicebound", codec.Sender, device},
		{"/devices/attacker/modules/m/messages/events", codec.Sender, ""},
		{"/devices/bystander/messages/events", codec.Sender, ""},
		{"/devices/bystander/messages/devicebound", codec.Receiver, ""},
		{"/devices/bystander/twin", codec.Receiver, ""},
		{"/devices/nobody/messages/events", codec.Sender, ""},
		{hubamqp.ServiceCommandsAddress, codec.Sender, service},
		{hubamqp.FeedbackAddress, codec.Receiver, service},
		{hubamqp.FileNotificationsAddress, codec.Receiver, service},
		{"localhost/ConsumerGroups/$Default/Partitions/0", codec.Receiver, service},
		{"localhost/$management", codec.Receiver, service},
		{"localhost/$management", codec.Sender, service},
	}
	for _, tok := range tokens {
		t.Run(tok.name, func(t *testing.T) {
			for _, l := range links {
				var b []byte
				want := []string{}
				if tok.token != "" {
					b = cbs(b, tok.audience, tok.token)
					want = append(want, tok.said)
				}
				if l.role == codec.Sender {
					b = frames(b, amqppeer.SendTo(l.address, 2))
				} else {
					b = frames(b, amqppeer.ReceiveFrom(l.address, 2))
				}
				if l.who != tok.who {
					want = append(want, "detach "+amqp.UnauthorizedAccess)
				}
				if said := w.provoke(b); !slices.Equal(said, want) {
					t.Errorf("%v of %s: the server said %q, want %q", l.role, l.address, said, want)
				}
			}
			// The redirect tells where events are to who may read them.
			b := frames(nil, amqppeer.ReceiveFrom("/messages/events/ConsumerGroups/$Default/Partitions/0", 2))
			want := "detach " + amqp.UnauthorizedAccess
			if tok.token != "" {
				b = frames(cbs(nil, tok.audience, tok.token), amqppeer.ReceiveFrom("/messages/events/ConsumerGroups/$Default/Partitions/0", 2))
			}
			if tok.who == service {
				want = "detach " + amqp.LinkRedirect
			}
			if said := w.provoke(b); !slices.Contains(said, want) {
				t.Errorf("messages/events: the server said %q, want %q", said, want)
			}
		})
	}
	w.unharmed(16 << 20)
}

// value is encoded, and perhaps not what it says it is.
type value string

// nested is a list in a list in a list.
func nested(depth int) value {
	inner := "\x45" // the empty list
	for range depth {
		var size [8]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(inner)+4))
		binary.BigEndian.PutUint32(size[4:], 1)
		inner = "\xd0" + string(size[:]) + inner
	}
	return value(inner)
}

// monsters are values that would be large, or deep, if they were believed.
var monsters = map[string]value{
	"list of 4 G elements in no bytes":     "\xd0\xff\xff\xff\xff\xff\xff\xff\xff",
	"list of 2 G elements, size that fits": "\xd0\x00\x00\x00\x04\x7f\xff\xff\xff",
	"map of 2 G pairs":                     "\xd1\x00\x00\x00\x04\xff\xff\xff\xfe",
	"map of an odd number":                 "\xc1\x02\x01\x40",
	"array of 4 G nulls":                   "\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
	"array of 16 M empty lists":            "\xf0\x00\x00\x00\x05\x01\x00\x00\x00\x45",
	"array of arrays of 64 K nulls":        "\xf0\x00\x00\x00\x0e\x00\x00\x00\x01\xf0\x00\x00\x00\x05\x00\x00\xff\xff\x40",
	"binary of 2 GB":                       "\xb0\x7f\xff\xff\xffx",
	"text of 4 GB":                         "\xb1\xff\xff\xff\xffx",
	"text that is not UTF-8":               "\xa1\x02\xff\xfe",
	"1,000 lists in each other":            nested(1000),
	"4,000 descriptors of each other":      value(strings.Repeat("\x00", 4000)) + "\x40",
	"constructor that there is not":        "\x3f",
	"nothing":                              "",
}

// section is a section of a message with a value as it is.
func section(code codec.Code, v value) []byte {
	return append([]byte{0, 0x53, byte(code)}, v...)
}

// TestAMQPMonsters puts values that lie about their size, or are very deep, into
// everything that may have a value: properties of an open, of links, filters,
// tokens, messages. Each is refused where it stands.
func TestAMQPMonsters(t *testing.T) {
	w := newWorld(t)
	token := proof(w.key("attacker"))
	telemetry := frames(cbs(nil, "localhost/devices/attacker", token), amqppeer.SendTo("/devices/attacker/messages/events", 2))
	message := func(handle uint32, id uint32, payload []byte) []byte {
		return codec.AppendFrame(nil, 0, &codec.Transfer{Handle: handle, DeliveryID: codec.Some(id), DeliveryTag: []byte{1}}, payload)
	}
	// in a performative: the last field of a list is the value.
	perform := func(code codec.Code, fields string, n int, v value) []byte {
		body := fields + string(v)
		b := append([]byte{0, 0, 0, 0, 2, 0, 0, 0, 0, 0x53, byte(code), 0xd0, 0, 0, 0, 0, 0, 0, 0, byte(n)}, body...)
		binary.BigEndian.PutUint32(b[12:], uint32(len(body)+4))
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	const malformed = "amqp:decode-error"
	places := []struct {
		name string
		send func(v value) []byte
		want string
	}{
		{"properties of a second begin", func(v value) []byte { return perform(codec.CodeBegin, "\x40\x43\x43\x43\x40\x40\x40", 8, v) }, "close " + malformed},
		{"properties of an attach", func(v value) []byte {
			return perform(codec.CodeAttach, "\xa1\x01a\x43\x42"+strings.Repeat("\x40", 10), 14, v)
		}, "close " + malformed},
		{"source of an attach", func(v value) []byte {
			return perform(codec.CodeAttach, "\xa1\x01a\x43\x41\x40\x40", 6, v)
		}, "close " + malformed},
		{"state of a disposition", func(v value) []byte { return perform(codec.CodeDisposition, "\x41\x43\x43\x41", 5, v) }, "close " + malformed},
		{"error of a close", func(v value) []byte { return perform(codec.CodeClose, "", 1, v) }, "close " + malformed},
		{"properties of a request to $cbs", func(v value) []byte {
			return append(frames(nil, amqppeer.SendTo(hubamqp.CBSAddress, 0)), message(0, 0, section(codec.CodeProperties, v))...)
		}, "reject " + malformed},
		{"application properties of a request to $cbs", func(v value) []byte {
			return append(frames(nil, amqppeer.SendTo(hubamqp.CBSAddress, 0)), message(0, 0, section(codec.CodeApplicationProperties, v))...)
		}, "reject " + malformed},
		{"token", func(v value) []byte {
			p := amqppeer.PutToken("localhost/devices/attacker", "")
			p = append(p[:len(p)-2], v...) // in place of the empty text
			return append(frames(nil, amqppeer.SendTo(hubamqp.CBSAddress, 0)), message(0, 0, p)...)
		}, "reject " + malformed},
		{"annotations of telemetry", func(v value) []byte {
			return append(slices.Clone(telemetry), message(2, 1, section(codec.CodeMessageAnnotations, v))...)
		}, "reject " + malformed},
		{"application properties of telemetry", func(v value) []byte {
			return append(slices.Clone(telemetry), message(2, 1, section(codec.CodeApplicationProperties, v))...)
		}, "reject " + malformed},
		{"body of telemetry", func(v value) []byte {
			return append(slices.Clone(telemetry), message(2, 1, section(codec.CodeData, v))...)
		}, "reject " + malformed},
		{"footer of telemetry", func(v value) []byte {
			return append(slices.Clone(telemetry), message(2, 1, append(section(codec.CodeData, "\xa0\x01x"), section(codec.CodeFooter, v)...))...)
		}, "reject " + malformed},
	}
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			for name, v := range monsters {
				if said := w.provoke(p.send(v)); !slices.Contains(said, p.want) {
					t.Errorf("%s: the server said %q, want %q", name, said, p.want)
				}
			}
		})
	}
	w.unharmed(16 << 20)
}
