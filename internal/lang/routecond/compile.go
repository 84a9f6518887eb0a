package routecond

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// typ is a static type.
type typ uint8

const (
	typeUndefined typ = iota
	typeNull
	typeBool
	typeNumber
	typeString
	typeQuery // known when it is evaluated
)

// String returns the name of the type in messages.
func (t typ) String() string {
	return [...]string{"undefined", "null", "bool", "number", "string", "unknown"}[t]
}

// expr is a compiled part of a condition. The function of its type is set; null
// and undefined have none.
type expr struct {
	typ      typ
	number   func(*Evaluator) float64 // NaN is undefined
	text     func(*Evaluator) text
	truth    func(*Evaluator) Bool
	query    func(*Evaluator) value
	constant bool // the same for all messages
	slot     int  // of a plain path of the body, counted from 1
	path     string
	property int        // of a plain property, counted from 1
	guard    *predicate // must hold for it to be true; nil when nothing is known
	parts    []part     // of an OR: it is true when one of them is
}

// part is a condition, or an operand of one that is nothing but ORs.
type part struct {
	eval  func(*Evaluator) Bool
	guard *predicate
}

// maxParts bounds into how many parts a condition is taken apart.
const maxParts = 64

// alternatives returns the parts of a Boolean.
func (x *expr) alternatives() []part {
	if x.parts != nil {
		return x.parts
	}
	return []part{{x.truth, x.guard}}
}

// dynamic returns x as a value whose type is not known.
func (x *expr) dynamic() func(*Evaluator) value {
	switch x.typ {
	case typeQuery:
		return x.query
	case typeNumber:
		return func(e *Evaluator) value { return ofNumber(x.number(e)) }
	case typeString:
		return func(e *Evaluator) value { return ofText(x.text(e)) }
	case typeBool:
		return func(e *Evaluator) value { return ofBool(x.truth(e)) }
	case typeNull:
		return func(*Evaluator) value { return value{is: isNull} }
	default:
		return func(*Evaluator) value { return value{} }
	}
}

// boolean returns x as an outcome: what AND and OR see.
func (x *expr) boolean() func(*Evaluator) Bool {
	switch x.typ {
	case typeBool:
		return x.truth
	case typeQuery:
		return func(e *Evaluator) Bool {
			v := x.query(e)
			return v.boolean()
		}
	default:
		return func(*Evaluator) Bool { return Undefined }
	}
}

func numeric(f func(*Evaluator) float64, from ...expr) expr {
	return expr{typ: typeNumber, number: f, constant: constant(from)}
}

func logical(f func(*Evaluator) Bool, from ...expr) expr {
	return expr{typ: typeBool, truth: f, constant: constant(from)}
}

func textual(f func(*Evaluator) text) expr { return expr{typ: typeString, text: f} }

func constant(from []expr) bool {
	for i := range from {
		if !from[i].constant {
			return false
		}
	}
	return true
}

// compiler compiles one condition.
type compiler struct {
	set     *Set
	text    string
	options Options
	errs    Errors
	twin    bool
}

func (c *compiler) fail(at span, format string, args ...any) {
	c.errs = append(c.errs, &Error{fmt.Sprintf(format, args...), at.at(c.text)})
}

// expr compiles a node. One with an error is undefined, which may make another
// error of what contains it: all are collected.
func (c *compiler) expr(n *node) expr {
	switch n.form {
	case formLiteral:
		return literal(&n.token)
	case formName:
		return c.property(lookup{name: n.token.text, application: true})
	case formSystem:
		return c.system(n, false)
	case formEscaped:
		return c.system(n, true)
	case formCall:
		return c.call(n)
	case formUnary:
		return c.unary(n)
	default:
		return c.binary(n)
	}
}

func literal(t *token) expr {
	switch t.kind {
	case tokTrue, tokFalse:
		b := truth(t.kind == tokTrue)
		return logical(func(*Evaluator) Bool { return b })
	case tokNull:
		return expr{typ: typeNull, constant: true}
	case tokString:
		s := text{unquote(t.text), known}
		return expr{typ: typeString, text: func(*Evaluator) text { return s }, constant: true}
	case tokHex:
		// Two's complement of 64 bits; more is no number at all.
		if u, err := strconv.ParseUint(t.text[2:], 16, 64); err == nil {
			return fixed(float64(int64(u)))
		}
	case tokInteger, tokReal:
		if f, err := strconv.ParseFloat(t.text, 64); err == nil || math.IsInf(f, 0) {
			return fixed(f)
		}
	}
	return expr{typ: typeUndefined, constant: true}
}

func fixed(f float64) expr { return numeric(func(*Evaluator) float64 { return f }) }

func (c *compiler) property(l lookup) expr {
	slot := c.set.slot(l)
	x := textual(func(e *Evaluator) text { return e.property(slot) })
	x.property = slot + 1
	return x
}

// system compiles $name and {$name}.
func (c *compiler) system(n *node, escaped bool) expr {
	name := n.token.text
	if rest, ok := cutPrefixFold(name, "$body."); ok {
		return c.body(n, rest, escaped || strings.Contains(rest, "["))
	}
	if rest, ok := cutPrefixFold(name, "$twin."); ok {
		return c.twinPath(n, rest)
	}
	switch {
	case strings.ContainsAny(name, "[]"):
		return expr{typ: typeUndefined, constant: true}
	case escaped:
		return c.property(lookup{name: name[1:], system: true})
	default:
		return c.property(lookup{name: name, application: true, system: true})
	}
}

// cutPrefixFold is strings.CutPrefix that ignores the case of ASCII.
func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func (c *compiler) badPath(n *node, path string) expr {
	c.fail(n.token.at, "Syntax error: '%s' is not a path; write names between dots, each with at most one index, as in a.b[0].c", path)
	return expr{typ: typeUndefined, constant: true}
}

func (c *compiler) body(n *node, path string, only bool) expr {
	parsed, ok := steps(path)
	if !ok {
		return c.badPath(n, path)
	}
	slot := c.set.bodySlot(path, parsed)
	if only {
		return expr{typ: typeQuery, slot: slot + 1, query: func(e *Evaluator) value { return *e.path(slot) }}
	}
	name := strings.ToLower(n.token.text)
	at := c.set.slot(lookup{name: name, application: true})
	return expr{typ: typeQuery, slot: slot + 1, path: name, query: func(e *Evaluator) value {
		if e.shadows {
			if t := e.property(at); t.state != absent {
				return ofText(t)
			}
		}
		return *e.path(slot)
	}}
}

func (c *compiler) twinPath(n *node, path string) expr {
	parsed, ok := steps(path)
	if !ok {
		return c.badPath(n, path)
	}
	slot, ok := c.set.twinSlot(parsed)
	if !ok {
		return expr{typ: typeQuery, query: func(*Evaluator) value { return value{} }, constant: true}
	}
	c.twin = true
	return expr{typ: typeQuery, query: func(e *Evaluator) value { return *e.twinPath(slot) }}
}
