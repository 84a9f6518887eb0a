package codec

import (
	"slices"
	"unicode/utf8"
	"unsafe"
)

// Decode reads the first value in b, which is checked with everything inside
// it, and returns the bytes after it. The value points into b. The error is an
// *Error.
func Decode(b []byte) (Value, []byte, error) {
	s := view(b)
	v, rest, err := read(s, MaxDepth)
	if err != nil {
		return Value{}, nil, err
	}
	return v, b[len(s)-len(rest):], nil
}

var errShort = malformed("bytes end within a value")

// view returns b as a string without copying.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns s as bytes without copying; they must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func be16(s string) uint16 { return uint16(s[1]) | uint16(s[0])<<8 }

func be32(s string) uint32 {
	_ = s[3]
	return uint32(s[3]) | uint32(s[2])<<8 | uint32(s[1])<<16 | uint32(s[0])<<24
}

func be64(s string) uint64 {
	_ = s[7]
	return uint64(be32(s[4:])) | uint64(be32(s))<<32
}

// read cuts the first value off b and checks it.
func read(b string, depth int) (Value, string, error) {
	v, rest, err := next(b, depth)
	if err == nil && v.kind >= KindChar {
		err = check(v, depth)
	}
	return v, rest, err
}

// next cuts the first value off b without looking at what is inside it. With
// bytes that have been checked it does not fail.
func next(b string, depth int) (Value, string, error) {
	if len(b) == 0 {
		return Value{}, "", errShort
	}
	return body(b[0], b[1:], depth)
}

// body cuts the value that the constructor code begins off b.
func body(code byte, b string, depth int) (v Value, rest string, err error) {
	switch code >> 4 {
	case 0x0:
		if code == cDescribed {
			return described(b, depth)
		}
	case 0x4:
		switch code {
		case cNull:
			return Value{}, b, nil
		case cTrue:
			return Value{kind: KindBool, num: 1}, b, nil
		case cFalse:
			return Value{kind: KindBool}, b, nil
		case cUint0:
			return Value{kind: KindUint}, b, nil
		case cUlong0:
			return Value{kind: KindUlong}, b, nil
		case cList0:
			return Value{kind: KindList}, b, nil
		}
	case 0x5:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		if len(b) < 1 {
			return Value{}, "", errShort
		}
		x := uint64(b[0])
		switch k {
		case KindByte, KindInt, KindLong:
			x = uint64(int64(int8(b[0])))
		case KindBool:
			if x > 1 {
				return Value{}, "", malformed("boolean is neither 0 nor 1")
			}
		}
		return Value{kind: k, num: x}, b[1:], nil
	case 0x6:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		if len(b) < 2 {
			return Value{}, "", errShort
		}
		x := uint64(be16(b))
		if k == KindShort {
			x = uint64(int64(int16(x)))
		}
		return Value{kind: k, num: x}, b[2:], nil
	case 0x7:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		if len(b) < 4 {
			return Value{}, "", errShort
		}
		x := uint64(be32(b))
		if k == KindInt {
			x = uint64(int64(int32(x)))
		}
		return Value{kind: k, num: x}, b[4:], nil
	case 0x8:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		if len(b) < 8 {
			return Value{}, "", errShort
		}
		return Value{kind: k, num: be64(b)}, b[8:], nil
	case 0x9:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		if len(b) < 16 {
			return Value{}, "", errShort
		}
		return Value{kind: k, s: b[:16]}, b[16:], nil
	case 0xA, 0xB:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		s, rest, err := sized(code, b)
		return Value{kind: k, s: s}, rest, err
	case 0xC, 0xD, 0xE, 0xF:
		k, ok := kindOf(code)
		if !ok {
			break
		}
		s, rest, err := sized(code, b)
		if err != nil {
			return Value{}, "", err
		}
		return compound(k, code, s, rest)
	}
	return Value{}, "", malformedf("unknown constructor 0x%02x", code)
}

// sized cuts off bytes that have their number in front, in one byte or four.
func sized(code byte, b string) (s, rest string, err error) {
	var n int
	if code>>4&1 == 0 { // 0xA_, 0xC_, 0xE_
		if len(b) < 1 {
			return "", "", errShort
		}
		n, b = int(b[0]), b[1:]
	} else {
		if len(b) < 4 {
			return "", "", errShort
		}
		size := be32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return "", "", errShort
		}
		n = int(size)
	}
	if len(b) < n {
		return "", "", errShort
	}
	return b[:n], b[n:], nil
}

// compound reads the count that begins s.
func compound(k Kind, code byte, s, rest string) (Value, string, error) {
	var n uint32
	if code>>4&1 == 0 {
		if len(s) < 1 {
			return Value{}, "", errShort
		}
		n, s = uint32(s[0]), s[1:]
	} else {
		if len(s) < 4 {
			return Value{}, "", errShort
		}
		n, s = be32(s), s[4:]
	}
	switch {
	case n > MaxElements:
		return Value{}, "", malformedf("%v has more than %d elements", k, MaxElements)
	case k != KindArray && uint64(n) > uint64(len(s)):
		return Value{}, "", malformedf("%v of %d elements has %d bytes", k, n, len(s))
	case k == KindMap && n%2 != 0:
		return Value{}, "", malformed("map has a key without a value")
	}
	return Value{kind: k, n: n, s: s}, rest, nil
}

