package routecond

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind uint8

const (
	tokEnd kind = iota
	tokReserved
	tokString
	tokUnterminated
	tokInteger
	tokHex
	tokReal
	tokTrue
	tokFalse
	tokNull
	tokUndefined
	tokAnd
	tokOr
	tokNot
	tokSymbol // operators and punctuation: told apart by their text
	tokSystem // $name
	tokName
	tokPath // a name with brackets; no rule takes one
	tokUnknown
)

// token is a part of the text that means something.
type token struct {
	kind kind
	text string // as written
	at   span
}

func (t *token) is(symbol string) bool { return t.kind == tokSymbol && t.text == symbol }

// lex cuts a text into tokens, the last of which is tokEnd. At any place the
// longest token counts; of equally long ones the earlier kind.
func lex(text string) []token {
	var tokens []token
	for i := 0; i < len(text); {
		k, n := next(text[i:])
		if k != tokEnd { // tokEnd here is a blank or a comment
			tokens = append(tokens, token{k, text[i : i+n], span{i, i + n}})
		}
		i += n
	}
	return append(tokens, token{kind: tokEnd, at: span{len(text), len(text)}})
}

// next returns the kind and the length of the first token of s.
func next(s string) (kind, int) {
	name, path := runs(s)
	if s[0] == '"' || s[0] == '\'' {
		// An apostrophe is a character of names, so what looks like a string
		// may be a longer name.
		n, closed := quoted(s)
		if n >= path {
			if closed {
				return tokString, n
			}
			return tokUnterminated, n
		}
	}
	switch {
	case s[0] == '$' && path > 1:
		return tokSystem, path
	case path > name:
		return tokPath, path
	case name > 0 && !(name == 1 && strings.HasPrefix(s, "!=")):
		return word(s[:name]), name
	}
	switch s[0] {
	case ' ', '\t', '\r', '\n':
		return tokEnd, 1
	case '/':
		if strings.HasPrefix(s, "/*") {
			if end := strings.Index(s[2:], "*/"); end >= 0 {
				return tokEnd, 2 + end + 2
			}
		}
		return tokSymbol, 1
	}
	for _, op := range []string{"!=", "<>", "<=", ">=", "??"} {
		if strings.HasPrefix(s, op) {
			return tokSymbol, len(op)
		}
	}
	if strings.IndexByte("(){},=<>", s[0]) >= 0 {
		return tokSymbol, 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return tokUnknown, n
}

// runs returns how far a name reaches, and how far one with brackets does.
func runs(s string) (name, path int) {
	name = -1
	for path < len(s) && strings.IndexByte("()<>@,;:\\\"/?={} \t\r\n", s[path]) < 0 {
		if name < 0 && (s[path] == '[' || s[path] == ']') {
			name = path
		}
		path++
	}
	if name < 0 {
		name = path
	}
	return name, path
}

// quoted returns the length of the string at the start of s, and whether it has
// an end. One without goes as far as it could be read.
func quoted(s string) (n int, closed bool) {
	for i := 1; i < len(s); {
		switch c := s[i]; {
		case c == s[0]:
			return i + 1, true
		case c != '\\':
			i++
		case i+1 < len(s) && strings.IndexByte(`"'\`, s[i+1]) >= 0:
			i += 2
		case i+5 < len(s) && s[i+1] == 'u' && hexadecimal(s[i+2:i+6]):
			i += 6
		default:
			return i, false
		}
	}
	return len(s), false
}

// word returns the kind of a run of characters of names.
func word(s string) kind {
	switch s {
	case "true":
		return tokTrue
	case "false":
		return tokFalse
	case "null":
		return tokNull
	case "undefined":
		return tokUndefined
	case "+", "-", "*", "%", "||":
		return tokSymbol
	}
	switch strings.ToUpper(s) {
	case "SELECT", "FROM", "WHERE", "INTO":
		return tokReserved
	case "AND":
		return tokAnd
	case "OR":
		return tokOr
	case "NOT":
		return tokNot
	}
	return number(s)
}

// number returns the kind of a number, or tokName.
func number(s string) kind {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && hexadecimal(s[2:]) {
		return tokHex
	}
	rest := digits(strings.TrimPrefix(s, "-"))
	whole := len(rest) < len(strings.TrimPrefix(s, "-"))
	if rest == "" && whole {
		return tokInteger
	}
	fraction := false
	if strings.HasPrefix(rest, ".") {
		after := digits(rest[1:])
		if fraction = len(after) < len(rest)-1; !fraction {
			return tokName
		}
		rest = after
	}
	if rest == "" && fraction {
		return tokReal
	}
	if rest == "" || rest[0] != 'e' && rest[0] != 'E' {
		return tokName
	}
	rest = rest[1:]
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	if rest != "" && digits(rest) == "" {
		return tokReal
	}
	return tokName
}

// digits returns s without its leading digits.
func digits(s string) string { return strings.TrimLeft(s, "0123456789") }

func hexadecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// unquote returns what a string token means.
func unquote(s string) string {
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		if s[i+1] != 'u' {
			b.WriteByte(s[i+1])
			i += 2
			continue
		}
		r, n := escape16(s[i:])
		b.WriteRune(r)
		i += n
	}
	return b.String()
}

// escape16 reads the \uXXXX at the start of s, with the one that follows when
// the two are a pair of surrogates. One that stands alone is U+FFFD.
func escape16(s string) (r rune, n int) {
	unit := func(s string) rune {
		v, _ := strconv.ParseUint(s[2:6], 16, 32) // the caller has seen that it is
		return rune(v)
	}
	r = unit(s)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' && hexadecimal(s[8:12]) {
		if pair := utf16.DecodeRune(r, unit(s[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}
