package hubquery

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// function is one of the language. Do gets as many values as it wants.
type function struct {
	least, most int    // arguments
	path        bool   // the argument is a path, not a value: see defined
	usage       string // for messages
	do          func(args []Value) Value
}

const anyNumber = MaxText // more arguments than a text has room for

var functions = map[string]*function{
	"IS_DEFINED": {least: 1, most: 1, path: true, usage: "IS_DEFINED(tags.site)"},

	"IS_NULL":   {1, 1, false, "IS_NULL(tags.a)", is(NullKind)},
	"IS_BOOL":   {1, 1, false, "IS_BOOL(tags.a)", is(BoolKind)},
	"IS_NUMBER": {1, 1, false, "IS_NUMBER(tags.a)", is(NumberKind)},
	"IS_STRING": {1, 1, false, "IS_STRING(tags.a)", is(StringKind)},
	"IS_ARRAY":  {1, 1, false, "IS_ARRAY(tags.a)", is(ArrayKind)},
	"IS_OBJECT": {1, 1, false, "IS_OBJECT(tags.a)", is(ObjectKind)},
	"IS_PRIMITIVE": {1, 1, false, "IS_PRIMITIVE(tags.a)", func(a []Value) Value {
		return Bool(a[0].kind.comparable())
	}},

	"STARTSWITH":  {2, 2, false, "STARTSWITH(deviceId, 'a')", texts(strings.HasPrefix)},
	"STARTS_WITH": {2, 2, false, "STARTS_WITH(deviceId, 'a')", texts(strings.HasPrefix)},
	"ENDSWITH":    {2, 2, false, "ENDSWITH(deviceId, 'a')", texts(strings.HasSuffix)},
	"ENDS_WITH":   {2, 2, false, "ENDS_WITH(deviceId, 'a')", texts(strings.HasSuffix)},
	"CONTAINS":    {2, 2, false, "CONTAINS(deviceId, 'a')", texts(strings.Contains)},

	"ARRAY_CONTAINS": {2, 2, false, "ARRAY_CONTAINS(parentScopes, 'a')", arrayContains},

	"ABS":     {1, 1, false, "ABS(tags.n)", numeric(math.Abs)},
	"EXP":     {1, 1, false, "EXP(tags.n)", numeric(math.Exp)},
	"SQUARE":  {1, 1, false, "SQUARE(tags.n)", numeric(func(f float64) float64 { return f * f })},
	"CEILING": {1, 1, false, "CEILING(tags.n)", numeric(math.Ceil)},
	"FLOOR":   {1, 1, false, "FLOOR(tags.n)", numeric(math.Floor)},
	"SQRT":    {1, 1, false, "SQRT(tags.n)", numeric(math.Sqrt)},
	"SIGN":    {1, 1, false, "SIGN(tags.n)", numeric(signum)},
	"POWER": {2, 2, false, "POWER(tags.n, 2)", func(a []Value) Value {
		if a[0].kind != NumberKind || a[1].kind != NumberKind {
			return Undefined
		}
		return Number(math.Pow(a[0].num, a[1].num))
	}},

	"AS_NUMBER": {1, 1, false, "AS_NUMBER(tags.s)", asNumber},
	"LENGTH":    {1, 1, false, "LENGTH(tags.s)", length},
	"LOWER":     {1, 1, false, "LOWER(tags.s)", mapped(strings.ToLower)},
	"UPPER":     {1, 1, false, "UPPER(tags.s)", mapped(strings.ToUpper)},
	"SUBSTRING": {2, 3, false, "SUBSTRING(tags.s, 0, 3)", substring},
	"INDEX_OF":  {2, 2, false, "INDEX_OF(tags.s, 'a')", indexOf},
	"CONCAT":    {2, anyNumber, false, "CONCAT(tags.s, '-', tags.t)", concat},
}

// functionNames are in the order of messages.
var functionNames = func() []string {
	names := make([]string, 0, len(functions))
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

func is(k Kind) func([]Value) Value {
	return func(a []Value) Value { return Bool(a[0].kind == k) }
}

func texts(f func(s, t string) bool) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != StringKind || a[1].kind != StringKind {
			return Undefined
		}
		return Bool(f(a[0].text, a[1].text))
	}
}

func numeric(f func(float64) float64) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != NumberKind {
			return Undefined
		}
		return Number(f(a[0].num))
	}
}

func mapped(f func(string) string) func([]Value) Value {
	return func(a []Value) Value {
		if a[0].kind != StringKind {
			return Undefined
		}
		return bounded(f(a[0].text))
	}
}

func bounded(s string) Value {
	if len(s) > MaxResult {
		return Undefined
	}
	return Text(s)
}

func signum(f float64) float64 {
	switch {
	case f > 0:
		return 1
	case f < 0:
		return -1
	default:
		return 0
	}
}

func arrayContains(a []Value) Value {
	if a[0].kind != ArrayKind || !a[1].Defined() {
		return Undefined
	}
	found := false
	elements([]byte(a[0].text), func(text []byte) bool {
		found = FromJSON(text).Equal(a[1])
		return !found
	})
	return Bool(found)
}

func asNumber(a []Value) Value {
	if a[0].kind == NumberKind {
		return a[0]
	}
	if a[0].kind != StringKind {
		return Undefined
	}
	s := strings.TrimSpace(a[0].text)
	if strings.Trim(s, "0123456789+-.eE") != "" { // no hexadecimal, no infinity
		return Undefined
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Undefined
	}
	return Number(f)
}

// units returns the length of a text in units of UTF-16.
func units(s string) (n int) {
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

func length(a []Value) Value {
	if a[0].kind != StringKind {
		return Undefined
	}
	return Number(float64(units(a[0].text)))
}

// substring is undefined when it would reach beyond the text. Of a given length
// it must begin inside the text, as that of message routes does.
func substring(a []Value) Value {
	if a[0].kind != StringKind || a[1].kind != NumberKind || len(a) == 3 && a[2].kind != NumberKind {
		return Undefined
	}
	s := utf16.Encode([]rune(a[0].text))
	start := math.Trunc(a[1].num)
	end := float64(len(s))
	if start < 0 || start > end {
		return Undefined
	}
	if len(a) == 3 {
		n := math.Trunc(a[2].num)
		if n < 0 || start >= end || start+n > end {
			return Undefined
		}
		end = start + n
	}
	return bounded(string(utf16.Decode(s[int(start):int(end)])))
}

func indexOf(a []Value) Value {
	if a[0].kind != StringKind || a[1].kind != StringKind {
		return Undefined
	}
	i := strings.Index(a[0].text, a[1].text)
	if i < 0 {
		return Number(-1)
	}
	return Number(float64(units(a[0].text[:i])))
}

// concat takes null for the empty text.
func concat(a []Value) Value {
	n := 0
	for _, v := range a {
		if v.kind != StringKind && v.kind != NullKind {
			return Undefined
		}
		n += len(v.text)
	}
	if n > MaxResult {
		return Undefined
	}
	var b strings.Builder
	b.Grow(n)
	for _, v := range a {
		b.WriteString(v.text)
	}
	s := b.String()
	if !utf8.ValidString(s) {
		return Undefined
	}
	return Text(s)
}
