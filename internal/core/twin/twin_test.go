package twin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

var (
	dawn = time.Date(2024, 1, 1, 6, 0, 0, 0, time.UTC)
	noon = time.Date(2024, 1, 1, 14, 0, 0, 123456789, time.FixedZone("", 2*3600))
)

const (
	atDawn = `"$lastUpdated":"2024-01-01T06:00:00.0000000Z"`
	atNoon = `"$lastUpdated":"2024-01-01T12:00:00.1234567Z"`
)

// made returns the section that has these properties since dawn.
func made(t testing.TB, sec twin.Section, properties string) twin.Doc {
	t.Helper()
	r, err := twin.Replace(twin.Doc{}, []byte(properties), twin.Change{Section: sec, Version: 1, At: dawn})
	if err != nil {
		t.Fatalf("make %s: %v", properties, err)
	}
	return r.Doc
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct{ old, patch, want, delta string }{
		"empty patch":                   {`{"a":1}`, `{}`, `{"a":1}`, `{}`},
		"into empty":                    {``, ` { "a" : [ 1 , { "b" : 2 } ] , "c" : { } } `, `{"a":[1,{"b":2}],"c":{}}`, `{"a":[1,{"b":2}],"c":{}}`},
		"order of arrival":              {`{"b":1,"a":2}`, `{"z":0,"a":3}`, `{"b":1,"a":3,"z":0}`, `{"z":0,"a":3}`},
		"delete":                        {`{"a":1,"b":{"c":1,"d":2}}`, `{"a":null,"b":{"c":null}}`, `{"b":{"d":2}}`, `{"a":null,"b":{"c":null}}`},
		"delete what is not there":      {`{"a":1}`, `{"b":null,"c":{"d":null}}`, `{"a":1,"c":{}}`, `{"b":null,"c":{"d":null}}`},
		"delete the last leaves {}":     {`{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":{}}`, `{"a":{"b":null}}`},
		"object over scalar":            {`{"a":1}`, `{"a":{"b":1,"c":null}}`, `{"a":{"b":1}}`, `{"a":{"b":1,"c":null}}`},
		"object over array":             {`{"a":[1,2]}`, `{"a":{}}`, `{"a":{}}`, `{"a":{}}`},
		"scalar over object":            {`{"a":{"b":1}}`, `{"a":true}`, `{"a":true}`, `{"a":true}`},
		"array over object":             {`{"a":{"b":1}}`, `{"a":[]}`, `{"a":[]}`, `{"a":[]}`},
		"arrays whole":                  {`{"a":[1,2,3]}`, `{"a":[{"x":1}]}`, `{"a":[{"x":1}]}`, `{"a":[{"x":1}]}`},
		"empty object merges":           {`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`, `{"a":{}}`},
		"numbers as written":            {`{"a":1.0}`, `{"b":1e3,"c":-0,"d":4503599627370495,"e":0.1000000000000000000001,"f":1E+2}`, `{"a":1.0,"b":1e3,"c":-0,"d":4503599627370495,"e":0.1000000000000000000001,"f":1E+2}`, `{"b":1e3,"c":-0,"d":4503599627370495,"e":0.1000000000000000000001,"f":1E+2}`},
		"service members are ignored":   {`{"a":1}`, `{"$version":7,"$metadata":{"$lastUpdated":"x","a":{"b":[[null]]}},"b":2}`, `{"a":1,"b":2}`, `{"b":2}`},
		"only service members":          {`{"a":1}`, `{"$version":7}`, `{"a":1}`, `{}`},
		"last of one name wins":         {`{}`, `{"a":1,"b":2,"a":{"x":1},"c":3,"c":null}`, `{"a":{"x":1},"b":2}`, `{"a":{"x":1},"b":2,"c":null}`},
		"names are compared as text":    {`{"a":1,"é":2}`, `{"\u0061":5,"\u00e9":6,"\"":7,"\u0022":8,"\\":9,"\/":10}`, `{"a":5,"é":6,"\"":8,"\\":9,"/":10}`, `{"a":5,"é":6,"\"":8,"\\":9,"/":10}`},
		"strings as written":            {`{}`, `{"a":"\u00e9\ud83d\ude00\u0000\n\/"}`, `{"a":"\u00e9\ud83d\ude00\u0000\n\/"}`, `{"a":"\u00e9\ud83d\ude00\u0000\n\/"}`},
		"the empty name":                {`{}`, `{"":1}`, `{"":1}`, `{"":1}`},
		"words":                         {`{}`, `{"t":true,"f":false}`, `{"t":true,"f":false}`, `{"t":true,"f":false}`},
		"same name on different levels": {`{"a":{"a":{"a":1}}}`, `{"a":{"a":{"a":null,"b":2}}}`, `{"a":{"a":{"b":2}}}`, `{"a":{"a":{"a":null,"b":2}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			old := twin.Doc{Properties: []byte(c.old)}
			got, err := twin.Merge(old, []byte(c.patch), twin.Change{Section: twin.Reported, Version: 2, At: noon})
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Properties) != c.want {
				t.Errorf("properties\n got %s\nwant %s", got.Properties, c.want)
			}
			if string(got.Delta) != c.delta {
				t.Errorf("delta\n got %s\nwant %s", got.Delta, c.delta)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	v := func(n int) string { return fmt.Sprintf(`,"$lastUpdatedVersion":%d`, n) }
	for name, c := range map[string]struct {
		section    twin.Section
		old, patch string
		want       string
	}{
		"a change marks all that enclose it": {
			twin.Desired, `{"a":{"b":1,"c":2},"d":3}`, `{"a":{"b":9}}`,
			`{` + atNoon + v(5) + `,"a":{` + atNoon + v(5) + `,"b":{` + atNoon + v(5) + `},"c":{` + atDawn + v(1) + `}},"d":{` + atDawn + v(1) + `}}`,
		},
		"an equal value is a change": {
			twin.Desired, `{"a":1}`, `{"a":1}`, `{` + atNoon + v(5) + `,"a":{` + atNoon + v(5) + `}}`,
		},
		"reported has no versions": {
			twin.Reported, `{"a":1,"b":2}`, `{"b":3}`, `{` + atNoon + `,"a":{` + atDawn + `},"b":{` + atNoon + `}}`,
		},
		"deletion takes the metadata along": {
			twin.Reported, `{"a":{"b":1,"c":2},"d":1}`, `{"a":{"b":null}}`,
			`{` + atNoon + `,"a":{` + atNoon + `,"c":{` + atDawn + `}},"d":{` + atDawn + `}}`,
		},
		"arrays are leaves": {
			twin.Reported, `{}`, `{"a":[{"b":1},[2]]}`, `{` + atNoon + `,"a":{` + atNoon + `}}`,
		},
		"object replaced by a leaf": {
			twin.Reported, `{"a":{"b":1}}`, `{"a":2}`, `{` + atNoon + `,"a":{` + atNoon + `}}`,
		},
		"empty patch marks the section": {
			twin.Desired, `{"a":1}`, `{}`, `{` + atNoon + v(5) + `,"a":{` + atDawn + v(1) + `}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := twin.Merge(made(t, c.section, c.old), []byte(c.patch), twin.Change{Section: c.section, Version: 5, At: noon})
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Metadata) != c.want {
				t.Errorf("metadata\n got %s\nwant %s", got.Metadata, c.want)
			}
		})
	}
	t.Run("what has none takes what encloses it", func(t *testing.T) {
		old := twin.Doc{Properties: []byte(`{"a":{"b":1},"c":1}`), Metadata: []byte(`{"$lastUpdated":"T","$lastUpdatedVersion":3,"gone":{},"c":{"$lastUpdated":"U"}}`)}
		got, err := twin.Merge(old, []byte(`{"c":2}`), twin.Change{Section: twin.Desired, Version: 5, At: noon})
		if err != nil {
			t.Fatal(err)
		}
		want := `{` + atNoon + v(5) + `,"a":{"$lastUpdated":"T"` + v(3) + `,"b":{"$lastUpdated":"T"` + v(3) + `}},"c":{` + atNoon + v(5) + `}}`
		if string(got.Metadata) != want {
			t.Errorf("metadata\n got %s\nwant %s", got.Metadata, want)
		}
	})
	t.Run("tags have none", func(t *testing.T) {
		got, err := twin.Merge(twin.Doc{}, []byte(`{"a":1,"$etag":"x"}`), twin.Change{Section: twin.Tags, At: noon})
		if err != nil || len(got.Metadata) != 0 || string(got.Properties) != `{"a":1}` {
			t.Errorf("properties %s, metadata %s, error %v", got.Properties, got.Metadata, err)
		}
	})
	t.Run("never written", func(t *testing.T) {
		if got := string(twin.NewMetadata(noon)); got != `{`+atNoon+`}` {
			t.Errorf("new metadata %s", got)
		}
	})
}

