package mqtt

import "strconv"

// Version is the protocol level of a connection, as in the CONNECT packet.
type Version byte

// The versions. V31 (MQIsdp) is known by name only: it is not decoded.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String returns the usual name of the version.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "level " + strconv.Itoa(int(v))
}

// Type is the type of a control packet.
type Type byte

// The control packets (MQTT 5 §2.1.2). AUTH exists in MQTT 5 only.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// String returns the name of the type as the standards write it.
func (t Type) String() string {
	names := [...]string{
		CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK",
		PUBREC: "PUBREC", PUBREL: "PUBREL", PUBCOMP: "PUBCOMP", SUBSCRIBE: "SUBSCRIBE",
		SUBACK: "SUBACK", UNSUBSCRIBE: "UNSUBSCRIBE", UNSUBACK: "UNSUBACK",
		PINGREQ: "PINGREQ", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT", AUTH: "AUTH",
	}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return "packet type " + strconv.Itoa(int(t))
}

// Bounds of the wire format.
const (
	MaxRemaining = 268_435_455 // largest remaining length (MQTT 5 §2.1.4)
	MaxText      = 65_535      // bytes of a text or binary field
	MaxHeader    = 5           // bytes of the largest fixed header
)

// Packet is one control packet. The implementations are pointers to the types
// of this package: *Connect, *Connack, *Publish, *Ack, *Subscribe, *Suback,
// *Unsubscribe, *Unsuback, *Ping, *Disconnect and *Auth.
type Packet interface {
	// Type returns the type of the packet.
	Type() Type
	// Append appends the wire form of the packet for version v to dst. It
	// refuses what Decode would refuse; dst is returned unchanged then.
	Append(dst []byte, v Version) ([]byte, error)
	// Decode overwrites the packet with the one in f. The error is an *Error.
	Decode(f Frame, v Version) error
}

var (
	_ Packet = (*Connect)(nil)
	_ Packet = (*Connack)(nil)
	_ Packet = (*Publish)(nil)
	_ Packet = (*Ack)(nil)
	_ Packet = (*Subscribe)(nil)
	_ Packet = (*Suback)(nil)
	_ Packet = (*Unsubscribe)(nil)
	_ Packet = (*Unsuback)(nil)
	_ Packet = (*Ping)(nil)
	_ Packet = (*Disconnect)(nil)
	_ Packet = (*Auth)(nil)
)

// Decode decodes f into a new packet whose strings and slices point into f.
// The error is an *Error.
func Decode(f Frame, v Version) (Packet, error) {
	var p Packet
	switch f.Type {
	case CONNECT:
		p = new(Connect)
	case CONNACK:
		p = new(Connack)
	case PUBLISH:
		p = new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p = new(Ack)
	case SUBSCRIBE:
		p = new(Subscribe)
	case SUBACK:
		p = new(Suback)
	case UNSUBSCRIBE:
		p = new(Unsubscribe)
	case UNSUBACK:
		p = new(Unsuback)
	case PINGREQ, PINGRESP:
		p = new(Ping)
	case DISCONNECT:
		p = new(Disconnect)
	case AUTH:
		p = new(Auth)
	default:
		return nil, malformed(f.Type, "reserved packet type")
	}
	if err := p.Decode(f, v); err != nil {
		return nil, err
	}
	return p, nil
}

// Error says why bytes are not a packet, or a packet cannot be written.
type Error struct {
	Type   Type   // the packet; 0 when not even that is known
	Reason Reason // the MQTT 5 reason code for it
	Msg    string // what is wrong with it
}

// Error returns the packet's name and what is wrong with it.
func (e *Error) Error() string {
	if e.Type == 0 {
		return "mqtt: " + e.Msg
	}
	return "mqtt: " + e.Type.String() + ": " + e.Msg
}

func malformed(t Type, msg string) error {
	return &Error{Type: t, Reason: MalformedPacket, Msg: msg}
}

func violation(t Type, msg string) error {
	return &Error{Type: t, Reason: ProtocolError, Msg: msg}
}

// VersionError is the error of [Connect.Decode] for a protocol name and level
// this codec does not speak. The answer is CONNACK return code 1, or, to a
// client of MQTT 5 or later, reason code 0x84.
type VersionError struct {
	Name  string // points into the frame
	Level Version
}

// Error names the protocol.
func (e *VersionError) Error() string {
	return "mqtt: protocol " + strconv.Quote(e.Name) + " level " + strconv.Itoa(int(e.Level)) + " is not supported"
}
