package twin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// model is the naive twin: Go maps, as encoding/json reads them.
type model struct {
	values map[string]any
	meta   *stamped
}

// stamped is the naive $metadata.
type stamped struct {
	at       time.Time
	version  int64
	children map[string]*stamped
}

func (m *model) merge(patch map[string]any, c twin.Change) {
	mergeValues(m.values, patch)
	mergeMeta(m.meta, patch, c)
}

func (m *model) replace(value map[string]any, c twin.Change) {
	m.values, m.meta = map[string]any{}, &stamped{children: map[string]*stamped{}}
	m.merge(value, c)
}

// mergeValues is RFC 7396, section 2.
func mergeValues(dst, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(dst, k)
		case map[string]any:
			sub, ok := dst[k].(map[string]any)
			if !ok {
				sub = map[string]any{}
				dst[k] = sub
			}
			mergeValues(sub, v)
		default:
			dst[k] = v
		}
	}
}

func mergeMeta(dst *stamped, patch map[string]any, c twin.Change) {
	dst.at = c.At
	if c.Section == twin.Desired {
		dst.version = c.Version
	}
	for k, v := range patch {
		if v == nil {
			delete(dst.children, k)
			continue
		}
		sub := dst.children[k]
		if sub == nil {
			sub = &stamped{children: map[string]*stamped{}}
			dst.children[k] = sub
		}
		object, ok := v.(map[string]any)
		if !ok {
			clear(sub.children)
		}
		mergeMeta(sub, object, c)
	}
}

// tree returns the metadata as JSON values.
func (s *stamped) tree() map[string]any {
	out := map[string]any{"$lastUpdated": s.at.UTC().Format("2006-01-02T15:04:05.0000000Z")}
	if s.version != 0 {
		out["$lastUpdatedVersion"] = json.Number(fmt.Sprint(s.version))
	}
	for k, c := range s.children {
		out[k] = c.tree()
	}
	return out
}

// naiveSize is the documented rule.
func naiveSize(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			n += len(k) + naiveSize(c)
		}
	case []any:
		for _, c := range v {
			n += naiveSize(c)
		}
	case string:
		for _, r := range v {
			if r > 0x1f && (r < 0x7f || r > 0x9f) {
				n += utf8.RuneLen(r)
			}
		}
	case json.Number:
		n = 8
	case bool:
		n = 4
	}
	return n
}

// decode reads JSON with numbers as text.
func decode(t interface{ Fatalf(string, ...any) }, b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", b, err)
	}
	return v
}

// document draws the text of an object: few names, so that patches meet, spaces
// where JSON has them, and names and strings in more than one spelling.
func document(t *rapid.T, depth int, nulls bool) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	var b strings.Builder
	b.WriteString("{" + space.Draw(t, "space"))
	for i := range rapid.IntRange(0, 4).Draw(t, "members") {
		if i > 0 {
			b.WriteString("," + space.Draw(t, "space"))
		}
		name := rapid.SampledFrom([]string{`a`, `b`, `c`, `\u0061`, `é`, `\u00e9`, `q\"`, `日本`}).Draw(t, "name")
		b.WriteString(`"` + name + `"` + space.Draw(t, "space") + ":" + value(t, depth, nulls) + space.Draw(t, "space"))
	}
	b.WriteString("}")
	return b.String()
}

func value(t *rapid.T, depth int, nulls bool) string {
	kinds := []string{"number", "string", "bool", "array", "object", "object"}
	if nulls {
		kinds = append(kinds, "null", "null")
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "null":
		return "null"
	case "number":
		return rapid.SampledFrom([]string{"0", "-0", "1", "1.0", "1e3", "1E-7", "4503599627370495", "0.10"}).Draw(t, "number")
	case "string":
		return rapid.SampledFrom([]string{`""`, `"x"`, `"\u0000\n"`, `"é\u00e9"`, `"\ud83d\ude00😀"`, `"$.: "`}).Draw(t, "string")
	case "bool":
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool")
	case "array":
		var items []string
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			if depth <= 0 {
				break
			}
			items = append(items, value(t, depth-1, false))
		}
		return "[ " + strings.Join(items, " , ") + "]"
	default:
		if depth <= 0 {
			return "{}"
		}
		return document(t, depth-1, nulls)
	}
}

