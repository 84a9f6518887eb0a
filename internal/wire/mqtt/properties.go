package mqtt

import "strings"

// PropertyID names a property of MQTT 5.
type PropertyID byte

// The properties (MQTT 5 §2.2.2.2).
const (
	PayloadFormat         PropertyID = 0x01
	MessageExpiry         PropertyID = 0x02
	ContentType           PropertyID = 0x03
	ResponseTopic         PropertyID = 0x08
	CorrelationData       PropertyID = 0x09
	SubscriptionID        PropertyID = 0x0B
	SessionExpiry         PropertyID = 0x11
	AssignedClientID      PropertyID = 0x12
	ServerKeepAlive       PropertyID = 0x13
	AuthMethod            PropertyID = 0x15
	AuthData              PropertyID = 0x16
	RequestProblemInfo    PropertyID = 0x17
	WillDelay             PropertyID = 0x18
	RequestResponseInfo   PropertyID = 0x19
	ResponseInfo          PropertyID = 0x1A
	ServerReference       PropertyID = 0x1C
	ReasonString          PropertyID = 0x1F
	ReceiveMaximum        PropertyID = 0x21
	TopicAliasMaximum     PropertyID = 0x22
	TopicAlias            PropertyID = 0x23
	MaximumQoS            PropertyID = 0x24
	RetainAvailable       PropertyID = 0x25
	UserProperty          PropertyID = 0x26
	MaximumPacketSize     PropertyID = 0x27
	WildcardsAvailable    PropertyID = 0x28
	SubscriptionIDsAvail  PropertyID = 0x29
	SharedSubsAvailable   PropertyID = 0x2A
	lastProperty                     = SharedSubsAvailable
	maxPropertiesInPacket            = 1024 // bounds the work on one packet
)

// Property is one property. Which fields it uses depends on its id: Num for
// numbers and flags, Text for text and binary data, Text and Value for the
// name and value of a user property.
type Property struct {
	ID    PropertyID
	Num   uint32
	Text  string
	Value string
}

// Properties are the properties of a packet or of a will in their order on the
// wire.
type Properties []Property

// Num returns the number of the first property id.
func (ps Properties) Num(id PropertyID) (x uint32, ok bool) {
	for i := range ps {
		if ps[i].ID == id {
			return ps[i].Num, true
		}
	}
	return 0, false
}

// Text returns the text, or the bytes, of the first property id.
func (ps Properties) Text(id PropertyID) (s string, ok bool) {
	for i := range ps {
		if ps[i].ID == id {
			return ps[i].Text, true
		}
	}
	return "", false
}

// User returns the value of the first user property called name.
func (ps Properties) User(name string) (value string, ok bool) {
	for i := range ps {
		if ps[i].ID == UserProperty && ps[i].Text == name {
			return ps[i].Value, true
		}
	}
	return "", false
}

// form is how the value of a property is written.
type form byte

const (
	none form = iota
	flag      // one byte, 0 or 1
	two
	twoPositive
	four
	fourPositive
	variable // positive
	text
	topic // text without wildcards
	data
	pair
)

// will stands for the will in the sets of packets below, where types are bits.
const will Type = 0

// rule says how a property is written and where it may stand.
type rule struct {
	form form
	in   uint16 // set of 1<<Type
}

func in(types ...Type) uint16 {
	var set uint16
	for _, t := range types {
		set |= 1 << t
	}
	return set
}

