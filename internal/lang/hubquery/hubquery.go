// Package hubquery is the query language of IoT Hub: SELECT over the twins of
// devices and modules and over the rows of jobs, and the conditions of the same
// language that choose the targets of configurations and jobs.
//
// It knows text, values and truth, not where rows come from: a caller gives it
// a [Row] that resolves a [Path]. Nor does it know how rows are found fast; a
// [Condition] says what must hold of them ([Condition.Conjuncts]) to those who
// do.
//
//	text ─Parse─▶ Query ─Compile─▶ Plan ─┬─ Condition.Match(row)
//	                                     ├─ AppendRow(dst, row)      a projection
//	                                     └─ NewGroups, Add(row), Rows  an aggregate
//
// # Values
//
// Values are typed and never converted. What is not there is undefined, and so
// is every comparison with it, of values of different kinds, and of objects or
// arrays. AND, OR and NOT have three values; a row is kept only when the outcome
// is true. So `tags.color != 'red'` does not find a twin without that tag.
//
// Everything is bounded by the length of the text ([MaxText]) and the depth of
// its nesting ([MaxDepth]); one evaluation takes time and memory in proportion
// to the text and to what it reads.
package hubquery

// Bounds of the language.
const (
	MaxText   = 8192      // characters of a query or a condition
	MaxDepth  = 64        // nested parentheses, functions, signs and NOTs
	MaxResult = 64 << 10  // bytes of a text that functions make; a longer one is undefined
	MaxTop    = 1<<31 - 1 // of SELECT TOP n
)

// Collection is what a query is over.
type Collection uint8

// The collections.
const (
	Devices Collection = iota // devices
	Modules                   // devices.modules
	Jobs                      // devices.jobs
)

// String returns the name that stands after FROM.
func (c Collection) String() string {
	switch c {
	case Modules:
		return "devices.modules"
	case Jobs:
		return "devices.jobs"
	default:
		return "devices"
	}
}

// Row is what is asked about: a twin, or a job on a device. Lookup returns the
// value at a path, [Undefined] when there is none. It must not keep p or change
// it.
type Row interface {
	Lookup(p *Path) Value
}

// Query is a parsed query. Use [Parse].
type Query struct {
	collection Collection
	top        int
	star       bool
	starAt     int
	items      []item
	where      expr
	group      []groupPath
	groupAt    int
	text       string
}

// item is one part of a projection.
type item struct {
	at    int // offset in the text
	expr  expr
	agg   aggregate // none for an expression
	alias string
}

type groupPath struct {
	at   int
	path *Path
}

// aggregate is a function over rows.
type aggregate uint8

const (
	noAggregate aggregate = iota
	count
	avg
	sum
	minimum
	maximum
)

var aggregates = map[string]aggregate{"COUNT": count, "AVG": avg, "SUM": sum, "MIN": minimum, "MAX": maximum}

// Parse reads a query. An error is an [*Error].
func Parse(text string) (*Query, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	q.text = text
	return q, nil
}

// Collection returns what the query is over.
func (q *Query) Collection() Collection { return q.collection }
