package twin_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

func TestAdopt(t *testing.T) {
	own := `{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"a":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z","b":{"$lastUpdated":"2024-01-03T00:00:00.0000000Z"}}}`
	d := twin.Doc{Properties: []byte(`{"a":{"b":1},"c":[1]}`), Metadata: []byte(own)}
	for _, x := range []struct{ given, want string }{
		{`{}`, `{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"a":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z","b":{"$lastUpdated":"2024-01-03T00:00:00.0000000Z"}},"c":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3}}`},
		{
			` {"c":{"$lastUpdated":"2001-02-03T04:05:06Z","$lastUpdatedVersion":9},"nothing":{"x":{}}, "a":{"b":{"$lastUpdated":"2001-02-03T05:05:06+01:00"}}} `,
			`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"a":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z","b":{"$lastUpdated":"2001-02-03T04:05:06.0000000Z"}},"c":{"$lastUpdated":"2001-02-03T04:05:06.0000000Z","$lastUpdatedVersion":9}}`,
		},
	} {
		got, err := twin.Adopt(d, []byte(x.given), twin.Desired)
		if err != nil || string(got) != x.want {
			t.Errorf("%s\ngave %s %v\nwant %s", x.given, got, err, x.want)
		}
	}
	for _, bad := range []string{
		``, `[]`, `{"$lastUpdated":1}`, `{"$lastUpdated":"soon"}`, `{"a":7}`, `{"$lastUpdated":"2024-01-01T00:00:00Z"`, `{} x`,
		`{"$lastUpdatedVersion":1.5}`, `{"$lastUpdated":"2024-01-01T00:00:00Z","$lastUpdatedVersion":-1}`,
	} {
		if got, err := twin.Adopt(d, []byte(bad), twin.Desired); causeway.CodeOf(err) != causeway.DeserializationError {
			t.Errorf("%s: %s, %v", bad, got, err)
		}
	}
	if _, err := twin.Adopt(d, []byte(strings.Repeat(" ", twin.MaxPatch+1)), twin.Desired); causeway.CodeOf(err) != causeway.ArgumentInvalid {
		t.Errorf("too large: %v", err)
	}
}

// FuzzAdopt: what was adopted is adopted again as it is.
func FuzzAdopt(f *testing.F) {
	f.Add(`{"a":{"$lastUpdated":"2001-02-03T04:05:06Z","b":{"$lastUpdatedVersion":2}}}`)
	f.Add(`{"a":{"b":{"$lastUpdated":"9999-12-31T23:59:59-10:00"}}}`)
	d := twin.Doc{Properties: []byte(`{"a":{"b":1},"c":[1]}`), Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}`)}
	f.Fuzz(func(t *testing.T, given string) {
		once, err := twin.Adopt(d, []byte(given), twin.Desired)
		if err != nil {
			return
		}
		again, err := twin.Adopt(d, once, twin.Desired)
		if err != nil || string(again) != string(once) {
			t.Fatalf("%s became %s, then %s %v", given, once, again, err)
		}
	})
}
