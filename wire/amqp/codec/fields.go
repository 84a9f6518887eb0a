package codec

import (
	"math"
	"unicode/utf8"
)

// fields reads or writes the fields of a composite one after the other. The
// first error sticks; what is read after it is absent.
type fields struct {
	write bool

	in    string // what is left to read
	left  uint32 // fields left to read
	depth int
	code  Code
	err   error

	out    []byte
	end    int    // of the last field that is not null
	count  uint32 // fields up to end
	walked uint32 // fields so far
}

// get reads the next field. ok is false when it is absent or null.
func (f *fields) get(name string, k Kind) (v Value, ok bool) {
	if f.left == 0 || f.err != nil {
		return Value{}, false
	}
	f.left--
	if f.in != "" && f.in[0] == cNull {
		f.in = f.in[1:]
		return Value{}, false
	}
	v, rest, err := read(f.in, f.depth)
	if err != nil {
		f.err = err
		return Value{}, false
	}
	f.in = rest
	if v.kind == k {
		return v, true
	}
	switch {
	case k == KindSymbol && v.kind == KindString && ascii(v.s), k == KindString && v.kind == KindSymbol,
		k == KindBinary && v.kind == KindString:
		v.kind = k
		return v, true
	}
	f.fail("%v: %s is a %v instead of a %v", f.code, name, v.kind, k)
	return Value{}, false
}

// any reads the next field of whatever type.
func (f *fields) any() Value {
	if f.left == 0 || f.err != nil {
		return Value{}
	}
	f.left--
	v, rest, err := read(f.in, f.depth)
	if err != nil {
		f.err = err
		return Value{}
	}
	f.in = rest
	return v
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = malformedf(format, args...)
	}
}

func (f *fields) missing(name string) { f.fail("%v: %s is mandatory", f.code, name) }

// short cuts a short text off, if that is the next field. It is what most fields
// with text are.
func (f *fields) short(code byte) (s string, ok bool) {
	if f.left == 0 || len(f.in) < 2 || f.in[0] != code || f.err != nil {
		return "", false
	}
	n := 2 + int(f.in[1])
	if n > len(f.in) {
		return "", false
	}
	if s = f.in[2:n]; code == cString8 && !utf8.ValidString(s) || code == cSymbol8 && !ascii(s) {
		return "", false // get says what is wrong
	}
	f.left--
	f.in = f.in[n:]
	return s, true
}

// put writes the next field; null is the same as absent.
func (f *fields) put(v Value) {
	f.walked++
	if v.kind == KindNull {
		f.out = append(f.out, cNull)
		return
	}
	f.out = v.Append(f.out)
	f.end, f.count = len(f.out), f.walked
}

func (f *fields) putIf(present bool, v Value) {
	if present {
		f.put(v)
		return
	}
	f.walked++
	f.out = append(f.out, cNull)
}

// putText writes a string or symbol; the empty one is absent.
func (f *fields) putText(code byte, s string) {
	f.walked++
	if s == "" {
		f.out = append(f.out, cNull)
		return
	}
	if code == cString8 && !utf8.ValidString(s) || code == cSymbol8 && !ascii(s) {
		v := String(s)
		if code == cSymbol8 {
			v = Symbol(s)
		}
		s = v.s
	}
	f.out = appendText(f.out, code, s)
	f.end, f.count = len(f.out), f.walked
}

func (f *fields) bool(name string, p *bool, def bool) {
	if f.write {
		f.putIf(*p != def, Bool(*p))
		return
	}
	*p = def
	if v, ok := f.get(name, KindBool); ok {
		*p = v.num != 0
	}
}

// role is false for a sender, true for a receiver, and mandatory.
func (f *fields) role(name string, p *Role) {
	if f.write {
		f.put(Bool(bool(*p)))
		return
	}
	v, ok := f.get(name, KindBool)
	if !ok {
		f.missing(name)
	}
	*p = v.num != 0
}

// choice is a ubyte with a default and a largest value.
func choice[T ~uint8](f *fields, name string, p *T, def, most T) {
	if f.write {
		f.putIf(*p != def, Ubyte(uint8(*p)))
		return
	}
	*p = def
	if v, ok := f.get(name, KindUbyte); ok {
		if *p = T(v.num); *p > most && f.err == nil {
			f.err = invalidf("%v: %s is %d, more than %d", f.code, name, v.num, most)
		}
	}
}

