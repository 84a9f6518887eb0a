package routecond

import (
	"math"
	"slices"
)

func (c *compiler) unary(n *node) expr {
	x := c.expr(n.args[0])
	if n.token.kind == tokNot {
		switch x.typ {
		case typeNull:
			return logical(func(*Evaluator) Bool { return True })
		case typeBool, typeQuery:
			b := x.boolean()
			return logical(func(e *Evaluator) Bool { return not(b(e)) }, x)
		}
		c.fail(n.token.at, "Invalid operands to unary operator '%s': have '%s', expected 'bool'", "NOT", x.typ)
		return expr{typ: typeUndefined, constant: true}
	}
	if x.typ != typeNumber && x.typ != typeQuery {
		c.fail(n.token.at, "Invalid operands to unary operator '-': have '%s', expected 'number'", x.typ)
		return expr{typ: typeUndefined, constant: true}
	}
	f := x.numbers()
	return numeric(func(e *Evaluator) float64 { return -f(e) }, x)
}

// numbers returns x as a number, NaN for what is none.
func (x *expr) numbers() func(*Evaluator) float64 {
	switch x.typ {
	case typeNumber:
		return x.number
	case typeQuery:
		return func(e *Evaluator) float64 {
			if v := x.query(e); v.is == isNumber {
				return v.number
			}
			return math.NaN()
		}
	default:
		return func(*Evaluator) float64 { return math.NaN() }
	}
}

// texts returns x as a text, undefined for what is none.
func (x *expr) texts() func(*Evaluator) text {
	switch x.typ {
	case typeString:
		return x.text
	case typeQuery:
		return func(e *Evaluator) text {
			if v := x.query(e); v.is == isString {
				return text{v.text, known}
			}
			return text{}
		}
	default:
		return func(*Evaluator) text { return text{} }
	}
}

func (c *compiler) binary(n *node) expr {
	left, right := c.expr(n.args[0]), c.expr(n.args[1])
	switch {
	case n.token.kind == tokAnd || n.token.kind == tokOr:
		return c.connective(n, left, right)
	case n.token.text == "??":
		return c.coalesce(n, left, right)
	case n.token.text == "||":
		if !c.operands(n, left, right, typeString) {
			return expr{typ: typeUndefined, constant: true}
		}
		return concat([]expr{left, right})
	}
	if op, ok := comparisons[n.token.text]; ok {
		return c.compare(n, op, left, right)
	}
	if !c.operands(n, left, right, typeNumber) {
		return expr{typ: typeUndefined, constant: true}
	}
	return arithmetic(n.token.text, left, right)
}

// operands checks the types of the operands of n: both want, or one that is
// known later with anything that may turn out to fit.
func (c *compiler) operands(n *node, left, right expr, want typ) bool {
	if left.typ == want && right.typ == want || mixed(left.typ, right.typ) {
		return true
	}
	c.fail(n.token.at, "Invalid operands to binary operator '%s': have '%s' and '%s', expected '%s' and '%[4]s'",
		n.token.text, left.typ, right.typ, want)
	return false
}

// mixed reports whether one of two types is known later, and the other one may
// stand beside it.
func mixed(a, b typ) bool {
	return a == typeQuery && b != typeUndefined || b == typeQuery && a != typeUndefined
}

// same checks that both operands are of one type.
func (c *compiler) same(n *node, left, right expr) bool {
	if left.typ == right.typ {
		return true
	}
	want := left.typ
	if want == typeUndefined {
		want = right.typ
	}
	return c.operands(n, left, right, want)
}

func arithmetic(op string, left, right expr) expr {
	a, b := left.numbers(), right.numbers()
	var f func(*Evaluator) float64
	switch op {
	case "+":
		f = func(e *Evaluator) float64 { return a(e) + b(e) }
	case "-":
		f = func(e *Evaluator) float64 { return a(e) - b(e) }
	case "*":
		f = func(e *Evaluator) float64 { return a(e) * b(e) }
	case "/":
		f = func(e *Evaluator) float64 { return a(e) / b(e) }
	default:
		f = func(e *Evaluator) float64 { return math.Mod(a(e), b(e)) }
	}
	return numeric(f, left, right)
}

func (c *compiler) compare(n *node, op comparison, left, right expr) expr {
	if !c.same(n, left, right) {
		return expr{typ: typeUndefined, constant: true}
	}
	if left.typ == typeQuery || right.typ == typeQuery {
		return c.compareValues(op, left, right)
	}
	switch left.typ {
	case typeNumber:
		a, b := left.number, right.number
		return logical(func(e *Evaluator) Bool { return op.numbers(a(e), b(e)) }, left, right)
	case typeString:
		a, b := left.text, right.text
		if right.constant {
			fixed := b(nil)
			x := logical(func(e *Evaluator) Bool { return op.texts(a(e), fixed) }, left)
			if left.property > 0 && op == equal {
				x.guard = &predicate{slot: left.property - 1, shadow: -1, op: op, text: fixed.s, whole: true}
			}
			return x
		}
		return logical(func(e *Evaluator) Bool { return op.texts(a(e), b(e)) }, left, right)
	case typeBool:
		a, b := left.truth, right.truth
		return logical(func(e *Evaluator) Bool { return op.bools(a(e), b(e)) }, left, right)
	case typeNull:
		// Null is not less than null, nor greater, nor something else.
		result := truth(op == equal || op == lessEqual || op == greaterEqual)
		return logical(func(*Evaluator) Bool { return result })
	default:
		return logical(func(*Evaluator) Bool { return Undefined })
	}
}

