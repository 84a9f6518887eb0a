package hubquery

import (
	"math"
	"strings"
)

// expression reads a condition or a value: OR binds least, then AND, NOT,
// comparisons, sums, products and signs.
func (p *parser) expression() expr {
	if !p.enter() {
		return nil
	}
	defer p.leave()
	first := p.and()
	if p.tok.upper() != "OR" {
		return first
	}
	all := []expr{first}
	for p.keyword("OR") {
		all = append(all, p.and())
	}
	return &logic{and: false, all: all}
}

func (p *parser) and() expr {
	first := p.not()
	if p.tok.upper() != "AND" {
		return first
	}
	all := []expr{first}
	for p.keyword("AND") {
		all = append(all, p.not())
	}
	return &logic{and: true, all: all}
}

// not reads any number of NOTs: of an even number none is left, but for what
// they make of a value that is no truth.
func (p *parser) not() expr {
	n := 0
	for p.tok.upper() == "NOT" {
		p.advance()
		n++
	}
	x := p.predicate()
	if n == 0 {
		return x
	}
	return &negation{x: x, even: n%2 == 0}
}

var comparisons = map[string]comparison{
	"=": equal, "!=": unequal, "<>": unequal, "<": less, "<=": lessEqual, ">": greater, ">=": greaterEqual,
}

func (p *parser) predicate() expr {
	x := p.add()
	if op, ok := comparisons[p.tok.text]; ok && p.tok.kind == symbol {
		p.advance()
		x = &compare{op: op, a: x, b: p.add()}
		if _, again := comparisons[p.tok.text]; again && p.tok.kind == symbol {
			p.fail(p.tok.at, "write AND between two comparisons", "comparisons cannot be chained")
		}
		return x
	}
	switch p.tok.upper() {
	case "IN":
		p.advance()
		return p.in(x, false)
	case "NIN":
		p.advance()
		return p.in(x, true)
	case "NOT":
		if p.advance(); !p.keyword("IN") {
			p.unexpected("IN", "NOT stands before what it negates")
		}
		return p.in(x, true)
	}
	if p.tok.kind == word {
		p.absent(p.tok)
	}
	return x
}

// in reads the list after IN.
func (p *parser) in(x expr, not bool) expr {
	if !p.tok.is("[") {
		p.unexpected("a list in brackets", "as in IN ['a', 'b']")
		return x
	}
	return newMembership(x, p.list(), not)
}

// list reads constants in brackets.
func (p *parser) list() (values []Value) {
	p.advance()
	if p.symbol("]") {
		return nil
	}
	for p.err == nil {
		negative := false
		for p.tok.is("-") || p.tok.is("+") {
			negative = negative != p.tok.is("-")
			if p.advance(); p.tok.kind != numberToken {
				p.unexpected("a number", "")
			}
		}
		v, ok := p.constant()
		if !ok {
			p.unexpected("a constant", "lists have texts, numbers, true, false and null")
			return nil
		}
		if negative {
			v.num = -v.num
		}
		values = append(values, v)
		if p.symbol("]") {
			return values
		}
		if !p.symbol(",") {
			p.unexpected("\",\" or \"]\"", "")
		}
	}
	return nil
}

// constant takes a constant if one is next.
func (p *parser) constant() (Value, bool) {
	t := p.tok
	var v Value
	switch {
	case t.kind == stringToken:
		v = Text(t.text)
	case t.kind == numberToken && math.IsNaN(t.num):
	case t.kind == numberToken:
		v = Number(t.num)
	default:
		switch t.upper() {
		case "TRUE":
			v = Bool(true)
		case "FALSE":
			v = Bool(false)
		case "NULL":
			v = Null
		case "UNDEFINED":
		default:
			return Value{}, false
		}
		if p.peek().is(".") { // a path that begins with such a name
			return Value{}, false
		}
	}
	p.advance()
	return v, true
}

func (p *parser) add() expr {
	first := p.mul()
	if !p.tok.is("+") && !p.tok.is("-") {
		return first
	}
	return p.chain(first, p.mul, "+", "-")
}

func (p *parser) mul() expr {
	first := p.unary()
	if !p.tok.is("*") && !p.tok.is("/") && !p.tok.is("%") {
		return first
	}
	return p.chain(first, p.unary, "*", "/", "%")
}