func TestReplace(t *testing.T) {
	for name, c := range map[string]struct{ old, value, want, delta string }{
		"all new":                {`{}`, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		"all gone":               {`{"a":1,"b":{"c":1}}`, `{}`, `{}`, `{"a":null,"b":null}`},
		"same":                   {`{"a":1,"b":{"c":[1]}}`, `{"a":1,"b":{"c":[1]}}`, `{"a":1,"b":{"c":[1]}}`, `{"a":1,"b":{"c":[1]}}`},
		"nested removal":         {`{"a":{"b":1,"c":{"d":1,"e":2}}}`, `{"a":{"c":{"e":3}}}`, `{"a":{"c":{"e":3}}}`, `{"a":{"c":{"e":3,"d":null},"b":null}}`},
		"object emptied":         {`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{}}`, `{"a":{"b":null}}`},
		"leaf to object":         {`{"a":[1]}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		"object to leaf":         {`{"a":{"b":1}}`, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		"null is not there":      {`{"a":1,"b":{"c":1}}`, `{"a":null,"b":{"c":null,"d":2}}`, `{"b":{"d":2}}`, `{"b":{"d":2,"c":null},"a":null}`},
		"new object with nulls":  {`{}`, `{"a":{"b":null,"c":{"d":null}}}`, `{"a":{"c":{}}}`, `{"a":{"c":{}}}`},
		"order is that of value": {`{"b":1,"a":1}`, `{"a":2,"b":2}`, `{"a":2,"b":2}`, `{"a":2,"b":2}`},
		"sent back as read":      {`{"a":1}`, `{"a":1,"$metadata":{"a":{}},"$version":3}`, `{"a":1}`, `{"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			old := made(t, twin.Desired, c.old)
			got, err := twin.Replace(old, []byte(c.value), twin.Change{Section: twin.Desired, Version: 2, At: noon})
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Properties) != c.want || string(got.Delta) != c.delta {
				t.Errorf("got  %s delta %s\nwant %s delta %s", got.Properties, got.Delta, c.want, c.delta)
			}
			if strings.Contains(string(got.Metadata), atDawn) {
				t.Errorf("metadata of a replaced section keeps old stamps: %s", got.Metadata)
			}
			// A device that applies the delta arrives at the new section.
			applied, err := twin.Merge(old, got.Delta, twin.Change{Section: twin.Desired, Version: 2, At: noon})
			if err != nil || !sameJSON(t, applied.Properties, got.Properties) {
				t.Errorf("delta applied gives %s, error %v", applied.Properties, err)
			}
		})
	}
}

