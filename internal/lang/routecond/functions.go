package routecond

import (
	"math"
	"strings"
	"unicode"
)

// function is a built-in function: which types each argument may have, and how
// a call is compiled.
type function struct {
	params [][]typ
	more   bool // the last parameter may be given again
	make   func(c *compiler, args []expr) expr
}

var (
	numberArg = []typ{typeNumber, typeQuery}
	stringArg = []typ{typeString, typeQuery}
	anyArg    = []typ{typeUndefined, typeNull, typeBool, typeNumber, typeString, typeQuery}
)

// functions are the built-in functions by their names in lower case. Those of
// one name differ in how many arguments they take.
func functions(name string) []function {
	switch name {
	case "abs":
		return math1(math.Abs)
	case "exp":
		return math1(math.Exp)
	case "square":
		return math1(func(f float64) float64 { return f * f })
	case "ceiling":
		return math1(math.Ceil)
	case "floor":
		return math1(math.Floor)
	case "sqrt":
		return math1(math.Sqrt)
	case "sign":
		return math1(sign)
	case "power":
		return []function{{params: [][]typ{numberArg, numberArg}, make: func(_ *compiler, a []expr) expr {
			x, y := a[0].numbers(), a[1].numbers()
			return numeric(func(e *Evaluator) float64 { return power(x(e), y(e)) }, a...)
		}}}
	case "as_number":
		return []function{{params: [][]typ{{typeString, typeNumber, typeQuery}}, make: asNumber}}
	case "is_defined":
		return test(isDefined)
	case "is_null":
		return test(isNullValue)
	case "is_bool":
		return test(isBool)
	case "is_number":
		return test(isNumberValue)
	case "is_string":
		return test(isStringValue)
	case "is_array":
		return test(isKind(isArray))
	case "is_object":
		return test(isKind(isObject))
	case "is_primitive":
		return test(isPrimitive)
	case "concat":
		return []function{{params: [][]typ{stringArg, stringArg}, more: true, make: func(_ *compiler, a []expr) expr { return concat(a) }}}
	case "length":
		return []function{{params: [][]typ{stringArg}, make: length}}
	case "lower":
		return []function{{params: [][]typ{stringArg}, make: changeCase(unicode.ToLower)}}
	case "upper":
		return []function{{params: [][]typ{stringArg}, make: changeCase(unicode.ToUpper)}}
	case "substring":
		return []function{
			{params: [][]typ{stringArg, numberArg}, make: substringFrom},
			{params: [][]typ{stringArg, numberArg, numberArg}, make: substringOf},
		}
	case "index_of":
		return []function{{params: [][]typ{stringArg, stringArg}, make: indexOf}}
	case "starts_with", "startswith":
		return match(strings.HasPrefix)
	case "ends_with", "endswith":
		return match(strings.HasSuffix)
	case "contains":
		return match(strings.Contains)
	}
	return nil
}

func (c *compiler) call(n *node) expr {
	bad := expr{typ: typeUndefined, constant: true}
	name := strings.ToLower(n.token.text)
	if name == "twin_change_includes" && c.options.TwinChanges {
		return c.twinChangeIncludes(n)
	}
	list := functions(name)
	args := make([]expr, len(n.args))
	for i, a := range n.args {
		args[i] = c.expr(a)
	}
	if list == nil {
		c.fail(n.token.at, "Invalid built-in function '%s'", n.token.text)
		return bad
	}
	for _, f := range list {
		if f.takes(args) {
			return f.make(c, args)
		}
	}
	types := make([]string, len(args))
	for i := range args {
		types[i] = args[i].typ.String()
	}
	c.fail(n.token.at, "Invalid arguments to built-in function '%s': %[1]s(%s)", n.token.text, strings.Join(types, ", "))
	return bad
}

func (f *function) takes(args []expr) bool {
	if len(args) < len(f.params) || len(args) > len(f.params) && !f.more {
		return false
	}
	for i := range args {
		p := f.params[min(i, len(f.params)-1)]
		ok := false
		for _, t := range p {
			ok = ok || t == args[i].typ
		}
		if !ok {
			return false
		}
	}
	return true
}

func math1(f func(float64) float64) []function {
	return []function{{params: [][]typ{numberArg}, make: func(_ *compiler, a []expr) expr {
		x := a[0].numbers()
		return numeric(func(e *Evaluator) float64 { return f(x(e)) }, a...)
	}}}
}

func sign(f float64) float64 {
	switch {
	case f > 0:
		return 1
	case f < 0:
		return -1
	default:
		return f // zero and NaN
	}
}

// power is math.Pow but that nothing undefined becomes a number.
func power(x, y float64) float64 {
	if math.IsNaN(x) || math.IsNaN(y) {
		return math.NaN()
	}
	return math.Pow(x, y)
}

