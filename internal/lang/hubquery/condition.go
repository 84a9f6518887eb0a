package hubquery

import (
	"slices"
	"strings"
)

// Condition says which rows of a collection are meant. It is never changed and
// safe for concurrent use.
type Condition struct {
	collection Collection
	where      expr // nil for all rows
}

// ParseCondition reads a condition as configurations and jobs have it: `*` for
// all devices, an expression about devices, or `FROM devices.modules` with or
// without WHERE and an expression about modules. An error is an [*Error].
func ParseCondition(text string) (*Condition, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	c := &Condition{}
	switch {
	case p.tok.kind == endOfText:
		p.fail(p.tok.at, "write * for all devices, or an expression such as tags.site = 'a'", "the condition is empty")
	case p.tok.is("*"):
		p.advance()
	case p.tok.upper() == "SELECT":
		p.fail(p.tok.at, "leave out SELECT … FROM devices WHERE", "a condition is not a whole query")
	case p.tok.upper() == "WHERE":
		p.fail(p.tok.at, "leave out WHERE", "a condition begins with its expression")
	case p.keyword("FROM"):
		at := p.tok.at
		if c.collection = p.from(); c.collection == Jobs {
			p.fail(at, "there are devices and devices.modules", "a condition cannot be about devices.jobs")
		}
		p.collection = c.collection
		if p.keyword("WHERE") {
			c.where = p.expression()
		}
	default:
		c.where = p.expression()
	}
	p.end()
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// Collection returns what the condition is about.
func (c *Condition) Collection() Collection { return c.collection }

// All reports whether every row is meant.
func (c *Condition) All() bool { return c.where == nil }

// Match reports whether r is meant: whether the expression is true of it, not
// merely not false.
func (c *Condition) Match(r Row) bool { return c.where == nil || c.where.eval(r).True() }

// References returns the paths that Match may read, each once.
func (c *Condition) References() []*Path {
	var refs references
	if c.where != nil {
		c.where.visit(refs.add)
	}
	return refs.paths
}

// And returns the condition that both hold. They must be about one collection.
func (c *Condition) And(d *Condition) *Condition {
	switch {
	case c.where == nil:
		return d
	case d.where == nil:
		return c
	}
	return &Condition{collection: c.collection, where: &logic{and: true, all: []expr{c.where, d.where}}}
}

// references gathers paths.
type references struct{ paths []*Path }

func (r *references) add(p *Path) {
	if !slices.ContainsFunc(r.paths, p.Same) {
		r.paths = append(r.paths, p)
	}
}

// Conjunct is something simple that must be true of a row for a condition to
// be: the value at Path is the same as one of Values; of a Prefix, it is a text
// that begins with the text of the only one; of Defined, it is there.
type Conjunct struct {
	Path    *Path
	Values  []Value // of kinds that can be compared
	Prefix  bool
	Defined bool // Values and Prefix do not count
}

// Holds reports whether the conjunct is true of a row.
func (c *Conjunct) Holds(r Row) bool {
	switch v := r.Lookup(c.Path); {
	case c.Defined:
		return v.Defined()
	case c.Prefix:
		return v.kind == StringKind && strings.HasPrefix(v.text, c.Values[0].text)
	default:
		return slices.ContainsFunc(c.Values, v.Equal)
	}
}

// Conjuncts returns what must be true of every row that matches, in the order
// in which it stands there. It is for those who can find such rows without
// looking at all: the condition may ask for more. A conjunct without values is
// true of none unless it asks whether there is any.
func (c *Condition) Conjuncts() []Conjunct {
	if c.where == nil {
		return nil
	}
	return conjuncts(c.where, nil)
}

func conjuncts(x expr, out []Conjunct) []Conjunct {
	switch x := x.(type) {
	case *logic:
		if x.and {
			for _, y := range x.all {
				out = conjuncts(y, out)
			}
			return out
		}
		if c, ok := union(x.all); ok {
			return append(out, c)
		}
		return out
	}
	if c, ok := conjunct(x); ok {
		out = append(out, c)
	}
	return out
}

// conjunct returns what a single part asks for.
func conjunct(x expr) (c Conjunct, ok bool) {
	switch x := x.(type) {
	case *pathExpr:
		return Conjunct{Path: x.path, Values: []Value{Bool(true)}}, true
	case *compare:
		if x.op != equal {
			return c, false
		}
		if p, k, ok := pathAndConstant(x.a, x.b); ok {
			c = Conjunct{Path: p.path}
			if k.v.kind.comparable() {
				c.Values = []Value{k.v}
			}
			return c, true
		}
	case *membership:
		if p, ok := x.x.(*pathExpr); ok && !x.not {
			return Conjunct{Path: p.path, Values: x.values}, true
		}
	case *defined:
		return Conjunct{Path: x.path, Defined: true}, true
	case *call:
		if x.f == functions["STARTSWITH"] || x.f == functions["STARTS_WITH"] {
			p, isPath := x.args[0].(*pathExpr)
			k, isConstant := x.args[1].(constant)
			if isPath && isConstant && k.v.kind == StringKind {
				return Conjunct{Path: p.path, Values: []Value{k.v}, Prefix: true}, true
			}
		}
	}
	return c, false
}

func pathAndConstant(a, b expr) (p *pathExpr, k constant, ok bool) {
	if p, ok = a.(*pathExpr); ok {
		k, ok = b.(constant)
		return p, k, ok
	}
	if p, ok = b.(*pathExpr); ok {
		k, ok = a.(constant)
	}
	return p, k, ok
}

// union returns what alternatives about one path ask for together.
func union(all []expr) (c Conjunct, ok bool) {
	for i, x := range all {
		d, ok := conjunct(x)
		if !ok || d.Prefix || d.Defined || i > 0 && !d.Path.Same(c.Path) {
			return Conjunct{}, false
		}
		c.Path = d.Path
		c.Values = append(c.Values[:len(c.Values):len(c.Values)], d.Values...)
	}
	return c, true
}