func nest(depth int, inner string) string {
	return strings.Repeat(`{"n":`, depth) + inner + strings.Repeat(`}`, depth)
}

func TestLimits(t *testing.T) {
	key := strings.Repeat("k", causeway.MaxTwinKey)
	str := strings.Repeat("é", causeway.MaxTwinString/2)
	for name, c := range map[string]struct {
		section twin.Section
		patch   string
		code    causeway.Code // 0: accepted
		msg     string        // part of the message
	}{
		"not an object":            {0, `[1]`, causeway.DeserializationError, "tags: expected a JSON object"},
		"null":                     {0, ` null `, causeway.DeserializationError, "expected a JSON object"},
		"empty":                    {0, ``, causeway.DeserializationError, "tags: invalid JSON at byte 0: expected a value"},
		"one space":                {0, ` `, causeway.DeserializationError, "at byte 1"},
		"truncated":                {1, `{"a":{"b":1`, causeway.DeserializationError, "desired.a: invalid JSON at byte 11: expected ',' or '}'"},
		"trailing text":            {1, `{} x`, causeway.DeserializationError, "byte 3: text after the end"},
		"trailing comma":           {1, `{"a":1,}`, causeway.DeserializationError, "byte 7"},
		"single quotes":            {1, `{'a':1}`, causeway.DeserializationError, "expected a string"},
		"comment":                  {1, `{/**/}`, causeway.DeserializationError, "byte 1"},
		"leading zero":             {1, `{"a":01}`, causeway.DeserializationError, "byte 6"},
		"plus":                     {1, `{"a":+1}`, causeway.DeserializationError, "byte 5"},
		"no fraction":              {1, `{"a":1.}`, causeway.DeserializationError, "after '.'"},
		"no exponent":              {1, `{"a":1e}`, causeway.DeserializationError, "exponent"},
		"NaN":                      {1, `{"a":NaN}`, causeway.DeserializationError, "desired.a"},
		"byte order mark":          {1, "\ufeff{}", causeway.DeserializationError, "byte 0"},
		"raw control character":    {1, "{\"a\":\"\x01\"}", causeway.DeserializationError, "control character"},
		"invalid UTF-8":            {1, "{\"a\":\"\xff\"}", causeway.DeserializationError, "invalid UTF-8"},
		"overlong UTF-8":           {1, "{\"a\":\"\xc0\x80\"}", causeway.DeserializationError, "invalid UTF-8"},
		"lone surrogate":           {1, `{"a":"\ud800"}`, causeway.DeserializationError, "surrogate"},
		"reversed surrogates":      {1, `{"a":"\udc00\ud800"}`, causeway.DeserializationError, "surrogate"},
		"bad escape":               {1, `{"a":"\x41"}`, causeway.DeserializationError, "escape"},
		"bad hex":                  {1, `{"a":"\u12g4"}`, causeway.DeserializationError, "hexadecimal"},
		"NUL byte":                 {1, "\x00", causeway.DeserializationError, "byte 0"},
		"path to the item":         {1, `{"a":{"b":[1,{"c":tru}]}}`, causeway.DeserializationError, "desired.a.b[1].c: "},
		"dot in a key":             {1, `{"a":{"b.c":1}}`, causeway.ArgumentInvalid, `desired.a: key "b.c" contains '.'`},
		"dollar in a key":          {1, `{"a$":1}`, causeway.ArgumentInvalid, `desired: key "a$" contains '$'`},
		"space in a key":           {2, `{"a":{"b":{" ":1}}}`, causeway.ArgumentInvalid, `reported.a.b: key " " contains ' '`},
		"escaped dot":              {1, `{"a\u002eb":1}`, causeway.ArgumentInvalid, `key "a.b"`},
		"control in a key":         {1, `{"\u0007":1}`, causeway.ArgumentInvalid, `key "\a" contains a control character`},
		"DEL in a key":             {1, "{\"\x7f\":1}", causeway.ArgumentInvalid, "control character"},
		"C1 in a key":              {1, "{\"\u0085\":1}", causeway.ArgumentInvalid, "control character"},
		"past C1 in a key":         {1, "{\"\u00a0\u00e9#\":1}", 0, ""},
		"key in an array":          {1, `{"a":[{"b.c":1}]}`, causeway.ArgumentInvalid, `desired.a[0]: key "b.c"`},
		"other service member":     {1, `{"$other":1}`, causeway.ArgumentInvalid, `key "$other" contains '$'`},
		"etag outside of tags":     {1, `{"$etag":1}`, causeway.ArgumentInvalid, `$etag`},
		"$version further down":    {1, `{"a":{"$version":1}}`, causeway.ArgumentInvalid, `desired.a: key "$version"`},
		"ignored but malformed":    {1, `{"$metadata":{"a":}}`, causeway.DeserializationError, "byte 18"},
		"ignored but bottomless":   {1, `{"$metadata":` + strings.Repeat("[", 10000) + `}`, causeway.DeserializationError, "nested too deeply"},
		"longest key":              {1, `{"` + key + `":1}`, 0, ""},
		"key too long":             {1, `{"` + key + `k":1}`, causeway.ArgumentInvalid, "has 1025 bytes, at most 1024"},
		"longest string":           {1, `{"a":"` + str + `"}`, 0, ""},
		"longest string escaped":   {1, `{"a":"` + strings.Repeat(`\u00e9`, causeway.MaxTwinString/2) + `"}`, 0, ""},
		"string too long":          {1, `{"a":["` + str + `x"]}`, causeway.ArgumentInvalid, "desired.a[0]: the string has 4097 bytes, at most 4096"},
		"largest integer":          {1, `{"a":4503599627370495,"b":-4503599627370496}`, 0, ""},
		"integer too large":        {1, `{"a":4503599627370496}`, causeway.ArgumentInvalid, "desired.a: integer 4503599627370496 is out of range"},
		"integer too small":        {1, `{"a":-4503599627370497}`, causeway.ArgumentInvalid, "out of range"},
		"integer far too large":    {1, `{"a":123456789012345678901234567890}`, causeway.ArgumentInvalid, "out of range"},
		"large but no integer":     {1, `{"a":4503599627370496.0,"b":1e300}`, 0, ""},
		"no double":                {1, `{"a":1e999}`, causeway.ArgumentInvalid, "range of a double"},
		"number too long":          {1, `{"a":0.` + strings.Repeat("1", twin.MaxNumber) + `}`, causeway.ArgumentInvalid, "characters, at most 128"},
		"deepest":                  {1, nest(causeway.MaxTwinDepth+1, `1`), 0, ""},
		"deepest with an array":    {1, nest(causeway.MaxTwinDepth+1, `[1]`), 0, ""},
		"too deep":                 {1, nest(causeway.MaxTwinDepth+2, `1`), causeway.ArgumentInvalid, "nested more than 10 levels deep"},
		"too deep in an array":     {1, nest(causeway.MaxTwinDepth+1, `[[1]]`), causeway.ArgumentInvalid, "nested more than 10"},
		"bottomless":               {1, `{"a":` + strings.Repeat("[", 100_000), causeway.ArgumentInvalid, "nested more than 10"},
		"null in an array":         {1, `{"a":[1,null]}`, causeway.ArgumentInvalid, "desired.a[1]: null is not allowed inside an array"},
		"null in an array object":  {1, `{"a":[{"b":null}]}`, causeway.ArgumentInvalid, "desired.a[0].b: null"},
		"largest tags":             {0, filled(causeway.MaxTwinTags), 0, ""},
		"tags too large":           {0, filled(causeway.MaxTwinTags + 1), causeway.ArgumentInvalid, "tags: the section would have 8193 bytes, at most 8192"},
		"largest section":          {2, filled(causeway.MaxTwinSection), 0, ""},
		"section too large":        {2, filled(causeway.MaxTwinSection + 1), causeway.ArgumentInvalid, "reported: the section would have 32769 bytes"},
		"document too long":        {2, `{` + strings.Repeat(" ", twin.MaxPatch) + `}`, causeway.ArgumentInvalid, "at most 262144"},
		"weightless but long":      {2, `{"a":[{}` + strings.Repeat(",{}", 80_000) + `]}`, 0, ""},
		"message cuts a long path": {2, nest(3, `{"`+strings.Repeat("é", 300)+`":{" ":1}}`), causeway.ArgumentInvalid, "…"},
	} {
		t.Run(name, func(t *testing.T) {
			for how, f := range map[string]func(twin.Doc, []byte, twin.Change) (twin.Result, error){"merge": twin.Merge, "replace": twin.Replace} {
				_, err := f(twin.Doc{}, []byte(c.patch), twin.Change{Section: c.section, Version: 2, At: noon})
				if got := causeway.CodeOf(err); got != c.code || err != nil && !strings.Contains(causeway.MessageOf(err), c.msg) {
					t.Errorf("%s: code %s, message %q; want %s, %q", how, got, causeway.MessageOf(err), c.code, c.msg)
				}
				if len(causeway.MessageOf(err)) > 1000 {
					t.Errorf("%s: message has %d bytes", how, len(causeway.MessageOf(err)))
				}
			}
		})
	}
}

