package hubquery_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

func compile(text string) (*hubquery.Plan, error) {
	q, err := hubquery.Parse(text)
	if err != nil {
		return nil, err
	}
	return hubquery.Compile(q)
}

func mustCompile(t *testing.T, text string) *hubquery.Plan {
	t.Helper()
	p, err := compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

// TestBadInput: where a text is wrong, and how to mend it.
func TestBadInput(t *testing.T) {
	const ok = "SELECT * FROM devices WHERE "
	for _, x := range []struct {
		name, text string
		line, col  int
		want       string // part of the error
	}{
		{"equality", ok + `tags.n == 5`, 1, 36, "single ="},
		{"parentheses after IN", ok + `tags.n IN (5)`, 1, 39, "as in IN ['a', 'b']"},
		{"empty", ``, 1, 1, "SELECT was expected, not the end of the text"},
		{"blank", " \n ", 2, 2, "SELECT was expected"},
		{"no SELECT", `FROM devices`, 1, 1, "SELECT was expected"},
		{"no projection", `SELECT FROM devices`, 1, 8, "a value was expected, not \"FROM\""},
		{"unknown collection", `SELECT * FROM twins`, 1, 15, "devices, devices.modules and devices.jobs"},
		{"unknown collection of devices", `SELECT * FROM devices.twins`, 1, 15, "no collection devices.twins"},
		{"dangling WHERE", `SELECT * FROM devices WHERE`, 1, 28, "a value was expected"},
		{"dangling AND", ok + "tags.a = 1\n AND", 2, 5, "a value was expected, not the end of the text"},
		{"chained comparison", ok + `1 < tags.n < 5`, 1, 40, "write AND between"},
		{"unterminated text", ok + `tags.a = 'x`, 1, 38, "end it with '"},
		{"unknown escape", ok + `tags.a = 'a\x'`, 1, 40, "an escape in a text is not known"},
		{"half an escape", ok + `tags.a = 'a\u12'`, 1, 40, "an escape in a text is not known"},
		{"unterminated comment", `SELECT * /* FROM devices`, 1, 10, "end it with */"},
		{"unterminated brackets", ok + `tags.[[a = 1`, 1, 34, "end it with ]]"},
		{"empty brackets", ok + `tags.[[]] = 1`, 1, 34, "the double brackets are empty"},
		{"dash in a name", ok + `tags.[a-b] = 1`, 1, 34, "a name was expected"},
		{"dangling dot", ok + `tags. = 1`, 1, 35, "a name was expected"},
		{"bad element", ok + `tags.a[-1] = 1`, 1, 36, "elements count from 0"},
		{"unclosed element", ok + `tags.a[1 = 1`, 1, 38, `"]" was expected`},
		{"unknown function", ok + `STARTWITH(deviceId, 'a')`, 1, 29, "there is no function \"STARTWITH\""},
		{"misspelt function", ok + `isdefined(tags.a)`, 1, 29, "did you mean IS_DEFINED?"},
		{"too few arguments", ok + `STARTSWITH(deviceId)`, 1, 29, "STARTSWITH has 1 arguments; as in STARTSWITH(deviceId, 'a')"},
		{"too many arguments", ok + `IS_NULL(tags.a, tags.b)`, 1, 29, "IS_NULL has 2 arguments"},
		{"dangling comma", ok + `STARTSWITH(deviceId, )`, 1, 50, "a value was expected"},
		{"unclosed call", ok + `STARTSWITH(deviceId, 'a'`, 1, 53, "\")\" was expected"},
		{"IS_DEFINED of a constant", ok + `IS_DEFINED('a')`, 1, 40, "IS_DEFINED takes a path"},
		{"aggregate in WHERE", ok + `COUNT() > 1`, 1, 29, "COUNT is of the projection"},
		{"unclosed parenthesis", ok + `(tags.a = 1`, 1, 40, `")" was expected`},
		{"stray parenthesis", ok + `tags.a = 1)`, 1, 39, "the end of the text was expected"},
		{"keyword as a value", ok + `group = 1`, 1, 29, "as in tags.[[group]]"},
		{"number", ok + `tags.a = 12ab`, 1, 38, `"12ab" is not a number`},
		{"hexadecimal number", ok + `tags.a = 0x`, 1, 38, `"0x" is not a number`},
		{"exponent", ok + `tags.a = 1e`, 1, 38, `"1e" is not a number`},
		{"number too large", ok + `tags.a = 1e999`, 1, 38, "is too large"},
		{"path in a list", ok + `tags.a IN [tags.b]`, 1, 40, "a constant was expected"},
		{"unclosed list", ok + `tags.a IN [1 2]`, 1, 42, "\",\" or \"]\" was expected"},
		{"sign before a text", ok + `tags.a IN [-'a']`, 1, 41, "a number was expected"},
		{"NOT before a comparison operator", ok + `tags.a NOT = 1`, 1, 40, "IN was expected"},
		{"C's AND", ok + `tags.a = 1 && tags.b = 2`, 1, 40, "write AND"},
		{"C's OR", ok + `tags.a = 1 || tags.b = 2`, 1, 40, "write OR"},
		{"C's NOT", ok + `!tags.a`, 1, 29, "write NOT"},
		{"parameter", ok + `tags.a = @p`, 1, 38, "there are no parameters"},
		{"unknown character", ok + `tags.a = #`, 1, 38, "has no meaning here"},
		{"ORDER BY", `SELECT * FROM devices ORDER BY deviceId`, 1, 23, "there is no ORDER in this language"},
		{"LIMIT", `SELECT * FROM devices LIMIT 5`, 1, 23, "write SELECT TOP n"},
		{"DISTINCT", `SELECT DISTINCT tags.a FROM devices`, 1, 8, "write GROUP BY"},
		{"LIKE", ok + `deviceId LIKE 'a%'`, 1, 38, "write STARTSWITH"},
		{"BETWEEN", ok + `tags.n BETWEEN 1 AND 2`, 1, 36, "write >= and <="},
		{"JOIN", `SELECT * FROM devices JOIN devices.modules`, 1, 23, "there is no JOIN"},
		{"HAVING", `SELECT COUNT() AS n FROM devices GROUP BY tags.a HAVING n > 1`, 1, 50, "there is no HAVING"},
		{"subquery", ok + `deviceId IN [SELECT deviceId FROM devices]`, 1, 42, "a constant was expected"},
		{"TOP without a number", `SELECT TOP * FROM devices`, 1, 12, "as in SELECT TOP 10 *"},
		{"TOP 0", `SELECT TOP 0 * FROM devices`, 1, 12, "a whole number from 1"},
		{"TOP of a fraction", `SELECT TOP 1.5 * FROM devices`, 1, 12, "a whole number from 1"},
		{"star and more", `SELECT *, deviceId FROM devices`, 1, 8, "* stands alone"},
		{"more and star", `SELECT deviceId, * FROM devices`, 1, 18, "* stands alone"},
		{"star and groups", `SELECT * FROM devices GROUP BY tags.a`, 1, 8, "* cannot be grouped"},
		{"COUNT of a path", `SELECT COUNT(tags.a) FROM devices`, 1, 14, "COUNT() counts rows"},
		{"AVG of nothing", `SELECT AVG() FROM devices`, 1, 12, "a value was expected"},
		{"AVG of an expression", `SELECT AVG(tags.a + 1) FROM devices`, 1, 12, "an aggregate takes a path"},
		{"nested aggregate", `SELECT SUM(COUNT()) FROM devices`, 1, 12, "it cannot stand here"},
		{"not grouped", `SELECT deviceId, COUNT() FROM devices`, 1, 8, "add it to GROUP BY"},
		{"not among the groups", `SELECT tags.b, COUNT() FROM devices GROUP BY tags.a`, 1, 8, "add it to GROUP BY"},
		{"GROUP without BY", `SELECT COUNT() FROM devices GROUP tags.a`, 1, 35, "BY was expected"},
		{"GROUP BY a constant", `SELECT COUNT() FROM devices GROUP BY 1`, 1, 38, "GROUP BY takes paths"},
		{"AS without a name", `SELECT deviceId AS 'x' FROM devices`, 1, 20, "a name was expected"},
		{"projection of jobs", `SELECT jobId FROM devices.jobs`, 1, 8, "write SELECT * FROM devices.jobs"},
		{"jobs grouped", `SELECT * FROM devices.jobs GROUP BY jobId`, 1, 28, "jobs have no GROUP BY"},
		{"twins of jobs", `SELECT * FROM devices.jobs WHERE jobId = 'a' AND tags.a = 1`, 1, 50, `jobs have no "tags.a"`},
		{"two queries", `SELECT * FROM devices; SELECT * FROM devices`, 1, 24, "the end of the text was expected"},
		{"too deep", ok + strings.Repeat("(", 70) + "1" + strings.Repeat(")", 70), 1, 93, "nested deeper than 64 levels"},
		{"too long", ok + `tags.a = '` + strings.Repeat("x", 8192) + `'`, 1, 1, "at most 8192 characters"},
		{"not UTF-8", ok + "tags.a = '\xff'", 1, 1, "not UTF-8"},
		{"after other characters", "SELECT *\nFROM devices WHERE tags.a = 'äö🙂' ?", 2, 35, "has no meaning here"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, err := compile(x.text)
			var e *hubquery.Error
			if !errors.As(err, &e) {
				t.Fatalf("no error of the language: %v %v", p, err)
			}
			if e.Line != x.line || e.Column != x.col || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v\nwant line %d, column %d and %q", err, x.line, x.col, x.want)
			}
			if !utf8.ValidString(e.Error()) || len(e.Error()) > 1000 {
				t.Errorf("message of %d bytes: %q", len(e.Error()), e.Error())
			}
		})
	}
}

