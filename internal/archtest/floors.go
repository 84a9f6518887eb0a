// Package archtest keeps the house in order: which package may import which,
// where third-party modules may be imported, and that every package says what it
// is. The rules are in floors.txt and thirdparty.txt; the test of this package
// holds the whole module against them.
//
// It reads what the go command says about packages, and no source.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Floors are the rules of which package may import which.
type Floors struct {
	wings []wing
}

// wing is a folder and what is below it. The highest floor is 0.
type wing struct {
	path  string // relative to the module, "." for its root package
	floor int
	apart bool // its folders may not import each other
}

// ParseFloors reads the form of floors.txt: one floor a line, wings separated by
// white space, comments after '#'.
func ParseFloors(text string) (Floors, error) {
	var f Floors
	floor := 0
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		for _, field := range fields {
			path, apart := strings.CutSuffix(field, "!")
			if path == "" || strings.Contains(path, "!") || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
				return Floors{}, fmt.Errorf("floor %d: %q is not a wing", floor+1, field)
			}
			if slices.ContainsFunc(f.wings, func(w wing) bool { return w.path == path }) {
				return Floors{}, fmt.Errorf("wing %s is on two floors", path)
			}
			f.wings = append(f.wings, wing{path: path, floor: floor, apart: apart})
		}
		if len(fields) > 0 {
			floor++
		}
	}
	if len(f.wings) == 0 {
		return Floors{}, fmt.Errorf("no floors")
	}
	return f, nil
}

// find returns the most specific wing that holds the package at path, relative
// to the module. The wing "." holds the root package alone.
func (f Floors) find(path string) (wing, bool) {
	var best wing
	found := false
	for _, w := range f.wings {
		if (path == w.path || w.path != "." && strings.HasPrefix(path, w.path+"/")) && len(w.path) >= len(best.path) {
			best, found = w, true
		}
	}
	return best, found
}

// Check returns what is wrong with the package at from importing the one at to,
// both relative to the module; nil when it may.
func (f Floors) Check(from, to string) error {
	a, ok := f.find(from)
	if !ok {
		return fmt.Errorf("%s is on no floor; add its wing to floors.txt", from)
	}
	b, ok := f.find(to)
	if !ok {
		return fmt.Errorf("%s is on no floor; add its wing to floors.txt", to)
	}
	switch {
	case a.path == b.path:
		if one, other := room(a, from), room(b, to); a.apart && one != other && one != "" && other != "" {
			return fmt.Errorf("%s may not import %s: the folders of %s do not know each other", from, to, a.path)
		}
	case a.floor == b.floor:
		return fmt.Errorf("%s may not import %s: %s and %s are wings of one floor", from, to, a.path, b.path)
	case a.floor > b.floor:
		return fmt.Errorf("%s may not import %s: %s is above %s", from, to, b.path, a.path)
	}
	return nil
}

// room returns the folder directly under the wing that holds the package, "" for
// the wing's own package.
func room(w wing, path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, w.path), "/"), "/")
	return first
}
