package codec

import (
	"fmt"
	"iter"
)

// DefaultPriority is the priority of a message that names none.
const DefaultPriority = 4

// Header is how a message wants to be delivered (part 3 §3.2.1).
type Header struct {
	Durable       bool
	Priority      Optional[uint8]  // absent: DefaultPriority
	TTL           Optional[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32
}

// Code returns CodeHeader.
func (*Header) Code() Code { return CodeHeader }

func (p *Header) fields(f *fields) {
	f.bool("durable", &p.Durable, false)
	f.optU8("priority", &p.Priority)
	f.optU32("ttl", &p.TTL)
	f.bool("first-acquirer", &p.FirstAcquirer, false)
	f.u32("delivery-count", &p.DeliveryCount, 0)
}

// Properties are the standard properties of a message (part 3 §3.2.4). Empty
// strings are absent.
type Properties struct {
	MessageID          Value // ulong, uuid, binary, string; or null
	UserID             []byte
	To                 string
	Subject            string
	ReplyTo            string
	CorrelationID      Value // as MessageID
	ContentType        string
	ContentEncoding    string
	AbsoluteExpiryTime Optional[Timestamp]
	CreationTime       Optional[Timestamp]
	GroupID            string
	GroupSequence      Optional[uint32]
	ReplyToGroupID     string
}

// Code returns CodeProperties.
func (*Properties) Code() Code { return CodeProperties }

func (p *Properties) fields(f *fields) {
	f.id("message-id", &p.MessageID)
	f.binary("user-id", &p.UserID, unbounded)
	f.text("to", &p.To)
	f.text("subject", &p.Subject)
	f.text("reply-to", &p.ReplyTo)
	f.id("correlation-id", &p.CorrelationID)
	f.symbol("content-type", &p.ContentType, "")
	f.symbol("content-encoding", &p.ContentEncoding, "")
	f.optTime("absolute-expiry-time", &p.AbsoluteExpiryTime)
	f.optTime("creation-time", &p.CreationTime)
	f.text("group-id", &p.GroupID)
	f.optU32("group-sequence", &p.GroupSequence)
	f.text("reply-to-group-id", &p.ReplyToGroupID)
}

// Message is a message with all its sections (part 3 §3.2). A section that is
// absent and one that is empty are the same.
type Message struct {
	Header                Header
	DeliveryAnnotations   Map
	MessageAnnotations    Map
	Properties            Properties
	ApplicationProperties Map // strings to simple values
	Body                  Body
	Footer                Map
}

// Decode overwrites m with the message in b, into which it points from then on.
// The error is an *Error.
func (m *Message) Decode(b []byte) error {
	*m = Message{}
	s := view(b)
	var last Code
	for s != "" {
		code, rest, err := describedAs(s)
		if err != nil {
			return err
		}
		if code < CodeHeader || code > CodeFooter {
			return malformedf("%v is not a section of a message", code)
		}
		// Data and sequences may be repeated, and exclude each other and a value.
		repeated := code == last && (code == CodeData || code == CodeSequence)
		if code <= last && !repeated || m.Body.n > 0 && code < CodeFooter && !repeated {
			return malformedf("%v after %v", code, last)
		}
		last = code
		if s, err = m.section(code, s, rest); err != nil {
			return err
		}
	}
	return nil
}

// section decodes one section, whose whole is s and whose value begins rest.
func (m *Message) section(code Code, s, rest string) (string, error) {
	switch code {
	case CodeHeader:
		return readComposite(rest, &m.Header, MaxDepth-1)
	case CodeProperties:
		return readComposite(rest, &m.Properties, MaxDepth-1)
	}
	v, rest, err := read(rest, MaxDepth-1)
	if err != nil {
		return "", err
	}
	var p *Map
	of := symbolKeys
	switch code {
	case CodeDeliveryAnnotations:
		p = &m.DeliveryAnnotations
	case CodeMessageAnnotations:
		p = &m.MessageAnnotations
	case CodeApplicationProperties:
		p, of = &m.ApplicationProperties, stringKeys
	case CodeFooter:
		p = &m.Footer
	case CodeData:
		return rest, m.Body.add(code, v, KindBinary, s)
	case CodeSequence:
		return rest, m.Body.add(code, v, KindList, s)
	case CodeValue:
		return rest, m.Body.add(code, v, v.kind, s)
	}
	var ok bool
	if *p, ok = v.Map(); !ok {
		return "", malformedf("%v is a %v", code, v.kind)
	}
	return rest, of.check(*p, code)
}

// Append appends the canonical form of m to dst. The error says which field has
// a value of a type it must not have; dst is returned unchanged then.
func (m *Message) Append(dst []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, fmt.Errorf("append a message: %w", err)
	}
	dst = appendSection(dst, &m.Header)
	dst = appendMap(dst, CodeDeliveryAnnotations, m.DeliveryAnnotations)
	dst = appendMap(dst, CodeMessageAnnotations, m.MessageAnnotations)
	dst = appendSection(dst, &m.Properties)
	dst = appendMap(dst, CodeApplicationProperties, m.ApplicationProperties)
	dst = m.Body.append(dst)
	return appendMap(dst, CodeFooter, m.Footer), nil
}

