package twin

import (
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON tokens (RFC 8259) from b. It never copies.
type scanner struct {
	b []byte
	i int
}

// syntaxError is a violation of the grammar at a byte offset.
type syntaxError struct {
	at   int
	what string
}

func (e *syntaxError) Error() string { return e.what }

func (s *scanner) fail(what string) error { return &syntaxError{s.i, what} }

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek skips space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// expect skips space and consumes c.
func (s *scanner) expect(c byte, what string) error {
	if s.peek() != c || s.i >= len(s.b) {
		return s.fail(what)
	}
	s.i++
	return nil
}

// str consumes a string and returns the text between the quotes.
func (s *scanner) str() (inner []byte, escaped bool, err error) {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return nil, false, s.fail("expected a string")
	}
	s.i++
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < 0x20:
			return nil, false, s.fail("control character in a string")
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n <= 1 {
				return nil, false, s.fail("invalid UTF-8")
			}
			s.i += n
		}
	}
	return nil, false, s.fail("string without end")
}

// escape consumes one escape sequence; a surrogate pair is one.
func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return s.fail("string without end")
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
	default:
		return s.fail("unknown escape sequence")
	}
	r, ok := hex4(s.b[s.i:])
	if !ok {
		return s.fail(`\u needs four hexadecimal digits`)
	}
	if !utf16.IsSurrogate(r) {
		s.i += 6
		return nil
	}
	low, ok := hex4(s.b[s.i+6:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return s.fail("half of a surrogate pair")
	}
	s.i += 12
	return nil
}

// hex4 reads \uXXXX at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number consumes a number. Integer says that it has neither fraction nor
// exponent.
func (s *scanner) number() (text []byte, integer bool, err error) {
	start := s.i
	if s.at('-') {
		s.i++
	}
	switch {
	case s.at('0'):
		s.i++
	case s.digits() == 0:
		return nil, false, s.fail("expected a value")
	}
	integer = true
	if s.at('.') {
		integer = false
		s.i++
		if s.digits() == 0 {
			return nil, false, s.fail("expected a digit after '.'")
		}
	}
	if s.at('e') || s.at('E') {
		integer = false
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		if s.digits() == 0 {
			return nil, false, s.fail("expected a digit in the exponent")
		}
	}
	return s.b[start:s.i], integer, nil
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scanner) digits() (n int) {
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// literal consumes true, false or null, whichever word is.
func (s *scanner) literal(word string) ([]byte, error) {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return nil, s.fail("expected a value")
	}
	s.i += len(word)
	return s.b[s.i-len(word) : s.i], nil
}

// skip consumes any value, up to depth containers deep.
func (s *scanner) skip(depth int) error {
	switch s.peek() {
	case '{', '[':
		if depth == 0 {
			return s.fail("nested too deeply")
		}
		return s.skipContainer(depth)
	case '"':
		_, _, err := s.str()
		return err
	case 't':
		_, err := s.literal("true")
		return err
	case 'f':
		_, err := s.literal("false")
		return err
	case 'n':
		_, err := s.literal("null")
		return err
	default:
		_, _, err := s.number()
		return err
	}
}

func (s *scanner) skipContainer(depth int) error {
	isObject := s.b[s.i] == '{'
	end := byte(']')
	if isObject {
		end = '}'
	}
	s.i++
	if s.peek() == end {
		s.i++
		return nil
	}
	for {
		if isObject {
			s.space()
			if _, _, err := s.str(); err != nil {
				return err
			}
			if err := s.expect(':', "expected ':'"); err != nil {
				return err
			}
		}
		if err := s.skip(depth - 1); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		default:
			return s.fail("expected ',' or the end of the " + map[bool]string{true: "object", false: "array"}[isObject])
		}
	}
}

// unquote appends the characters of a string, given what stood between its
// quotes. The text was accepted by str.
func unquote(dst, inner []byte) []byte {
	for i := 0; i < len(inner); {
		c := inner[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch c = inner[i+1]; c {
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
			r, _ := hex4(inner[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(inner[i:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
		i += 2
	}
	return dst
}