// filled returns a document with the computed size n.
func filled(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; n > 0; i++ {
		value := min(n-4, 4000)
		if n-4-value > 0 && n-4-value < 4 {
			value -= 4
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%03d":"%s"`, i, strings.Repeat("x", value))
		n -= 4 + value
	}
	b.WriteByte('}')
	return b.String()
}

func TestSectionTextIsBounded(t *testing.T) {
	doc := twin.Doc{}
	empties := `[{}` + strings.Repeat(",{}", 30_000) + `]`
	for i := range 10 {
		r, err := twin.Merge(doc, fmt.Appendf(nil, `{"k%d":%s}`, i, empties), twin.Change{Section: twin.Reported, At: noon})
		if err != nil {
			if len(doc.Properties)+len(empties) <= twin.MaxSectionText {
				t.Fatalf("refused at %d bytes: %v", len(doc.Properties), err)
			}
			if causeway.CodeOf(err) != causeway.ArgumentInvalid {
				t.Errorf("refused with %v", err)
			}
			return
		}
		doc = r.Doc
	}
	t.Errorf("a section of %d bytes was accepted", len(doc.Properties))
}

func TestSize(t *testing.T) {
	for doc, want := range map[string]int{
		``:                             0,
		`{}`:                           0,
		`{"a":1}`:                      9,
		`{"a":1.0000000001}`:           9,
		`{"é":true}`:                   6,
		`{"a":"é"}`:                    3,
		`{"a":"\u00e9\n\u0000"}`:       3,
		"{\"a\":\"\u0085\u00a0\x7f\"}": 3,
		`{"a":"\ud83d\ude00"}`:         5,
		`{"\"\\":1}`:                   10,
		`{"a":[1,"xy",true,{"k":2}],"b":{"c":{}}}`: 1 + 8 + 2 + 4 + 9 + 2,
		`{"a":""}`: 1,
	} {
		if got, err := twin.Size([]byte(doc)); err != nil || got != want {
			t.Errorf("Size(%s) = %d, %v; want %d", doc, got, err, want)
		}
	}
	if _, err := twin.Size([]byte(`{"a"`)); err == nil {
		t.Error("malformed document has a size")
	}
}

func TestDamagedStore(t *testing.T) {
	for _, old := range []twin.Doc{
		{Properties: []byte(`{"a":`)},
		{Properties: []byte(`[]`)},
		{Properties: []byte(`{}`), Metadata: []byte(`{"a"`)},
		{Properties: []byte(`{"a":1}`), Metadata: []byte(`{"a":1}`)},
		{Properties: []byte(`{"a":1}`), Metadata: []byte(`{"$lastUpdatedVersion":1.5}`)},
		{Properties: []byte(`{"a":` + strings.Repeat("[", 100_000))},
	} {
		for _, f := range []func(twin.Doc, []byte, twin.Change) (twin.Result, error){twin.Merge, twin.Replace} {
			if _, err := f(old, []byte(`{}`), twin.Change{Section: twin.Desired}); causeway.CodeOf(err) != causeway.ServerError {
				t.Errorf("stored %s %s: error %v, want a server error", old.Properties, old.Metadata, err)
			}
		}
	}
}

func TestResultSharesNoMemory(t *testing.T) {
	old := made(t, twin.Desired, `{"a":"old","n":12}`)
	patch := []byte(`{"b":"new","\u0063":34}`)
	got, err := twin.Merge(old, patch, twin.Change{Section: twin.Desired, Version: 2, At: noon})
	if err != nil {
		t.Fatal(err)
	}
	want := string(got.Properties) + string(got.Metadata) + string(got.Delta)
	clear(old.Properties)
	clear(old.Metadata)
	clear(patch)
	for range 10 { // runs over scratch space
		made(t, twin.Tags, `{"xxxxxxxxxx":"yyyyyyyyyyyyyyyyyyyyyyy","\u0064":1}`)
	}
	_ = append(got.Properties, "overflow"...)
	if s := string(got.Properties) + string(got.Metadata) + string(got.Delta); s != want {
		t.Errorf("result became %s, was %s", s, want)
	}
}

func TestViews(t *testing.T) {
	for doc, want := range map[string][2]string{
		``:               {`{"$version":7}`, `{"$metadata":{},"$version":7}`},
		`{}`:             {`{"$version":7}`, `{"$metadata":{},"$version":7}`},
		`{"a":1,"b":{}}`: {`{"a":1,"b":{},"$version":7}`, `{"a":1,"b":{},"$metadata":{},"$version":7}`},
	} {
		if got := string(twin.AppendVersioned(nil, []byte(doc), 7)); got != want[0] {
			t.Errorf("device view of %s: %s, want %s", doc, got, want[0])
		}
		if got := string(twin.AppendService(nil, twin.Doc{Properties: []byte(doc)}, 7)); got != want[1] {
			t.Errorf("service view of %s: %s, want %s", doc, got, want[1])
		}
	}
	got := string(twin.AppendService([]byte("x"), twin.Doc{Properties: []byte(`{"a":1}`), Metadata: []byte(`{"m":{}}`)}, 8))
	if want := `x{"a":1,"$metadata":{"m":{}},"$version":8}`; got != want {
		t.Errorf("service view %s, want %s", got, want)
	}
}

func TestETag(t *testing.T) {
	for n, want := range map[int64]string{0: "AAAAAAAAAAA=", 1: "AAAAAAAAAAE=", 256: "AAAAAAAAAQA=", 1<<63 - 1: "f/////////8="} {
		got := twin.ETagText(n)
		if got != want {
			t.Errorf("ETagText(%d) = %s, want %s", n, got, want)
		}
		if back, ok := twin.ParseETag(got); !ok || back != n {
			t.Errorf("ParseETag(%s) = %d, %v", got, back, ok)
		}
	}
	for _, s := range []string{"", "*", "AAAAAAAAAAE", `"AAAAAAAAAAE="`, "AAAAAAAAAAAA", "AAAAAAAAAAF=", "AAAAAAAAAA==", "!!!!!!!!!!!="} {
		if n, ok := twin.ParseETag(s); ok {
			t.Errorf("ParseETag(%q) = %d", s, n)
		}
	}
}

func sameJSON(t testing.TB, a, b []byte) bool {
	t.Helper()
	return canonical(t, a) == canonical(t, b)
}

// canonical returns JSON with sorted members and numbers as they are.
func canonical(t testing.TB, b []byte) string {
	t.Helper()
	out, err := json.Marshal(decode(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func ExampleMerge() {
	old := twin.Doc{Properties: []byte(`{"interval":30,"led":{"color":"red","on":true}}`)}
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	r, err := twin.Merge(old, []byte(`{"led":{"color":null},"interval":1e2}`), twin.Change{Section: twin.Desired, Version: 4, At: now})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n%s\n", r.Properties, twin.AppendVersioned(nil, r.Delta, 4))

	_, err = twin.Merge(old, []byte(`{"led":{"no.dots":1}}`), twin.Change{Section: twin.Desired})
	fmt.Println(causeway.MessageOf(err))
	// Output:
	// {"interval":1e2,"led":{"on":true}}
	// {"led":{"color":null},"interval":1e2,"$version":4}
	// desired.led: key "no.dots" contains '.'; keys may not contain '.', '$', spaces or control characters
}
