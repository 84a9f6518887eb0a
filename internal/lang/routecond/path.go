package routecond

import (
	"strconv"
	"strings"
)

// maxIndex is the largest index of an array that a path may have.
const maxIndex = 1 << 20

// step is one step of a path: to a member, or to an element of an array.
type step struct {
	member string
	index  int // -1 for a member
}

// steps reads a path into a document: names between dots, each with at most one
// index in brackets.
func steps(path string) ([]step, bool) {
	var out []step
	for seg := range strings.SplitSeq(path, ".") {
		name, rest, indexed := strings.Cut(seg, "[")
		if name == "" || digits(name) == "" || strings.ContainsAny(name, "()<>@,;:\\\"/[]?={} \t\r\n") {
			return nil, false
		}
		out = append(out, step{name, -1})
		if !indexed {
			continue
		}
		number, ok := strings.CutSuffix(rest, "]")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || digits(number) != "" || n > maxIndex {
			return nil, false
		}
		out = append(out, step{index: n})
	}
	return out, true
}

// wanted is a part of a document that conditions read, or that has one within.
type wanted struct {
	slot     int // where its value goes, -1 when nobody reads it
	name     string
	index    int
	children []*wanted
	byName   [][]*wanted // of many children, by a hash of their names
	byIndex  map[int]*wanted
}

// manyChildren is from how many children on a hash finds one faster.
const manyChildren = 6

func newWanted() *wanted { return &wanted{slot: -1, index: -1} }

// add returns the part at the end of a path.
func (w *wanted) add(path []step) *wanted {
	for _, s := range path {
		var next *wanted
		for _, c := range w.children {
			if c.index == s.index && c.name == s.member {
				next = c
			}
		}
		if next == nil {
			next = newWanted()
			next.name, next.index = s.member, s.index
			w.children = append(w.children, next)
			switch {
			case s.index >= 0:
				if w.byIndex == nil {
					w.byIndex = map[int]*wanted{}
				}
				w.byIndex[s.index] = next
			case len(w.children) >= manyChildren:
				w.hash()
			}
		}
		w = next
	}
	return w
}

// hash puts the members of w where their names say.
func (w *wanted) hash() {
	size := 4
	for size < 4*len(w.children) {
		size *= 2
	}
	w.byName = make([][]*wanted, size)
	for _, c := range w.children {
		if c.index < 0 {
			at := hash(c.name) & (size - 1)
			w.byName[at] = append(w.byName[at], c)
		}
	}
}

// hash is quick rather than good: all that goes through it are names that were
// set by an operator, compared with those of a message.
func hash(name string) int {
	n := len(name)
	if n == 0 {
		return 0
	}
	return n*37 + int(name[0])*5 + int(name[n/2])*11 + int(name[n-1])*67
}

// member returns the child of that name, nil when nobody wants it.
func (w *wanted) member(name []byte, fold bool) *wanted {
	if fold {
		for _, c := range w.children {
			if c.index < 0 && strings.EqualFold(c.name, view(name)) {
				return c
			}
		}
		return nil
	}
	if w.byName != nil {
		for _, c := range w.byName[hash(view(name))&(len(w.byName)-1)] {
			if c.name == string(name) {
				return c
			}
		}
		return nil
	}
	for _, c := range w.children {
		if c.name == string(name) && c.index < 0 {
			return c
		}
	}
	return nil
}

// clear forgets what was found at w and below it.
func (w *wanted) clear(values []value, nothing value) {
	if w.slot >= 0 {
		values[w.slot] = nothing
	}
	for _, c := range w.children {
		c.clear(values, nothing)
	}
}