func asNumber(_ *compiler, a []expr) expr {
	x := a[0]
	if x.typ == typeNumber {
		return x
	}
	if x.typ == typeString {
		return numeric(func(e *Evaluator) float64 { return parseNumber(x.text(e)) }, x)
	}
	return numeric(func(e *Evaluator) float64 {
		switch v := x.query(e); v.is {
		case isNumber:
			return v.number
		case isString:
			return parseNumber(text{v.text, known})
		default:
			return math.NaN()
		}
	}, x)
}

// test is a function of one value of any type.
func test(f func(c *compiler, x expr) func(*Evaluator) Bool) []function {
	return []function{{params: [][]typ{anyArg}, make: func(c *compiler, a []expr) expr {
		return logical(f(c, a[0]), a...)
	}}}
}

func always(b Bool) func(*Evaluator) Bool { return func(*Evaluator) Bool { return b } }

func isDefined(c *compiler, x expr) func(*Evaluator) Bool {
	switch x.typ {
	case typeNull:
		return always(True)
	case typeBool:
		return func(e *Evaluator) Bool { return truth(x.truth(e) != Undefined) }
	case typeNumber:
		return func(e *Evaluator) Bool { return truth(!math.IsNaN(x.number(e))) }
	case typeString:
		return func(e *Evaluator) Bool { return truth(x.text(e).state != absent) }
	case typeQuery:
		missingIsNull := c.set.EdgeMissing
		return func(e *Evaluator) Bool {
			v := x.query(e)
			return truth(v.defined() || v.is == isMissing && missingIsNull)
		}
	default:
		return always(False)
	}
}

func isNullValue(_ *compiler, x expr) func(*Evaluator) Bool {
	switch x.typ {
	case typeNull:
		return always(True)
	case typeString:
		return func(e *Evaluator) Bool { return truth(x.text(e).state == null) }
	case typeQuery:
		return func(e *Evaluator) Bool {
			v := x.query(e)
			if !v.defined() && v.is != isMissing {
				return Undefined
			}
			return truth(v.is == isNull)
		}
	default:
		return always(False)
	}
}

func isBool(_ *compiler, x expr) func(*Evaluator) Bool {
	switch x.typ {
	case typeBool:
		return func(e *Evaluator) Bool {
			if x.truth(e) == Undefined {
				return Undefined
			}
			return True
		}
	case typeQuery:
		return func(e *Evaluator) Bool {
			v := x.query(e)
			if !v.defined() && v.is != isMissing {
				return Undefined
			}
			return truth(v.boolean() != Undefined)
		}
	case typeUndefined:
		return always(Undefined)
	default:
		return always(False)
	}
}

func isNumberValue(_ *compiler, x expr) func(*Evaluator) Bool {
	if x.typ != typeNumber && x.typ != typeQuery {
		return always(False)
	}
	f := x.numbers()
	return func(e *Evaluator) Bool {
		n := f(e)
		return truth(!math.IsNaN(n) && !math.IsInf(n, 0))
	}
}

func isStringValue(_ *compiler, x expr) func(*Evaluator) Bool {
	if x.typ != typeString && x.typ != typeQuery {
		return always(False)
	}
	f := x.texts()
	return func(e *Evaluator) Bool { return truth(f(e).state == known) }
}

func isKind(want dynamic) func(*compiler, expr) func(*Evaluator) Bool {
	return func(_ *compiler, x expr) func(*Evaluator) Bool {
		if x.typ != typeQuery {
			return always(False)
		}
		return func(e *Evaluator) Bool { return truth(x.query(e).is == want) }
	}
}

func isPrimitive(c *compiler, x expr) func(*Evaluator) Bool {
	if x.typ == typeQuery {
		return func(e *Evaluator) Bool {
			v := x.query(e)
			return truth(v.defined())
		}
	}
	return isDefined(c, x)
}

// twinChangeIncludes compiles the function that asks whether a change names a
// path. The path stands there as it is, without quotes.
func (c *compiler) twinChangeIncludes(n *node) expr {
	reason := ""
	var path string
	var parsed []step
	if len(n.args) != 1 || n.args[0].form != formName {
		reason = "it takes one path, not in quotes"
	} else {
		path = n.args[0].token.text
		ok := false
		for _, prefix := range []string{"properties.reported.", "properties.desired.", "tags."} {
			_, has := cutPrefixFold(path, prefix)
			ok = ok || has
		}
		if !ok {
			reason = "the path must start with 'properties.reported.', 'properties.desired.' or 'tags.'"
		} else if parsed, ok = steps(path); !ok {
			reason = "'" + path + "' is not a path"
		}
	}
	if reason != "" {
		types := make([]string, len(n.args))
		for i, a := range n.args {
			types[i] = a.token.text
		}
		c.fail(n.token.at, "Invalid arguments to built-in function '%s': %[1]s(%s). Error: %s",
			n.token.text, strings.Join(types, ", "), reason)
		return expr{typ: typeUndefined, constant: true}
	}
	slot := c.set.bodySlot(path, parsed)
	return expr{typ: typeBool, truth: func(e *Evaluator) Bool {
		v := e.path(slot)
		if v.is == isUndefined {
			return Undefined // there is no body to look into
		}
		return truth(v.is != isMissing)
	}}
}
