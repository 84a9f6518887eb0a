package hubquery

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// FromJSON returns the value of a JSON text without blanks around it. The text
// is copied. What is not JSON is undefined, as far as it is looked at: what is
// inside an object or an array is not.
func FromJSON(text []byte) Value {
	if len(text) == 0 {
		return Undefined
	}
	switch text[0] {
	case '{':
		return Value{kind: ObjectKind, text: string(text)}
	case '[':
		return Value{kind: ArrayKind, text: string(text)}
	case '"':
		s, ok := unquote(text)
		if !ok {
			return Undefined
		}
		return Text(s)
	case 't':
		return Bool(true)
	case 'f':
		return Bool(false)
	case 'n':
		return Null
	default:
		v := Value{kind: NumberKind, text: string(text)}
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil {
			return Undefined // no number, or one beyond the 64 bits of one
		}
		v.num = f
		return v
	}
}

// unquote returns what a JSON string means.
func unquote(text []byte) (string, bool) {
	if len(text) < 2 || text[len(text)-1] != '"' {
		return "", false
	}
	if inner := text[1 : len(text)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	err := json.Unmarshal(text, &s)
	return s, err == nil
}

// Descend returns the value at the end of some steps into a JSON document,
// undefined when there is none. It reads no further than it has to and keeps
// nothing of doc.
func Descend(doc []byte, steps []Segment) Value {
	for i := range steps {
		var ok bool
		if doc, ok = step(doc, &steps[i]); !ok {
			return Undefined
		}
	}
	return FromJSON(doc)
}

// step returns the text of a member or an element.
func step(doc []byte, s *Segment) ([]byte, bool) {
	at := blank(doc, 0)
	if at >= len(doc) {
		return nil, false
	}
	switch {
	case doc[at] == '{' && !s.Element:
		return member(doc, at+1, s.Name)
	case doc[at] == '[' && s.Element:
		return element(doc, at+1, s.Index)
	}
	return nil, false
}

// member finds a member of an object that is open at an offset.
func member(doc []byte, at int, name string) ([]byte, bool) {
	for {
		at = blank(doc, at)
		if at >= len(doc) || doc[at] != '"' {
			return nil, false
		}
		end := stringEnd(doc, at)
		if end < 0 {
			return nil, false
		}
		key := doc[at:end]
		at = blank(doc, end)
		if at >= len(doc) || doc[at] != ':' {
			return nil, false
		}
		at = blank(doc, at+1)
		if end = valueEnd(doc, at); end < 0 {
			return nil, false
		}
		if named(key, name) {
			return doc[at:end], true
		}
		at = blank(doc, end)
		if at >= len(doc) || doc[at] != ',' {
			return nil, false
		}
		at++
	}
}

// element finds an element of an array that is open at an offset.
func element(doc []byte, at, index int) ([]byte, bool) {
	for {
		at = blank(doc, at)
		end := valueEnd(doc, at)
		if end < 0 {
			return nil, false
		}
		if index == 0 {
			return doc[at:end], true
		}
		index--
		at = blank(doc, end)
		if at >= len(doc) || doc[at] != ',' {
			return nil, false
		}
		at++
	}
}

// named reports whether a quoted key means name.
func named(key []byte, name string) bool {
	inner := key[1 : len(key)-1]
	if string(inner) == name {
		return true
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return false
	}
	s, ok := unquote(key)
	return ok && s == name
}

// blank returns the offset of the next character that is no blank.
func blank(doc []byte, at int) int {
	for at < len(doc) && (doc[at] == ' ' || doc[at] == '\n' || doc[at] == '\t' || doc[at] == '\r') {
		at++
	}
	return at
}

// stringEnd returns the offset behind the string that begins at one, -1 when it
// has no end.
func stringEnd(doc []byte, at int) int {
	for i := at + 1; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// valueEnd returns the offset behind the value that begins at one, -1 when it
// has no end or is none.
func valueEnd(doc []byte, at int) int {
	if at >= len(doc) {
		return -1
	}
	switch doc[at] {
	case '"':
		return stringEnd(doc, at)
	case '{', '[':
	default:
		i := at
		for i < len(doc) && doc[i] != ',' && doc[i] != '}' && doc[i] != ']' && doc[i] > ' ' {
			i++
		}
		if i == at {
			return -1
		}
		return i
	}
	depth := 0
	for i := at; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			end := stringEnd(doc, i)
			if end < 0 {
				return -1
			}
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// elements calls f with the text of every element of an array until it returns
// false.
func elements(doc []byte, f func(text []byte) bool) {
	at := blank(doc, 0)
	if at >= len(doc) || doc[at] != '[' {
		return
	}
	for at++; ; at++ {
		at = blank(doc, at)
		end := valueEnd(doc, at)
		if end < 0 || !f(doc[at:end]) {
			return
		}
		at = blank(doc, end)
		if at >= len(doc) || doc[at] != ',' {
			return
		}
	}
}

// Leaves calls f with every value in a JSON object that can be compared, with
// the names that lead to it, until f returns false. What is inside arrays is
// left out. It stops at what is nested deeper than 64 levels. Names are valid
// until f returns.
func Leaves(doc []byte, f func(names []string, v Value) bool) {
	leaves(doc, make([]string, 0, 8), f)
}

func leaves(doc []byte, names []string, f func(names []string, v Value) bool) bool {
	at := blank(doc, 0)
	if at >= len(doc) || doc[at] != '{' || len(names) >= MaxDepth {
		return true
	}
	for at++; ; at++ {
		at = blank(doc, at)
		if at >= len(doc) || doc[at] != '"' {
			return true
		}
		end := stringEnd(doc, at)
		if end < 0 {
			return true
		}
		name, ok := unquote(doc[at:end])
		at = blank(doc, end)
		if !ok || at >= len(doc) || doc[at] != ':' {
			return true
		}
		at = blank(doc, at+1)
		if end = valueEnd(doc, at); end < 0 {
			return true
		}
		switch path := append(names, name); doc[at] { //nolint:gocritic // the array is shared on purpose
		case '{':
			if !leaves(doc[at:end], path, f) {
				return false
			}
		case '[':
		default:
			if v := FromJSON(doc[at:end]); v.Defined() && !f(path, v) {
				return false
			}
		}
		at = blank(doc, end)
		if at >= len(doc) || doc[at] != ',' {
			return true
		}
	}
}