// compareValues compares when one of the types is known only later.
func (c *compiler) compareValues(op comparison, left, right expr) expr {
	missingIsNull := c.set.EdgeMissing
	if left.slot > 0 && right.constant {
		// By far the most conditions there are.
		slot, b := left.slot-1, right.dynamic()(nil)
		at := -1
		if left.path != "" {
			at = c.set.slot(lookup{name: left.path, application: true})
		}
		x := logical(func(e *Evaluator) Bool {
			if e.shadows && at >= 0 {
				if t := e.property(at); t.state != absent {
					a := ofText(t)
					return op.values(&a, &b, missingIsNull)
				}
			}
			return op.values(e.path(slot), &b, missingIsNull)
		}, left)
		if b.is == isNumber && op != unequal || b.is == isString && op == equal {
			x.guard = &predicate{body: true, slot: slot, shadow: at, op: op, text: b.text, number: b.number, isNumber: b.is == isNumber, whole: true}
		}
		return x
	}
	a, b := left.dynamic(), right.dynamic()
	return logical(func(e *Evaluator) Bool {
		v, w := a(e), b(e)
		return op.values(&v, &w, missingIsNull)
	}, left, right)
}

// connective compiles AND and OR.
func (c *compiler) connective(n *node, left, right expr) expr {
	fits := func(t typ) bool { return t != typeNumber && t != typeString }
	if !fits(left.typ) || !fits(right.typ) {
		c.fail(n.token.at, "Invalid operands to binary operator '%s': have '%s' and '%s', expected 'bool' and 'bool'",
			n.token.text, left.typ, right.typ)
		return expr{typ: typeUndefined, constant: true}
	}
	x := connected(n.token.kind == tokAnd, left, right)
	if p := tighter(left.guard, right.guard); p != nil && n.token.kind == tokAnd && x.typ == typeBool {
		needed := *p
		needed.whole = false
		x.guard = &needed
	}
	if n.token.kind == tokOr && left.typ == typeBool && right.typ == typeBool {
		if all := slices.Concat(left.alternatives(), right.alternatives()); len(all) <= maxParts {
			x.parts = all
		}
	}
	return x
}

// connected is AND, or OR, of operands that may be connected.
func connected(and bool, left, right expr) expr {
	a, b := left.boolean(), right.boolean()
	switch {
	case left.typ == typeNull && right.typ == typeNull:
		return left
	case left.typ == typeNull && right.typ == typeBool, left.typ == typeBool && right.typ == typeNull:
		if and {
			return expr{typ: typeNull, constant: true}
		}
		if left.typ == typeNull {
			return right
		}
		return left
	case left.typ == typeNull || right.typ == typeNull:
		return logical(func(*Evaluator) Bool { return Undefined })
	case left.typ == typeQuery || right.typ == typeQuery:
		// Both must turn out to be Booleans; neither decides alone.
		return logical(func(e *Evaluator) Bool {
			x, y := a(e), b(e)
			if x == Undefined || y == Undefined {
				return Undefined
			}
			if and {
				return min(x, y)
			}
			return max(x, y)
		}, left, right)
	case and:
		return logical(func(e *Evaluator) Bool {
			x := a(e)
			if x == False {
				return False
			}
			y := b(e)
			if y == False {
				return False
			}
			return min(x, y)
		}, left, right)
	default:
		return logical(func(e *Evaluator) Bool {
			x := a(e)
			if x == True {
				return True
			}
			y := b(e)
			if y == True {
				return True
			}
			return min(x, y)
		}, left, right)
	}
}

// coalesce compiles "??": the first operand that is defined. Null is.
func (c *compiler) coalesce(n *node, left, right expr) expr {
	if left.typ == typeUndefined && right.typ == typeQuery {
		return right
	}
	if !c.same(n, left, right) {
		return expr{typ: typeUndefined, constant: true}
	}
	if left.typ == typeQuery || right.typ == typeQuery {
		a, b, missingIsNull := left.dynamic(), right.dynamic(), c.set.EdgeMissing
		return expr{typ: typeQuery, query: func(e *Evaluator) value {
			if v := a(e); v.defined() || v.is == isMissing && missingIsNull {
				return v
			}
			return b(e)
		}, constant: left.constant && right.constant}
	}
	switch left.typ {
	case typeNumber:
		a, b := left.number, right.number
		return numeric(func(e *Evaluator) float64 {
			if f := a(e); !math.IsNaN(f) {
				return f
			}
			return b(e)
		}, left, right)
	case typeString:
		a, b := left.text, right.text
		return textual(func(e *Evaluator) text {
			if t := a(e); t.state != absent {
				return t
			}
			return b(e)
		})
	case typeBool:
		a, b := left.truth, right.truth
		return logical(func(e *Evaluator) Bool {
			if x := a(e); x != Undefined {
				return x
			}
			return b(e)
		}, left, right)
	default:
		return left
	}
}
