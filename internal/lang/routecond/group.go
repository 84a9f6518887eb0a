package routecond

import (
	"cmp"
	"slices"
)

// predicate is a comparison with a constant that must hold for a condition to
// be true.
type predicate struct {
	body     bool // of a path of the body, else of a property
	slot     int
	shadow   int // slot of the application property that counts before the path, -1 for none
	op       comparison
	text     string
	number   float64
	isNumber bool
	whole    bool // the condition is nothing else
}

// exact reports whether few values meet p.
func (p *predicate) exact() bool { return p.op == equal }

// tighter returns the predicate that rules out more.
func tighter(a, b *predicate) *predicate {
	switch {
	case a == nil, b != nil && b.exact() && !a.exact():
		return b
	default:
		return a
	}
}

// Group is conditions that are asked together which of them are true. A
// condition that cannot be true unless a path or a property has a certain value
// is found by that value, so that what a group costs hardly depends on how many
// conditions it has. It never changes.
type Group struct {
	set   *Set
	all   []entry
	base  uint32 // of conditions that are always true
	every []entry
	nodes []*dependent // of properties
	// By slot, nil where there is none.
	properties, paths []*dependent
}

// entry is a part of a condition with what the condition stands for.
type entry struct {
	eval func(*Evaluator) Bool
	bits uint32
}

// dependent has the conditions that depend on one path or property.
type dependent struct {
	slot         int
	all          []entry
	numbers      map[float64]*bucket
	texts        map[string]*bucket
	above, below edges
}

// bucket is the conditions that one value meets.
type bucket struct {
	bits uint32 // of conditions that are nothing but the predicate
	rest []entry
}

func (b *bucket) add(p *predicate, e entry) {
	if p.whole {
		b.bits |= e.bits
	} else {
		b.rest = append(b.rest, e)
	}
}

// edges are comparisons of order, so sorted that those a number meets come
// before those it does not.
type edges struct {
	list []edge
	bits []uint32 // bits[i] is of list[:i], of conditions that are nothing but the predicate
	rest bool     // some are more than that
}

type edge struct {
	number float64
	equal  bool // the number itself meets it
	whole  bool
	entry
}

// Group makes a group of conditions of the set; bits[i] is what condition i
// stands for.
func (s *Set) Group(conditions []*Condition, bits []uint32) *Group {
	g := &Group{set: s}
	for i, c := range conditions {
		if b, fixed := c.Constant(); fixed {
			if b == True {
				g.base |= bits[i]
			}
			continue
		}
		for _, part := range c.parts {
			g.add(part.guard, entry{part.eval, bits[i]})
		}
	}
	for _, n := range g.paths {
		if n != nil {
			n.above.sort(func(a, b edge) int { return cmp.Compare(a.number, b.number) })
			n.below.sort(func(a, b edge) int { return cmp.Compare(b.number, a.number) })
		}
	}
	return g
}

// add adds a part of a condition that needs p, nil for nothing that is known.
func (g *Group) add(p *predicate, e entry) {
	g.all = append(g.all, e)
	if p == nil {
		g.every = append(g.every, e)
		return
	}
	nodes := &g.properties
	if p.body {
		nodes = &g.paths
	}
	for len(*nodes) <= p.slot {
		*nodes = append(*nodes, nil)
	}
	n := (*nodes)[p.slot]
	if n == nil {
		n = &dependent{slot: p.slot}
		(*nodes)[p.slot] = n
		if !p.body {
			g.nodes = append(g.nodes, n)
		}
	}
	n.add(p, e)
}

func (n *dependent) add(p *predicate, e entry) {
	n.all = append(n.all, e)
	x := edge{p.number, p.op == lessEqual || p.op == greaterEqual, p.whole, e}
	switch {
	case p.op == equal && p.isNumber:
		if n.numbers == nil {
			n.numbers = map[float64]*bucket{}
		}
		if n.numbers[p.number] == nil {
			n.numbers[p.number] = &bucket{}
		}
		n.numbers[p.number].add(p, e)
	case p.op == equal:
		if n.texts == nil {
			n.texts = map[string]*bucket{}
		}
		if n.texts[p.text] == nil {
			n.texts[p.text] = &bucket{}
		}
		n.texts[p.text].add(p, e)
	case p.op == greater || p.op == greaterEqual:
		n.above.list = append(n.above.list, x)
	default:
		n.below.list = append(n.below.list, x)
	}
}

