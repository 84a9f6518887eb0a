package hubquery

import (
	"slices"
	"strconv"
)

// Plan is a checked query, ready to be asked of rows. It is never changed and
// safe for concurrent use.
type Plan struct {
	query  *Query
	where  Condition
	fields []field
	groups []*Path
	aggs   []item // the aggregates of fields, in their order
	whole  bool
	agg    bool
	refs   []*Path
}

// field is one member of the objects a query yields.
type field struct {
	key   []byte // JSON text of the name, with the colon
	expr  expr   // nil for an aggregate
	agg   int    // index into Plan.aggs
	group int    // index into Plan.groups, -1 for a constant; of queries with groups
}

// Compile checks what a query means. An error is an [*Error].
func Compile(q *Query) (*Plan, error) {
	p := &Plan{query: q, where: Condition{q.collection, q.where}, whole: q.star}
	for _, g := range q.group {
		p.groups = append(p.groups, g.path)
	}
	p.agg = len(q.group) > 0 || slices.ContainsFunc(q.items, func(it item) bool { return it.agg != noAggregate })
	if err := q.check(p.agg); err != nil {
		return nil, err
	}
	unnamed := 0
	keys := map[string]int{}
	for _, it := range q.items {
		name := it.alias
		if name == "" {
			if path, ok := it.expr.(*pathExpr); ok && it.agg == noAggregate {
				name = path.path.last
			}
		}
		if name == "" {
			unnamed++
			name = "$" + strconv.Itoa(unnamed)
		}
		f := field{key: append(appendString(nil, name), ':'), expr: it.expr, group: -1}
		switch {
		case it.agg != noAggregate:
			f.expr, f.agg = nil, len(p.aggs)
			p.aggs = append(p.aggs, it)
		case p.agg:
			if path, ok := it.expr.(*pathExpr); ok {
				f.group = slices.IndexFunc(p.groups, path.path.Same)
			}
		}
		if i, ok := keys[name]; ok { // of members of one name the last counts
			p.fields[i] = f
			continue
		}
		keys[name] = len(p.fields)
		p.fields = append(p.fields, f)
	}
	p.refs = p.reads()
	return p, nil
}

// check reports what a query asks for that cannot be had.
func (q *Query) check(aggregated bool) error {
	fail := func(at int, hint, format string, args ...any) error {
		return errorAt(q.text, at, hint, format, args...)
	}
	if q.collection == Jobs {
		if !q.star {
			return fail(q.starAt, "write SELECT * FROM devices.jobs", "jobs have no projection")
		}
		if len(q.group) > 0 {
			return fail(q.groupAt, "", "jobs have no GROUP BY")
		}
		var twin *Path
		if q.where != nil {
			q.where.visit(func(p *Path) {
				if p.Root == Unknown && twin == nil {
					twin = p
				}
			})
		}
		if twin != nil {
			return fail(twin.at, "there are deviceId, jobId, jobType, status, startTimeUtc, endTimeUtc, createdDateTimeUtc, lastUpdatedDateTimeUtc, outcome and error",
				"jobs have no %s", shown(twin.text))
		}
		return nil
	}
	if q.star && len(q.group) > 0 {
		return fail(q.starAt, "name the paths of GROUP BY and aggregates", "* cannot be grouped")
	}
	if !aggregated {
		return nil
	}
	for _, it := range q.items {
		if it.agg != noAggregate {
			continue
		}
		if _, ok := it.expr.(constant); ok {
			continue
		}
		path, ok := it.expr.(*pathExpr)
		if !ok || !slices.ContainsFunc(q.group, func(g groupPath) bool { return g.path.Same(path.path) }) {
			return fail(it.at, "add it to GROUP BY, or take an aggregate of it", "beside aggregates and in groups only the paths of GROUP BY can be selected")
		}
	}
	return nil
}

// reads gathers the paths that the projection or the aggregates read.
func (p *Plan) reads() []*Path {
	var refs references
	for _, g := range p.groups {
		refs.add(g)
	}
	for _, a := range p.aggs {
		if a.expr != nil {
			a.expr.visit(refs.add)
		}
	}
	if !p.agg {
		for _, f := range p.fields {
			f.expr.visit(refs.add)
		}
	}
	return refs.paths
}

// Collection returns what the query is over.
func (p *Plan) Collection() Collection { return p.query.collection }

// Condition returns what WHERE asks for.
func (p *Plan) Condition() *Condition { return &p.where }

// Top returns how many items there are at most, 0 for any number.
func (p *Plan) Top() int { return p.query.top }

// Whole reports whether the query yields whole items: SELECT *.
func (p *Plan) Whole() bool { return p.whole }

// Aggregated reports whether the query yields one item for a group of rows, or
// for all. Otherwise it yields one for each row.
func (p *Plan) Aggregated() bool { return p.agg }

// References returns the paths that AppendRow or Groups.Add may read, each
// once, beside those of Condition. Whole items are not for this package to
// make: there are none then.
func (p *Plan) References() []*Path { return p.refs }

// AppendRow appends the object that a projection makes of a row, as JSON.
// Members that are undefined are left out. It must be neither whole nor
// aggregated.
func (p *Plan) AppendRow(dst []byte, r Row) []byte {
	return p.appendObject(dst, func(f *field) Value { return f.expr.eval(r) })
}

func (p *Plan) appendObject(dst []byte, value func(f *field) Value) []byte {
	dst = append(dst, '{')
	first := true
	for i := range p.fields {
		v := value(&p.fields[i])
		if !v.Defined() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = v.AppendJSON(append(dst, p.fields[i].key...))
	}
	return append(dst, '}')
}
