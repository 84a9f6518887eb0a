package routecond_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// TestErrors: what is wrong, and where.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // "line:column-line:column message"
	}{
		{"3 = = 4", []string{"1:5-1:6 Syntax error."}},
		{"'abc", []string{"1:1-1:5 Syntax error: unterminated string"}},
		{"a @ b", []string{"1:3-1:4 Syntax error: invalid symbol '@'"}},
		{"a @ b ; c", []string{"1:3-1:4 Syntax error: invalid symbol '@'", "1:7-1:8 Syntax error: invalid symbol ';'"}},
		{"(2 + 22 = 24", []string{"1:1-1:2 Syntax error: missing closing ')'"}},
		{"(2 + 22 )) = 24", []string{"1:10-1:11 Syntax error: unmatched closing ')'"}},
		{"3 + '4' = 7", []string{
			"1:3-1:4 Invalid operands to binary operator '+': have 'number' and 'string', expected 'number' and 'number'",
			"1:9-1:10 Invalid operands to binary operator '=': have 'undefined' and 'number', expected 'number' and 'number'",
		}},
		{"- 'a'", []string{"1:1-1:2 Invalid operands to unary operator '-': have 'string', expected 'number'"}},
		{"as_number(true) = 1", []string{
			"1:1-1:10 Invalid arguments to built-in function 'as_number': as_number(bool)",
			"1:17-1:18 Invalid operands to binary operator '=': have 'undefined' and 'number', expected 'number' and 'number'",
		}},
		{"abs('3')", []string{"1:1-1:4 Invalid arguments to built-in function 'abs': abs(string)"}},
		{"nope()", []string{"1:1-1:5 Invalid built-in function 'nope'"}},
		{`as_number("2" = 24`, []string{"1:19-1:20 Syntax error."}},
		{"é =\n  'x' AND 5", []string{"2:7-2:10 Invalid operands to binary operator 'AND': have 'bool' and 'number', expected 'bool' and 'bool'"}},
		{"not color", []string{"1:1-1:4 Invalid operands to unary operator 'NOT': have 'string', expected 'bool'"}},
		{"$body.a..b = 1", []string{
			"1:1-1:11 Syntax error: 'a..b' is not a path; write names between dots, each with at most one index, as in a.b[0].c",
			"1:12-1:13 Invalid operands to binary operator '=': have 'undefined' and 'number', expected 'number' and 'number'",
		}},
		{"1 2", []string{"1:3-1:4 Syntax error."}},
		{"{color} = 1", []string{"1:2-1:7 Syntax error."}},
		{"{$x = 1", []string{"1:5-1:6 Syntax error."}},
		{"f(1 2)", []string{"1:5-1:6 Syntax error."}},
		{"(1 2)", []string{"1:4-1:5 Syntax error."}},
	} {
		_, err := new(routecond.Set).Compile(c.text, routecond.Options{})
		var got []string
		if es, ok := err.(routecond.Errors); ok { //nolint:errorlint // never wrapped
			for _, e := range es {
				l := e.Location
				got = append(got, fmt.Sprintf("%d:%d-%d:%d %s", l.Start.Line, l.Start.Column, l.End.Line, l.End.Column, e.Message))
			}
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

// TestSemantics has what the vectors leave out.
func TestSemantics(t *testing.T) {
	for text, want := range map[string]string{
		// texts
		"/* nothing */":                                             "U",
		"color = \"r\\u0065d\"":                                     "T",
		"\"\\uD83D\\uDE00\" = '\\ud83d\\ude00'":                     "T",
		"length('\\ud83d\\ude00') = 2":                              "T",
		"substring('a\\ud83d\\ude00b', 3) = 'b'":                    "T",
		"index_of('\\ud83d\\ude00b', 'b') = 2":                      "T",
		"'\\uFF5E' > '\\ud83d\\ude00'":                              "T", // by code units
		"'a' < 'b'":                                                 "T",
		"upper('stra\\u00dfe é') = 'STRAßE É'":                      "T",
		"concat(color, size, tiny, blank, word) = 'red427.5résumé'": "T",
		"\"a\"||\"b\"||\"c\" = 'abc'":                               "T",
		"startswith(color, 'r') AND endswith(color, 'd')":           "T",
		// numbers
		"as_number('(1,234.5)') = -1234.5": "T",
		"as_number('5-') = -5":             "T",
		"as_number('+¤5') = 5":             "T",
		"as_number('1e400') > 1e300":       "T",
		"as_number('-Infinity') < 0":       "T",
		"as_number('NaN') = 0":             "U",
		"as_number('1 2') = 12":            "U",
		"as_number('') = 0":                "U",
		"as_number('--1') = 1":             "U",
		"as_number($body.ns) = 50":         "T",
		"as_number($body.s) = 50":          "U",
		"sign(0) = 0":                      "T",
		"- $body.n = -50":                  "T",
		"- $body.s = -50":                  "U",
		"-$body.n = 'x'":                   "U", // one name
		"power($body.n, 2) = 2500":         "T",
		"power(0 / 0, 0) = 1":              "U",
		"5 -3 = 2":                         "ERR",
		"e10 = 'x'":                        "ERR", // no name but a number that is none
		"1e3 = 1000":                       "T",
		// the body
		"$body.obj.in.p.q = null":     "T",
		"$body.arr = null":            "U",
		"is_array($body.arr)":         "T",
		"is_object($body.obj)":        "T",
		"is_array($body.obj)":         "F",
		"is_primitive($body.n)":       "T",
		"is_primitive($body.obj)":     "F",
		"is_primitive(color)":         "T",
		"is_array(color)":             "F",
		"is_bool($body.on)":           "T",
		"is_bool($body.arr)":          "U",
		"($body.gone ?? 5) = 5":       "T",
		"($body.n ?? 5) = 50":         "T",
		"($body.z ?? 5) = null":       "T",
		"(undefined ?? $body.n) = 50": "T",
		"$body.n = $body.ns":          "F",
		"$body.arr[99999999] = 1":     "ERR",
		"$body.a[1][2] = 1":           "ERR",
		"$body[0] = undefined":        "U",
		"$foo[0] = 1":                 "ERR",
		"{$foo[0]} = undefined":       "U",
		"nul = $body.z":               "U",
		"color = $body.s":             "F",
		// truth
		"true AND $body.on":           "T",
		"false AND $body.s":           "U", // neither decides alone
		"$body.off AND undefined":     "U",
		"null AND $body.on":           "U",
		"null AND undefined":          "U",
		"null OR false":               "F",
		"false OR null":               "F",
		"null OR null":                "F",
		"NOT (null AND null)":         "T",
		"true AND NOT false":          "T",
		"(1 < 0) OR (2 > 1)":          "T",
		"((nope = 'x') ?? true)":      "T",
		"(0 / 0 ?? 7) = 7":            "T",
		"true != false":               "T",
		"1 <> 2":                      "T",
		"null >= null":                "T",
		"is_defined(1)":               "T",
		"is_defined(undefined)":       "F",
		"is_defined(null)":            "T",
		"is_defined(nope = 'x')":      "F",
		"is_defined(0 / 0)":           "F",
		"is_null(5) OR is_null(null)": "T",
		"is_bool(undefined)":          "U",
	} {
		if got := outcome(t, &routecond.Set{}, text, sample("A"), routecond.Options{}); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestDocuments(t *testing.T) {
	const condition = "$body.a = 1"
	for body, want := range map[string]string{
		` {"a":1} `:              "T",
		`{"a":2,"a":1}`:          "T",
		`{"\u0061":1}`:           "T",
		`{"a":1.0e0}`:            "T",
		`{"a":10e-1}`:            "T",
		`{"b":{"a":2},"a":1}`:    "T",
		`{"a":1,}`:               "U",
		`{"a":01}`:               "U",
		`{"a":1}}`:               "U",
		`{"a":1`:                 "U",
		`{"a":1,"b":tru}`:        "U",
		`{"a":1,"b":"\x"}`:       "U",
		`{"a":1,"b":"\ud83"}`:    "U",
		"{\"a\":1,\"b\":\"\n\"}": "T", // as the service does
		`{"b":"` + strings.Repeat("x", 100) + `\"y","a":1}`: "T",
		`{"b":"` + strings.Repeat("x", 100) + `\","a":1}`:   "U",
		`{"b":"` + strings.Repeat("x", 33) + `","a":1}`:     "T",
		`{"a":1,"b":"` + strings.Repeat("x", 100):           "U",
		`{"a":1,"b":"` + strings.Repeat("x", 31) + `\`:      "U",
		`{"a":1,"b":-}`:  "U",
		`{"a":1,"b":1.}`: "U",
		`{"a":1,"b":1e}`: "U",
		`{'a':1}`:        "U",
		`{"a" 1}`:        "U",
		`{a:1}`:          "U",
		`{"a":1;"b":1}`:  "U",
		`{"a":[1,]}`:     "U",
		`{"a":[1`:        "U",
		`{"a":[1;2]}`:    "U",
		``:               "U",
		`"a"`:            "U",
		`{`:              "U",
		`{"a":1,"b":` + strings.Repeat("[", 126) + strings.Repeat("]", 126) + `}`: "T",
		`{"a":1,"b":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`: "U",
		`{"a":1,"b":` + strings.Repeat("[", 1e5) + `}`:                            "U",
	} {
		m := sample("A")
		m.body = []byte(body)
		if got := outcome(t, &routecond.Set{}, condition, m, routecond.Options{}); got != want {
			t.Errorf("over %.60s: %s, want %s", body, got, want)
		}
	}
}

func TestEncodings(t *testing.T) {
	const text = "{\"a\":\"\U0001F600é\"}"
	var utf32 []byte
	for _, r := range text {
		utf32 = append(utf32, byte(r), byte(r>>8), byte(r>>16), byte(r>>24))
	}
	m := sample("A")
	m.system["contentencoding"], m.body = "UTF-32", utf32
	condition := "$body.a = '\\ud83d\\ude00é'"
	if got := outcome(t, &routecond.Set{}, condition, m, routecond.Options{}); got != "T" {
		t.Errorf("UTF-32: %s", got)
	}
	m.system["contentencoding"], m.body = "utf-16", nil
	for _, u := range []uint16{'{', '"', 'a', '"', ':', '"', 0xd83d, 0xde00, 0xe9, '"', '}'} {
		m.body = append(m.body, byte(u), byte(u>>8))
	}
	if got := outcome(t, &routecond.Set{}, condition, m, routecond.Options{}); got != "T" {
		t.Errorf("UTF-16: %s", got)
	}
	m.body = m.body[:len(m.body)-1]
	if got := outcome(t, &routecond.Set{}, condition, m, routecond.Options{}); got != "U" {
		t.Errorf("half a unit: %s", got)
	}
	m.system["contentencoding"] = "ascii"
	if got := outcome(t, &routecond.Set{}, condition, m, routecond.Options{}); got != "U" {
		t.Errorf("another encoding: %s", got)
	}
}

// TestLooksOnce: whatever many conditions read is asked for once per message,
// and what none reads is not asked for.
func TestLooksOnce(t *testing.T) {
	var set routecond.Set
	var all []*routecond.Condition
	for _, text := range []string{
		"color = 'red'", "COLOR = 'blue'", "$messageId = 'm1'", "{$messageId} = 'm1'", "$body.t > 1", "$body.n > 1", "$BODY.t < 1",
	} {
		c, err := set.Compile(text, routecond.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	e := set.Evaluator()
	for range 2 {
		m := sample("A")
		delete(m.properties, "$own")
		m.looked = map[string]int{}
		e.Reset(m)
		for _, c := range all {
			c.Eval(e)
			c.Eval(e)
		}
		want := map[string]int{
			"property color": 1, "system messageid": 2, // $messageId and {$messageId} are looked for apart
			"system contenttype": 1, "system contentencoding": 1, "body": 1,
		}
		if fmt.Sprint(m.looked) != fmt.Sprint(want) {
			t.Errorf("looked for %v, want %v", m.looked, want)
		}
	}
}

func TestManyPaths(t *testing.T) {
	var set routecond.Set
	var all []*routecond.Condition
	doc := map[string]any{}
	for i := range 50 {
		doc[fmt.Sprint("p", i)] = map[string]any{"v": i, "list": []int{i, i + 1}}
		for _, text := range []string{fmt.Sprintf("$body.p%d.v = %d", i, i), fmt.Sprintf("$body.p%d.list[1] = %d", i, i+1)} {
			c, err := set.Compile(text, routecond.Options{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
	}
	m := sample("A")
	m.body, _ = json.Marshal(doc)
	e := set.Evaluator()
	e.Reset(m)
	for i, c := range all {
		if got := c.Eval(e); got != routecond.True {
			t.Errorf("condition %d: %s", i, got)
		}
	}
}

func TestConstant(t *testing.T) {
	var set routecond.Set
	for text, want := range map[string]string{
		"true": "true", "": "undefined", "1 = 1": "true", "NOT (1 > 2 OR null)": "", "$body.a = 1": "", "color = 'red'": "", "abs(-1) = 1": "true",
	} {
		c, err := set.Compile(text, routecond.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, ok := c.Constant()
		if text == "NOT (1 > 2 OR null)" {
			if !ok || b != routecond.True {
				t.Errorf("%q: %s, %v", text, b, ok)
			}
			continue
		}
		if ok != (want != "") || ok && b.String() != want {
			t.Errorf("%q: %s, %v, want %q", text, b, ok, want)
		}
	}
}

// TestBounds: long and deep texts, and functions that would make very long ones.
func TestBounds(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("a", routecond.MaxLength+1),
		strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000),
		strings.Repeat("NOT ", 4000) + "true",
		strings.Repeat("abs(", 3000) + "1" + strings.Repeat(")", 3000),
	} {
		if got := outcome(t, &routecond.Set{}, text, sample("A"), routecond.Options{}); got != "ERR" {
			t.Errorf("%.40s… is %s, want an error", text, got)
		}
	}
	long := "true" + strings.Repeat(" AND true", 1500)
	if got := outcome(t, &routecond.Set{}, long, sample("A"), routecond.Options{}); got != "T" {
		t.Errorf("a long condition is %s", got)
	}
	m := sample("A")
	m.properties["big"] = new(strings.Repeat("x", 200_000))
	if got := outcome(t, &routecond.Set{}, "concat(big"+strings.Repeat(",big", 3000)+") = 'x'", m, routecond.Options{}); got != "U" {
		t.Errorf("600 MB of text: %s, want U", got)
	}
}

func TestEvaluatorDoesNotAllocate(t *testing.T) {
	var set routecond.Set
	var all []*routecond.Condition
	for _, text := range []string{
		"$body.t > 20 AND color = 'red'", "$body.s = 'hot'", "lower($body.s) = 'hot'", "concat(color, '-', size) = 'red-42'",
		"substring(word, 1, 2) = 'és'", "as_number(size) = 42", "$body.arr[1].k != 'v'", "$connectionDeviceId = 'dev-7'",
	} {
		c, err := set.Compile(text, routecond.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	e, m := set.Evaluator(), sample("A")
	if n := testing.AllocsPerRun(100, func() {
		e.Reset(m)
		for _, c := range all {
			c.Eval(e)
		}
	}); n != 0 {
		t.Errorf("an evaluation allocates %v times", n)
	}
}

func FuzzCompile(f *testing.F) {
	for line := range strings.Lines(vectors) {
		if c := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5); len(c) == 5 {
			f.Add(c[4])
		}
	}
	f.Add("twin_change_includes(tags.a)")
	f.Add("$twin.properties.reported.a[0].b ?? concat(a,'\\u00e9')")
	m := sample("A")
	m.twin = &routecond.Twin{Tags: []byte(`{"a":1}`)}
	f.Fuzz(func(t *testing.T, text string) {
		var first string
		for _, edge := range []bool{false, true} {
			set := &routecond.Set{EdgeMissing: edge}
			c, err := set.Compile(text, routecond.Options{TwinChanges: true})
			if err != nil {
				es, ok := err.(routecond.Errors) //nolint:errorlint // never wrapped
				if !ok || len(es) == 0 {
					t.Fatalf("%T %v", err, err)
				}
				for _, e := range es {
					l := e.Location
					if l.Start.Line < 1 || l.Start.Column < 1 || l.End.Line < l.Start.Line || l.End == l.Start {
						t.Fatalf("%q: %s is at %v", text, e.Message, l)
					}
				}
				return
			}
			e := set.Evaluator()
			e.Reset(m)
			one := c.Eval(e)
			e.Reset(m)
			if two := c.Eval(e); two != one {
				t.Fatalf("%q is %s, then %s", text, one, two)
			}
			e.Reset(nil)
			if first == "" {
				first = one.String()
			}
		}
	})
}

// FuzzBody: a body that encoding/json takes is read alike, and no other.
func FuzzBody(f *testing.F) {
	for _, s := range []string{document, `{"a":{"b":[1,2,{"c":"\u00e9\n"}]}}`, `{"a":-1.5e-7}`, `[`, `{"a":1}x`, `{"a":"` + "\xff" + `"}`} {
		f.Add([]byte(s))
	}
	var set routecond.Set
	var all []*routecond.Condition
	for _, text := range []string{"$body.a.b[2].c = 'x'", "$body.a > 0", "is_object($body.a)", "is_defined($body.t)", "is_array($body.a)", "is_string($body.a)", "is_bool($body.a)"} {
		c, err := set.Compile(text, routecond.Options{})
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, c)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m := sample("A")
		m.body = body
		e := set.Evaluator()
		e.Reset(m)
		for _, c := range all {
			c.Eval(e)
		}
		var doc map[string]any
		plain := slices.Clone(body)
		for i, c := range plain {
			if c < ' ' && c != '\n' && c != '\t' && c != '\r' {
				return // in a string we take it, elsewhere we do not
			}
			if bytes.IndexByte([]byte("\n\t\r"), c) >= 0 {
				plain[i] = ' ' // the same, inside of strings and outside
			}
		}
		err := json.Unmarshal(plain, &doc)
		if err != nil || doc == nil {
			if b := all[1].Eval(e); b == routecond.True && err != nil && !strings.Contains(err.Error(), "range") {
				t.Fatalf("%q is not JSON (%v) but was read", body, err)
			}
			return
		}
		if strings.Count(string(body), "{")+strings.Count(string(body), "[") > 100 {
			return // may nest too deep
		}
		a, ok := doc["a"]
		want := routecond.Undefined
		switch v := a.(type) {
		case float64:
			want = routecond.False
			if v > 0 {
				want = routecond.True
			}
			if v == 0 && math.Signbit(v) {
				want = routecond.False
			}
		case string, nil:
			if ok {
				want = routecond.True // strings and null come after numbers
			}
		case bool:
			want = routecond.False
		}
		if got := all[1].Eval(e); got != want {
			t.Fatalf("%q: a is %v, but the comparison is %s", body, a, got)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	for name, conditions := range map[string]func(i int) string{
		"body/same path":  func(i int) string { return fmt.Sprintf("$body.t > %d", 1000+i) },
		"body/many paths": func(i int) string { return fmt.Sprintf("$body.p%d > %d", i, i) },
		"body/three terms": func(i int) string {
			return fmt.Sprintf("$body.t > %d AND $body.s = 'x%d' OR $body.obj.in.p = %d", i, i, 1000+i)
		},
		"properties": func(i int) string { return fmt.Sprintf("color = 'c%d'", i) },
	} {
		b.Run(name, func(b *testing.B) {
			var set routecond.Set
			all := make([]*routecond.Condition, 100)
			for i := range all {
				var err error
				if all[i], err = set.Compile(conditions(i), routecond.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			e, m := set.Evaluator(), sample("A")
			delete(m.properties, "$own")
			b.ReportAllocs()
			for b.Loop() {
				e.Reset(m)
				for _, c := range all {
					c.Eval(e)
				}
			}
		})
	}
}