func (f *fields) u16(name string, p *uint16, def uint16) {
	if f.write {
		f.putIf(*p != def, Ushort(*p))
		return
	}
	*p = def
	if v, ok := f.get(name, KindUshort); ok {
		*p = uint16(v.num)
	}
}

func (f *fields) u32(name string, p *uint32, def uint32) {
	if f.write {
		f.putIf(*p != def, Uint(*p))
		return
	}
	*p = def
	if v, ok := f.get(name, KindUint); ok {
		*p = uint32(v.num)
	}
}

func (f *fields) mustU32(name string, p *uint32) {
	if f.write {
		f.put(Uint(*p))
		return
	}
	v, ok := f.get(name, KindUint)
	if !ok {
		f.missing(name)
	}
	*p = uint32(v.num)
}

func (f *fields) u64(name string, p *uint64) {
	if f.write {
		f.putIf(*p != 0, Ulong(*p))
		return
	}
	v, _ := f.get(name, KindUlong)
	*p = v.num
}

func (f *fields) mustU64(name string, p *uint64) {
	if f.write {
		f.put(Ulong(*p))
		return
	}
	v, ok := f.get(name, KindUlong)
	if !ok {
		f.missing(name)
	}
	*p = v.num
}

func (f *fields) optU8(name string, p *Optional[uint8]) {
	if f.write {
		f.putIf(p.OK, Ubyte(p.V))
		return
	}
	v, ok := f.get(name, KindUbyte)
	*p = Optional[uint8]{uint8(v.num), ok}
}

func (f *fields) optU16(name string, p *Optional[uint16]) {
	if f.write {
		f.putIf(p.OK, Ushort(p.V))
		return
	}
	v, ok := f.get(name, KindUshort)
	*p = Optional[uint16]{uint16(v.num), ok}
}

func (f *fields) optU32(name string, p *Optional[uint32]) {
	if f.write {
		f.putIf(p.OK, Uint(p.V))
		return
	}
	v, ok := f.get(name, KindUint)
	*p = Optional[uint32]{uint32(v.num), ok}
}

func (f *fields) optTime(name string, p *Optional[Timestamp]) {
	if f.write {
		f.putIf(p.OK, p.V.Value())
		return
	}
	v, ok := f.get(name, KindTimestamp)
	*p = Optional[Timestamp]{Timestamp(v.num), ok}
}

// text is a string of which the empty one is absent.
func (f *fields) text(name string, p *string) {
	if f.write {
		f.putText(cString8, *p)
		return
	}
	if s, ok := f.short(cString8); ok {
		*p = s
		return
	}
	v, _ := f.get(name, KindString)
	*p = v.s
}

func (f *fields) mustText(name string, p *string) {
	if f.write {
		f.put(String(*p))
		return
	}
	v, ok := f.get(name, KindString)
	if !ok {
		f.missing(name)
	}
	*p = v.s
}

// address is a string that may be empty, which is not the same as absent.
func (f *fields) address(name string, p *Optional[string]) {
	if f.write {
		f.putIf(p.OK, String(p.V))
		return
	}
	v, ok := f.get(name, KindString)
	*p = Optional[string]{v.s, ok}
}

func (f *fields) symbol(name string, p *string, def string) {
	if f.write {
		if *p == def {
			f.putText(cSymbol8, "")
			return
		}
		f.putText(cSymbol8, *p)
		return
	}
	if s, ok := f.short(cSymbol8); ok {
		*p = s
		return
	}
	*p = def
	if v, ok := f.get(name, KindSymbol); ok {
		*p = v.s
	}
}

func (f *fields) mustSymbol(name string, p *string) {
	if f.write {
		f.put(Symbol(*p))
		return
	}
	v, ok := f.get(name, KindSymbol)
	if !ok {
		f.missing(name)
	}
	*p = v.s
}

// binary is nil when absent. Its length is bounded.
func (f *fields) binary(name string, p *[]byte, most int) {
	if f.write {
		f.putIf(*p != nil, Binary(*p))
		return
	}
	*p = nil
	if v, ok := f.get(name, KindBinary); ok {
		if *p = bytesOf(v.s); *p == nil {
			*p = []byte{}
		}
		if len(v.s) > most && f.err == nil {
			f.err = invalidf("%v: %s has %d bytes, more than %d", f.code, name, len(v.s), most)
		}
	}
}

// unbounded is for binary that only its frame bounds.
const unbounded = math.MaxInt

func (f *fields) mustBinary(name string, p *[]byte) {
	if f.write {
		f.put(Binary(*p))
		return
	}
	f.binary(name, p, unbounded)
	if *p == nil {
		f.missing(name)
	}
}

