package codec

import "strconv"

// Kind is one of the primitive types of AMQP, or described (part 1 §1.6).
type Kind uint8

// The kinds.
const (
	KindNull Kind = iota
	KindBool
	KindUbyte
	KindUshort
	KindUint
	KindUlong
	KindByte
	KindShort
	KindInt
	KindLong
	KindFloat
	KindDouble
	KindDecimal32
	KindDecimal64
	KindDecimal128
	KindChar
	KindTimestamp
	KindUUID
	KindBinary
	KindString
	KindSymbol
	KindList
	KindMap
	KindArray
	KindDescribed
)

// String returns the name of the type as the standard writes it.
func (k Kind) String() string {
	names := [...]string{
		"null", "boolean", "ubyte", "ushort", "uint", "ulong", "byte", "short", "int", "long",
		"float", "double", "decimal32", "decimal64", "decimal128", "char", "timestamp", "uuid",
		"binary", "string", "symbol", "list", "map", "array", "described",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// simple reports whether values of k have no values inside.
func (k Kind) simple() bool { return k < KindList }

// Constructors (part 1 §1.2, §1.6). The upper four bits say how the bytes that
// follow are measured.
const (
	cDescribed  = 0x00
	cNull       = 0x40
	cTrue       = 0x41
	cFalse      = 0x42
	cUint0      = 0x43
	cUlong0     = 0x44
	cList0      = 0x45
	cUbyte      = 0x50
	cByte       = 0x51
	cUint8      = 0x52
	cUlong8     = 0x53
	cInt8       = 0x54
	cLong8      = 0x55
	cBool       = 0x56
	cUshort     = 0x60
	cShort      = 0x61
	cUint       = 0x70
	cInt        = 0x71
	cFloat      = 0x72
	cChar       = 0x73
	cDecimal32  = 0x74
	cUlong      = 0x80
	cLong       = 0x81
	cDouble     = 0x82
	cTimestamp  = 0x83
	cDecimal64  = 0x84
	cDecimal128 = 0x94
	cUUID       = 0x98
	cBinary8    = 0xA0
	cString8    = 0xA1
	cSymbol8    = 0xA3
	cBinary32   = 0xB0
	cString32   = 0xB1
	cSymbol32   = 0xB3
	cList8      = 0xC0
	cMap8       = 0xC1
	cList32     = 0xD0
	cMap32      = 0xD1
	cArray8     = 0xE0
	cArray32    = 0xF0
)

// kindOf returns the kind that a constructor other than that of described
// values begins, and whether there is one.
func kindOf(code byte) (Kind, bool) {
	switch code {
	case cNull:
		return KindNull, true
	case cTrue, cFalse, cBool:
		return KindBool, true
	case cUbyte:
		return KindUbyte, true
	case cUshort:
		return KindUshort, true
	case cUint0, cUint8, cUint:
		return KindUint, true
	case cUlong0, cUlong8, cUlong:
		return KindUlong, true
	case cByte:
		return KindByte, true
	case cShort:
		return KindShort, true
	case cInt8, cInt:
		return KindInt, true
	case cLong8, cLong:
		return KindLong, true
	case cFloat:
		return KindFloat, true
	case cDouble:
		return KindDouble, true
	case cDecimal32:
		return KindDecimal32, true
	case cDecimal64:
		return KindDecimal64, true
	case cDecimal128:
		return KindDecimal128, true
	case cChar:
		return KindChar, true
	case cTimestamp:
		return KindTimestamp, true
	case cUUID:
		return KindUUID, true
	case cBinary8, cBinary32:
		return KindBinary, true
	case cString8, cString32:
		return KindString, true
	case cSymbol8, cSymbol32:
		return KindSymbol, true
	case cList0, cList8, cList32:
		return KindList, true
	case cMap8, cMap32:
		return KindMap, true
	case cArray8, cArray32:
		return KindArray, true
	}
	return 0, false
}
