package routecond_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// TestGroupIsItsConditions: a group finds those conditions of a set that are
// true one by one, whatever they are and whatever the message is.
func TestGroupIsItsConditions(t *testing.T) {
	var texts []string
	for line := range strings.Lines(vectors) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5); len(f) == 5 {
			texts = append(texts, f[4])
		}
	}
	operand := rapid.SampledFrom([]string{"$body.a", "$body.a", "$body.a", "$body.b", "{$body.a}", "$body.c.d", "$body.list[1]", "p", "$messageId"})
	constant := rapid.SampledFrom([]string{"0", "1", "1", "1", "1.5", "2", "- 1", "'x'", "'x'", "'1'", "null", "true", "1 / 0", "0 / 0"})
	op := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="})
	simple := rapid.Custom(func(t *rapid.T) string {
		return operand.Draw(t, "operand") + " " + op.Draw(t, "op") + " " + constant.Draw(t, "constant")
	})
	condition := rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 9).Draw(t, "form") {
		case 0, 1, 2, 3:
			return simple.Draw(t, "simple")
		case 4:
			return "(" + simple.Draw(t, "left") + ") AND " + simple.Draw(t, "right")
		case 5:
			return simple.Draw(t, "left") + " AND (" + simple.Draw(t, "middle") + " AND " + simple.Draw(t, "right") + ")"
		case 6:
			return simple.Draw(t, "left") + " OR " + simple.Draw(t, "right")
		case 7:
			return "NOT (" + simple.Draw(t, "inner") + ")"
		case 8:
			return simple.Draw(t, "left") + " AND $body.on"
		default:
			return rapid.SampledFrom(texts).Draw(t, "vector")
		}
	})
	value := rapid.SampledFrom([]string{"0", "1", "1", "1", "-1", "1.5", "2", "3", `"x"`, `"x"`, `"1"`, "null", "true", "[0,1]", `{"d":1}`, `["x","x"]`, "1e999"})
	rapid.Check(t, func(t *rapid.T) {
		set := routecond.Set{EdgeMissing: rapid.Bool().Draw(t, "edge")}
		var all []*routecond.Condition
		var bits []uint32
		var kept []string
		for _, text := range rapid.SliceOfN(condition, 8, 40).Draw(t, "conditions") {
			c, err := set.Compile(text, routecond.Options{})
			if err != nil {
				continue
			}
			all, kept = append(all, c), append(kept, text)
			bits = append(bits, 1<<rapid.IntRange(0, 31).Draw(t, "bit"))
		}
		g := set.Group(all, bits)
		e, single := set.Evaluator(), set.Evaluator()
		for range 8 {
			m := sample(rapid.SampledFrom([]string{"A", "B", "C", "D", "E", "F", "G"}).Draw(t, "message"))
			if rapid.IntRange(0, 3).Draw(t, "own body") > 0 {
				var members []string
				for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "b", "c", "list", "on", "z"}), 1, 6).Draw(t, "names") {
					members = append(members, fmt.Sprintf("%q:%s", name, value.Draw(t, name)))
				}
				m.body = []byte("{" + strings.Join(members, ",") + "}")
				delete(m.properties, "$own")
				if p := rapid.SampledFrom([]string{"", "x", "1", "null"}).Draw(t, "p"); p == "null" {
					m.properties["p"] = nil
				} else {
					m.properties["p"] = &p
				}
			}
			e.Reset(m)
			single.Reset(m)
			var want uint32
			for i, c := range all {
				if c.Eval(single) == routecond.True {
					want |= bits[i]
				}
			}
			if got := g.True(e); got != want {
				t.Fatalf("of %q with %b over %s: %b, want %b", kept, bits, m.body, got, want)
			}
			e.Reset(nil)
		}
	})
}

func BenchmarkGroup(b *testing.B) {
	for name, condition := range map[string]string{
		"same path":  "$body.t > %d",
		"many paths": "$body.p%[1]d > %[1]d",
		"equal":      "$body.s = 'k%d'",
		"three":      "$body.t > %[1]d AND $body.s = 'x%[1]d' AND $body.obj.in.p = %[1]d",
		"or":         "$body.t > 100%[1]d OR $body.s = 'x%[1]d'",
		"properties": "color = 'c%d'",
	} {
		b.Run(name, func(b *testing.B) {
			var set routecond.Set
			all, bits := make([]*routecond.Condition, 100), make([]uint32, 100)
			for i := range all {
				var err error
				if all[i], err = set.Compile(fmt.Sprintf(condition, i+100), routecond.Options{}); err != nil {
					b.Fatal(err)
				}
				bits[i] = 1
			}
			g := set.Group(all, bits)
			e, m := set.Evaluator(), sample("A")
			delete(m.properties, "$own")
			b.ReportAllocs()
			for b.Loop() {
				e.Reset(m)
				g.True(e)
			}
		})
	}
}
