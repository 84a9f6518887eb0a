package routecond

import (
	"cmp"
	"math"
	"strings"
	"unicode/utf8"
)

// Bool is the outcome of a condition.
type Bool uint8

// The outcomes. A route takes a message only on True.
const (
	Undefined Bool = iota
	False
	True
)

// String returns the outcome as the service writes it.
func (b Bool) String() string {
	switch b {
	case True:
		return "true"
	case False:
		return "false"
	default:
		return "undefined"
	}
}

func truth(b bool) Bool {
	if b {
		return True
	}
	return False
}

func not(b Bool) Bool {
	switch b {
	case True:
		return False
	case False:
		return True
	default:
		return Undefined
	}
}

// dynamic is the kind of a value whose type is not known before.
type dynamic uint8

const (
	isUndefined dynamic = iota
	isMissing           // the body has no such path
	isNull
	isFalse
	isTrue
	isNumber
	isString
	isArray  // undefined to operators
	isObject // undefined to operators
)

// value is a value whose type is not known before.
type value struct {
	is     dynamic
	number float64
	text   string
}

func (v *value) defined() bool { return v.is >= isNull && v.is <= isString }

func (v *value) boolean() Bool {
	switch v.is {
	case isTrue:
		return True
	case isFalse:
		return False
	default:
		return Undefined
	}
}

// ofNumber and ofText are values of known types as dynamic ones.
func ofNumber(f float64) value {
	if math.IsNaN(f) {
		return value{}
	}
	return value{is: isNumber, number: f}
}

func ofText(t text) value {
	if t.state != known {
		return value{} // null too: it compares as undefined
	}
	return value{is: isString, text: t.s}
}

func ofBool(b Bool) value {
	switch b {
	case True:
		return value{is: isTrue}
	case False:
		return value{is: isFalse}
	default:
		return value{}
	}
}

// text is a value of type string.
type text struct {
	s     string
	state state
}

type state uint8

const (
	absent state = iota // undefined
	null
	known
)

// comparison is a comparison operator.
type comparison uint8

const (
	equal comparison = iota
	unequal
	less
	lessEqual
	greater
	greaterEqual
)

var comparisons = map[string]comparison{
	"=": equal, "!=": unequal, "<>": unequal, "<": less, "<=": lessEqual, ">": greater, ">=": greaterEqual,
}

// of turns an order into an outcome.
func (c comparison) of(order int) Bool {
	switch c {
	case equal:
		return truth(order == 0)
	case unequal:
		return truth(order != 0)
	case less:
		return truth(order < 0)
	case lessEqual:
		return truth(order <= 0)
	case greater:
		return truth(order > 0)
	default:
		return truth(order >= 0)
	}
}

func (c comparison) numbers(a, b float64) Bool {
	if math.IsNaN(a) || math.IsNaN(b) {
		return Undefined
	}
	return c.of(cmp.Compare(a, b))
}

func (c comparison) texts(a, b text) Bool {
	if a.state != known || b.state != known {
		return Undefined
	}
	if c <= unequal {
		return truth((a.s == b.s) == (c == equal))
	}
	return c.of(compareText(a.s, b.s))
}

func (c comparison) bools(a, b Bool) Bool {
	if a == Undefined || b == Undefined {
		return Undefined
	}
	return c.of(int(a) - int(b))
}

// values compares values of any kinds. Those of different kinds are ordered
// bool < number < string < null. What a body does not have equals null; it has
// an order only when missing is null.
func (c comparison) values(a, b *value, missingIsNull bool) Bool {
	ra, rb := rank(a.is), rank(b.is)
	switch {
	case ra < 0 || rb < 0:
		return Undefined
	case c > unequal && !missingIsNull && (a.is == isMissing || b.is == isMissing):
		return Undefined
	case ra != rb:
		return c.of(ra - rb)
	}
	switch a.is {
	case isNumber:
		return c.of(cmp.Compare(a.number, b.number))
	case isString:
		if c <= unequal {
			return truth((a.text == b.text) == (c == equal))
		}
		return c.of(compareText(a.text, b.text))
	case isTrue, isFalse:
		return c.of(int(a.is) - int(b.is))
	default:
		return c.of(0)
	}
}

func rank(d dynamic) int {
	switch d {
	case isFalse, isTrue:
		return 0
	case isNumber:
		return 1
	case isString:
		return 2
	case isNull, isMissing:
		return 3
	default:
		return -1
	}
}

// compareText compares by UTF-16 code units, as the service does. The order of
// bytes is that of code points; the two differ only where one text goes on with
// a character above U+FFFF and the other with one above the surrogates.
func compareText(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	if i == len(a) || i == len(b) || a[i] < 0xee || b[i] < 0xee {
		return strings.Compare(a[i:], b[i:])
	}
	for i > 0 && !utf8.RuneStart(a[i]) {
		i--
	}
	ra, _ := utf8.DecodeRuneInString(a[i:])
	rb, _ := utf8.DecodeRuneInString(b[i:])
	if (ra > 0xffff) != (rb > 0xffff) {
		if ra > 0xffff {
			return -1
		}
		return 1
	}
	return strings.Compare(a[i:], b[i:])
}