func TestConditionForms(t *testing.T) {
	for _, x := range []struct {
		text string
		coll hubquery.Collection
		all  bool
		err  string
	}{
		{"*", hubquery.Devices, true, ""},
		{" * ", hubquery.Devices, true, ""},
		{"tags.a = 1", hubquery.Devices, false, ""},
		{"from devices.modules where moduleId='m1' and tags.building=9", hubquery.Modules, false, ""},
		{"FROM devices.modules", hubquery.Modules, true, ""},
		{"FROM devices WHERE tags.a = 1", hubquery.Devices, false, ""},
		{"deviceId IN ['a','b']", hubquery.Devices, false, ""},
		{"", 0, false, "the condition is empty; write * for all devices"},
		{"   ", 0, false, "the condition is empty"},
		{"* AND tags.a = 1", 0, false, "the end of the text was expected"},
		{"SELECT * FROM devices", 0, false, "leave out SELECT"},
		{"WHERE tags.a = 1", 0, false, "leave out WHERE"},
		{"FROM devices.jobs", 0, false, "cannot be about devices.jobs"},
		{"FROM devices.modules WHERE", 0, false, "a value was expected"},
		{"FROM devices.modules moduleId = 'a'", 0, false, "the end of the text was expected"},
		{"tags.a = 1 GROUP BY tags.a", 0, false, "the end of the text was expected"},
		{"tags.a = 1) OR (tags.b = 2", 0, false, "the end of the text was expected"},
		{"tags.a = 1 /*", 0, false, "end it with */"},
	} {
		c, err := hubquery.ParseCondition(x.text)
		if x.err != "" {
			if err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%q: %v, want %q", x.text, err, x.err)
			}
			continue
		}
		if err != nil || c.Collection() != x.coll || c.All() != x.all {
			t.Errorf("%q: %+v %v", x.text, c, err)
		}
	}
	a, _ := hubquery.ParseCondition("tags.n = 5")
	b, _ := hubquery.ParseCondition("tags.s = '6'")
	all, _ := hubquery.ParseCondition("*")
	if a.And(b).Match(sample) || !a.And(all).Match(sample) || !all.And(a).Match(sample) || all.And(b).Match(sample) {
		t.Error("And is not both")
	}
}

