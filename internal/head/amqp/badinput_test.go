package amqp_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// after is how far a client is before it sends bad input.
type after int

const (
	atOnce after = iota // in place of the protocol header
	header              // after it, in place of the open
	sasl                // after a header of SASL
	opened              // with a session, and a token of dev1
	linked              // with links to $cbs (handle 0), telemetry (1), methods (2, 3), twin (4, 5) and commands (6)
)

// answer is what the head does about bad input.
type answer string

const (
	closes    answer = "closes the network connection"
	headerEnd answer = "answers with the header of SASL, closes"
	saslAuth  answer = "SASL outcome 1, closes"
	cbs400    answer = "reply with status 400, link stays"
	cbs401    answer = "reply with status 401, link stays"
	twin400   answer = "answer with status 400, link stays"
	ignores   answer = "ignores it, link stays"
)

// What ends with a condition is written "close X", "end X", "detach X" or
// "reject X".

// badInput is every kind of bad input and what is done about it. It is the
// source of the AMQP table in docs/bad-input.md.
var badInput = []struct {
	name   string
	after  after
	bytes  string // on the wire
	answer answer
	reason amqp.Reason // counted under; "" for not counted
}{
	// In place of a header or an open.
	{"HTTP instead of AMQP", atOnce, "GET / HTTP/1.1\r\n\r\n", headerEnd, amqp.ReasonMalformed},
	{"TLS inside TLS", atOnce, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", headerEnd, amqp.ReasonMalformed},
	{"MQTT instead of AMQP", atOnce, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", headerEnd, amqp.ReasonMalformed},
	{"AMQP 0-9-1", atOnce, "AMQP\x00\x00\x09\x01", headerEnd, amqp.ReasonMalformed},
	{"AMQP 1.1", atOnce, "AMQP\x00\x01\x01\x00", headerEnd, amqp.ReasonMalformed},
	{"the TLS of AMQP", atOnce, "AMQP\x02\x01\x00\x00", headerEnd, ""},
	{"frame larger than 64 KiB", header, "\x00\x01\x00\x01\x02\x00\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame of 4 GiB", header, "\xff\xff\xff\xff\x02\x00\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame shorter than its header", header, "\x00\x00\x00\x07\x02\x00\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame with a data offset beyond its end", header, "\x00\x00\x00\x08\x03\x00\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame with a data offset within its header", header, "\x00\x00\x00\x08\x01\x00\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame of an unknown type", header, "\x00\x00\x00\x08\x02\x07\x00\x00", "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"SASL frame outside of its dialogue", header, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN"}), "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"begin before the open", header, frame(0, &codec.Begin{HandleMax: 10}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"transfer before the open", header, frame(0, &codec.Transfer{}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"open with a frame size below 512", header, frame(0, &codec.Open{ContainerID: "x", Hostname: host, MaxFrameSize: 511}), "close amqp:invalid-field", amqp.ReasonViolation},
	{"open for an unknown host", header, frame(0, &codec.Open{ContainerID: "x", Hostname: "elsewhere", MaxFrameSize: 1 << 16}), "close amqp:not-found", amqp.ReasonUnknownHost},
	{"open without a host", header, frame(0, &codec.Open{ContainerID: "x", MaxFrameSize: 1 << 16}), "close amqp:not-found", amqp.ReasonUnknownHost},
	{"open that is no list", header, "\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x10\x41", "close amqp:decode-error", amqp.ReasonMalformed},
	{"open with a container id that is not UTF-8", header, "\x00\x00\x00\x11\x02\x00\x00\x00\x00\x53\x10\xc0\x04\x01\xa1\x01\xff", "close amqp:decode-error", amqp.ReasonMalformed},
	{"open without a container id", header, "\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x10\x45", "close amqp:decode-error", amqp.ReasonMalformed},
	{"performative that there is not", header, "\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x19\x45", "close amqp:illegal-state", amqp.ReasonViolation},

	// SASL.
	{"SASL mechanism that is not offered", sasl, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "SCRAM-SHA-1"}), saslAuth, amqp.ReasonSASL},
	{"SASL PLAIN with a wrong password", sasl, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00dev1@sas.hub.example\x00x")}), saslAuth, amqp.ReasonSASL},
	{"SASL PLAIN with a user name of no form", sasl, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00a/b\x00x")}), saslAuth, amqp.ReasonSASL},
	{"SASL PLAIN of two parts", sasl, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("a\x00b")}), saslAuth, amqp.ReasonSASL},
	{"SASL EXTERNAL without a certificate", sasl, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "EXTERNAL"}), saslAuth, amqp.ReasonSASL},
	{"SASL response before the init", sasl, frameOf(codec.FrameSASL, &codec.SASLResponse{Response: []byte("x")}), closes, amqp.ReasonViolation},
	{"SASL frame that is for servers to send", sasl, frameOf(codec.FrameSASL, &codec.SASLOutcome{}), closes, amqp.ReasonMalformed},
	{"frame of AMQP in a SASL dialogue", sasl, frame(0, &codec.Open{ContainerID: "x", MaxFrameSize: 1 << 16}), closes, amqp.ReasonMalformed},
	{"SASL frame larger than 8 KiB", sasl, "\x00\x00\x20\x01\x02\x01\x00\x00", closes, amqp.ReasonMalformed},

	// Connections and sessions.
	{"second open", opened, frame(0, &codec.Open{ContainerID: "x", Hostname: host, MaxFrameSize: 1 << 16}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"second begin on a channel", opened, frame(0, &codec.Begin{HandleMax: 10}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"begin above the channel-max", opened, frame(8192, &codec.Begin{HandleMax: 10}), "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"begin that answers none of ours", opened, frame(1, &codec.Begin{RemoteChannel: codec.Some(uint16(9)), HandleMax: 10}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"end of a session that has not begun", opened, frame(9, &codec.End{}), "close amqp:illegal-state", amqp.ReasonViolation},
	{"attach on a channel without a session", opened, frame(9, telemetryAttach(1, "/devices/dev1/messages/events")), "close amqp:illegal-state", amqp.ReasonViolation},
	{"SASL frame after the open", opened, frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN"}), "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"frame after the open that is no list", opened, "\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x12\x41", "close amqp:decode-error", amqp.ReasonMalformed},

	// Links.
	{"attach on a handle that is in use", linked, frame(0, telemetryAttach(1, "/devices/dev1/messages/events")), "end amqp:session:handle-in-use", ""},
	{"attach with a handle above the handle-max", opened, frame(0, telemetryAttach(1<<20, "/devices/dev1/messages/events")), "close amqp:connection:framing-error", amqp.ReasonMalformed},
	{"attach of a sender without an initial delivery count", opened, frame(0, &codec.Attach{Name: "x", Handle: 9, Source: &codec.Source{}, Target: &codec.Target{Address: codec.Some("$cbs")}}), "detach amqp:invalid-field", ""},
	{"attach of a transaction coordinator", opened, frame(0, &codec.Attach{Name: "x", Handle: 9, Source: &codec.Source{}, Coordinator: &codec.Coordinator{}, InitialDeliveryCount: codec.Some(uint32(0))}), "detach amqp:not-implemented", ""},
	{"attach to a dynamic node", opened, frame(0, &codec.Attach{Name: "x", Handle: 9, Role: codec.Receiver, Source: &codec.Source{Dynamic: true}}), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach without an address", opened, frame(0, telemetryAttach(9, "")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an unknown address", opened, frame(0, telemetryAttach(9, "/devices/dev1/messages/sideways")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an address of many segments", opened, frame(0, telemetryAttach(9, "/devices/dev1/modules/m1/messages/events/and/more")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an address of 4 KiB", opened, frame(0, telemetryAttach(9, string(make([]byte, 4<<10)))), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an id of 129 characters", opened, frame(0, telemetryAttach(9, "/devices/"+repeat("d", 129)+"/messages/events")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an id that is not UTF-8 after decoding", opened, frame(0, telemetryAttach(9, "/devices/%ff/messages/events")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an address on another host", opened, frame(0, telemetryAttach(9, "amqps://elsewhere/devices/dev1/messages/events")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach to an address that nobody serves", opened, frame(0, telemetryAttach(9, "/messages/devicebound")), "detach amqp:not-found", amqp.ReasonUnknownAddress},
	{"attach for another device", opened, frame(0, telemetryAttach(9, "/devices/dev2/messages/events")), "detach amqp:unauthorized-access", amqp.ReasonUnauthorized},
	{"attach for a module of the device", opened, frame(0, telemetryAttach(9, "/devices/dev1/modules/m1/messages/events")), "detach amqp:unauthorized-access", amqp.ReasonUnauthorized},
	{"attach for a device in another case", opened, frame(0, telemetryAttach(9, "/devices/DEV1/messages/events")), "detach amqp:unauthorized-access", amqp.ReasonUnauthorized},
	{"attach to send commands", opened, frame(0, telemetryAttach(9, "/devices/dev1/messages/devicebound")), "detach amqp:not-allowed", amqp.ReasonDirection},
	{"attach to receive telemetry", opened, frame(0, &codec.Attach{Name: "x", Handle: 9, Role: codec.Receiver, Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/events")}}), "detach amqp:not-allowed", amqp.ReasonDirection},
	{"detach of a handle that is not attached", opened, frame(0, &codec.Detach{Handle: 9}), "end amqp:session:unattached-handle", ""},
	{"flow of a handle that is not attached", opened, frame(0, &codec.Flow{Handle: codec.Some(uint32(9))}), "end amqp:session:unattached-handle", ""},
	{"transfer on a handle that is not attached", opened, frame(0, &codec.Transfer{Handle: 9, DeliveryID: codec.Some(uint32(1)), DeliveryTag: []byte("x")}), "end amqp:session:unattached-handle", ""},
	{"transfer on a link that receives", linked, frame(0, &codec.Transfer{Handle: 6, DeliveryID: codec.Some(uint32(1)), DeliveryTag: []byte("x")}), "end amqp:session:unattached-handle", ""},

	// Transfers.
	{"transfer without a delivery id", linked, frame(0, &codec.Transfer{Handle: 1}), "detach amqp:invalid-field", ""},
	{"transfer with a delivery tag of 33 bytes", linked, longTag(), "close amqp:invalid-field", amqp.ReasonMalformed},
	{"delivery that begins before the one before has ended", linked, transfer(1, 7, codec.Transfer{More: true}, nil) + transfer(1, 8, codec.Transfer{}, nil), "detach amqp:invalid-field", ""},
	{"telemetry that is no message", linked, transfer(1, 7, codec.Transfer{}, []byte("no message")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry cut short", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x75\xa0\x09x")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry with sections out of order", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x75\xa0\x01x\x00\x53\x73\x45")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry with a section twice", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x73\x45\x00\x53\x73\x45\x00\x53\x75\xa0\x01x")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry with a property twice", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x74\xc1\x0d\x04\xa1\x01a\xa1\x01b\xa1\x01a\xa1\x01c\x00\x53\x75\xa0\x01x")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry nested deeper than 32", linked, transfer(1, 7, codec.Transfer{}, deep()), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry with a list for a body", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x77\x45")), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"telemetry with a list for a property", linked, transfer(1, 7, codec.Transfer{}, []byte("\x00\x53\x74\xc1\x05\x02\xa1\x01a\x45\x00\x53\x75\xa0\x01x")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"telemetry with more than 512 properties", linked, transfer(1, 7, codec.Transfer{}, manyProperties()), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"telemetry with an id of 129 characters", linked, transfer(1, 7, codec.Transfer{}, hubamqp.AppendTelemetry(nil, &causeway.Message{ID: repeat("i", 129)})), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"telemetry above 256 KiB", linked, pieces(1, hubamqp.AppendTelemetry(nil, &causeway.Message{Body: make([]byte, causeway.MaxMessageSize+1)})), "reject amqp:link:message-size-exceeded", amqp.ReasonTooLarge},
	{"telemetry above 1 MiB", linked, pieces(1, make([]byte, 1<<20+1)), "detach amqp:link:message-size-exceeded", ""},
	{"batch with a value for a body", linked, transfer(1, 7, codec.Transfer{MessageFormat: codec.Some(uint32(hubamqp.BatchFormat))}, []byte("\x00\x53\x77\xa1\x01x")), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"batch with a message that is none", linked, transfer(1, 7, codec.Transfer{MessageFormat: codec.Some(uint32(hubamqp.BatchFormat))}, []byte("\x00\x53\x75\xa0\x01x")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"batch of more than 16384 messages", linked, transferOf(1, hubamqp.BatchFormat, manyMessages()), "reject amqp:link:message-size-exceeded", amqp.ReasonTooLarge},
	{"more transfers than credit", linked, flood(), "detach amqp:link:transfer-limit-exceeded", ""},
	{"disposition of a delivery that there is not", linked, frame(0, &codec.Disposition{Role: codec.Receiver, First: 99, Settled: true, State: codec.Accepted()}), ignores, ""},
	{"disposition of four billion deliveries", linked, frame(0, &codec.Disposition{Role: codec.Receiver, Last: codec.Some(uint32(1<<32 - 1)), Settled: true, State: codec.Accepted()}), ignores, ""},
	{"disposition in the role of the sender", linked, frame(0, &codec.Disposition{Role: codec.Sender, First: 7, Settled: true}), ignores, ""},

	// Requests and answers.
	{"put-token that is no message", linked, transfer(0, 7, codec.Transfer{}, []byte("no message")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"put-token with another operation", linked, transfer(0, 7, codec.Transfer{}, request("delete-token", hubamqp.TokenSAS, host, "x")), cbs400, amqp.ReasonMessage},
	{"put-token with a token of another type", linked, transfer(0, 7, codec.Transfer{}, request("put-token", "amqp:cookie", host, "x")), cbs400, amqp.ReasonMessage},
	{"put-token without a name", linked, transfer(0, 7, codec.Transfer{}, request("put-token", hubamqp.TokenSAS, "", "x")), cbs400, amqp.ReasonMessage},
	{"put-token without a token", linked, transfer(0, 7, codec.Transfer{}, request("put-token", hubamqp.TokenSAS, host, "")), cbs400, amqp.ReasonMessage},
	{"put-token with a token of 16 KiB", linked, transfer(0, 7, codec.Transfer{}, request("put-token", hubamqp.TokenSAS, host, repeat("x", 16<<10+1))), cbs400, amqp.ReasonMessage},
	{"put-token with a token that is none", linked, transfer(0, 7, codec.Transfer{}, request("put-token", hubamqp.TokenSAS, host, "x")), cbs401, amqp.ReasonUnauthorized},
	{"put-token with a JWT", linked, transfer(0, 7, codec.Transfer{}, request("put-token", "jwt", host, "x.y.z")), cbs401, amqp.ReasonUnauthorized},
	{"put-token with a message id of more than 1 KiB", linked, transfer(0, 7, codec.Transfer{}, encode(&codec.Message{Properties: codec.Properties{MessageID: codec.String(repeat("i", 1<<10+1))}})), "reject com.microsoft:argument-error", amqp.ReasonMessage},
	{"put-token above 64 KiB", linked, pieces(0, make([]byte, 64<<10+1)), "detach amqp:link:message-size-exceeded", ""},
	{"twin request that is no message", linked, transfer(4, 7, codec.Transfer{}, []byte("no message")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"twin request without a correlation id", linked, transfer(4, 7, codec.Transfer{}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet})), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"twin request with a correlation id of more than 1 KiB", linked, transfer(4, 7, codec.Transfer{}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.String(repeat("i", 1<<10+1))})), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"twin request of no kind", linked, transfer(4, 7, codec.Transfer{}, encode(&codec.Message{Properties: codec.Properties{CorrelationID: codec.String("x")}})), twin400, amqp.ReasonRejected},
	{"twin patch that is not JSON", linked, transfer(4, 7, codec.Transfer{}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: codec.String("x"), Body: []byte("{")})), twin400, ""},
	{"twin request above 256 KiB", linked, pieces(4, make([]byte, 256<<10+1)), "detach amqp:link:message-size-exceeded", ""},
	{"method answer that is no message", linked, transfer(2, 7, codec.Transfer{}, []byte("no message")), "reject amqp:decode-error", amqp.ReasonMessage},
	{"method answer that nobody waits for", linked, transfer(2, 7, codec.Transfer{Settled: codec.Some(true)}, hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: [16]byte{1}, Result: causeway.Result{Status: 200}})), ignores, ""},
	{"method answer without a status", linked, transfer(2, 7, codec.Transfer{}, encode(&codec.Message{Properties: codec.Properties{CorrelationID: codec.UUID([16]byte{1})}})), "reject com.microsoft:argument-error", amqp.ReasonRejected},
	{"method answer with a correlation id that is no uuid", linked, transfer(2, 7, codec.Transfer{}, encode(&codec.Message{Properties: codec.Properties{CorrelationID: codec.String("x")}})), "reject com.microsoft:argument-error", amqp.ReasonRejected},
}

func frame(channel uint16, p codec.Performative) string {
	return string(codec.AppendFrame(nil, channel, p, nil))
}

// frameOf is a frame of another type.
func frameOf(f codec.FrameType, p codec.Performative) string {
	b := codec.AppendFrame(nil, 0, p, nil)
	b[5] = byte(f)
	return string(b)
}

func telemetryAttach(handle uint32, address string) *codec.Attach {
	a := &codec.Attach{Name: "bad " + address[:min(len(address), 100)], Handle: handle, Source: &codec.Source{}, Target: &codec.Target{}, InitialDeliveryCount: codec.Some(uint32(0))}
	if address != "" {
		a.Target.Address = codec.Some(address)
	}
	return a
}

func transfer(handle, id uint32, t codec.Transfer, payload []byte) string {
	t.Handle, t.DeliveryID, t.DeliveryTag = handle, codec.Some(id), []byte{byte(id)}
	return string(codec.AppendFrame(nil, 0, &t, payload))
}

// pieces is a message in frames of 32 KiB.
func pieces(handle uint32, payload []byte) string { return piecesOf(handle, 0, payload) }

func transferOf(handle, format uint32, payload []byte) string {
	return piecesOf(handle, format, payload)
}

func piecesOf(handle, format uint32, payload []byte) string {
	var out string
	for more := true; more; {
		part := payload[:min(len(payload), 32<<10)]
		payload = payload[len(part):]
		more = len(payload) > 0
		out += transfer(handle, 7, codec.Transfer{More: more, MessageFormat: codec.Some(format)}, part)
	}
	return out
}

func longTag() string {
	return string(codec.AppendFrame(nil, 0, &codec.Transfer{Handle: 1, DeliveryID: codec.Some(uint32(7)), DeliveryTag: make([]byte, 33)}, nil))
}

func repeat(s string, n int) string {
	var b []byte
	for range n {
		b = append(b, s...)
	}
	return string(b)
}

// deep is a message whose value is a list in a list, and so on.
func deep() []byte {
	v := codec.List()
	for range 40 {
		v = codec.List(v)
	}
	return v.Append([]byte("\x00\x53\x77"))
}

func manyProperties() []byte {
	w := codec.NewWriter(nil)
	w.Map(codec.CodeApplicationProperties)
	for i := range 513 {
		w.String(repeat("k", 1+i%26) + string(rune('a'+i/26)))
		w.String("v")
	}
	w.End()
	return w.Bytes()
}

func manyMessages() []byte {
	w := codec.NewWriter(nil)
	for range hubamqp.MaxBatch + 1 {
		w.Data(nil)
	}
	return w.Bytes()
}

// flood is more messages than a link has credit for, of which none has ended: so
// none is settled meanwhile.
func flood() string {
	var out string
	for i := range uint32(1001) {
		out += transfer(1, i+7, codec.Transfer{Aborted: true}, nil)
	}
	return out
}

func encode(m *codec.Message) []byte {
	b, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// request is a request to $cbs.
func request(operation, kind, name, token string) []byte {
	m := codec.Message{
		Properties: codec.Properties{MessageID: codec.String("bad")},
		ApplicationProperties: codec.NewMap(
			codec.String("operation"), codec.String(operation), codec.String("type"), codec.String(kind), codec.String("name"), codec.String(name)),
		Body: codec.ValueBody(codec.String(token)),
	}
	return encode(&m)
}

// advance brings a client to where it sends its bad input.
func (c *raw) advance(to after) {
	switch to {
	case header:
		c.write(codec.ProtocolAMQP.Append(nil))
		c.protocol(codec.ProtocolAMQP)
	case sasl:
		c.write(codec.ProtocolSASL.Append(nil))
		c.protocol(codec.ProtocolSASL)
		expect[*codec.SASLMechanisms](c)
	case opened, linked:
		c.open(c.w.dev1)
	}
	if to < linked {
		return
	}
	var in, out int
	for i, x := range []struct {
		address string
		role    codec.Role
	}{
		{"/devices/dev1/messages/events", codec.Sender},
		{"/devices/dev1/methods/devicebound", codec.Sender},
		{"/devices/dev1/methods/devicebound", codec.Receiver},
		{"/devices/dev1/twin", codec.Sender},
		{"/devices/dev1/twin", codec.Receiver},
		{"/devices/dev1/messages/devicebound", codec.Receiver},
		{"$cbs", codec.Receiver},
	} {
		a := telemetryAttach(uint32(i)+1, x.address)
		a.Role = x.role
		if x.role == codec.Receiver {
			a.Source, a.Target, a.InitialDeliveryCount = &codec.Source{Address: codec.Some(x.address)}, &codec.Target{}, codec.Optional[uint32]{}
			out++
		} else {
			in++
		}
		c.attach(a)
		if x.role == codec.Receiver {
			c.send(&codec.Flow{
				IncomingWindow: 1000, OutgoingWindow: 100, NextIncomingID: codec.Some(uint32(0)), Handle: codec.Some(a.Handle),
				DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(100)),
			})
		}
	}
	expect[*codec.Transfer](c) // the answer to the token that was put
	synctest.Wait()
}

func (c *raw) protocol(want codec.Protocol) {
	c.w.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if p, err := c.r.Protocol(); err != nil || p != want {
		c.w.t.Fatalf("header %v %v", p, err)
	}
}

// observe waits for the answer to bad input.
func (c *raw) observe(w *world) answer {
	for {
		p, err := c.next()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return ignores
		case err != nil:
			return closes
		}
		switch p := p.(type) {
		case *codec.Close:
			c.send(&codec.Close{})
			c.closed()
			return answer("close " + name(p.Error))
		case *codec.End:
			c.send(&codec.End{})
			return answer("end " + name(p.Error))
		case *codec.Detach:
			return answer("detach " + name(p.Error))
		case *codec.Disposition:
			if p.State.Kind == codec.CodeRejected {
				return answer("reject " + name(p.State.Error))
			}
		case *codec.SASLOutcome:
			if p.Outcome == codec.SASLAuth {
				c.closed()
				return saslAuth
			}
		case *codec.Transfer:
			if r, err := hubamqp.DecodePutTokenResponse(c.payload); err == nil {
				return map[int]answer{400: cbs400, 401: cbs401}[r.Status]
			}
			if r, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), c.payload); err == nil && r.Status == 400 {
				return twin400
			}
			return answer("transfer " + string(c.payload))
		}
	}
}

