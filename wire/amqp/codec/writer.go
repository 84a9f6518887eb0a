package codec

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"
)

// Writer appends messages section by section, in canonical form and without a
// [Message], a [Map] or a [Value] in between: what is written is in its place at
// once. It is for those who write many messages; the others have
// [Message.Append].
//
// A section is opened with Map or List, gets its elements, and is ended with
// End. Elements outside of an open section are values of their own. It is the
// caller who sees to it that sections come in their order, that a map has keys
// and values by turns and no key twice, and that fields have the types they must
// have: a Writer checks text only, and mends it as the constructors of [Value]
// do.
type Writer struct {
	b     []byte
	from  int    // where the open section begins
	start int    // where its list or map begins, 0 when none is open
	n     uint32 // its elements so far
	list  bool   // it is a list: trailing nulls are left out
	end   int    // of its last element that is not null
	count uint32 // elements up to end
}

// NewWriter returns a Writer that appends to dst.
func NewWriter(dst []byte) Writer { return Writer{b: dst} }

// Bytes returns dst with everything that was appended.
func (w *Writer) Bytes() []byte { return w.b }

// Map opens a section that is a map.
func (w *Writer) Map(code Code) { w.open(code, cMap8) }

// List opens a section that is a list of fields, such as [CodeProperties].
func (w *Writer) List(code Code) { w.open(code, cList8) }

func (w *Writer) open(code Code, compound byte) {
	w.from = len(w.b)
	w.start = w.from + 3
	w.n, w.count = 0, 0
	w.list = compound == cList8
	w.b = append(w.b, cDescribed, cUlong8, byte(code), compound, 0, 0)
	w.end = len(w.b)
}

// End ends the open section. One that says nothing is taken back.
func (w *Writer) End() {
	start := w.start
	w.start = 0
	if !w.list {
		w.end, w.count = len(w.b), w.n
	}
	if w.count == 0 {
		w.b = w.b[:w.from]
		return
	}
	w.b = shut(w.b[:w.end], start, w.count)
}

// Data appends a section of data.
func (w *Writer) Data(content []byte) {
	w.b = append(w.b, cDescribed, cUlong8, byte(CodeData))
	w.sized(cBinary8, view(content))
}

// ValueSection appends a section of one value.
func (w *Writer) ValueSection(v Value) {
	w.b = v.Append(append(w.b, cDescribed, cUlong8, byte(CodeValue)))
}

// wrote counts an element that is not null.
func (w *Writer) wrote() {
	w.n++
	w.end, w.count = len(w.b), w.n
}

// Null appends null.
func (w *Writer) Null() {
	w.b = append(w.b, cNull)
	w.n++
}

// Value appends any value.
func (w *Writer) Value(v Value) {
	if v.kind == KindNull {
		w.Null()
		return
	}
	w.b = v.Append(w.b)
	w.wrote()
}

// Bool appends a boolean.
func (w *Writer) Bool(x bool) { w.Value(Bool(x)) }

// Ubyte appends a ubyte.
func (w *Writer) Ubyte(x uint8) {
	w.b = append(w.b, cUbyte, x)
	w.wrote()
}

// Uint appends a uint.
func (w *Writer) Uint(x uint32) {
	switch {
	case x == 0:
		w.b = append(w.b, cUint0)
	case x <= math.MaxUint8:
		w.b = append(w.b, cUint8, byte(x))
	default:
		w.b = binary.BigEndian.AppendUint32(append(w.b, cUint), x)
	}
	w.wrote()
}

// Ulong appends a ulong.
func (w *Writer) Ulong(x uint64) {
	switch {
	case x == 0:
		w.b = append(w.b, cUlong0)
	case x <= math.MaxUint8:
		w.b = append(w.b, cUlong8, byte(x))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, cUlong), x)
	}
	w.wrote()
}

// Int appends an int.
func (w *Writer) Int(x int32) {
	if x == int32(int8(x)) {
		w.b = append(w.b, cInt8, byte(x))
	} else {
		w.b = binary.BigEndian.AppendUint32(append(w.b, cInt), uint32(x))
	}
	w.wrote()
}

// Long appends a long.
func (w *Writer) Long(x int64) {
	if x == int64(int8(x)) {
		w.b = append(w.b, cLong8, byte(x))
	} else {
		w.b = binary.BigEndian.AppendUint64(append(w.b, cLong), uint64(x))
	}
	w.wrote()
}

// Timestamp appends a timestamp.
func (w *Writer) Timestamp(t Timestamp) {
	w.b = binary.BigEndian.AppendUint64(append(w.b, cTimestamp), uint64(t))
	w.wrote()
}

// UUID appends a uuid.
func (w *Writer) UUID(u [16]byte) {
	w.b = append(append(w.b, cUUID), u[:]...)
	w.wrote()
}

// Binary appends binary.
func (w *Writer) Binary(b []byte) {
	w.sized(cBinary8, view(b))
	w.wrote()
}

// String appends a string. What is not UTF-8 in it becomes U+FFFD.
func (w *Writer) String(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	w.sized(cString8, s)
	w.wrote()
}

// Symbol appends a symbol. What is not ASCII in it becomes a question mark.
func (w *Writer) Symbol(s string) {
	if !ascii(s) {
		s = Symbol(s).s
	}
	w.sized(cSymbol8, s)
	w.wrote()
}

// sized appends bytes behind their number. The narrow constructor is given.
func (w *Writer) sized(narrow byte, s string) {
	if len(s) <= math.MaxUint8 {
		w.b = append(append(w.b, narrow, byte(len(s))), s...)
		return
	}
	w.b = binary.BigEndian.AppendUint32(append(w.b, narrow+(cBinary32-cBinary8)), uint32(len(s)))
	w.b = append(w.b, s...)
}
