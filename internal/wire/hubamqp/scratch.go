package hubamqp

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Scratch is memory for text and bodies that are not in a payload as they are
// needed. The zero Scratch is ready for use. It grows with what is decoded, by
// less than a small multiple of it, until Reset.
type Scratch struct{ b []byte }

// keptScratch is the number of bytes that Reset keeps for the next use.
const keptScratch = 16 << 10

// Reset makes room again; results that point into s must not be in use any more.
func (s *Scratch) Reset() {
	if cap(s.b) > keptScratch {
		s.b = nil
		return
	}
	s.b = s.b[:0]
}

// view returns b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func itoa(n uint16) string { return strconv.FormatUint(uint64(n), 10) }

// timeLayout is how a timestamp becomes text.
const timeLayout = "2006-01-02T15:04:05.000Z"

// text returns a simple value as text: strings and symbols as they are, binary
// as base64, the rest in its usual notation. Null is the empty text. ok is false
// for types without one: decimals, and values with values inside.
func (s *Scratch) text(v codec.Value) (text string, ok bool) {
	if t, ok := v.Text(); ok {
		return t, true
	}
	from := len(s.b)
	switch v.Kind() {
	case codec.KindNull:
		return "", true
	case codec.KindBool:
		x, _ := v.Bool()
		s.b = strconv.AppendBool(s.b, x)
	case codec.KindUbyte, codec.KindUshort, codec.KindUint, codec.KindUlong:
		n, _ := v.Uint64()
		s.b = strconv.AppendUint(s.b, n, 10)
	case codec.KindByte, codec.KindShort, codec.KindInt, codec.KindLong:
		n, _ := v.Int64()
		s.b = strconv.AppendInt(s.b, n, 10)
	case codec.KindFloat:
		x, _ := v.Float64()
		s.b = strconv.AppendFloat(s.b, x, 'g', -1, 32)
	case codec.KindDouble:
		x, _ := v.Float64()
		s.b = strconv.AppendFloat(s.b, x, 'g', -1, 64)
	case codec.KindChar:
		r, _ := v.Char()
		s.b = utf8.AppendRune(s.b, r)
	case codec.KindTimestamp:
		t, _ := v.Timestamp()
		s.b = appendTime(s.b, t)
	case codec.KindUUID:
		u, _ := v.UUID()
		s.b = appendUUID(s.b, u)
	case codec.KindBinary:
		b, _ := v.Bytes()
		s.b = base64.StdEncoding.AppendEncode(s.b, b)
	default:
		return "", false
	}
	return view(s.b[from:]), true
}

// id returns a message id, or the id of a user, as text. Binary that is text
// stays as it is.
func (s *Scratch) id(v codec.Value) string {
	if b, ok := v.Bytes(); ok {
		return s.bytes(b)
	}
	t, _ := s.text(v)
	return t
}

// bytes returns b as it is when it is text, in hexadecimal digits otherwise.
func (s *Scratch) bytes(b []byte) string {
	if printable(b) {
		return view(b)
	}
	from := len(s.b)
	s.b = hex.AppendEncode(s.b, b)
	return view(s.b[from:])
}

func printable(b []byte) bool {
	for i := 0; i < len(b); {
		r, n := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(b[i:])
		}
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) {
			return false
		}
		i += n
	}
	return true
}

// join returns the content of several pieces in one.
func (s *Scratch) join(body codec.Body) []byte {
	from := len(s.b)
	for v := range body.Sections() {
		b, _ := v.Bytes()
		s.b = append(s.b, b...)
	}
	return s.b[from:len(s.b):len(s.b)]
}

// appendUUID appends the text of a UUID, in lower case.
func appendUUID(dst []byte, u [16]byte) []byte {
	for i, n := range [...]int{4, 6, 8, 10, 16} {
		from := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, u[from:n])
	}
	return dst
}

// parseUUID reads the text of a UUID, in any case.
func parseUUID(s string) (u [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if s[i] != '-' {
			if n == len(digits) {
				return u, false
			}
			digits[n] = s[i]
			n++
		}
	}
	if n != len(digits) {
		return u, false
	}
	_, err := hex.Decode(u[:], digits[:])
	return u, err == nil
}

// appendTime appends the text of a point in time. Years that have no four digits
// are written as milliseconds.
func appendTime(dst []byte, t codec.Timestamp) []byte {
	at := t.Time()
	if y := at.Year(); y < 0 || y > 9999 {
		return strconv.AppendInt(dst, int64(t), 10)
	}
	return at.AppendFormat(dst, timeLayout)
}

// timeOf returns a timestamp as a time of which the year can be written.
func timeOf(t codec.Timestamp) time.Time {
	at := t.Time()
	if y := at.Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return at
}

// bytesOf returns s as bytes that share its memory; they must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
