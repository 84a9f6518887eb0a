package deploy

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// compiled is a configuration made ready.
type compiled struct {
	Configuration
	kind    Kind
	content content
	base    bool                // of an edge deployment
	cond    *hubquery.Condition // nil targets nothing
	broken  error               // why it makes no sense; devices are left as they are
	opaque  bool                // what is broken is the content: nobody knows what it sets
	damaged bool                // nobody knows its priority either
	ord     int                 // its place in the book, lowest precedence first
}

// is reports whether c is of a kind, or may be.
func (c *compiled) is(k Kind) bool { return c.kind == k || c.kind == 0 }

// generation tells a configuration from others of its id, before and after.
func (c *compiled) generation() string {
	return c.ID + "@" + c.Created.UTC().Format("20060102150405.000000")
}

// matches reports whether c targets the identity of a record, of which row is
// the view.
func (c *compiled) matches(r *registry.Record, row hubquery.Row) bool {
	return c.cond != nil && (c.kind != Edge || r.Edge) && c.cond.Match(row)
}

// precedence orders configurations, the one that wins last: by priority, then
// the later one. One whose priority nobody knows may win: nothing that it may
// have set is to be overruled by mistake.
func precedence(a, b *compiled) int {
	if a.damaged != b.damaged {
		if a.damaged {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// book is the configurations of a hub at a time, and the index of what their
// conditions read. It never changes.
type book struct {
	all  []*compiled // by precedence
	byID map[string]*compiled
	of   [Edge + 1][]*compiled // by kind, by precedence
	bits [Edge + 1]bitset

	// Of the conditions on device twins and on module twins: which read what.
	devices, modules references
}

// references says which conditions are touched by which changes.
type references struct {
	any      [sections]bitset            // by every change of a section
	keys     [sections]map[string]bitset // by changes of a member of a section
	volatile bitset                      // by what no change tells of, such as connections
}

// section is a part of a record that changes by itself.
type section uint8

const (
	tags section = iota
	desired
	reported
	identity       // everything else
	configurations // statuses, which this package writes
	sections
)

// bitset is a set of configurations by their ord.
type bitset []uint64

func (s bitset) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

func (s bitset) empty() bool {
	return !slices.ContainsFunc(s, func(w uint64) bool { return w != 0 })
}

func (s bitset) meets(t bitset) bool {
	for i := range min(len(s), len(t)) {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// with returns s and another.
func (s bitset) with(i int) bitset {
	for len(s) <= i/64 {
		s = append(s, 0)
	}
	s[i/64] |= 1 << (i % 64)
	return s
}

// join returns the union; s may be changed.
func (s bitset) join(t bitset) bitset {
	for len(s) < len(t) {
		s = append(s, 0)
	}
	for i := range t {
		s[i] |= t[i]
	}
	return s
}

// newBook makes a book; it gives the configurations their places, so each book
// has its own copies.
func newBook(configs []*compiled) *book {
	b := &book{byID: make(map[string]*compiled, len(configs))}
	for _, c := range configs {
		own := *c
		b.all = append(b.all, &own)
	}
	slices.SortFunc(b.all, precedence)
	for i, c := range b.all {
		c.ord = i
		b.byID[c.ID] = c
		for k := Device; k <= Edge; k++ {
			if c.is(k) {
				b.of[k] = append(b.of[k], c)
				b.bits[k] = b.bits[k].with(i)
			}
		}
		if c.cond == nil {
			continue
		}
		if c.cond.Collection() == hubquery.Modules {
			b.modules.add(c)
		} else {
			b.devices.add(c)
		}
	}
	return b
}

// add takes note of what a condition reads.
func (r *references) add(c *compiled) {
	if c.kind == Edge { // capabilities.iotEdge = true is a part of it
		r.any[identity] = r.any[identity].with(c.ord)
	}
	for _, path := range c.cond.References() {
		switch path.Root {
		case hubquery.Unknown:
		case hubquery.Tags:
			r.member(c, tags, path)
		case hubquery.Desired:
			r.member(c, desired, path)
		case hubquery.Reported:
			r.member(c, reported, path)
		case hubquery.Configurations:
			r.any[configurations] = r.any[configurations].with(c.ord)
		case hubquery.Version, hubquery.ETag, hubquery.Properties: // changes with everything
			for s := range configurations {
				r.any[s] = r.any[s].with(c.ord)
			}
		case hubquery.ConnectionState, hubquery.ConnectionStateUpdatedTime, hubquery.LastActivityTime, hubquery.CloudToDeviceMessageCount:
			r.volatile = r.volatile.with(c.ord)
		default:
			r.any[identity] = r.any[identity].with(c.ord)
		}
	}
}

// member takes note of a path into a section.
func (r *references) member(c *compiled, s section, path *hubquery.Path) {
	if len(path.Segments) == 0 || strings.HasPrefix(path.Segments[0].Name, "$") {
		r.any[s] = r.any[s].with(c.ord) // all of it, or its version
		return
	}
	if r.keys[s] == nil {
		r.keys[s] = map[string]bitset{}
	}
	name := path.Segments[0].Name
	r.keys[s][name] = r.keys[s][name].with(c.ord)
}

// touched returns the conditions that a change of a section may decide anew.
// Patch is the change as a merge patch.
func (r *references) touched(into bitset, s section, patch []byte) bitset {
	into = into.join(r.any[s])
	if len(r.keys[s]) == 0 {
		return into
	}
	if slices.Contains(patch, '\\') { // names may be written with escapes
		for _, bits := range r.keys[s] {
			into = into.join(bits)
		}
		return into
	}
	for name := range members(patch) {
		into = into.join(r.keys[s][string(name)])
	}
	return into
}

// members returns the names of the members of a JSON object without escapes.
func members(object []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		depth, named := 0, false
		for i := 0; i < len(object); i++ {
			switch object[i] {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			case ',':
				if depth == 1 {
					named = false
				}
			case '"':
				n := bytes.IndexByte(object[i+1:], '"')
				if n < 0 {
					return
				}
				if depth == 1 && !named {
					if !yield(object[i+1 : i+1+n]) {
						return
					}
					named = true
				}
				i += n + 1
			}
		}
	}
}