func name(c *codec.Condition) string {
	if c == nil {
		return ""
	}
	return c.Name
}

func TestBadInput(t *testing.T) {
	seen := map[string]bool{}
	for _, x := range badInput {
		if seen[x.name] {
			t.Errorf("two rows are called %q", x.name)
		}
		seen[x.name] = true
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.net.Buffer = 2 << 20
				good := w.open(w.dev2)
				events := good.out(hubamqp.KindTelemetry, w.dev2)
				c := w.raw()
				c.advance(x.after)
				c.write([]byte(x.bytes))
				got := closes
				if x.answer == headerEnd {
					var b [codec.HeaderSize]byte
					_ = c.nc.SetReadDeadline(time.Now().Add(patience))
					if _, err := io.ReadFull(c.nc, b[:]); err == nil && string(b[:]) == string(codec.ProtocolSASL.Append(nil)) {
						if _, err := c.nc.Read(b[:]); err == io.EOF {
							got = headerEnd
						}
					}
				} else {
					got = c.observe(w)
				}
				if got != x.answer {
					t.Errorf("%s, want %s", got, x.answer)
				}
				if x.answer == headerEnd || x.answer == closes || x.answer == saslAuth {
					_ = c.nc.Close()
				}
				synctest.Wait()
				if x.reason != "" && w.refused(x.reason) != 1 {
					t.Errorf("not counted as %s", x.reason)
				}
				if got := w.stored("dev1"); got != "" {
					t.Errorf("stored %q", got)
				}
				// Nobody else is harmed, and what stays is of use.
				good.telemetry(events, "good")
				good.close()
				if x.after == linked && (len(x.answer) > 6 && x.answer[:6] == "reject" || x.answer == ignores || x.answer == twin400 || x.answer == cbs400) {
					c.write([]byte(transfer(1, 5000, codec.Transfer{}, hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte("after")}))))
					for w.stored("dev1") == "" {
						if _, err := c.next(); err != nil {
							t.Fatalf("the link is of no use any more: %v", err)
						}
					}
				}
			})
		})
	}
}

// TestBadFrameSize writes what a frame claims to be, and no more: that costs the
// server nothing.
func TestBadFrameSize(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		var b [8]byte
		binary.BigEndian.PutUint32(b[:], 60<<10)
		b[4] = 2
		c.write(b[:])
		synctest.Wait()
		_ = c.nc.Close()
		synctest.Wait()
		if w.refused(amqp.ReasonMalformed) != 0 {
			t.Error("half a frame is no bad one")
		}
	})
}