// rules is the table of MQTT 5 §2.2.2.2. It is never written to.
var rules = [lastProperty + 1]rule{
	PayloadFormat:        {flag, in(PUBLISH, will)},
	MessageExpiry:        {four, in(PUBLISH, will)},
	ContentType:          {text, in(PUBLISH, will)},
	ResponseTopic:        {topic, in(PUBLISH, will)},
	CorrelationData:      {data, in(PUBLISH, will)},
	SubscriptionID:       {variable, in(PUBLISH, SUBSCRIBE)},
	SessionExpiry:        {four, in(CONNECT, CONNACK, DISCONNECT)},
	AssignedClientID:     {text, in(CONNACK)},
	ServerKeepAlive:      {two, in(CONNACK)},
	AuthMethod:           {text, in(CONNECT, CONNACK, AUTH)},
	AuthData:             {data, in(CONNECT, CONNACK, AUTH)},
	RequestProblemInfo:   {flag, in(CONNECT)},
	WillDelay:            {four, in(will)},
	RequestResponseInfo:  {flag, in(CONNECT)},
	ResponseInfo:         {text, in(CONNACK)},
	ServerReference:      {text, in(CONNACK, DISCONNECT)},
	ReasonString:         {text, in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	ReceiveMaximum:       {twoPositive, in(CONNECT, CONNACK)},
	TopicAliasMaximum:    {two, in(CONNECT, CONNACK)},
	TopicAlias:           {twoPositive, in(PUBLISH)},
	MaximumQoS:           {flag, in(CONNACK)},
	RetainAvailable:      {flag, in(CONNACK)},
	UserProperty:         {pair, 0xFFFF},
	MaximumPacketSize:    {fourPositive, in(CONNECT, CONNACK)},
	WildcardsAvailable:   {flag, in(CONNACK)},
	SubscriptionIDsAvail: {flag, in(CONNACK)},
	SharedSubsAvailable:  {flag, in(CONNACK)},
}

// ruleOf returns the rule of id in a packet of type t, and whether it may be
// there at all.
func ruleOf(id PropertyID, t Type) (rule, bool) {
	if id > lastProperty {
		return rule{}, false
	}
	r := rules[id]
	return r, r.form != none && r.in&(1<<t) != 0
}

// repeats reports whether id may stand more than once in a packet of type t.
func (id PropertyID) repeats(t Type) bool {
	return id == UserProperty || id == SubscriptionID && t == PUBLISH
}

// properties reads the properties of a packet of type t, or of a will, into
// ps[:0].
func (s *scanner) properties(t Type, ps Properties) Properties {
	ps = ps[:0]
	length := int(s.varint())
	outer := s.b
	if len(outer) < length {
		s.malformed("property length is beyond the end of the packet")
		return ps
	}
	s.b = outer[:length:length]
	var seen uint64
	for len(s.b) > 0 {
		n := s.varint()
		id := PropertyID(n)
		r, ok := ruleOf(id, t)
		if !ok || n > uint32(lastProperty) {
			s.malformed("a property that does not belong here")
			return ps
		}
		if seen&(1<<id) != 0 && !id.repeats(t) {
			s.fail(ProtocolError, "a property stands twice")
			return ps
		}
		if len(ps) == maxPropertiesInPacket {
			s.fail(PacketTooLarge, "more properties than are accepted")
			return ps
		}
		seen |= 1 << id
		ps = append(ps, s.property(id, r.form))
	}
	if seen&(1<<AuthData) != 0 && seen&(1<<AuthMethod) == 0 {
		s.fail(ProtocolError, "authentication data without a method")
	}
	if s.err == nil {
		s.b = outer[length:]
	}
	return ps
}

// property reads the value of one property and checks its range.
func (s *scanner) property(id PropertyID, f form) Property {
	p := Property{ID: id}
	switch f {
	case flag:
		if p.Num = uint32(s.u8()); p.Num > 1 {
			s.fail(ProtocolError, "a flag property is neither 0 nor 1")
		}
	case two, twoPositive:
		p.Num = uint32(s.u16())
	case four, fourPositive:
		p.Num = s.u32()
	case variable:
		p.Num = s.varint()
	case text:
		p.Text = s.text("a property")
	case topic:
		p.Text = s.text("a property")
		if strings.ContainsAny(p.Text, "+#") {
			s.fail(ProtocolError, "the response topic has a wildcard")
		}
	case data:
		p.Text = view(s.binary())
	case pair:
		p.Text, p.Value = s.text("a user property"), s.text("a user property")
	}
	if p.Num == 0 && (f == twoPositive || f == fourPositive || f == variable) {
		s.fail(ProtocolError, "a property that must be positive is zero")
	}
	return p
}

// properties appends ps with their length in front.
func (w *builder) properties(t Type, ps Properties) {
	n := 0
	for i := range ps {
		n += ps[i].size()
	}
	if n > MaxRemaining {
		w.refuse("properties are too large")
		return
	}
	w.b = appendVarint(w.b, uint32(n))
	var seen uint64
	for i := range ps {
		p := &ps[i]
		r, ok := ruleOf(p.ID, t)
		if !ok {
			w.refuse("a property that does not belong here")
			return
		}
		if seen&(1<<p.ID) != 0 && !p.ID.repeats(t) {
			w.refuse("a property stands twice")
			return
		}
		seen |= 1 << p.ID
		w.property(p, r.form)
	}
	if seen&(1<<AuthData) != 0 && seen&(1<<AuthMethod) == 0 {
		w.refuse("authentication data without a method")
	}
	if len(ps) > maxPropertiesInPacket {
		w.refuse("more properties than are accepted")
	}
}

func (w *builder) property(p *Property, f form) {
	w.u8(byte(p.ID))
	switch f {
	case flag:
		if p.Num > 1 {
			w.refuse("a flag property is neither 0 nor 1")
		}
		w.u8(byte(p.Num))
	case two, twoPositive:
		if p.Num > 0xFFFF {
			w.refuse("a property is above 65535")
		}
		w.u16(uint16(p.Num))
	case four, fourPositive:
		w.u32(p.Num)
	case variable:
		if p.Num > MaxRemaining {
			w.refuse("a subscription identifier is too large")
			return
		}
		w.b = appendVarint(w.b, p.Num)
	case text:
		w.text("a property", p.Text)
	case topic:
		if strings.ContainsAny(p.Text, "+#") {
			w.refuse("the response topic has a wildcard")
		}
		w.text("a property", p.Text)
	case data:
		w.binary("a property", bytesOf(p.Text))
	case pair:
		w.text("a user property", p.Text)
		w.text("a user property", p.Value)
	}
	if p.Num == 0 && (f == twoPositive || f == fourPositive || f == variable) {
		w.refuse("a property that must be positive is zero")
	}
}

// size is the number of bytes of p on the wire.
func (p *Property) size() int {
	if p.ID > lastProperty {
		return 0
	}
	switch rules[p.ID].form {
	case flag:
		return 2
	case two, twoPositive:
		return 3
	case four, fourPositive:
		return 5
	case variable:
		return 1 + varintSize(int(p.Num))
	case text, topic, data:
		return 3 + len(p.Text)
	case pair:
		return 5 + len(p.Text) + len(p.Value)
	}
	return 0
}
