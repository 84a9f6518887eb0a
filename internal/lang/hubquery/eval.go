package hubquery

import "math"

// expr is a part of a condition or of a projection. What it keeps is never
// changed, so that it serves many rows at once.
type expr interface {
	eval(r Row) Value
	// visit calls f with every path that eval may read.
	visit(f func(p *Path))
}

type constant struct{ v Value }

func (x constant) eval(Row) Value       { return x.v }
func (constant) visit(func(p *Path))    {}
func (x *pathExpr) eval(r Row) Value    { return r.Lookup(x.path) }
func (x *pathExpr) visit(f func(*Path)) { f(x.path) }

type pathExpr struct{ path *Path }

// defined is IS_DEFINED.
type defined struct{ path *Path }

func (x *defined) eval(r Row) Value      { return Bool(r.Lookup(x.path).Defined()) }
func (x *defined) visit(f func(p *Path)) { f(x.path) }

// logic is AND or OR. Of AND false, of OR true decides; otherwise the outcome
// is undefined when any operand is, or is no truth.
type logic struct {
	and bool
	all []expr
}

func (x *logic) eval(r Row) Value {
	open := false
	for _, y := range x.all {
		switch v := y.eval(r); {
		case v.kind != BoolKind:
			open = true
		case v.yes != x.and:
			return v
		}
	}
	if open {
		return Undefined
	}
	return Bool(x.and)
}

func (x *logic) visit(f func(p *Path)) { visitAll(x.all, f) }

func visitAll(all []expr, f func(p *Path)) {
	for _, x := range all {
		x.visit(f)
	}
}

// negation is one NOT, or any even number of them.
type negation struct {
	x    expr
	even bool
}

func (x *negation) eval(r Row) Value {
	v := x.x.eval(r)
	if v.kind != BoolKind {
		return Undefined
	}
	return Bool(v.yes == x.even)
}

func (x *negation) visit(f func(p *Path)) { x.x.visit(f) }

// comparison is an operator between two values.
type comparison uint8

const (
	equal comparison = iota
	unequal
	less
	lessEqual
	greater
	greaterEqual
)

type compare struct {
	op   comparison
	a, b expr
}

func (x *compare) eval(r Row) Value {
	a, b := x.a.eval(r), x.b.eval(r)
	if a.kind != b.kind || !a.kind.comparable() {
		return Undefined
	}
	n := a.order(b)
	switch x.op {
	case equal:
		return Bool(n == 0)
	case unequal:
		return Bool(n != 0)
	case less:
		return Bool(n < 0)
	case lessEqual:
		return Bool(n <= 0)
	case greater:
		return Bool(n > 0)
	default:
		return Bool(n >= 0)
	}
}

func (x *compare) visit(f func(p *Path)) { x.a.visit(f); x.b.visit(f) }

// membership is IN and NIN. Long lists are looked up, not gone through.
type membership struct {
	x       expr
	not     bool
	values  []Value // those that can be compared
	texts   map[string]bool
	numbers map[float64]bool
	null    bool
	truths  [2]bool // false, true
}

func newMembership(x expr, values []Value, not bool) *membership {
	m := &membership{x: x, not: not, texts: map[string]bool{}, numbers: map[float64]bool{}}
	for _, v := range values {
		switch v.kind {
		case StringKind:
			m.texts[v.text] = true
		case NumberKind:
			m.numbers[v.num] = true
		case NullKind:
			m.null = true
		case BoolKind:
			m.truths[truthIndex(v)] = true
		default:
			continue
		}
		m.values = append(m.values, v)
	}
	return m
}

func truthIndex(v Value) int {
	if v.yes {
		return 1
	}
	return 0
}

func (x *membership) eval(r Row) Value {
	v := x.x.eval(r)
	var in bool
	switch v.kind {
	case StringKind:
		in = x.texts[v.text]
	case NumberKind:
		in = x.numbers[v.num]
	case NullKind:
		in = x.null
	case BoolKind:
		in = x.truths[truthIndex(v)]
	default:
		return Undefined
	}
	return Bool(in != x.not)
}

func (x *membership) visit(f func(p *Path)) { x.x.visit(f) }

// arithmetic is a chain of operators of one rank, from the left.
type arithmetic struct {
	first expr
	rest  []operation
}

type operation struct {
	op byte
	x  expr
}

func (x *arithmetic) eval(r Row) Value {
	a := x.first.eval(r)
	if a.kind != NumberKind {
		return Undefined
	}
	n := a.num
	for i := range x.rest {
		b := x.rest[i].x.eval(r)
		if b.kind != NumberKind {
			return Undefined
		}
		switch x.rest[i].op {
		case '+':
			n += b.num
		case '-':
			n -= b.num
		case '*':
			n *= b.num
		case '/':
			n /= b.num
		case '%':
			n = math.Mod(n, b.num)
		}
		if math.IsNaN(n) || math.IsInf(n, 0) { // divided by zero, or too large
			return Undefined
		}
	}
	return Number(n)
}

func (x *arithmetic) visit(f func(p *Path)) {
	x.first.visit(f)
	for i := range x.rest {
		x.rest[i].x.visit(f)
	}
}

// sign is a + or - before a value.
type sign struct {
	x        expr
	negative bool
}

func (x *sign) eval(r Row) Value {
	v := x.x.eval(r)
	switch {
	case v.kind != NumberKind:
		return Undefined
	case x.negative:
		return Number(-v.num)
	default:
		return v
	}
}

func (x *sign) visit(f func(p *Path)) { x.x.visit(f) }

// call is a function of the language.
type call struct {
	f    *function
	args []expr
}

func (x *call) eval(r Row) Value {
	var few [4]Value
	args := few[:0]
	for _, y := range x.args {
		args = append(args, y.eval(r))
	}
	return x.f.do(args)
}

func (x *call) visit(f func(p *Path)) { visitAll(x.args, f) }
