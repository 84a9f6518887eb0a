package routecond

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxDepth is how deep a document may nest; one that is deeper is not read.
const maxDepth = 128

// scanner reads a JSON text (RFC 8259) once from front to end and keeps the
// values that are wanted. Strings it keeps are parts of the text, or of the
// scratch space when they had escapes.
type scanner struct {
	b       []byte
	i       int
	depth   int
	values  []value
	nothing value // of a path that is not there
	fold    bool  // names of members ignore case
	touched []int // slots that have, or had, a value, each once
	marks   []bool
	scratch []byte
}

// document reads b and reports whether it is an object with nothing behind it.
func (s *scanner) document(b []byte, w *wanted) bool {
	s.b, s.i, s.depth = b, 0, 0
	s.space()
	if s.i == len(b) || b[s.i] != '{' || !s.object(w) {
		return false
	}
	s.space()
	return s.i == len(b)
}

func (s *scanner) space() {
	const blanks uint64 = 1<<' ' | 1<<'\t' | 1<<'\r' | 1<<'\n'
	for s.i < len(s.b) && s.b[s.i] <= ' ' && blanks>>s.b[s.i]&1 != 0 {
		s.i++
	}
}

// value reads a value of which w is wanted, nil for nothing.
func (s *scanner) value(w *wanted) bool {
	s.space()
	if s.i == len(s.b) {
		return false
	}
	switch c := s.b[s.i]; c {
	case '{':
		s.keep(w, value{is: isObject})
		return s.object(w)
	case '[':
		s.keep(w, value{is: isArray})
		return s.array(w)
	case '"':
		raw, escaped, ok := s.str()
		if ok && w != nil && w.slot >= 0 {
			if escaped {
				raw = s.unescape(raw)
			}
			s.keep(w, value{is: isString, text: view(raw)})
		}
		return ok
	case 't':
		return s.word("true", w, isTrue)
	case 'f':
		return s.word("false", w, isFalse)
	case 'n':
		return s.word("null", w, isNull)
	default:
		return s.number(w)
	}
}

// keep keeps a value that is wanted.
func (s *scanner) keep(w *wanted, v value) {
	if w != nil && w.slot >= 0 {
		s.values[w.slot] = v
		if w.slot < len(s.marks) && !s.marks[w.slot] {
			s.marks[w.slot] = true
			s.touched = append(s.touched, w.slot)
		}
	}
}

// forget makes all values those of paths that are not there.
func (s *scanner) forget(values []value) {
	for _, slot := range s.touched {
		values[slot], s.marks[slot] = value{is: isMissing}, false
	}
	s.touched = s.touched[:0]
}

func (s *scanner) word(text string, w *wanted, is dynamic) bool {
	if len(s.b)-s.i < len(text) || string(s.b[s.i:s.i+len(text)]) != text {
		return false
	}
	s.i += len(text)
	s.keep(w, value{is: is})
	return true
}

func (s *scanner) object(w *wanted) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		s.depth--
		return true
	}
	for {
		if s.space(); s.i == len(s.b) || s.b[s.i] != '"' {
			return false
		}
		name, escaped, ok := s.str()
		if !ok {
			return false
		}
		var child *wanted
		if w != nil {
			if escaped {
				name = s.unescape(name)
			}
			if child = w.member(name, s.fold); child != nil {
				child.clear(s.values, s.nothing) // of members that share a name the last counts
			}
		}
		if s.space(); s.i == len(s.b) || s.b[s.i] != ':' {
			return false
		}
		s.i++
		if !s.value(child) {
			return false
		}
		if s.space(); s.i == len(s.b) {
			return false
		}
		s.i++
		switch s.b[s.i-1] {
		case ',':
		case '}':
			s.depth--
			return true
		default:
			return false
		}
	}
}

func (s *scanner) array(w *wanted) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == ']' {
		s.i++
		s.depth--
		return true
	}
	for at := 0; ; at++ {
		var child *wanted
		if w != nil && w.byIndex != nil {
			child = w.byIndex[at]
		}
		if !s.value(child) {
			return false
		}
		if s.space(); s.i == len(s.b) {
			return false
		}
		s.i++
		switch s.b[s.i-1] {
		case ',':
		case ']':
			s.depth--
			return true
		default:
			return false
		}
	}
}

