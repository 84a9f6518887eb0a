package codec

import (
	"fmt"
	"iter"
)

// List returns a list of the given values, which are copied.
func List(elements ...Value) Value {
	var b []byte
	for _, e := range elements {
		b = e.Append(b)
	}
	return Value{kind: KindList, canon: true, n: uint32(len(elements)), s: view(b)}
}

// Described returns value with a descriptor; both are copied.
func Described(descriptor, value Value) Value {
	return Value{kind: KindDescribed, canon: true, s: view(value.Append(descriptor.Append(nil)))}
}

// Array returns an array of elements of kind k, which must all be of that kind
// and must not be described. They are copied.
func Array(k Kind, elements ...Value) (Value, error) {
	if k >= KindDescribed {
		return Value{}, fmt.Errorf("amqp: array of %v values is not supported", k)
	}
	for i, e := range elements {
		if e.kind != k {
			return Value{}, fmt.Errorf("amqp: element %d of an array of %v is a %v", i, k, e.kind)
		}
	}
	code := wide(k)
	if small, ok := narrow(k); ok {
		code = small
		for _, e := range elements {
			if !fits(e) {
				code = wide(k)
				break
			}
		}
	}
	b := []byte{code}
	for _, e := range elements {
		b = appendBody(b, code, e)
	}
	return Value{kind: KindArray, canon: true, n: uint32(len(elements)), s: view(b)}, nil
}

// Strings returns an array of strings.
func Strings(elements ...string) Value { return texts(KindString, String, elements) }

func texts(k Kind, of func(string) Value, elements []string) Value {
	vs := make([]Value, len(elements))
	for i, s := range elements {
		vs[i] = of(s)
	}
	v, _ := Array(k, vs...) // all are of the kind
	return v
}

// Map is an AMQP map. The zero Map is empty, and absent where a map is
// optional. Pairs keep their order, as the standard wants it.
type Map struct{ v Value }

// NewMap returns a map of keys and values by turns. The first of equal keys
// counts, as does a last key without a value not.
func NewMap(pairs ...Value) Map {
	var b MapBuilder
	for len(pairs) > 1 {
		b.Add(pairs[0], pairs[1])
		pairs = pairs[2:]
	}
	return b.Map()
}

// Value returns the map as a value, null when it is empty by being zero.
func (m Map) Value() Value { return m.v }

// IsZero reports whether m is absent.
func (m Map) IsZero() bool { return m.v.kind == KindNull }

// Len returns the number of pairs.
func (m Map) Len() int { return int(m.v.n / 2) }

// All returns the pairs in their order.
func (m Map) All() iter.Seq2[Value, Value] {
	return func(yield func(Value, Value) bool) {
		c := m.v.cursor()
		for {
			k, ok := c.next()
			if !ok {
				return
			}
			x, _ := c.next()
			if !yield(k, x) {
				return
			}
		}
	}
}

// Get returns the value of a key, which must be of the same type as in the map.
func (m Map) Get(key Value) (Value, bool) {
	for c := m.v.cursor(); ; {
		k, ok := c.next()
		if !ok {
			return Value{}, false
		}
		x, _ := c.next()
		if k.Equal(key) {
			return x, true
		}
	}
}

// Lookup returns the value of a key that is a symbol or a string.
func (m Map) Lookup(key string) (Value, bool) {
	for c := m.v.cursor(); ; {
		k, ok := c.next()
		if !ok {
			return Value{}, false
		}
		x, _ := c.next()
		if s, isText := k.Text(); isText && s == key {
			return x, true
		}
	}
}

// Clone returns a copy of m that points to bytes of its own.
func (m Map) Clone() Map { return Map{m.v.Clone()} }

// MapBuilder makes maps. The zero builder is ready for use.
type MapBuilder struct {
	b []byte
	n uint32
}

// Add appends a pair; it copies both. It does nothing and returns false when
// the key is there already or is not simple, since such maps are refused, or
// when the map is full. It looks at every key: whoever takes pairs from others
// bounds their number.
func (b *MapBuilder) Add(key, value Value) bool {
	if b.n+2 > MaxElements || !key.kind.simple() {
		return false
	}
	if _, ok := b.Map().Get(key); ok {
		return false
	}
	b.b = value.Append(key.Append(b.b))
	b.n += 2
	return true
}

// Map returns the map of what was added so far. It is valid until Reset.
func (b *MapBuilder) Map() Map {
	return Map{Value{kind: KindMap, canon: true, n: b.n, s: view(b.b)}}
}

// Reset makes the builder empty and keeps its memory, into which maps it has
// returned still point.
func (b *MapBuilder) Reset() { b.b, b.n = b.b[:0], 0 }

// Symbols is a field of several symbols: absent, one, or an array of them
// (part 1 §1.4, "multiple").
type Symbols struct{ v Value }

// NewSymbols returns the field for the given symbols.
func NewSymbols(names ...string) Symbols {
	switch len(names) {
	case 0:
		return Symbols{}
	case 1:
		return Symbols{Symbol(names[0])}
	}
	return Symbols{texts(KindSymbol, Symbol, names)}
}

// IsZero reports whether the field is absent.
func (s Symbols) IsZero() bool { return s.v.kind == KindNull }

// All returns the symbols in their order.
func (s Symbols) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		if one, ok := s.v.Text(); ok {
			yield(one)
			return
		}
		c := s.v.cursor()
		for e, ok := c.next(); ok; e, ok = c.next() {
			if !yield(e.s) {
				return
			}
		}
	}
}

// Has reports whether name is one of the symbols.
func (s Symbols) Has(name string) bool {
	for one := range s.All() {
		if one == name {
			return true
		}
	}
	return false
}