// chain reads operands between operators of one rank.
func (p *parser) chain(first expr, operand func() expr, ops ...string) expr {
	x := &arithmetic{first: first}
next:
	for p.err == nil {
		for _, op := range ops {
			if p.symbol(op) {
				x.rest = append(x.rest, operation{op[0], operand()})
				continue next
			}
		}
		break
	}
	return x
}

// unary reads signs. Any number of them is one, or none.
func (p *parser) unary() expr {
	signs, negative := 0, false
	for p.tok.is("-") || p.tok.is("+") {
		signs++
		negative = negative != p.tok.is("-")
		p.advance()
	}
	x := p.primary()
	if signs == 0 {
		return x
	}
	if c, ok := x.(constant); ok && c.v.kind == NumberKind {
		if negative {
			c.v.num = -c.v.num
		}
		return c
	}
	return &sign{x: x, negative: negative}
}

func (p *parser) primary() expr {
	if v, ok := p.constant(); ok {
		return constant{v}
	}
	t := p.tok
	switch {
	case t.is("("):
		p.advance()
		x := p.expression()
		if !p.symbol(")") {
			p.unexpected("\")\"", "")
		}
		return x
	case t.is("["):
		return constant{arrayOf(p.list())}
	case t.kind == bracketed, t.kind == word && !reserved[t.upper()]:
		p.absent(t)
		if t.kind == word && p.peek().is("(") {
			return p.call()
		}
		return p.path()
	}
	hint := ""
	if t.kind == word && reserved[t.upper()] {
		hint = "a member of such a name is written in double brackets, as in tags.[[" + t.text + "]]"
	}
	p.unexpected("a value", hint)
	return constant{}
}

// call reads a function with its arguments.
func (p *parser) call() expr {
	t := p.tok
	p.advance()
	p.advance()
	var args []expr
	argAt := p.tok.at
	for !p.tok.is(")") && p.err == nil {
		args = append(args, p.expression())
		if !p.symbol(",") {
			break
		}
		if p.tok.is(")") {
			p.unexpected("a value", "")
		}
	}
	if !p.symbol(")") {
		p.unexpected("\")\"", "")
		return constant{}
	}
	name := t.upper()
	f, ok := functions[name]
	switch {
	case p.err != nil:
	case aggregates[name] != noAggregate:
		p.fail(t.at, "", "%s is of the projection, it cannot stand here", name)
	case !ok:
		p.fail(t.at, similar(name), "there is no function %s", shown(t.text))
	case len(args) < f.least || len(args) > f.most:
		p.fail(t.at, "as in "+f.usage, "%s has %d arguments", name, len(args))
	case f.path:
		x, ok := args[0].(*pathExpr)
		if !ok {
			p.fail(argAt, "as in "+f.usage, "%s takes a path", name)
			return constant{}
		}
		return &defined{x.path}
	}
	return &call{f: f, args: args}
}

// path reads a path.
func (p *parser) path() expr {
	var segs []rawSegment
	at := p.tok.at
	for p.err == nil {
		if p.tok.kind != word && p.tok.kind != bracketed {
			p.unexpected("a name", "names with other characters stand in double brackets, as in tags.[[my name]]")
			break
		}
		segs = append(segs, rawSegment{Segment{Name: p.tok.text}, p.tok.kind == bracketed})
		p.advance()
		for p.tok.is("[") {
			segs = append(segs, p.element())
		}
		if !p.symbol(".") {
			break
		}
	}
	if p.err != nil || len(segs) == 0 {
		return constant{}
	}
	path := resolve(segs, p.collection)
	path.at = at
	return &pathExpr{path}
}

// element reads [0] or ['name'].
func (p *parser) element() rawSegment {
	p.advance()
	t := p.tok
	s := rawSegment{quoted: true}
	switch {
	case t.kind == stringToken:
		s.Name = t.text
	case t.kind == numberToken && t.num >= 0 && t.num <= 1<<31-1 && t.num == math.Trunc(t.num):
		s.Index, s.Element = int(t.num), true
	default:
		p.unexpected("the number of an element or a name in quotes", "elements count from 0")
		return s
	}
	if p.advance(); !p.symbol("]") {
		p.unexpected("\"]\"", "")
	}
	return s
}

// similar suggests a function that a name may have been meant for.
func similar(name string) string {
	bare := strings.ReplaceAll(name, "_", "")
	for known := range functions {
		if strings.ReplaceAll(known, "_", "") == bare {
			return "did you mean " + known + "?"
		}
	}
	return "there are " + strings.Join(functionNames, ", ")
}
