package hubquery

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is the type of a [Value].
type Kind uint8

// The kinds.
const (
	UndefinedKind Kind = iota
	NullKind
	BoolKind
	NumberKind
	StringKind
	ArrayKind
	ObjectKind
)

// Value is a value of the language. The zero Value is undefined.
type Value struct {
	kind Kind
	yes  bool
	num  float64
	text string // a string; of a number, an array or an object its JSON text, "" for a number that was computed
}

// Undefined is what is not there, Null the null of JSON.
var (
	Undefined = Value{}
	Null      = Value{kind: NullKind}
)

// Bool returns a truth.
func Bool(b bool) Value { return Value{kind: BoolKind, yes: b} }

// Number returns a number, [Undefined] for what is none or infinite.
func Number(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Undefined
	}
	return Value{kind: NumberKind, num: f}
}

// Int returns a whole number, which is written in full.
func Int(n int64) Value {
	return Value{kind: NumberKind, num: float64(n), text: strconv.FormatInt(n, 10)}
}

// Text returns a string.
func Text(s string) Value { return Value{kind: StringKind, text: s} }

// Kind returns the kind of v.
func (v Value) Kind() Kind { return v.kind }

// Defined reports whether there is a value.
func (v Value) Defined() bool { return v.kind != UndefinedKind }

// True reports whether v is the truth true.
func (v Value) True() bool { return v.kind == BoolKind && v.yes }

// String returns the text of a string, and the JSON text of anything else.
func (v Value) String() string {
	if v.kind == StringKind {
		return v.text
	}
	return string(v.AppendJSON(nil))
}

// Float returns a number.
func (v Value) Float() float64 { return v.num }

// comparable reports whether there is an order among values of the kind.
func (k Kind) comparable() bool { return k >= NullKind && k <= StringKind }

// Equal reports whether two values are of one kind that can be compared, and
// the same. A negative answer does not mean that they differ: see the package.
func (v Value) Equal(w Value) bool { return v.kind.comparable() && v.kind == w.kind && v.order(w) == 0 }

// order compares two values of one comparable kind.
func (v Value) order(w Value) int {
	switch v.kind {
	case BoolKind:
		switch {
		case v.yes == w.yes:
			return 0
		case w.yes:
			return -1
		default:
			return 1
		}
	case NumberKind:
		return cmp.Compare(v.num, w.num)
	case StringKind:
		return ordinal(v.text, w.text)
	default:
		return 0 // null
	}
}

// ordinal compares texts by the units of UTF-16. That is the order of their
// bytes but for characters beyond the first 65536, which come before the last
// of those.
func ordinal(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if n == len(a) || n == len(b) || a[n] < 0xee || b[n] < 0xee {
		return strings.Compare(a, b)
	}
	// The first bytes that differ begin characters, both U+E000 or above.
	ra, _ := utf8.DecodeRuneInString(a[n:])
	rb, _ := utf8.DecodeRuneInString(b[n:])
	if (ra >= 0x10000) != (rb >= 0x10000) {
		return cmp.Compare(rb, ra)
	}
	return strings.Compare(a, b)
}

// AppendJSON appends the JSON text of v, nothing when it is undefined. What
// came from JSON is written as it was.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case UndefinedKind:
		return dst
	case NullKind:
		return append(dst, "null"...)
	case BoolKind:
		return strconv.AppendBool(dst, v.yes)
	case NumberKind:
		if v.text != "" {
			return append(dst, v.text...)
		}
		return appendNumber(dst, v.num)
	case StringKind:
		return appendString(dst, v.text)
	default:
		return append(dst, v.text...)
	}
}

// appendNumber writes a number as JavaScript does.
func appendNumber(dst []byte, f float64) []byte {
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// appendString writes a string as JSON. HTML is left as it is.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// arrayOf returns an array of values; undefined ones are left out.
func arrayOf(values []Value) Value {
	text := []byte{'['}
	for _, v := range values {
		if !v.Defined() {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = v.AppendJSON(text)
	}
	return Value{kind: ArrayKind, text: string(append(text, ']'))}
}