func TestReferencesAndConjuncts(t *testing.T) {
	for _, x := range []struct{ where, refs, conjuncts string }{
		{"*", "[]", "[]"},
		{"tags.a = 1 AND devices.deviceId = tags.b OR TAGS.a = 2", "[tags.a devices.deviceId tags.b]", "[]"},
		{"tags.a = 1 AND 'x' = deviceId AND tags.b != 2 AND NOT tags.c", "[tags.a deviceId tags.b tags.c]", "[tags.a in [1] deviceId in [x]]"},
		{"deviceId IN ['a', 'b', tags] ", "", ""},
		{"deviceId IN ['a', 'b'] AND capabilities.iotEdge", "[deviceId capabilities.iotEdge]", "[deviceId in [a b] capabilities.iotEdge in [true]]"},
		{"STARTSWITH(id, 'a') AND ENDSWITH(id, 'b')", "[id]", "[id from a]"},
		{"tags.a = 1 OR tags.a IN [2, 3] OR tags.a = 4", "[tags.a]", "[tags.a in [1 2 3 4]]"},
		{"tags.a = 1 OR tags.b = 1", "[tags.a tags.b]", "[]"},
		{"tags.a = undefined", "[tags.a]", "[tags.a in []]"},
		{"tags.a NIN [1]", "[tags.a]", "[]"},
		{"IS_DEFINED(tags.a) AND CONCAT(tags.b, tags.c) = 'x' AND tags.d + tags.e = 1 AND -tags.f < 1", "[tags.a tags.b tags.c tags.d tags.e tags.f]", "[tags.a is defined]"},
	} {
		c, err := hubquery.ParseCondition(x.where)
		if err != nil {
			if x.refs != "" {
				t.Errorf("%s: %v", x.where, err)
			}
			continue
		}
		var conj []string
		for _, j := range c.Conjuncts() {
			how := "in"
			var values any = j.Values
			switch {
			case j.Prefix:
				how, values = "from", j.Values[0]
			case j.Defined:
				how, values = "is", "defined"
			}
			conj = append(conj, fmt.Sprint(j.Path, " ", how, " ", values))
		}
		if refs := fmt.Sprint(c.References()); refs != x.refs || fmt.Sprint(conj) != x.conjuncts {
			t.Errorf("%s: references %s, conjuncts %s; want %s, %s", x.where, refs, conj, x.refs, x.conjuncts)
		}
	}
}

