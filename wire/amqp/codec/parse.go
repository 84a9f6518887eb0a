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

// read cuts the first value off b and checks it: in one pass over its bytes.
func read(b string, depth int) (Value, string, error) {
	if _, err := measure(b, depth); err != nil {
		return Value{}, "", err
	}
	v, rest := peel(b)
	return v, rest, nil
}

// measure checks the value that b begins with, and everything inside it, and
// returns how many bytes it has.
func measure(b string, depth int) (int, error) {
	if b == "" {
		return 0, errShort
	}
	n, err := measureBody(b[0], b[1:], depth)
	return n + 1, err
}

// measureBody is measure for what follows the constructor code.
func measureBody(code byte, b string, depth int) (int, error) {
	if n := fixed(code); n >= 0 {
		if len(b) < n {
			return 0, errShort
		}
		switch {
		case code == cBool && b[0] > 1:
			return 0, malformed("boolean is neither 0 nor 1")
		case code == cChar && !utf8.ValidRune(rune(min(be32(b), utf8.MaxRune+1))):
			return 0, malformed("char is not a Unicode scalar value")
		case code == cList0 && depth <= 0:
			return 0, errDeep
		}
		return n, nil
	}
	if code == cDescribed {
		return measureDescribed(b, depth)
	}
	k, ok := kindOf(code)
	if !ok {
		return 0, malformedf("unknown constructor 0x%02x", code)
	}
	s, head, err := sized(code, b)
	if err != nil {
		return 0, err
	}
	switch k {
	case KindString:
		if !utf8.ValidString(s) {
			return 0, malformed("string is not valid UTF-8")
		}
	case KindSymbol:
		if !ascii(s) {
			return 0, malformed("symbol is not ASCII")
		}
	case KindList, KindMap, KindArray:
		n, elements, err := counted(k, code, s)
		if err == nil && depth <= 0 {
			err = errDeep
		}
		if err != nil {
			return 0, err
		}
		switch k {
		case KindList:
			err = checkList(elements, n, depth)
		case KindMap:
			err = checkMap(elements, n, depth)
		case KindArray:
			err = checkArray(elements, n, depth)
		}
		return head + len(s), err
	}
	return head + len(s), nil
}

// fixed returns how many bytes follow a constructor that says so by itself, and
// -1 for others.
func fixed(code byte) int {
	switch code {
	case cNull, cTrue, cFalse, cUint0, cUlong0, cList0:
		return 0
	case cUbyte, cByte, cUint8, cUlong8, cInt8, cLong8, cBool:
		return 1
	case cUshort, cShort:
		return 2
	case cUint, cInt, cFloat, cChar, cDecimal32:
		return 4
	case cUlong, cLong, cDouble, cTimestamp, cDecimal64:
		return 8
	case cDecimal128, cUUID:
		return 16
	}
	return -1
}

// sized returns bytes that have their number in front, in one byte or four, and
// in how many.
func sized(code byte, b string) (s string, head int, err error) {
	if code>>4&1 == 0 { // 0xA_, 0xC_, 0xE_
		if len(b) < 1 || len(b)-1 < int(b[0]) {
			return "", 0, errShort
		}
		return b[1 : 1+int(b[0])], 1, nil
	}
	if len(b) < 4 || uint64(len(b)-4) < uint64(be32(b)) {
		return "", 0, errShort
	}
	return b[4 : 4+int(be32(b))], 4, nil
}

// counted reads the count that begins the bytes of a compound.
func counted(k Kind, code byte, s string) (n uint32, elements string, err error) {
	if code>>4&1 == 0 {
		if len(s) < 1 {
			return 0, "", errShort
		}
		n, s = uint32(s[0]), s[1:]
	} else {
		if len(s) < 4 {
			return 0, "", errShort
		}
		n, s = be32(s), s[4:]
	}
	switch {
	case n > MaxElements:
		return 0, "", malformedf("%v has more than %d elements", k, MaxElements)
	case k != KindArray && uint64(n) > uint64(len(s)):
		return 0, "", malformedf("%v of %d elements has %d bytes", k, n, len(s))
	case k == KindMap && n%2 != 0:
		return 0, "", malformed("map has a key without a value")
	}
	return n, s, nil
}

