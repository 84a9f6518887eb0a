package hubquery_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// FuzzQuery: no text and no document makes trouble; what a query makes is JSON;
// an error is inside the text; conjuncts hold of what matches.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		`SELECT * FROM devices WHERE tags.a = 1 AND NOT (deviceId IN ['a', "b"] OR tags.n NIN [1, 0x1F, null])`,
		`SELECT TOP 3 deviceId AS a, tags.[[b]].c[0] + -1 FROM devices.modules WHERE STARTSWITH(devices.modules.moduleId, '$')`,
		`SELECT tags.a, COUNT() AS n, AVG(tags.n) FROM devices GROUP BY tags.a;`,
		`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'J'`,
		`SELECT CONCAT(SUBSTRING(tags.s, 1), 'x'), INDEX_OF('é\ud83d\ude42', tags.s), ARRAY_CONTAINS([1], tags.n)`,
		`from devices.modules where a = 1`, `*`,
	} {
		f.Add(s, string(sample))
	}
	f.Fuzz(func(t *testing.T, text, doc string) {
		r := row(doc)
		if c, err := hubquery.ParseCondition(text); err == nil {
			check(t, c, r)
		}
		p, err := compile(text)
		if err != nil {
			var e *hubquery.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Line > strings.Count(text, "\n")+1 || e.Column > len(text)+1 || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		check(t, p.Condition(), r)
		if p.Collection() == hubquery.Jobs {
			return
		}
		valid := func(b []byte) {
			if json.Valid([]byte(doc)) && !json.Valid(b) {
				t.Fatalf("%q of %q: %q is not JSON", text, doc, b)
			}
		}
		switch {
		case p.Aggregated():
			g := p.NewGroups()
			for range 2 {
				if err := g.Add(r); err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range g.Rows() {
				valid(b)
			}
		case !p.Whole():
			valid(p.AppendRow(nil, r))
		}
	})
}

func check(t *testing.T, c *hubquery.Condition, r row) {
	matches := c.Match(r)
	for _, j := range c.Conjuncts() {
		if matches && !j.Holds(r) {
			t.Fatalf("%q matches, its conjunct on %s does not hold", r, j.Path)
		}
	}
	// Names are unique in the documents that there are; make them so here.
	var v any
	if json.Unmarshal([]byte(r), &v) != nil {
		return
	}
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	hubquery.Leaves(doc, func(names []string, v hubquery.Value) bool {
		var steps []hubquery.Segment
		for _, n := range names {
			steps = append(steps, hubquery.Segment{Name: n})
		}
		if got := hubquery.Descend(doc, steps); !got.Equal(v) {
			t.Fatalf("%s has a leaf %q, and %s is found there", doc, names, got)
		}
		return true
	})
}