func (f *fields) symbols(name string, p *Symbols) {
	if f.write {
		f.put(p.v)
		return
	}
	*p = Symbols{}
	v := f.any()
	switch v.kind {
	case KindNull, KindSymbol, KindString:
		p.v = v
		return
	case KindArray:
		if v.n == 0 {
			return
		}
		prefix, code, _, _ := constructor(v.s, MaxDepth)
		if k, _ := kindOf(code); prefix == "" && (k == KindSymbol || k == KindString) {
			p.v = v
			return
		}
	}
	f.fail("%v: %s is neither a symbol nor an array of them", f.code, name)
}

// keys says which keys a map may have.
type keys uint8

const (
	symbolKeys keys = iota // or strings, or ulongs, which are reserved
	stringKeys             // and simple values only
	binaryKeys
)

// check reports what is wrong with m.
func (k keys) check(m Map, what any) error {
	b := m.v.s
	for range m.v.n / 2 {
		key := b
		b = b[extent(b):]
		if !k.fit(key[0], b[0]) {
			return k.misfit(key, b, what)
		}
		b = b[extent(b):]
	}
	return nil
}

// fit reports whether a pair with these constructors may be there.
func (k keys) fit(key, value byte) bool {
	switch k {
	case symbolKeys:
		switch key {
		case cSymbol8, cSymbol32, cString8, cString32, cUlong8, cUlong, cUlong0:
			return true
		}
		return false
	case stringKeys:
		return (key == cString8 || key == cString32) && (value>>4 < 0xC && value != cDescribed && value != cList0)
	}
	return key == cBinary8 || key == cBinary32
}

// misfit says what is wrong with a pair.
func (k keys) misfit(key, value string, what any) error {
	x, _ := peel(key)
	if k == stringKeys && x.kind == KindString {
		v, _ := peel(value)
		return malformedf("%v: value of %v is a %v", what, x, v.kind)
	}
	return malformedf("%v has a %v as a key", what, x.kind)
}

func (f *fields) mapping(name string, p *Map, k keys) {
	if f.write {
		f.putIf(p.Len() > 0, p.v)
		return
	}
	v, _ := f.get(name, KindMap)
	if *p = (Map{v}); p.Len() == 0 {
		return
	}
	if err := k.check(*p, name); err != nil && f.err == nil {
		f.err = err
	}
}

// id is a message id: ulong, uuid, binary or string (part 3 §3.2.11 to
// §3.2.14).
func (f *fields) id(name string, p *Value) {
	if f.write {
		f.put(*p)
		return
	}
	if *p = f.any(); !idKind(p.kind) {
		f.fail("%v: %s is a %v", f.code, name, p.kind)
	}
}

func idKind(k Kind) bool {
	switch k {
	case KindNull, KindUlong, KindUUID, KindBinary, KindString:
		return true
	}
	return false
}

// sub is a composite in a field. It is allocated when it is present.
func sub[T any, P interface {
	*T
	composite
}](f *fields, name string, p **T) {
	if f.write {
		f.walked++
		if *p == nil {
			f.out = append(f.out, cNull)
			return
		}
		f.out = appendComposite(f.out, P(*p))
		f.end, f.count = len(f.out), f.walked
		return
	}
	*p = nil
	v, ok := f.get(name, KindDescribed)
	if !ok {
		return
	}
	f.into(name, v, func(code Code) composite {
		c := P(new(T))
		if code != c.Code() {
			return nil
		}
		*p = c
		return c
	})
}

// into reads the described list v, which has been checked, into what pick
// returns for its descriptor.
func (f *fields) into(name string, v Value, pick func(Code) composite) {
	code, list, err := descriptorOf(v)
	if err != nil {
		f.err = err
		return
	}
	c := pick(code)
	if c == nil {
		f.fail("%v: %s is a %v", f.code, name, code)
		return
	}
	if _, err := readComposite(list, c, f.depth); err != nil {
		f.err = err
	}
}

// descriptorOf is describedAs for a value that has been cut off already.
func descriptorOf(v Value) (code Code, value string, err error) {
	d, value := peel(v.s)
	switch d.kind {
	case KindUlong:
		return Code(d.num), value, nil
	case KindSymbol:
		if c, ok := codeNamed(d.s); ok {
			return c, value, nil
		}
	}
	return 0, "", malformedf("unknown descriptor %v", d)
}