// list cuts a list off b and checks none of its elements.
func list(b string) (v Value, rest string, err error) {
	if b == "" {
		return Value{}, "", errShort
	}
	code := b[0]
	if code == cList0 {
		return Value{kind: KindList}, b[1:], nil
	}
	k, _ := kindOf(code)
	if k != KindList {
		v, _, err = read(b, MaxDepth)
		return v, "", err
	}
	s, head, err := sized(code, b[1:])
	if err != nil {
		return Value{}, "", err
	}
	n, elements, err := counted(k, code, s)
	return Value{kind: KindList, n: n, s: elements}, b[1+head+len(s):], err
}

var errDeep = malformedf("values are nested deeper than %d", MaxDepth)

func measureDescribed(b string, depth int) (int, error) {
	if depth <= 0 {
		return 0, errDeep
	}
	d, err := measure(b, depth-1)
	if err != nil {
		return 0, err
	}
	n, err := measure(b[d:], depth-1)
	return d + n, err
}

func checkList(b string, n uint32, depth int) error {
	for range n {
		size, err := measure(b, depth-1)
		if err != nil {
			return err
		}
		b = b[size:]
	}
	if b != "" {
		return malformed("bytes after the last element of a list")
	}
	return nil
}

func checkArray(b string, n uint32, depth int) error {
	if b == "" && n == 0 {
		return nil // no constructor: nothing would follow it
	}
	prefix, code, b, err := constructor(b, depth-1)
	if err != nil {
		return err
	}
	if len(prefix) > MaxDescriptor {
		return malformedf("descriptor in an array is longer than %d bytes", MaxDescriptor)
	}
	if _, ok := kindOf(code); !ok {
		return malformedf("unknown constructor 0x%02x", code)
	}
	if code>>4 == 0x4 && n > MaxEmptyElements {
		return malformedf("array has more than %d elements without bytes", MaxEmptyElements)
	}
	for range n {
		size, err := measureBody(code, b, depth-1)
		if err != nil {
			return err
		}
		b = b[size:]
	}
	if b != "" {
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
		n, err := measure(rest[1:], depth)
		if err != nil {
			return "", 0, "", err
		}
		rest = rest[1+n:]
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

// checkMap checks keys and values, and refuses a map that has a key twice, or one
// that is not simple: comparing such keys could cost a multiple of what sending
// them does.
func checkMap(b string, n uint32, depth int) error {
	pairs := int(n / 2)
	if pairs > smallMap {
		return checkLargeMap(b, n, depth)
	}
	var keys [smallMap]string
	for i := range pairs {
		size, err := measure(b, depth-1)
		if err != nil {
			return err
		}
		k := b[:size]
		if err := checkKey(k); err != nil {
			return err
		}
		for _, other := range keys[:i] {
			if sameKey(k, other) {
				return errTwice
			}
		}
		keys[i], b = k, b[size:]
		if size, err = measure(b, depth-1); err != nil {
			return err
		}
		b = b[size:]
	}
	if b != "" {
		return malformed("bytes after the last element of a map")
	}
	return nil
}

// checkKey refuses keys that are not simple.
func checkKey(k string) error {
	kind, ok := kindOf(k[0])
	if !ok {
		kind = KindDescribed
	}
	if !kind.simple() {
		return malformedf("map has a %v as a key", kind)
	}
	return nil
}

// sameKey reports whether two simple values, of which it has the bytes, are equal.
func sameKey(a, b string) bool {
	if a[0] == b[0] {
		return a == b
	}
	v, _ := peel(a)
	w, _ := peel(b)
	return v.kind == w.kind && v.num == w.num && v.s == w.s
}

var errTwice = malformed("map has a key twice")

// checkLargeMap is checkMap for many pairs. It allocates four bytes a pair, of
// which each has at least two in the map.
func checkLargeMap(m string, n uint32, depth int) error {
	if err := checkList(m, n, depth); err != nil {
		return err
	}
	at := make([]uint32, n/2)
	for i, b := 0, m; i < len(at); i++ {
		at[i] = uint32(len(m) - len(b))
		size := extent(b)
		if err := checkKey(b[:size]); err != nil {
			return err
		}
		b = b[size:]
		b = b[extent(b):]
	}
	key := func(i uint32) Value {
		k, _ := peel(m[i:])
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
