package codec

import (
	"encoding/binary"
	"math"
)

// Append appends the shortest form of v, and of everything inside it, to dst.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case KindNull:
		return append(dst, cNull)
	case KindString:
		return appendText(dst, cString8, v.s)
	case KindSymbol:
		return appendText(dst, cSymbol8, v.s)
	case KindList, KindMap:
		return appendCompound(dst, v)
	case KindArray:
		return appendArray(dst, v)
	case KindDescribed:
		dst = append(dst, cDescribed)
		if v.canon {
			return append(dst, v.s...)
		}
		d, x, _ := v.Described()
		return x.Append(d.Append(dst))
	}
	code := shortest(v)
	return appendBody(append(dst, code), code, v)
}

// appendText appends bytes with their number in front; code is the constructor of
// short ones.
func appendText(dst []byte, code byte, s string) []byte {
	if len(s) <= math.MaxUint8 {
		return append(append(dst, code, byte(len(s))), s...)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, code+(cString32-cString8)), uint32(len(s)))
	return append(dst, s...)
}

// shortest returns the constructor of the shortest form of a simple value.
func shortest(v Value) byte {
	switch v.kind {
	case KindBool:
		return cFalse - byte(v.num) // true is one below
	case KindUint:
		if v.num == 0 {
			return cUint0
		}
	case KindUlong:
		if v.num == 0 {
			return cUlong0
		}
	}
	code := wide(v.kind)
	if small, ok := narrow(v.kind); ok && fits(v) {
		code = small
	}
	return code
}

// wide returns the constructor of kind k that has room for every value.
func wide(k Kind) byte {
	switch k {
	case KindNull:
		return cNull
	case KindBool:
		return cBool
	case KindUbyte:
		return cUbyte
	case KindUshort:
		return cUshort
	case KindUint:
		return cUint
	case KindUlong:
		return cUlong
	case KindByte:
		return cByte
	case KindShort:
		return cShort
	case KindInt:
		return cInt
	case KindLong:
		return cLong
	case KindFloat:
		return cFloat
	case KindDouble:
		return cDouble
	case KindDecimal32:
		return cDecimal32
	case KindDecimal64:
		return cDecimal64
	case KindDecimal128:
		return cDecimal128
	case KindChar:
		return cChar
	case KindTimestamp:
		return cTimestamp
	case KindUUID:
		return cUUID
	case KindBinary:
		return cBinary32
	case KindString:
		return cString32
	case KindSymbol:
		return cSymbol32
	case KindList:
		return cList32
	case KindMap:
		return cMap32
	}
	return cArray32
}

// narrow returns the constructor of kind k with one byte of value or size.
func narrow(k Kind) (byte, bool) {
	switch k {
	case KindUint:
		return cUint8, true
	case KindUlong:
		return cUlong8, true
	case KindInt:
		return cInt8, true
	case KindLong:
		return cLong8, true
	case KindBinary:
		return cBinary8, true
	case KindString:
		return cString8, true
	case KindSymbol:
		return cSymbol8, true
	}
	return 0, false
}

// fits reports whether v fits the narrow form of its kind.
func fits(v Value) bool {
	switch v.kind {
	case KindUint, KindUlong:
		return v.num <= math.MaxUint8
	case KindInt, KindLong:
		return int64(v.num) == int64(int8(v.num))
	}
	return len(v.s) <= math.MaxUint8
}

// appendBody appends what follows the constructor code for a value other than
// described.
func appendBody(dst []byte, code byte, v Value) []byte {
	switch code >> 4 {
	case 0x4:
		return dst
	case 0x5:
		return append(dst, byte(v.num))
	case 0x6:
		return binary.BigEndian.AppendUint16(dst, uint16(v.num))
	case 0x7:
		return binary.BigEndian.AppendUint32(dst, uint32(v.num))
	case 0x8:
		return binary.BigEndian.AppendUint64(dst, v.num)
	case 0x9:
		return append(dst, v.s...)
	case 0xA:
		return append(append(dst, byte(len(v.s))), v.s...)
	case 0xB:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.s)))
		return append(dst, v.s...)
	}
	// A compound inside of an array: sizes and counts of four bytes always, as
	// all elements have the same constructor.
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, v.n)
	if v.kind == KindArray {
		dst = appendElements(dst, v)
	} else {
		dst = appendInside(dst, v)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// appendInside appends the elements of a list or map.
func appendInside(dst []byte, v Value) []byte {
	if v.canon {
		return append(dst, v.s...)
	}
	for c := v.cursor(); ; {
		e, ok := c.next()
		if !ok {
			return dst
		}
		dst = e.Append(dst)
	}
}

func appendCompound(dst []byte, v Value) []byte {
	code := byte(cList8)
	if v.kind == KindMap {
		code = cMap8
	} else if v.n == 0 {
		return append(dst, cList0)
	}
	dst, start := open(dst, code)
	return shut(appendInside(dst, v), start, v.n)
}

func appendArray(dst []byte, v Value) []byte {
	dst, start := open(dst, cArray8)
	return shut(appendElements(dst, v), start, v.n)
}

// open begins a compound of the given narrow constructor, for shut to end.
func open(dst []byte, code byte) (b []byte, start int) {
	return append(dst, code, 0, 0), len(dst)
}

// wider is the difference between narrow and wide constructors of compounds.
const wider = cList32 - cList8

// shut writes the size and count of the compound that begins at start, and
// makes room for wide ones when they do not fit in a byte.
func shut(b []byte, start int, n uint32) []byte {
	size := len(b) - start - 3
	if size+1 <= math.MaxUint8 && n <= math.MaxUint8 {
		b[start+1], b[start+2] = byte(size+1), byte(n)
		return b
	}
	b = append(b, 0, 0, 0, 0, 0, 0)
	copy(b[start+9:], b[start+3:start+3+size])
	b[start] += wider
	binary.BigEndian.PutUint32(b[start+1:], uint32(size+4))
	binary.BigEndian.PutUint32(b[start+5:], n)
	return b
}

// appendElements appends the constructor and the elements of an array.
func appendElements(dst []byte, v Value) []byte {
	if v.canon {
		return append(dst, v.s...)
	}
	if v.s == "" {
		return append(dst, cNull)
	}
	prefix, code, s, _ := constructor(v.s, MaxDepth)
	for prefix != "" {
		var d Value
		d, prefix = peel(prefix[1:])
		dst = d.Append(append(dst, cDescribed))
	}
	k, _ := kindOf(code)
	inner := cursor{s: s, n: v.n, array: true, code: code}
	code = common(k, inner)
	dst = append(dst, code)
	for {
		e, ok := inner.next()
		if !ok {
			return dst
		}
		dst = appendBody(dst, code, e)
	}
}

// common returns the constructor of the shortest form that all elements share.
// Forms without bytes are not used: not every peer expects them in an array.
func common(k Kind, c cursor) byte {
	small, ok := narrow(k)
	if !ok {
		return wide(k)
	}
	for {
		e, more := c.next()
		if !more {
			return small
		}
		if !fits(e) {
			return wide(k)
		}
	}
}