// described cuts off a descriptor and the value it describes.
func described(b string, depth int) (Value, string, error) {
	if depth <= 0 {
		return Value{}, "", errDeep
	}
	_, rest, err := next(b, depth-1)
	if err == nil {
		_, rest, err = next(rest, depth-1)
	}
	if err != nil {
		return Value{}, "", err
	}
	return Value{kind: KindDescribed, s: b[:len(b)-len(rest)]}, rest, nil
}

var errDeep = malformedf("values are nested deeper than %d", MaxDepth)

// check looks at what is inside of v.
func check(v Value, depth int) error {
	switch v.kind {
	case KindChar:
		if v.num > utf8.MaxRune || !utf8.ValidRune(rune(v.num)) {
			return malformed("char is not a Unicode scalar value")
		}
	case KindString:
		if !utf8.ValidString(v.s) {
			return malformed("string is not valid UTF-8")
		}
	case KindSymbol:
		if !ascii(v.s) {
			return malformed("symbol is not ASCII")
		}
	case KindList, KindDescribed:
		return checkList(v, depth)
	case KindMap:
		if err := checkList(v, depth); err != nil {
			return err
		}
		return checkKeys(v)
	case KindArray:
		return checkArray(v, depth)
	}
	return nil
}

func checkList(v Value, depth int) error {
	if depth <= 0 {
		return errDeep
	}
	n := v.n
	if v.kind == KindDescribed {
		n = 2
	}
	b := v.s
	for range n {
		var err error
		if _, b, err = read(b, depth-1); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return malformedf("bytes after the last element of a %v", v.kind)
	}
	return nil
}

func checkArray(v Value, depth int) error {
	if depth <= 0 {
		return errDeep
	}
	if v.s == "" && v.n == 0 {
		return nil // no constructor: nothing would follow it
	}
	prefix, code, b, err := constructor(v.s, depth-1)
	if err != nil {
		return err
	}
	if len(prefix) > MaxDescriptor {
		return malformedf("descriptor in an array is longer than %d bytes", MaxDescriptor)
	}
	k, ok := kindOf(code)
	if !ok {
		return malformedf("unknown constructor 0x%02x", code)
	}
	if code>>4 == 0x4 && v.n > MaxEmptyElements {
		return malformedf("array has more than %d elements without bytes", MaxEmptyElements)
	}
	for range v.n {
		var e Value
		if e, b, err = body(code, b, depth-1); err != nil {
			return err
		}
		if k >= KindChar {
			if err = check(e, depth-1); err != nil {
				return err
			}
		}
	}
	if len(b) > 0 {
		return malformed("bytes after the last element of an array")
	}
	return nil
}

// constructor cuts the constructor of an array off b: descriptors with the zero
// in front of each, then the code.
func constructor(b string, depth int) (prefix string, code byte, rest string, err error) {
	rest = b
	for {
		if rest == "" {
			return "", 0, "", errShort
		}
		if code = rest[0]; code != cDescribed {
			return b[:len(b)-len(rest)], code, rest[1:], nil
		}
		if depth--; depth < 0 {
			return "", 0, "", errDeep
		}
		if _, rest, err = read(rest[1:], depth); err != nil {
			return "", 0, "", err
		}
	}
}

func ascii(s string) bool {
	for ; len(s) >= 8; s = s[8:] { // eight at once: one load, one comparison
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if x&0x80808080_80808080 != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// smallMap is the number of pairs up to which comparing every key with every
// other is faster than sorting.
const smallMap = 16

// checkKeys refuses a map, whose elements have been checked, that has a key
// twice, or one that is not simple: comparing such keys could cost a multiple
// of what sending them does. For large maps it allocates four bytes a pair, of
// which each has at least two in the map.
func checkKeys(m Value) error {
	pairs := int(m.n / 2)
	if pairs > smallMap {
		return checkManyKeys(m)
	}
	var keys [smallMap]Value
	b := m.s
	for i := range pairs {
		var k Value
		k, b, _ = next(b, MaxDepth)
		_, b, _ = next(b, MaxDepth)
		if !k.kind.simple() {
			return malformedf("map has a %v as a key", k.kind)
		}
		for j := range i {
			if keys[j].kind == k.kind && keys[j].num == k.num && keys[j].s == k.s {
				return errTwice
			}
		}
		keys[i] = k
	}
	return nil
}

var errTwice = malformed("map has a key twice")

func checkManyKeys(m Value) error {
	at := make([]uint32, m.n/2)
	b := m.s
	for i := range at {
		var k Value
		at[i] = uint32(len(m.s) - len(b))
		k, b, _ = next(b, MaxDepth)
		_, b, _ = next(b, MaxDepth)
		if !k.kind.simple() {
			return malformedf("map has a %v as a key", k.kind)
		}
	}
	key := func(i uint32) Value {
		k, _, _ := next(m.s[i:], MaxDepth)
		return k
	}
	slices.SortFunc(at, func(x, y uint32) int { return key(x).compare(key(y)) })
	for i := 1; i < len(at); i++ {
		if key(at[i-1]).compare(key(at[i])) == 0 {
			return errTwice
		}
	}
	return nil
}