// TestModel runs histories of a section beside the naive one.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sec := rapid.SampledFrom([]twin.Section{twin.Desired, twin.Reported}).Draw(t, "section")
		start := twin.Change{Section: sec, At: dawn}
		m := &model{values: map[string]any{}, meta: &stamped{at: start.At, children: map[string]*stamped{}}}
		doc := twin.Doc{Properties: []byte("{}"), Metadata: twin.NewMetadata(start.At)}

		for i := range rapid.IntRange(1, 8).Draw(t, "changes") {
			c := twin.Change{Section: sec, Version: int64(i + 2), At: dawn.Add(time.Duration(i+1) * 1234567 * time.Nanosecond * 100)}
			text := document(t, 3, true)
			patch := decode(t, []byte(text)).(map[string]any)
			before := decode(t, doc.Properties).(map[string]any)

			var r twin.Result
			var err error
			if rapid.IntRange(0, 4).Draw(t, "replace") == 0 {
				r, err = twin.Replace(doc, []byte(text), c)
				m.replace(patch, c)
			} else {
				r, err = twin.Merge(doc, []byte(text), c)
				m.merge(patch, c)
			}
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			doc = r.Doc
			check(t, "properties", decode(t, doc.Properties), m.values)
			check(t, "metadata", decode(t, doc.Metadata), m.meta.tree())
			mergeValues(before, decode(t, r.Delta).(map[string]any))
			check(t, "delta applied to what was", before, m.values)
			if n, err := twin.Size(doc.Properties); err != nil || n != naiveSize(m.values) {
				t.Fatalf("size of %s is %d (%v), want %d", doc.Properties, n, err, naiveSize(m.values))
			}
			if compact := new(bytes.Buffer); json.Compact(compact, doc.Properties) != nil || compact.String() != string(doc.Properties) {
				t.Fatalf("not compact: %s", doc.Properties)
			}
		}
	})
}

