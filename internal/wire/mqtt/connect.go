package mqtt

import "strings"

// Connect is the first packet of a client (MQTT 5 §3.1, 3.1.1 §3.1).
type Connect struct {
	Version     Version // set by Decode from the packet
	ClientID    string
	CleanStart  bool // clean session in 3.1.1
	KeepAlive   uint16
	Will        *Will
	HasUserName bool
	UserName    string
	HasPassword bool
	Password    string
	Properties  Properties // MQTT 5
}

// Will is the message a server publishes when the connection ends without a
// DISCONNECT.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties // MQTT 5
}

const (
	connectReserved = 1 << iota
	connectClean
	connectWill
	connectWillQoS // two bits
	_
	connectWillRetain
	connectPassword
	connectUserName
)

// Type returns CONNECT.
func (*Connect) Type() Type { return CONNECT }

// Decode reads a CONNECT packet of any version this codec speaks, whatever v
// is, and sets Version. For another protocol the error is a *VersionError.
func (p *Connect) Decode(f Frame, _ Version) error {
	*p = Connect{Properties: p.Properties[:0]}
	s := scan(f)
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	name := s.text("protocol name")
	p.Version = Version(s.u8())
	if s.err == nil && (name != "MQTT" || p.Version != V311 && p.Version != V5) {
		if name != "MQTT" && name != "MQIsdp" {
			return violation(CONNECT, "protocol name is not MQTT")
		}
		return &VersionError{Name: name, Level: p.Version}
	}
	flags := s.u8()
	if flags&connectReserved != 0 {
		s.malformed("reserved connect flag is set") // [MQTT-3.1.2-3]
	}
	p.KeepAlive = s.u16()
	if p.Version == V5 {
		p.Properties = s.properties(CONNECT, p.Properties)
	}
	p.CleanStart = flags&connectClean != 0
	p.ClientID = s.text("client identifier")
	p.decodeWill(&s, flags)
	p.HasUserName = flags&connectUserName != 0
	p.HasPassword = flags&connectPassword != 0
	if p.HasUserName {
		p.UserName = s.text("user name")
	}
	if p.HasPassword {
		if !p.HasUserName && p.Version == V311 {
			s.malformed("password without user name") // [MQTT-3.1.2-22]
		}
		p.Password = view(s.binary())
	}
	return s.done()
}

func (p *Connect) decodeWill(s *scanner, flags byte) {
	qos := flags / connectWillQoS & 3
	if flags&connectWill == 0 {
		if qos != 0 || flags&connectWillRetain != 0 {
			s.malformed("will flags without a will") // [MQTT-3.1.2-11]
		}
		return
	}
	if qos == 3 {
		s.malformed("will QoS is 3")
		return
	}
	w := &Will{QoS: qos, Retain: flags&connectWillRetain != 0}
	if p.Version == V5 {
		w.Properties = s.properties(will, nil)
	}
	w.Topic = s.text("will topic")
	w.Payload = s.binary()
	if s.err == nil && !ValidTopic(w.Topic) {
		s.fail(TopicNameInvalid, "will topic is empty or has a wildcard")
	}
	p.Will = w
}

// Append appends the packet for p.Version, or v when that is not set.
func (p *Connect) Append(dst []byte, v Version) ([]byte, error) {
	if p.Version != 0 {
		v = p.Version
	}
	w := begin(dst, CONNECT, 0)
	if v != V311 && v != V5 {
		w.refuse("version " + v.String() + " is not supported")
	}
	var flags byte
	if p.CleanStart {
		flags |= connectClean
	}
	if p.HasUserName {
		flags |= connectUserName
	}
	if p.HasPassword {
		flags |= connectPassword
		if !p.HasUserName && v == V311 {
			w.refuse("password without user name")
		}
	}
	if p.Will != nil {
		flags |= connectWill | p.Will.QoS&3*connectWillQoS
		if p.Will.Retain {
			flags |= connectWillRetain
		}
	}
	w.text("protocol name", "MQTT")
	w.u8(byte(v))
	w.u8(flags)
	w.u16(p.KeepAlive)
	if v == V5 {
		w.properties(CONNECT, p.Properties)
	}
	w.text("client identifier", p.ClientID)
	if p.Will != nil {
		p.Will.append(&w, v)
	}
	if p.HasUserName {
		w.text("user name", p.UserName)
	}
	if p.HasPassword {
		w.binary("password", bytesOf(p.Password))
	}
	return w.end()
}

func (l *Will) append(w *builder, v Version) {
	if l.QoS > 2 {
		w.refuse("will QoS is above 2")
	}
	if !ValidTopic(l.Topic) {
		w.refuse("will topic is empty, too long or has a wildcard")
	}
	if v == V5 {
		w.properties(will, l.Properties)
	}
	w.text("will topic", l.Topic)
	w.binary("will payload", l.Payload)
}

// Clone returns a copy of l that shares no memory with it.
func (l *Will) Clone() *Will {
	c := *l
	c.Topic = strings.Clone(l.Topic)
	c.Payload = append([]byte(nil), l.Payload...)
	c.Properties = make(Properties, len(l.Properties))
	for i, p := range l.Properties {
		c.Properties[i] = Property{ID: p.ID, Num: p.Num, Text: strings.Clone(p.Text), Value: strings.Clone(p.Value)}
	}
	return &c
}

// Connack is the answer to a CONNECT (MQTT 5 §3.2).
type Connack struct {
	SessionPresent bool
	Code           Reason     // reason code of MQTT 5, return code of 3.1.1
	Properties     Properties // MQTT 5
}

// Type returns CONNACK.
func (*Connack) Type() Type { return CONNACK }

// Decode reads a CONNACK packet.
func (p *Connack) Decode(f Frame, v Version) error {
	*p = Connack{Properties: p.Properties[:0]}
	s := scan(f)
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	flags := s.u8()
	p.SessionPresent = flags&1 != 0
	p.Code = Reason(s.u8())
	if flags > 1 {
		s.malformed("reserved acknowledge flags are set") // [MQTT-3.2.2-1]
	}
	if s.err == nil && !p.Code.allowed(CONNACK, v) {
		s.malformed("unknown return code")
	}
	if p.SessionPresent && p.Code != 0 {
		s.fail(ProtocolError, "session present in a refusal") // [MQTT-3.2.2-4]
	}
	if v == V5 {
		p.Properties = s.properties(CONNACK, p.Properties)
	}
	return s.done()
}

// Append appends the packet.
func (p *Connack) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, CONNACK, 0)
	var flags byte
	if p.SessionPresent {
		flags = 1
		if p.Code != 0 {
			w.refuse("session present in a refusal")
		}
	}
	w.u8(flags)
	w.reason(p.Code, v)
	if v == V5 {
		w.properties(CONNACK, p.Properties)
	}
	return w.end()
}
