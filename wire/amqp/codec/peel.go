package codec

// What is here reads bytes that have been checked, so that nothing can be wrong
// with them: without errors the results fit into registers.

// extent returns how many bytes the value has that b begins with.
func extent(b string) int {
	code := b[0]
	if n := fixed(code); n >= 0 {
		return 1 + n
	}
	switch {
	case code == cDescribed:
		d := 1 + extent(b[1:])
		return d + extent(b[d:])
	case code>>4&1 == 0:
		return 2 + int(b[1])
	}
	return 5 + int(be32(b[1:]))
}

// peel cuts the first value off b.
func peel(b string) (v Value, rest string) {
	switch b[0] {
	case cNull:
		return Value{}, b[1:]
	case cString8:
		n := 2 + int(b[1])
		return Value{kind: KindString, s: b[2:n]}, b[n:]
	case cSymbol8:
		n := 2 + int(b[1])
		return Value{kind: KindSymbol, s: b[2:n]}, b[n:]
	case cDescribed:
		n := extent(b)
		return Value{kind: KindDescribed, s: b[1:n]}, b[n:]
	}
	return peelBody(b[0], b[1:])
}

// peelBody cuts the value off b that the constructor code begins, which is not
// that of described values.
func peelBody(code byte, b string) (v Value, rest string) {
	k, _ := kindOf(code)
	switch code >> 4 {
	case 0x4:
		if code == cTrue {
			return Value{kind: k, num: 1}, b
		}
		return Value{kind: k}, b
	case 0x5:
		x := uint64(b[0])
		switch k {
		case KindByte, KindInt, KindLong:
			x = uint64(int64(int8(b[0])))
		}
		return Value{kind: k, num: x}, b[1:]
	case 0x6:
		x := uint64(be16(b))
		if k == KindShort {
			x = uint64(int64(int16(x)))
		}
		return Value{kind: k, num: x}, b[2:]
	case 0x7:
		x := uint64(be32(b))
		if k == KindInt {
			x = uint64(int64(int32(x)))
		}
		return Value{kind: k, num: x}, b[4:]
	case 0x8:
		return Value{kind: k, num: be64(b)}, b[8:]
	case 0x9:
		return Value{kind: k, s: b[:16]}, b[16:]
	case 0xA:
		n := 1 + int(b[0])
		return Value{kind: k, s: b[1:n]}, b[n:]
	case 0xB:
		n := 4 + int(be32(b))
		return Value{kind: k, s: b[4:n]}, b[n:]
	case 0xC, 0xE:
		n := 1 + int(b[0])
		return Value{kind: k, n: uint32(b[1]), s: b[2:n]}, b[n:]
	}
	n := 4 + int(be32(b))
	return Value{kind: k, n: be32(b[4:]), s: b[8:n]}, b[n:]
}
