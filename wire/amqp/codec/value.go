package codec

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Value is one AMQP value of any type. The zero Value is null. A Value is
// always valid: decoding refuses what is not, and the constructors mend it.
//
// A Value must not be compared with ==, as it may point into bytes of different
// but equivalent forms; see [Value.Equal].
type Value struct {
	kind  Kind
	canon bool   // s of a compound is canonical: it can be written as it is
	n     uint32 // elements of a list, map or array
	num   uint64 // numbers; signed ones with their sign extended; bits of floats
	// s has the bytes of binary, string, symbol, uuid, decimal128; the
	// elements of a list or map; the constructor and the elements of an array;
	// descriptor and value of what is described.
	s string
}

// Bool returns a boolean.
func Bool(x bool) Value {
	if x {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Ubyte returns a ubyte.
func Ubyte(x uint8) Value { return Value{kind: KindUbyte, num: uint64(x)} }

// Ushort returns a ushort.
func Ushort(x uint16) Value { return Value{kind: KindUshort, num: uint64(x)} }

// Uint returns a uint.
func Uint(x uint32) Value { return Value{kind: KindUint, num: uint64(x)} }

// Ulong returns a ulong.
func Ulong(x uint64) Value { return Value{kind: KindUlong, num: x} }

// Byte returns a byte, which has a sign in AMQP.
func Byte(x int8) Value { return Value{kind: KindByte, num: uint64(int64(x))} }

// Short returns a short.
func Short(x int16) Value { return Value{kind: KindShort, num: uint64(int64(x))} }

// Int returns an int.
func Int(x int32) Value { return Value{kind: KindInt, num: uint64(int64(x))} }

// Long returns a long.
func Long(x int64) Value { return Value{kind: KindLong, num: uint64(x)} }

// Float returns a float.
func Float(x float32) Value { return Value{kind: KindFloat, num: uint64(math.Float32bits(x))} }

// Double returns a double.
func Double(x float64) Value { return Value{kind: KindDouble, num: math.Float64bits(x)} }

// Decimal32 returns a decimal32 of the given bits (IEEE 754-2008, binary
// integer encoding); they are not interpreted.
func Decimal32(bits uint32) Value { return Value{kind: KindDecimal32, num: uint64(bits)} }

// Decimal64 returns a decimal64 of the given bits.
func Decimal64(bits uint64) Value { return Value{kind: KindDecimal64, num: bits} }

// Decimal128 returns a decimal128 of the given bytes.
func Decimal128(b [16]byte) Value { return Value{kind: KindDecimal128, s: string(b[:])} }

// Char returns a char; U+FFFD for what is not a Unicode scalar value.
func Char(r rune) Value {
	if !utf8.ValidRune(r) {
		r = utf8.RuneError
	}
	return Value{kind: KindChar, num: uint64(r)}
}

// Timestamp is a point in time in milliseconds since the Unix epoch.
type Timestamp int64

// TimestampOf returns t, cut to milliseconds.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) }

// Time returns the time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Value returns the timestamp as a value.
func (t Timestamp) Value() Value { return Value{kind: KindTimestamp, num: uint64(t)} }

// UUID returns a uuid, its bytes in the order of RFC 4122.
func UUID(u [16]byte) Value { return Value{kind: KindUUID, s: string(u[:])} }

// Binary returns binary that points to b.
func Binary(b []byte) Value { return Value{kind: KindBinary, s: view(b)} }

// String returns a string. What is not UTF-8 in it becomes U+FFFD.
func String(s string) Value {
	return Value{kind: KindString, s: strings.ToValidUTF8(s, "\uFFFD")}
}

// Symbol returns a symbol. What is not ASCII in it becomes a question mark.
func Symbol(s string) Value {
	if !ascii(s) {
		s = strings.Map(func(r rune) rune {
			if r >= utf8.RuneSelf {
				return '?'
			}
			return r
		}, s)
	}
	return Value{kind: KindSymbol, s: s}
}

// Kind returns the type of v.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Bool returns a boolean, and whether v is one.
func (v Value) Bool() (x, ok bool) { return v.num != 0, v.kind == KindBool }

// Uint64 returns an integer of any type, if it is one and not negative.
func (v Value) Uint64() (uint64, bool) {
	switch v.kind {
	case KindUbyte, KindUshort, KindUint, KindUlong:
		return v.num, true
	case KindByte, KindShort, KindInt, KindLong:
		return v.num, int64(v.num) >= 0
	}
	return 0, false
}

// Int64 returns an integer of any type, if it is one and fits.
func (v Value) Int64() (int64, bool) {
	switch v.kind {
	case KindUbyte, KindUshort, KindUint, KindByte, KindShort, KindInt, KindLong:
		return int64(v.num), true
	case KindUlong:
		return int64(v.num), v.num <= math.MaxInt64
	}
	return 0, false
}

// Float64 returns a float or double.
func (v Value) Float64() (float64, bool) {
	switch v.kind {
	case KindFloat:
		return float64(math.Float32frombits(uint32(v.num))), true
	case KindDouble:
		return math.Float64frombits(v.num), true
	}
	return 0, false
}

// Bits returns the bits of a decimal32 or decimal64.
func (v Value) Bits() (uint64, bool) {
	return v.num, v.kind == KindDecimal32 || v.kind == KindDecimal64
}

// Char returns a char.
func (v Value) Char() (rune, bool) { return rune(v.num), v.kind == KindChar }

// Timestamp returns a timestamp.
func (v Value) Timestamp() (Timestamp, bool) { return Timestamp(v.num), v.kind == KindTimestamp }

// Text returns a string or symbol.
func (v Value) Text() (string, bool) {
	if v.kind == KindString || v.kind == KindSymbol {
		return v.s, true
	}
	return "", false
}

// Bytes returns binary. It must not be written to.
func (v Value) Bytes() ([]byte, bool) {
	if v.kind == KindBinary {
		return bytesOf(v.s), true
	}
	return nil, false
}

// UUID returns a uuid.
func (v Value) UUID() (u [16]byte, ok bool) {
	if v.kind == KindUUID {
		return [16]byte([]byte(v.s)), true
	}
	return u, false
}

// Decimal128 returns the bytes of a decimal128.
func (v Value) Decimal128() (b [16]byte, ok bool) {
	if v.kind == KindDecimal128 {
		return [16]byte([]byte(v.s)), true
	}
	return b, false
}

// Map returns a map; the empty one for null.
func (v Value) Map() (Map, bool) {
	if v.kind == KindMap || v.kind == KindNull {
		return Map{v}, true
	}
	return Map{}, false
}

// Described returns the descriptor and the value it describes.
func (v Value) Described() (descriptor, value Value, ok bool) {
	if v.kind != KindDescribed {
		return Value{}, Value{}, false
	}
	descriptor, rest := peel(v.s)
	value, _ = peel(rest)
	descriptor.canon, value.canon = v.canon, v.canon
	return descriptor, value, true
}

// Len returns the number of elements of a list or array, of pairs of a map, and
// of bytes of binary and text.
func (v Value) Len() int {
	switch v.kind {
	case KindList, KindArray:
		return int(v.n)
	case KindMap:
		return int(v.n / 2)
	case KindBinary, KindString, KindSymbol:
		return len(v.s)
	}
	return 0
}

// Elements returns the elements of a list or array, and the keys and values of
// a map by turns.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		c := v.cursor()
		for e, ok := c.next(); ok; e, ok = c.next() {
			if !yield(e) {
				return
			}
		}
	}
}