func TestProjection(t *testing.T) {
	for _, x := range []struct{ query, want string }{
		{`SELECT deviceId FROM devices`, `{"deviceId":"d1"}`},
		{`SELECT DeviceID FROM devices`, `{"DeviceID":"d1"}`}, // open: as it was written
		{`SELECT properties.reported.State FROM devices`, `{"State":"on"}`},
		{`SELECT deviceId AS id, tags.n number, tags.[[my-tag]] FROM devices`, `{"id":"d1","number":5,"my-tag":"y"}`},
		{`SELECT deviceId AS [[a "b"]], status AS Group FROM devices`, `{"a \"b\"":"d1","Group":"enabled"}`},
		{`SELECT tags.zz, tags.zz AS x FROM devices`, `{}`},
		{`SELECT tags.o, tags.a, tags.exp, tags.big, tags.text FROM devices`, `{"o":{"k":1},"a":["x",2,null,{"b":true}],"exp":1.50e1,"big":12345678901234567890,"text":"heLLo wörld 🙂"}`},
		{`SELECT deviceId, status AS deviceId FROM devices`, `{"deviceId":"enabled"}`},                           // open: the last
		{`SELECT tags.n + 1, 'a', tags.n AS x, true FROM devices`, `{"$1":6,"$2":"a","x":5,"$3":true}`},          // open
		{`SELECT tags.a[1], properties.desired.v, 1e-7 AS small FROM devices`, `{"a":2,"v":null,"small":1e-07}`}, // open: of an element the name
		{`SELECT 'a"\\\u000a\u0001<&>' AS s FROM devices`, `{"s":"a\"\\\n\u0001<&>"}`},
		{`SELECT tags.n > 1 AS more, tags.zz > 1 AS none FROM devices`, `{"more":true}`},
	} {
		p := mustCompile(t, x.query)
		if p.Whole() || p.Aggregated() {
			t.Errorf("%s is whole or aggregated", x.query)
		}
		if got := string(p.AppendRow(nil, sample)); got != x.want {
			t.Errorf("%s:\n got %s\nwant %s", x.query, got, x.want)
		}
	}
	p := mustCompile(t, "SELECT TOP 5 * FROM devices.modules")
	if !p.Whole() || p.Aggregated() || p.Top() != 5 || p.Collection() != hubquery.Modules || p.Condition() == nil || !p.Condition().All() {
		t.Errorf("%+v", p)
	}
	if refs := fmt.Sprint(mustCompile(t, "SELECT deviceId, tags.a + tags.b, id FROM devices WHERE tags.c = 1").References()); refs != "[deviceId tags.a tags.b]" {
		t.Errorf("references %s", refs)
	}
}