func (m *Message) check() error {
	if k := m.Properties.MessageID.kind; !idKind(k) {
		return invalidf("message-id is a %v", k)
	}
	if k := m.Properties.CorrelationID.kind; !idKind(k) {
		return invalidf("correlation-id is a %v", k)
	}
	if err := symbolKeys.check(m.DeliveryAnnotations, CodeDeliveryAnnotations); err != nil {
		return err
	}
	if err := symbolKeys.check(m.MessageAnnotations, CodeMessageAnnotations); err != nil {
		return err
	}
	if err := stringKeys.check(m.ApplicationProperties, CodeApplicationProperties); err != nil {
		return err
	}
	return symbolKeys.check(m.Footer, CodeFooter)
}

// emptySection is the number of bytes of a composite without fields.
const emptySection = 4

// appendSection appends c unless it says nothing.
func appendSection(dst []byte, c composite) []byte {
	start := len(dst)
	if dst = appendComposite(dst, c); len(dst)-start == emptySection {
		return dst[:start]
	}
	return dst
}

func appendMap(dst []byte, code Code, m Map) []byte {
	if m.Len() == 0 {
		return dst
	}
	return m.v.Append(append(dst, cDescribed, cUlong8, byte(code)))
}

// Body is the body of a message: data, sequences or one value (part 3 §3.2.6 to
// §3.2.8). The zero Body is absent, which the standard does not provide for but
// clients send.
type Body struct {
	code Code
	n    int
	one  Value  // the first section, or the value
	raw  string // all sections as they came, and perhaps what follows them
}

// Data returns a body of data sections, one for each of b. A single one is
// pointed to, several are copied.
func Data(b ...[]byte) Body {
	body := Body{code: CodeData, n: len(b)}
	switch len(b) {
	case 0:
		return Body{}
	case 1:
		body.one = Binary(b[0])
		return body
	}
	body.one = Binary(b[0])
	var raw []byte
	for _, s := range b {
		raw = Binary(s).Append(append(raw, cDescribed, cUlong8, byte(CodeData)))
	}
	body.raw = view(raw)
	return body
}

// ValueBody returns a body of one value.
func ValueBody(v Value) Body { return Body{code: CodeValue, n: 1, one: v} }

// Sequences returns a body of sequences, one for each of the lists. Others than
// lists become a list of that one value.
func Sequences(lists ...Value) Body {
	var raw []byte
	body := Body{code: CodeSequence, n: len(lists)}
	for i, l := range lists {
		if l.kind != KindList {
			l = List(l)
		}
		if i == 0 {
			body.one = l
		}
		raw = l.Append(append(raw, cDescribed, cUlong8, byte(CodeSequence)))
	}
	if len(lists) == 0 {
		return Body{}
	}
	body.raw = view(raw)
	return body
}

// add takes a section with value v. The message from its first byte on is s.
func (b *Body) add(code Code, v Value, want Kind, s string) error {
	if v.kind != want {
		return malformedf("%v is a %v", code, v.kind)
	}
	if b.n++; b.n == 1 {
		b.code, b.one, b.raw = code, v, s
	}
	return nil
}

// Kind returns CodeData, CodeSequence, CodeValue, or 0 for no body.
func (b Body) Kind() Code { return b.code }

// Len returns the number of sections.
func (b Body) Len() int { return b.n }

// Value returns the value of a body that is one.
func (b Body) Value() (Value, bool) { return b.one, b.code == CodeValue }

// Sections returns the values of all sections: binary for data, lists for
// sequences.
func (b Body) Sections() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if b.n == 1 {
			yield(b.one)
			return
		}
		s := b.raw
		for range b.n {
			_, rest, err := describedAs(s)
			if err != nil {
				return // not with bytes that were checked
			}
			v, rest := peel(rest)
			if s = rest; !yield(v) {
				return
			}
		}
	}
}

// Bytes returns the content of the data sections, one after the other: without
// copying when there is one. It must not be written to. ok is false for other
// bodies.
func (b Body) Bytes() (content []byte, ok bool) {
	if b.code != CodeData {
		return nil, false
	}
	if b.n == 1 {
		return bytesOf(b.one.s), true
	}
	for s := range b.Sections() {
		content = append(content, s.s...)
	}
	return content, true
}

func (b Body) append(dst []byte) []byte {
	for v := range b.Sections() {
		dst = v.Append(append(dst, cDescribed, cUlong8, byte(b.code)))
	}
	return dst
}