// cursor walks along the elements of a list, map or array.
type cursor struct {
	s      string
	n      uint32
	array  bool
	code   byte   // of every element of an array
	prefix string // descriptors of every element of an array
}

func (v Value) cursor() cursor {
	switch v.kind {
	case KindList, KindMap:
		return cursor{s: v.s, n: v.n}
	case KindArray:
		if v.n == 0 {
			return cursor{}
		}
		c := cursor{n: v.n, array: true}
		c.prefix, c.code, c.s, _ = constructor(v.s, MaxDepth)
		return c
	}
	return cursor{}
}

func (c *cursor) next() (v Value, ok bool) {
	if c.n == 0 {
		return Value{}, false
	}
	c.n--
	if !c.array {
		v, c.s = peel(c.s)
		return v, true
	}
	before := c.s
	v, c.s = peelBody(c.code, before)
	if c.prefix != "" {
		// The descriptor stands once in the array: put it before the element.
		e := make([]byte, 0, len(c.prefix)+1+len(before)-len(c.s))
		e = append(append(e, c.prefix...), c.code)
		e = append(e, before[:len(before)-len(c.s)]...)
		return Value{kind: KindDescribed, s: view(e[1:])}, true
	}
	return v, true
}

// Equal reports whether v and w are of the same type and say the same,
// whatever form their bytes have. Two NaN of the same bits are equal; maps are
// when they have the same pairs in the same order.
func (v Value) Equal(w Value) bool { return v.compare(w) == 0 }

// compare orders values, in no meaningful way.
func (v Value) compare(w Value) int {
	if c := cmp.Compare(v.kind, w.kind); c != 0 {
		return c
	}
	if v.kind.simple() {
		if c := cmp.Compare(v.num, w.num); c != 0 {
			return c
		}
		return strings.Compare(v.s, w.s)
	}
	return strings.Compare(view(v.Append(nil)), view(w.Append(nil)))
}

// Clone returns a copy of v that points to bytes of its own.
func (v Value) Clone() Value {
	v.s = strings.Clone(v.s)
	return v
}

// maxText is the number of bytes of one value that String shows.
const maxText = 64

// String describes v for people, in the spirit of JSON; long values are cut.
func (v Value) String() string {
	switch v.kind {
	case KindNull:
		return "null"
	case KindBool:
		return strconv.FormatBool(v.num != 0)
	case KindUbyte, KindUshort, KindUint, KindUlong:
		return strconv.FormatUint(v.num, 10)
	case KindByte, KindShort, KindInt, KindLong:
		return strconv.FormatInt(int64(v.num), 10)
	case KindFloat, KindDouble:
		x, _ := v.Float64()
		return strconv.FormatFloat(x, 'g', -1, 64)
	case KindChar:
		return strconv.QuoteRune(rune(v.num))
	case KindTimestamp:
		return Timestamp(v.num).Time().Format(time.RFC3339Nano)
	case KindUUID:
		return fmt.Sprintf("%x-%x-%x-%x-%x", v.s[:4], v.s[4:6], v.s[6:8], v.s[8:10], v.s[10:])
	case KindString, KindSymbol:
		if len(v.s) > maxText {
			return strconv.Quote(v.s[:maxText]) + "…"
		}
		return strconv.Quote(v.s)
	case KindBinary:
		if len(v.s) > maxText {
			return fmt.Sprintf("0x%x…", v.s[:maxText])
		}
		return fmt.Sprintf("0x%x", v.s)
	case KindDescribed:
		d, _, _ := v.Described()
		return "@" + d.Kind().String() + " value"
	case KindList, KindMap, KindArray:
		return v.kind.String() + " of " + strconv.Itoa(v.Len())
	}
	return v.kind.String()
}