// str reads a string and returns what is between its quotes. Control characters
// are let through, as the service does.
func (s *scanner) str() (raw []byte, escaped, ok bool) {
	start := s.i + 1
	for i := start; ; {
		if i = s.special(i); i == len(s.b) {
			return nil, false, false
		}
		if s.b[i] == '"' {
			s.i = i + 1
			return s.b[start:i], escaped, true
		}
		escaped = true
		if i++; i == len(s.b) {
			return nil, false, false
		}
		switch s.b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i++
		case 'u':
			if len(s.b)-i < 5 || !hexadecimal(view(s.b[i+1:i+5])) {
				return nil, false, false
			}
			i += 5
		default:
			return nil, false, false
		}
	}
}

// shortString is up to which length strings are looked at word by word; longer
// ones are worth a call.
const shortString = 32

// special returns where the next quote or backslash is from i on, the end of the
// text when there is none.
func (s *scanner) special(i int) int {
	for end := i + shortString; i < end; {
		if i+8 > len(s.b) {
			for i < len(s.b) && s.b[i] != '"' && s.b[i] != '\\' {
				i++
			}
			return i
		}
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		x := binary.LittleEndian.Uint64(s.b[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A byte is zero when the subtraction borrows; what is found above the
		// first such byte may be wrong.
		if found := ((quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
		i += 8
	}
	end := bytes.IndexByte(s.b[i:], '"')
	if end < 0 {
		end = len(s.b) - i
	}
	if slash := bytes.IndexByte(s.b[i:i+end], '\\'); slash >= 0 {
		return i + slash
	}
	return i + end
}

// unescape returns what a string with escapes means, in scratch space.
func (s *scanner) unescape(raw []byte) []byte {
	start := len(s.scratch)
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			s.scratch = append(s.scratch, raw[i])
			i++
			continue
		}
		c := raw[i+1]
		n := 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			var r rune
			r, n = escape16(view(raw[i:]))
			s.scratch = utf8.AppendRune(s.scratch, r)
			i += n
			continue
		}
		s.scratch = append(s.scratch, c)
		i += n
	}
	return s.scratch[start:]
}

// exact powers of ten.
var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// number reads a number. Those of few digits, nearly all, are made of two
// integers that a float64 holds exactly, so that their quotient is the nearest.
func (s *scanner) number(w *wanted) bool {
	start := s.i
	negative := s.b[s.i] == '-'
	if negative {
		s.i++
	}
	var mantissa uint64
	first := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		mantissa = mantissa*10 + uint64(s.b[s.i]-'0')
		s.i++
	}
	count := s.i - first
	if count == 0 || count > 1 && s.b[first] == '0' {
		return false
	}
	fraction := 0
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			mantissa = mantissa*10 + uint64(s.b[s.i]-'0')
			s.i++
		}
		if fraction = s.i - from; fraction == 0 {
			return false
		}
	}
	simple := count+fraction < len(tens)
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		simple = false
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		if s.i == from {
			return false
		}
	}
	if w == nil || w.slot < 0 {
		return true
	}
	v := value{is: isNumber}
	if simple {
		v.number = float64(mantissa) / tens[fraction]
		if negative {
			v.number = -v.number
		}
	} else {
		// Out of range it is infinite, as it should be.
		v.number, _ = strconv.ParseFloat(view(s.b[start:s.i]), 64)
	}
	s.keep(w, v)
	return true
}

// view returns b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// decode returns the text of a body as UTF-8, in dst when it is not already.
func decode(dst, body []byte, encoding string) []byte {
	switch encoding {
	case "utf-16":
		for i := 0; i+1 < len(body); i += 2 {
			r := rune(body[i]) | rune(body[i+1])<<8
			if utf16.IsSurrogate(r) {
				r2 := rune(utf8.RuneError)
				if i+3 < len(body) {
					r2 = utf16.DecodeRune(r, rune(body[i+2])|rune(body[i+3])<<8)
				}
				if r = r2; r != utf8.RuneError {
					i += 2
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
		if len(body)%2 != 0 {
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		return dst
	case "utf-32":
		for i := 0; i+3 < len(body); i += 4 {
			u := uint32(body[i]) | uint32(body[i+1])<<8 | uint32(body[i+2])<<16 | uint32(body[i+3])<<24
			if u > utf8.MaxRune {
				u = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, rune(u))
		}
		if len(body)%4 != 0 {
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		return dst
	default:
		return body
	}
}