func check(t *rapid.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// TestWide goes through objects so wide that they are searched by index.
func TestWide(t *testing.T) {
	const n = 500
	doc, want := twin.Doc{}, map[string]any{}
	for round := range 4 {
		members := map[string]any{}
		var b strings.Builder
		b.WriteString(`{"dup":0`)
		for i := range n {
			k := fmt.Sprintf("k%03d", (i*7+round*100)%(n+200))
			switch (i + round) % 3 {
			case 0:
				fmt.Fprintf(&b, `,"%s":null`, k)
				members[k] = nil
			default:
				fmt.Fprintf(&b, `,"%s":%d,"dup":%d`, k, i, i)
				members[k] = json.Number(fmt.Sprint(i))
				members["dup"] = members[k]
			}
		}
		b.WriteString(`}`)
		f, naive := twin.Merge, mergeValues
		if round == 3 {
			f = twin.Replace
			clear(want)
		}
		before, _ := decode(t, orEmpty(doc.Properties)).(map[string]any)
		r, err := f(doc, []byte(b.String()), twin.Change{Section: twin.Reported, At: noon})
		if err != nil {
			t.Fatal(err)
		}
		naive(want, members)
		doc = r.Doc
		if got := decode(t, doc.Properties); !reflect.DeepEqual(got, any(want)) {
			t.Fatalf("round %d:\n got %v\nwant %v", round, got, want)
		}
		mergeValues(before, decode(t, r.Delta).(map[string]any))
		if !reflect.DeepEqual(before, want) {
			t.Fatalf("round %d: delta leads to\n%v\nwant %v", round, before, want)
		}
		meta := decode(t, doc.Metadata).(map[string]any)
		delete(meta, "$lastUpdated")
		if got, want := slices.Sorted(maps.Keys(meta)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
			t.Fatalf("round %d: metadata speaks of %q, want %q", round, got, want)
		}
	}
}

func orEmpty(b []byte) []byte {
	if len(b) == 0 {
		return []byte("{}")
	}
	return b
}

// FuzzMerge: whatever a client sends is refused with a reason of its own making
// or merged as encoding/json and maps would.
func FuzzMerge(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":1}`, `{"a":null,"b":{"c":[1,{"d":"x"}]}}`},
		{`{"a":{"b":"\u00e9"}}`, `{"a":{"é":1.0,"\u00e9":1e3}}`},
		{`{}`, `{"$version":1,"$metadata":{"a":[[]]},"a":{}}`},
		{`{"a":[{"b":true}]}`, `{"a":{"b":false},"a":1}`},
		{``, `{"\ud83d\ude00":"\ud800"}`},
		{`{"":{"":{}}}`, ` { "" : { "" : null } } `},
		{`{"a":1}`, "{\"a\":\"\xff\"}"},
		{`{"a":4503599627370495}`, `{"a":-4503599627370497}`},
		{`{"a":1}`, nest(12, `1`)},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, first, patch []byte) {
		c := twin.Change{Section: twin.Desired, Version: 2, At: noon}
		stored := twin.Doc{}
		want := map[string]any{}
		if r, err := twin.Replace(twin.Doc{}, first, c); err == nil {
			stored = r.Doc
			want, _ = decode(t, stored.Properties).(map[string]any)
		}
		r, err := twin.Merge(stored, patch, c)
		switch code := causeway.CodeOf(err); code {
		case 0:
			if !json.Valid(patch) {
				t.Fatalf("accepted what is not JSON: %q", patch)
			}
			members, _ := decode(t, patch).(map[string]any)
			delete(members, "$metadata")
			delete(members, "$version")
			mergeValues(want, members)
			if got := decode(t, r.Properties); !reflect.DeepEqual(got, any(want)) {
				t.Fatalf("%s merged with %s\n got %v\nwant %v", stored.Properties, patch, got, want)
			}
			if !json.Valid(r.Metadata) || !json.Valid(r.Delta) {
				t.Fatalf("metadata %s, delta %s", r.Metadata, r.Delta)
			}
			if again, err := twin.Merge(r.Doc, []byte("{}"), c); err != nil || !bytes.Equal(again.Properties, r.Properties) {
				t.Fatalf("what was stored is not read: %s: %v", r.Properties, err)
			}
		case causeway.DeserializationError:
			strange := !utf8.Valid(patch) || bytes.Contains(bytes.ToLower(patch), []byte(`\ud`)) || bytes.Contains(patch, []byte("$metadata")) || bytes.Contains(patch, []byte("$version"))
			if _, object := tryObject(patch); object && !strange {
				t.Fatalf("refused a JSON object: %q: %v", patch, err)
			}
		case causeway.ArgumentInvalid:
		default:
			t.Fatalf("error %v for %q", err, patch)
		}
	})
}

func tryObject(b []byte) (map[string]any, bool) {
	if !json.Valid(b) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	m, ok := v.(map[string]any)
	return m, ok
}

// FuzzStored: damaged text in a store is an error, never a panic.
func FuzzStored(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"$lastUpdated":"T","$lastUpdatedVersion":1,"a":{"b":{}}}`), []byte(`{"a":{"c":1}}`))
	f.Add([]byte(`{"a":[}`), []byte(`{"a":`), []byte(`{}`))
	f.Add([]byte(`{"a\"":1,"a\\":2}`), []byte(`{"a\\":{"$lastUpdated":1}}`), []byte(`{"a\"":null}`))
	f.Fuzz(func(t *testing.T, properties, metadata, patch []byte) {
		old := twin.Doc{Properties: properties, Metadata: metadata}
		for _, change := range []func(twin.Doc, []byte, twin.Change) (twin.Result, error){twin.Merge, twin.Replace} {
			if r, err := change(old, patch, twin.Change{Section: twin.Reported, At: noon}); err == nil && json.Valid(properties) && !json.Valid(r.Properties) {
				t.Fatalf("%q and %q gave %q", properties, patch, r.Properties)
			}
		}
		_, _ = twin.Size(properties)
	})
}
