package hubquery

import (
	"errors"
	"maps"
	"slices"
)

// Bounds of [Groups].
const (
	MaxGroups     = 10_000
	MaxGroupBytes = 16 << 20 // of the values that tell them apart
)

// ErrTooManyGroups says that a GROUP BY has more different values than are
// kept.
var ErrTooManyGroups = errors.New("GROUP BY has more than 10000 different values")

// Groups gathers the rows of a query with aggregates. It is not safe for
// concurrent use.
type Groups struct {
	plan   *Plan
	groups map[string]*group
	bytes  int
	key    []byte
}

// group is what is known of the rows of a group.
type group struct {
	values []Value
	tally  []tally // one for each of Plan.aggs
}

type tally struct {
	n             int64 // rows of COUNT, numbers of the others
	sum, min, max float64
}

// NewGroups returns no rows yet. The query must be aggregated.
func (p *Plan) NewGroups() *Groups {
	g := &Groups{plan: p, groups: map[string]*group{}}
	if len(p.groups) == 0 {
		g.groups[""] = g.newGroup(nil) // there is one row even of nothing
	}
	return g
}

func (g *Groups) newGroup(values []Value) *group {
	return &group{values: values, tally: make([]tally, len(g.plan.aggs))}
}

// Add counts a row that matches the condition. The only error is
// [ErrTooManyGroups].
func (g *Groups) Add(r Row) error {
	to, err := g.of(r)
	if err != nil {
		return err
	}
	for i := range g.plan.aggs {
		t := &to.tally[i]
		x := g.plan.aggs[i].expr
		if x == nil { // COUNT()
			t.n++
			continue
		}
		v := x.eval(r)
		if v.kind != NumberKind {
			continue
		}
		if t.n == 0 {
			t.min, t.max = v.num, v.num
		}
		t.n++
		t.sum += v.num
		t.min, t.max = min(t.min, v.num), max(t.max, v.num)
	}
	return nil
}

// AddCount counts n rows of a query that has no GROUP BY and no aggregate but
// COUNT, without looking at them.
func (g *Groups) AddCount(n int64) {
	for i := range g.plan.aggs {
		g.groups[""].tally[i].n += n
	}
}

// OnlyCounts reports whether the query asks for the number of rows and nothing
// else, so that they need not be looked at.
func (p *Plan) OnlyCounts() bool {
	return p.agg && len(p.groups) == 0 && !slices.ContainsFunc(p.aggs, func(it item) bool { return it.agg != count })
}

// of returns the group of a row.
func (g *Groups) of(r Row) (*group, error) {
	if len(g.plan.groups) == 0 {
		return g.groups[""], nil
	}
	var few [4]Value
	values := few[:0]
	g.key = g.key[:0]
	for _, p := range g.plan.groups {
		v := r.Lookup(p)
		if v.kind == NumberKind {
			v.text = "" // numbers are one however they are written
		}
		values = append(values, v)
		// JSON text ends where it ends: a comma cannot be taken for a part of a
		// value. The kind puts those of one kind side by side.
		g.key = append(g.key, '0'+byte(v.kind))
		g.key = append(v.AppendJSON(g.key), ',')
	}
	to := g.groups[string(g.key)]
	if to != nil {
		return to, nil
	}
	if g.bytes += len(g.key); len(g.groups) == MaxGroups || g.bytes > MaxGroupBytes {
		return nil, ErrTooManyGroups
	}
	to = g.newGroup(slices.Clone(values))
	g.groups[string(g.key)] = to
	return to, nil
}

// Rows returns the object of each group as JSON, in an order that depends on
// the values of the groups only: the same whenever it is asked.
func (g *Groups) Rows() [][]byte {
	keys := slices.Sorted(maps.Keys(g.groups))
	if top := g.plan.query.top; top > 0 && len(keys) > top {
		keys = keys[:top]
	}
	rows := make([][]byte, len(keys))
	for i, k := range keys {
		rows[i] = g.appendRow(nil, g.groups[k])
	}
	return rows
}

func (g *Groups) appendRow(dst []byte, of *group) []byte {
	return g.plan.appendObject(dst, func(f *field) Value {
		switch {
		case f.expr == nil:
			return of.tally[f.agg].value(g.plan.aggs[f.agg].agg)
		case f.group >= 0:
			return of.values[f.group]
		default:
			return f.expr.eval(nil) // a constant
		}
	})
}

// value returns the outcome of an aggregate, undefined when it is of no number.
func (t *tally) value(a aggregate) Value {
	switch {
	case a == count:
		return Int(t.n)
	case t.n == 0:
		return Undefined
	}
	switch a {
	case avg:
		return Number(t.sum / float64(t.n))
	case sum:
		return Number(t.sum)
	case minimum:
		return Number(t.min)
	default:
		return Number(t.max)
	}
}
