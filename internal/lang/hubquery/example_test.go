package hubquery_test

import (
	"fmt"

	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

func ExampleParseCondition() {
	c, err := hubquery.ParseCondition("tags.site = 'a' AND NOT tags.muted")
	if err != nil {
		panic(err)
	}
	for _, doc := range []row{
		`{"tags":{"site":"a","muted":false}}`,
		`{"tags":{"site":"a"}}`, // muted is undefined, and so is NOT muted
		`{"tags":{"site":"b","muted":false}}`,
	} {
		fmt.Println(c.Match(doc))
	}
	_, err = hubquery.ParseCondition("tags.site == 'a'")
	fmt.Println(err)
	// Output:
	// true
	// false
	// false
	// Line 1, column 11: "==" is not an operator; equality is a single =
}

func ExampleCompile() {
	q, err := hubquery.Parse("SELECT tags.site AS site, COUNT() AS n, AVG(tags.floor) AS floor FROM devices GROUP BY tags.site")
	if err != nil {
		panic(err)
	}
	p, err := hubquery.Compile(q)
	if err != nil {
		panic(err)
	}
	g := p.NewGroups()
	for _, doc := range []row{`{"tags":{"site":"a","floor":1}}`, `{"tags":{"site":"a","floor":2}}`, `{"tags":{}}`} {
		if err := g.Add(doc); err != nil {
			panic(err)
		}
	}
	for _, r := range g.Rows() {
		fmt.Println(string(r))
	}
	// Output:
	// {"n":1}
	// {"site":"a","n":2,"floor":1.5}
}
