package mqtt

import (
	"encoding/binary"
	"strings"
)

// Publish carries a message (MQTT 5 §3.3).
type Publish struct {
	Topic      string // may be empty in MQTT 5, when a topic alias says it
	Payload    []byte
	ID         uint16 // 0 exactly when QoS is 0
	QoS        byte
	Dup        bool
	Retain     bool
	Properties Properties // MQTT 5
}

const (
	publishRetain = 1
	publishDup    = 8
)

// Type returns PUBLISH.
func (*Publish) Type() Type { return PUBLISH }

// Decode reads a PUBLISH packet. It does not allocate, but for more properties
// than p ever had.
func (p *Publish) Decode(f Frame, v Version) error {
	p.Dup = f.Flags&publishDup != 0
	p.Retain = f.Flags&publishRetain != 0
	p.QoS = f.Flags >> 1 & 3
	p.ID = 0
	p.Properties = p.Properties[:0]
	b := f.Body
	if len(b) < 2 {
		return malformed(PUBLISH, "packet ends within a field")
	}
	n := int(binary.BigEndian.Uint16(b)) + 2
	if len(b) < n {
		return malformed(PUBLISH, "packet ends within a field")
	}
	name := b[2:n:n]
	for i, c := range name {
		if c == '+' || c == '#' {
			return &Error{Type: PUBLISH, Reason: TopicNameInvalid, Msg: "topic name has a wildcard"} // [MQTT-3.3.2-2]
		}
		if c == 0 || c >= 0x80 {
			if !validText(name[i:]) {
				return malformed(PUBLISH, "topic name is not valid UTF-8 text")
			}
			if strings.ContainsAny(view(name[i:]), "+#") {
				return &Error{Type: PUBLISH, Reason: TopicNameInvalid, Msg: "topic name has a wildcard"}
			}
			break
		}
	}
	p.Topic = view(name)
	b = b[n:]
	switch {
	case p.QoS == 3:
		return malformed(PUBLISH, "QoS is 3") // [MQTT-3.3.1-4]
	case p.QoS == 0:
		if p.Dup {
			return malformed(PUBLISH, "duplicate flag with QoS 0") // [MQTT-3.3.1-2]
		}
	case len(b) < 2:
		return malformed(PUBLISH, "packet ends within a field")
	default:
		if p.ID = binary.BigEndian.Uint16(b); p.ID == 0 {
			return malformed(PUBLISH, "packet identifier is zero")
		}
		b = b[2:]
	}
	if v == V5 {
		s := scanner{b: b, typ: PUBLISH}
		p.Properties = s.properties(PUBLISH, p.Properties)
		if s.err != nil {
			return s.err
		}
		b = s.b
	}
	if p.Topic == "" {
		if _, ok := p.Properties.Num(TopicAlias); !ok {
			return &Error{Type: PUBLISH, Reason: ProtocolError, Msg: "topic name is empty"}
		}
	}
	p.Payload = b
	return nil
}

// Append appends the packet.
func (p *Publish) Append(dst []byte, v Version) ([]byte, error) {
	w := builder{start: len(dst), typ: PUBLISH}
	p.check(&w, v)
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		size := 0
		for i := range p.Properties {
			size += p.Properties[i].size()
		}
		n += varintSize(size) + size
	}
	if n > MaxRemaining {
		w.refuse("packet is too large")
	}
	if w.err != nil {
		return dst, w.err
	}
	flags := p.QoS << 1
	if p.Dup {
		flags |= publishDup
	}
	if p.Retain {
		flags |= publishRetain
	}
	w.b = appendVarint(append(dst, byte(PUBLISH)<<4|flags), uint32(n))
	w.u16(uint16(len(p.Topic)))
	w.b = append(w.b, p.Topic...)
	if p.QoS > 0 {
		w.u16(p.ID)
	}
	if v == V5 {
		w.properties(PUBLISH, p.Properties)
	}
	if w.err != nil {
		return w.b[:w.start], w.err
	}
	return append(w.b, p.Payload...), nil
}

// check refuses what Decode would refuse.
func (p *Publish) check(w *builder, v Version) {
	switch {
	case p.Topic == "":
		if _, ok := p.Properties.Num(TopicAlias); !ok || v != V5 {
			w.refuse("topic name is empty")
		}
	case !ValidTopic(p.Topic):
		w.refuse("topic name is too long, not UTF-8 or has a wildcard")
	}
	switch {
	case p.QoS > 2:
		w.refuse("QoS is above 2")
	case p.QoS == 0 && (p.ID != 0 || p.Dup):
		w.refuse("packet identifier or duplicate flag with QoS 0")
	case p.QoS > 0 && p.ID == 0:
		w.refuse("packet identifier is zero")
	}
}