// sort puts the edges in order: of the same number, those that it meets first.
func (es *edges) sort(order func(a, b edge) int) {
	slices.SortStableFunc(es.list, func(a, b edge) int {
		if c := order(a, b); c != 0 {
			return c
		}
		switch {
		case a.equal == b.equal:
			return 0
		case a.equal:
			return -1
		default:
			return 1
		}
	})
	es.bits = make([]uint32, len(es.list)+1)
	for i, e := range es.list {
		es.bits[i+1] = es.bits[i]
		if e.whole {
			es.bits[i+1] |= e.bits
		} else {
			es.rest = true
		}
	}
}

// True returns the bits of all conditions that are true of the message that e
// was reset to.
func (g *Group) True(e *Evaluator) uint32 {
	bits := g.base
	if e.shadows {
		// Rare, and made to be tricky.
		return ask(e, g.all, bits)
	}
	for _, n := range g.nodes {
		if t := e.property(n.slot); t.state == known {
			if b := n.texts[t.s]; b != nil {
				bits = b.ask(e, bits)
			}
		}
	}
	if len(g.paths) > 0 {
		bits = g.body(e, bits)
	}
	return ask(e, g.every, bits)
}

// body asks the conditions on paths of the body. Where the body has nothing,
// none of them is true, unless nothing counts as null.
func (g *Group) body(e *Evaluator, bits uint32) uint32 {
	if !e.look() {
		return bits
	}
	if g.set.EdgeMissing {
		for _, n := range g.paths {
			if n != nil {
				bits = n.ask(e, bits)
			}
		}
		return bits
	}
	for _, slot := range e.scan.touched {
		if slot < len(g.paths) && g.paths[slot] != nil {
			bits = g.paths[slot].ask(e, bits)
		}
	}
	return bits
}

func (n *dependent) ask(e *Evaluator, bits uint32) uint32 {
	switch v := &e.body[n.slot]; v.is {
	case isUndefined, isArray, isObject:
		return bits
	case isNumber:
		if n.numbers != nil {
			if b := n.numbers[v.number]; b != nil {
				bits = b.ask(e, bits)
			}
		}
		bits = n.above.ask(e, bits, n.above.met(v.number, (*edge).above))
		return n.below.ask(e, bits, n.below.met(v.number, (*edge).below))
	case isString:
		if len(n.above.list)+len(n.below.list) == 0 {
			if b := n.texts[v.text]; b != nil {
				bits = b.ask(e, bits)
			}
			return bits
		}
	}
	return ask(e, n.all, bits) // values of different kinds have an order too
}

func (b *bucket) ask(e *Evaluator, bits uint32) uint32 {
	return ask(e, b.rest, bits|b.bits)
}

// above and below report whether a number is on the wanted side of an edge.
func (x *edge) above(n float64) bool { return n > x.number || x.equal && n == x.number }
func (x *edge) below(n float64) bool { return n < x.number || x.equal && n == x.number }

// met returns how many edges a number meets.
func (es *edges) met(n float64, meets func(*edge, float64) bool) int {
	low, high := 0, len(es.list)
	if high == 0 || !meets(&es.list[0], n) { // most numbers are nothing special
		return 0
	}
	for low < high {
		if middle := (low + high) / 2; meets(&es.list[middle], n) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// ask adds the first n edges.
func (es *edges) ask(e *Evaluator, bits uint32, n int) uint32 {
	if n == 0 {
		return bits
	}
	bits |= es.bits[n]
	if !es.rest {
		return bits
	}
	for i := range es.list[:n] {
		if x := &es.list[i]; !x.whole && x.bits&^bits != 0 && x.eval(e) == True {
			bits |= x.bits
		}
	}
	return bits
}

// ask adds the bits of conditions that are true. One whose bits are there
// already is not asked.
func ask(e *Evaluator, list []entry, bits uint32) uint32 {
	for i := range list {
		if x := &list[i]; x.bits&^bits != 0 && x.eval(e) == True {
			bits |= x.bits
		}
	}
	return bits
}
