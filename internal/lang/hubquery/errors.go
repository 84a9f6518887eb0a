package hubquery

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says where a text is wrong, and how to mend it.
type Error struct {
	Line   int // from 1
	Column int // from 1, in characters
	Msg    string
	Hint   string // what to write instead; may be empty
}

// Error returns "Line 1, column 7: … Hint."
func (e *Error) Error() string {
	s := fmt.Sprintf("Line %d, column %d: %s", e.Line, e.Column, e.Msg)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// errorAt returns the error at an offset of a text.
func errorAt(text string, at int, hint, format string, args ...any) *Error {
	before := text[:min(max(at, 0), len(text))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &Error{Line: line, Column: column, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// shown is a part of a text as it stands in a message: quoted, the beginning of
// a long one.
func shown(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
