package routecond

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is something wrong with the text of a condition.
type Error struct {
	Message  string
	Location Location
}

// Location is a part of a text; its end is exclusive.
type Location struct {
	Start, End Position
}

// Position is a place in a text; lines and columns, in characters, count from 1.
type Position struct {
	Line, Column int
}

// Error returns the message and where it belongs.
func (e *Error) Error() string {
	return "line " + strconv.Itoa(e.Location.Start.Line) + ", column " + strconv.Itoa(e.Location.Start.Column) + ": " + e.Message
}

// Errors is everything that is wrong with a condition, in the order of the text.
type Errors []*Error

// Error returns all messages.
func (es Errors) Error() string {
	texts := make([]string, len(es))
	for i, e := range es {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// span is a part of the text in bytes.
type span struct{ from, to int }

// at returns where s is in text. A span at the end of the text is one column
// wide, so that there is something to point at.
func (s span) at(text string) Location {
	start := position(text, s.from)
	if s.from >= len(text) {
		return Location{start, Position{start.Line, start.Column + 1}}
	}
	return Location{start, position(text, s.to)}
}

func position(text string, offset int) Position {
	before := text[:min(offset, len(text))]
	line := strings.LastIndexByte(before, '\n') + 1
	return Position{Line: 1 + strings.Count(before, "\n"), Column: 1 + utf8.RuneCountInString(before[line:])}
}