func TestAggregates(t *testing.T) {
	docs := []row{
		`{"deviceId":"a","tags":{"s":"x","n":1}}`, `{"deviceId":"b","tags":{"s":"x","n":4.5}}`, `{"deviceId":"c","tags":{"s":"x","n":"no number"}}`,
		`{"deviceId":"d","tags":{"s":1,"n":-2}}`, `{"deviceId":"e","tags":{"s":1.0}}`, `{"deviceId":"f","tags":{"s":"1","n":1e308}}`, `{"deviceId":"g","tags":{"s":"1","n":1e308}}`,
		`{"deviceId":"h","tags":{"s":null}}`, `{"deviceId":"i","tags":{}}`, `{"deviceId":"j","tags":{"s":{"a":1}}}`,
	}
	for _, x := range []struct{ query, want string }{
		{`SELECT COUNT() AS n FROM devices`, `[{"n":10}]`},
		{`SELECT COUNT(*) AS n, COUNT(1) AS m FROM devices`, `[{"n":10,"m":10}]`},              // open
		{`SELECT COUNT(), SUM(tags.n) FROM devices WHERE tags.s = 'x'`, `[{"$1":3,"$2":5.5}]`}, // open
		{`SELECT COUNT() AS n FROM devices WHERE tags.none = 1`, `[{"n":0}]`},                  //
		{`SELECT AVG(tags.n) AS a, MIN(tags.n) AS b, MAX(tags.n) AS c, SUM(tags.n) AS d FROM devices WHERE tags.s = 'x'`, `[{"a":2.75,"b":1,"c":4.5,"d":5.5}]`},
		{`SELECT AVG(tags.n) AS a, COUNT() AS n FROM devices WHERE tags.none = 1`, `[{"n":0}]`},
		{`SELECT SUM(tags.n) AS s, MAX(tags.n) AS m FROM devices WHERE tags.s = '1'`, `[{"m":1e+308}]`}, // too large
		{
			`SELECT tags.s AS s, COUNT() AS n FROM devices GROUP BY tags.s`,
			`[{"n":1} {"s":null,"n":1} {"s":1,"n":2} {"s":"1","n":2} {"s":"x","n":3} {"s":{"a":1},"n":1}]`,
		},
		{`SELECT TOP 2 tags.s, COUNT() AS n FROM devices GROUP BY tags.s`, `[{"n":1} {"s":null,"n":1}]`},
		{`SELECT tags.s FROM devices WHERE tags.s = 'x' GROUP BY tags.s, tags.n`, `[{"s":"x"} {"s":"x"} {"s":"x"}]`},
		{`SELECT COUNT() AS n, 'all' AS which FROM devices.modules`, `[{"n":10,"which":"all"}]`},
		{`SELECT tags.s, COUNT() AS n FROM devices WHERE tags.none = 1 GROUP BY tags.s`, `[]`},
	} {
		p := mustCompile(t, x.query)
		if !p.Aggregated() || p.Whole() {
			t.Errorf("%s is not aggregated", x.query)
		}
		g := p.NewGroups()
		for _, d := range docs {
			if p.Condition().Match(d) {
				if err := g.Add(d); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got []string
		for _, r := range g.Rows() {
			got = append(got, string(r))
		}
		if s := fmt.Sprint(got); s != x.want {
			t.Errorf("%s:\n got %s\nwant %s", x.query, s, x.want)
		}
		slices.Reverse(docs) // the order of rows does not matter
	}
	p := mustCompile(t, `SELECT COUNT() AS n FROM devices`)
	g := p.NewGroups()
	g.AddCount(1 << 40)
	if got := string(g.Rows()[0]); !p.OnlyCounts() || got != `{"n":1099511627776}` {
		t.Errorf("counted: %s", got)
	}
	for _, q := range []string{`SELECT COUNT() AS n, AVG(tags.n) FROM devices`, `SELECT COUNT() FROM devices GROUP BY tags.s`, `SELECT deviceId FROM devices`} {
		if mustCompile(t, q).OnlyCounts() {
			t.Errorf("%s only counts", q)
		}
	}
}

func TestTooManyGroups(t *testing.T) {
	g := mustCompile(t, `SELECT COUNT() AS n FROM devices GROUP BY deviceId`).NewGroups()
	for i := range hubquery.MaxGroups {
		if err := g.Add(row(fmt.Sprintf(`{"deviceId":"%d"}`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Add(row(`{"deviceId":"7"}`)); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if err := g.Add(row(`{"deviceId":"x"}`)); !errors.Is(err, hubquery.ErrTooManyGroups) {
		t.Errorf("one too many: %v", err)
	}
	g = mustCompile(t, `SELECT COUNT() AS n FROM devices GROUP BY tags.s`).NewGroups()
	var err error
	for i := 0; err == nil && i < 300; i++ {
		err = g.Add(row(fmt.Sprintf(`{"tags":{"s":"%s%d"}}`, strings.Repeat("x", 64<<10), i)))
	}
	if !errors.Is(err, hubquery.ErrTooManyGroups) {
		t.Errorf("too many bytes: %v", err)
	}
}
