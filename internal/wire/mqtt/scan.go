package mqtt

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// scanner reads the fields of a body. The first error sticks: later reads
// return zero values, and done reports it.
type scanner struct {
	b   []byte
	typ Type
	err *Error
}

func scan(f Frame) scanner { return scanner{b: f.Body, typ: f.Type} }

func (s *scanner) fail(r Reason, msg string) {
	if s.err == nil {
		s.err = &Error{Type: s.typ, Reason: r, Msg: msg}
	}
	s.b = nil
}

func (s *scanner) malformed(msg string) { s.fail(MalformedPacket, msg) }

// done returns the first error, or one when bytes are left over.
func (s *scanner) done() error {
	if s.err == nil && len(s.b) > 0 {
		s.malformed("bytes after the end of the packet")
	}
	if s.err != nil {
		return s.err
	}
	return nil
}

func (s *scanner) take(n int) []byte {
	if len(s.b) < n {
		s.malformed("packet ends within a field")
		return nil
	}
	b := s.b[:n:n]
	s.b = s.b[n:]
	return b
}

func (s *scanner) u8() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) u16() uint16 {
	if b := s.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (s *scanner) u32() uint32 {
	if b := s.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer (MQTT 5 §1.5.5).
func (s *scanner) varint() uint32 {
	var x uint32
	for i := range 4 {
		c := s.u8()
		x |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				s.malformed("variable byte integer is not in its shortest form")
			}
			return x
		}
	}
	s.malformed("variable byte integer has more than four bytes")
	return 0
}

// id reads a packet identifier, which is never zero [MQTT-2.2.1-3].
func (s *scanner) id() uint16 {
	id := s.u16()
	if id == 0 {
		s.malformed("packet identifier is zero")
	}
	return id
}

// binary reads a field of bytes with its length in front. It is not nil.
func (s *scanner) binary() []byte {
	n := int(s.u16())
	if b := s.take(n); b != nil {
		return b
	}
	return []byte{}
}

// text reads a UTF-8 string that points into the body.
func (s *scanner) text(field string) string {
	b := s.binary()
	if !validText(b) {
		s.malformed(field + " is not valid UTF-8 text")
		return ""
	}
	return view(b)
}

// validText reports whether b is UTF-8 without surrogates and NUL
// [MQTT-1.5.4-1] [MQTT-1.5.4-2].
func validText(b []byte) bool {
	ascii := true
	for _, c := range b {
		if c == 0 {
			return false
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.Valid(b)
}

// view returns b as a string without copying.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns s as bytes without copying; they must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// ValidTopic reports whether s may be a topic name: not empty, no wildcards
// [MQTT-3.3.2-2], UTF-8.
func ValidTopic(s string) bool {
	return s != "" && !strings.ContainsAny(s, "+#") && len(s) <= MaxText && validText(bytesOf(s))
}

// ValidFilter reports whether s may be a topic filter: not empty, UTF-8, and
// wildcards only where they may stand (MQTT 5 §4.7.1).
func ValidFilter(s string) bool {
	if s == "" || len(s) > MaxText || !validText(bytesOf(s)) {
		return false
	}
	for level := range strings.SplitSeq(s, "/") {
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	i := strings.IndexByte(s, '#')
	return i < 0 || i == len(s)-1
}

// builder appends the fields of a packet. The first error sticks.
type builder struct {
	b     []byte
	start int // of the packet
	typ   Type
	err   error
}

// begin starts a packet with a length of one byte, which end corrects.
func begin(dst []byte, t Type, flags byte) builder {
	return builder{b: append(dst, byte(t)<<4|flags, 0), start: len(dst), typ: t}
}

// end writes the remaining length and returns the bytes, or those before the
// packet and the error.
func (w *builder) end() ([]byte, error) {
	n := len(w.b) - w.start - 2
	if n > MaxRemaining {
		w.refuse("packet is too large")
	}
	if w.err != nil {
		return w.b[:w.start], w.err
	}
	if n < 0x80 {
		w.b[w.start+1] = byte(n)
		return w.b, nil
	}
	var length [4]byte
	l := appendVarint(length[:0], uint32(n))
	w.b = append(w.b, l[1:]...) // any bytes: makes room
	copy(w.b[w.start+1+len(l):], w.b[w.start+2:w.start+2+n])
	copy(w.b[w.start+1:], l)
	return w.b, nil
}

func (w *builder) refuse(msg string) {
	if w.err == nil {
		w.err = malformed(w.typ, msg)
	}
}

func (w *builder) u8(x byte)    { w.b = append(w.b, x) }
func (w *builder) u16(x uint16) { w.b = binary.BigEndian.AppendUint16(w.b, x) }
func (w *builder) u32(x uint32) { w.b = binary.BigEndian.AppendUint32(w.b, x) }

func (w *builder) id(x uint16) {
	if x == 0 {
		w.refuse("packet identifier is zero")
	}
	w.u16(x)
}

func (w *builder) binary(field string, b []byte) {
	if len(b) > MaxText {
		w.refuse(field + " is longer than 65535 bytes")
		return
	}
	w.u16(uint16(len(b)))
	w.b = append(w.b, b...)
}

func (w *builder) text(field, s string) {
	if !validText(bytesOf(s)) {
		w.refuse(field + " is not valid UTF-8 text")
	}
	w.binary(field, bytesOf(s))
}

func (w *builder) reason(r Reason, v Version) {
	if !r.allowed(w.typ, v) {
		w.refuse("reason code " + r.String() + " does not belong here")
	}
	w.u8(byte(r))
}

// appendVarint appends a variable byte integer.
func appendVarint(b []byte, x uint32) []byte {
	for x >= 0x80 {
		b = append(b, byte(x)|0x80)
		x >>= 7
	}
	return append(b, byte(x))
}

// varintSize is the number of bytes appendVarint appends.
func varintSize(x int) int {
	switch {
	case x < 1<<7:
		return 1
	case x < 1<<14:
		return 2
	case x < 1<<21:
		return 3
	}
	return 4
}
