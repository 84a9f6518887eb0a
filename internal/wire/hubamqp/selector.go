package hubamqp

import (
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// FilterName is the key of a selector in the filter of a source, and its
// symbolic descriptor.
const FilterName = "apache.org:selector-filter:string"

// filterCode is the numeric descriptor of a selector.
const filterCode = 0x0000468C_00000004

// StartKind says by what a reader of events starts.
type StartKind uint8

// The kinds. The zero Start is the earliest.
const (
	StartEarliest StartKind = iota
	StartLatest
	StartOffset
	StartSequence
	StartTime
)

// Start is where a reader of events starts.
type Start struct {
	Kind      StartKind
	Offset    int64 // StartOffset
	Sequence  int64 // StartSequence
	Time      time.Time
	Inclusive bool // the event at that place too; not of StartLatest
}

const selectorForms = `the accepted forms are "amqp.annotation.NAME > 'VALUE'" and the same with >=, where NAME is ` +
	`x-opt-offset (VALUE a number, -1 for the start or @latest for the end), ` +
	`x-opt-sequence-number (a number), or x-opt-enqueued-time (milliseconds since 1970)`

func badSelector(s, why string) error {
	return causeway.Errorf(causeway.ArgumentInvalid, "amqp.selector", "selector %q: %s; %s", cut(s), why, selectorForms)
}

// ParseSelector reads a selector. The error is ArgumentInvalid.
func ParseSelector(s string) (Start, error) {
	if len(s) > maxSelector {
		return Start{}, badSelector(s, "too long")
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), "amqp.annotation.")
	if !ok {
		return Start{}, badSelector(s, "it does not begin with amqp.annotation.")
	}
	i := strings.IndexByte(rest, '>')
	if i < 0 {
		return Start{}, badSelector(s, "it has no > or >=")
	}
	name, value := strings.TrimSpace(rest[:i]), rest[i+1:]
	var start Start
	value, start.Inclusive = strings.CutPrefix(value, "=")
	value = strings.TrimSpace(value)
	quoted := strings.HasPrefix(value, "'")
	if quoted {
		if len(value) < 2 || !strings.HasSuffix(value, "'") {
			return Start{}, badSelector(s, "the quote is not closed")
		}
		value = value[1 : len(value)-1]
	}
	switch name {
	case "x-opt-offset":
		if value == "@latest" {
			return Start{Kind: StartLatest}, nil // only what is new, whatever the operator
		}
		start.Kind = StartOffset
	case "x-opt-sequence-number":
		start.Kind = StartSequence
	case "x-opt-enqueued-time", "x-opt-enqueuedtimeutc":
		start.Kind = StartTime
	default:
		return Start{}, badSelector(s, "it is about "+strconv.Quote(cut(name)))
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || value[0] == '+' {
		return Start{}, badSelector(s, "its value is not a number")
	}
	return start.at(s, n)
}

// at completes a start of which the number is n.
func (start Start) at(s string, n int64) (Start, error) {
	switch {
	case start.Kind == StartTime:
		start.Time = codec.Timestamp(n).Time()
	case n == -1:
		return Start{}, nil
	case n < -1:
		return Start{}, badSelector(s, "its value is less than -1")
	case start.Kind == StartOffset:
		start.Offset = n
	default:
		start.Sequence = n
	}
	return start, nil
}

// Selector returns the selector for start.
func (start Start) Selector() string {
	op := " > '"
	if start.Inclusive {
		op = " >= '"
	}
	switch start.Kind {
	case StartLatest:
		return "amqp.annotation.x-opt-offset > '@latest'"
	case StartOffset:
		return "amqp.annotation.x-opt-offset" + op + strconv.FormatInt(start.Offset, 10) + "'"
	case StartSequence:
		return "amqp.annotation.x-opt-sequence-number" + op + strconv.FormatInt(start.Sequence, 10) + "'"
	case StartTime:
		return "amqp.annotation.x-opt-enqueued-time" + op + strconv.FormatInt(start.Time.UnixMilli(), 10) + "'"
	}
	return "amqp.annotation.x-opt-offset > '-1'"
}

// Filter returns the filter of a source that reads from start.
func (start Start) Filter() codec.Map {
	return codec.NewMap(codec.Symbol(FilterName),
		codec.Described(codec.Ulong(filterCode), codec.String(start.Selector())))
}

// StartOf returns where a reader with the given filter of its source starts:
// with the earliest event when there is no selector in it. Other filters are
// refused, as ignoring one would deliver what was not asked for. The error is
// ArgumentInvalid.
func StartOf(filter codec.Map) (Start, error) {
	const op = "amqp.filter"
	var start Start
	found := false
	for key, v := range filter.All() {
		content, ok := selectorIn(key, v)
		if !ok {
			return Start{}, causeway.Errorf(causeway.ArgumentInvalid, op, "filter %v is not known; the filter that is accepted is %s", key, FilterName)
		}
		text, ok := content.Text()
		if !ok {
			return Start{}, causeway.Errorf(causeway.ArgumentInvalid, op, "filter %s is of type %v instead of string", FilterName, content.Kind())
		}
		if found {
			return Start{}, causeway.Errorf(causeway.ArgumentInvalid, op, "filter %s is there twice", FilterName)
		}
		found = true
		var err error
		if start, err = ParseSelector(text); err != nil {
			return Start{}, err
		}
	}
	return start, nil
}

// selectorIn returns what a filter describes when it is a selector: by its
// descriptor, or by its key when it has a descriptor of another kind or none.
func selectorIn(key, v codec.Value) (content codec.Value, ok bool) {
	name, _ := key.Text()
	descriptor, content, described := v.Described()
	if !described {
		return v, name == FilterName
	}
	if text, ok := descriptor.Text(); ok {
		return content, text == FilterName
	}
	code, _ := descriptor.Uint64()
	return content, code == filterCode || name == FilterName
}
