package pnp_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/pnp"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

var at = time.Date(2024, 1, 2, 3, 4, 5, 600, time.UTC)

// made is a section that came by merge patches, the first of version 1.
func made(t testing.TB, sec twin.Section, patches ...string) twin.Doc {
	t.Helper()
	var d twin.Doc
	for i, p := range patches {
		r, err := twin.Merge(d, []byte(p), twin.Change{Section: sec, Version: int64(i + 1), At: at.Add(time.Duration(i) * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		d = r.Doc
	}
	return d
}

func same(t testing.TB, got []byte, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const (
	t0 = `"2024-01-02T03:04:05.0000006Z"`
	t1 = `"2024-01-02T03:05:05.0000006Z"`
)

func TestView(t *testing.T) {
	for _, tc := range []struct {
		name              string
		model             string
		desired, reported []string
		want              string
	}{
		{"nothing", "", nil, nil, `{"$dtId":"d","$metadata":{}}`},
		{"a model", "dtmi:a;1", nil, nil, `{"$dtId":"d","$metadata":{"$model":"dtmi:a;1"}}`},
		{
			"read-only", "", nil,
			[]string{`{"serial":"x","n":1.50,"o":{"value":1}}`},
			`{"$dtId":"d","serial":"x","n":1.50,"o":{"value":1},"$metadata":{"serial":{"lastUpdateTime":` + t0 + `},"n":{"lastUpdateTime":` + t0 + `},"o":{"lastUpdateTime":` + t0 + `}}}`,
		},
		{
			"wanted, unanswered", "",
			[]string{`{"a":1}`, `{"b":{"c":[1]}}`},
			nil,
			`{"$dtId":"d","$metadata":{"a":{"desiredValue":1,"desiredVersion":1},"b":{"desiredValue":{"c":[1]},"desiredVersion":2}}}`,
		},
		{
			"acknowledged", "",
			[]string{`{"t":21}`},
			[]string{`{"x":1}`, `{"t":{"value":20,"ac":202,"av":1,"ad":"soon"}}`},
			`{"$dtId":"d","x":1,"t":20,"$metadata":{"x":{"lastUpdateTime":` + t0 + `},"t":{"desiredValue":21,"desiredVersion":1,"ackVersion":1,"ackCode":202,"ackDescription":"soon","lastUpdateTime":` + t1 + `}}}`,
		},
		{
			"what only looks like an answer", "", nil,
			[]string{`{"a":{"value":1,"ac":"x","av":1},"b":{"value":1,"ac":200,"av":1,"more":1},"c":{"ac":200,"av":1}}`},
			`{"$dtId":"d","a":{"value":1,"ac":"x","av":1},"b":{"value":1,"ac":200,"av":1,"more":1},"c":{"ac":200,"av":1},"$metadata":{"a":{"lastUpdateTime":` + t0 + `},"b":{"lastUpdateTime":` + t0 + `},"c":{"lastUpdateTime":` + t0 + `}}}`,
		},
		{
			"components", "dtmi:a;1",
			[]string{`{"th1":{"__t":"c","t":21},"empty":{"__t":"c"}}`},
			[]string{`{"th1":{"__t":"c","t":{"value":21,"ac":200,"av":1},"max":38.7},"th2":{"__t":"c","__u":1}}`},
			`{"$dtId":"d","$metadata":{"$model":"dtmi:a;1"},
			 "th1":{"t":21,"max":38.7,"$metadata":{"t":{"desiredValue":21,"desiredVersion":1,"ackVersion":1,"ackCode":200,"lastUpdateTime":` + t0 + `},"max":{"lastUpdateTime":` + t0 + `}}},
			 "th2":{"__u":1,"$metadata":{"__u":{"lastUpdateTime":` + t0 + `}}},"empty":{"$metadata":{}}}`,
		},
		{
			"a component to one side only", "",
			[]string{`{"c":{"a":1}}`},
			[]string{`{"c":{"__t":"c","b":2}}`},
			`{"$dtId":"d","$metadata":{},"c":{"b":2,"$metadata":{"b":{"lastUpdateTime":` + t0 + `},"a":{"desiredValue":1,"desiredVersion":1}}}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := pnp.View(pnp.Twin{ID: "d", Model: tc.model, Desired: made(t, twin.Desired, tc.desired...), Reported: made(t, twin.Reported, tc.reported...)})
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, tc.want)
		})
	}
}

func TestPatch(t *testing.T) {
	const desired = `{"a":1,"o":{"x":{"y":1,"z":2},"l":[1]},"th1":{"__t":"c","t":20,"u":{"v":1}}}`
	const reported = `{"ro":5,"th2":{"__t":"c","m":1}}`
	for _, tc := range []struct{ name, patch, want string }{
		{"a property", `[{"op":"add","path":"/t","value":21.50}]`, `{"t":21.50}`},
		{"the value it has", `[{"op":"replace","path":"/a","value":1}]`, `{"a":1}`},
		{"removed", `[{"op":"remove","path":"/a"}]`, `{"a":null}`},
		{"what the device reports", `[{"op":"replace","path":"/ro","value":6}]`, `{"ro":6}`},
		{"an object in place of one", `[{"op":"replace","path":"/o","value":{"x":{"z":3},"n":[{"m":1}]}}]`, `{"o":{"x":{"y":null,"z":3},"l":null,"n":[{"m":1}]}}`},
		{"inside of a property", `[{"op":"add","path":"/o/x/w","value":"é"},{"op":"remove","path":"/o/x/y"}]`, `{"o":{"x":{"w":"é","y":null}}}`},
		{"of a component", `[{"op":"replace","path":"/th1/t","value":21}]`, `{"th1":{"__t":"c","t":21}}`},
		{"removed of a component", `[{"op":"remove","path":"/th1/t"}]`, `{"th1":{"__t":"c","t":null}}`},
		{"inside of a component's", `[{"op":"add","path":"/th1/u/w","value":2}]`, `{"th1":{"__t":"c","u":{"w":2}}}`},
		{"of a component that is only reported", `[{"op":"add","path":"/th2/t","value":21}]`, `{"th2":{"__t":"c","t":21}}`},
		{"of a component nobody spoke of", `[{"op":"add","path":"/th3/t","value":21}]`, `{"th3":{"__t":"c","t":21}}`},
		{"a whole component", `[{"op":"add","path":"/th3","value":{"t":1,"$metadata":{}}}]`, `{"th3":{"__t":"c","t":1}}`},
		{"a whole component in place of one", `[{"op":"replace","path":"/th1","value":{"$metadata":{},"n":1}}]`, `{"th1":{"__t":"c","n":1,"t":null,"u":null}}`},
		{"a component removed", `[{"op":"remove","path":"/th1"}]`, `{"th1":null}`},
		{"one after the other", `[{"op":"add","path":"/n","value":1},{"op":"replace","path":"/n","value":2},{"op":"remove","path":"/n"},{"op":"add","path":"/n","value":{"p":1}},{"op":"add","path":"/n/q","value":2}]`, `{"n":{"p":1,"q":2}}`},
		{"escapes", `[{"op":"add","path":"/a~1b~0c","value":true}]`, `{"a/b~c":true}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tw := pnp.Twin{ID: "d", Desired: made(t, twin.Desired, desired), Reported: made(t, twin.Reported, reported)}
			got, err := pnp.Patch([]byte(tc.patch), tw)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, tc.want)
			if i := strings.Index(string(got), `"__t"`); i > 0 && got[i-1] != '{' {
				t.Errorf("the marker is not the first member: %s", got)
			}
		})
	}
}

func TestBadPatch(t *testing.T) {
	const form, payload, patch, path = causeway.InvalidDigitalTwinJsonPatch, causeway.InvalidDigitalTwinPayload, causeway.InvalidDigitalTwinPatch, causeway.InvalidDigitalTwinPatchPath
	tw := pnp.Twin{ID: "d", Desired: made(t, twin.Desired, `{"a":1,"l":[1],"c":{"__t":"c","t":1}}`), Reported: made(t, twin.Reported, `{"r":1}`)}
	for _, tc := range []struct {
		name, text string
		code       causeway.Code
		says       string
	}{
		{"nothing", ``, form, "JSON Patch"},
		{"null", `null`, form, "JSON Patch"},
		{"an object", `{"a":1}`, form, "JSON Patch"},
		{"a tail", `[{"op":"remove","path":"/a"}] x`, form, "JSON Patch"},
		{"a list of numbers", `[1]`, form, "JSON Patch"},
		{"no operation", `[]`, form, "0 operations"},
		{"too many", `[` + strings.Repeat(`{"op":"remove","path":"/a"},`, pnp.MaxOperations) + `{"op":"remove","path":"/a"}]`, form, "256"},
		{"too long", `[{"op":"add","path":"/a","value":"` + strings.Repeat("x", twin.MaxPatch) + `"}]`, form, "bytes"},
		{"another operation", `[{"op":"test","path":"/a","value":1}]`, form, `operation 0 is "test"`},
		{"no path", `[{"op":"remove","path":"/a"},{"op":"add","value":1}]`, form, "operation 1"},
		{"no value", `[{"op":"add","path":"/a"}]`, form, "no value"},
		{"the value null", `[{"op":"add","path":"/a","value":null}]`, form, "no value"},
		{"null in a value", `[{"op":"add","path":"/a","value":{"b":[null]}}]`, payload, "remove"},
		{"the whole twin", `[{"op":"add","path":"","value":{}}]`, path, "slash"},
		{"no slash", `[{"op":"add","path":"a","value":1}]`, path, "slash"},
		{"an empty name", `[{"op":"add","path":"/a//b","value":1}]`, path, "empty"},
		{"metadata", `[{"op":"add","path":"/$metadata/$model","value":"dtmi:b;1"}]`, path, "$metadata"},
		{"the marker", `[{"op":"add","path":"/c/__t","value":"d"}]`, path, "__t"},
		{"too deep", `[{"op":"add","path":"/a/b/c/d/e/f/g/h/i/j/k/l/m","value":1}]`, path, "12"},
		{"inside of a list", `[{"op":"add","path":"/l/0","value":1}]`, path, "whole"},
		{"inside of a number", `[{"op":"add","path":"/a/b","value":1}]`, path, "whole"},
		{"replace what is not there", `[{"op":"replace","path":"/x","value":1}]`, patch, "use add"},
		{"remove what is not there", `[{"op":"remove","path":"/x"}]`, patch, "nothing"},
		{"remove what only the device has", `[{"op":"remove","path":"/r"}]`, patch, "nothing"},
		{"a component without metadata", `[{"op":"replace","path":"/c","value":{"t":2}}]`, payload, "$metadata"},
		{"a component that is a number", `[{"op":"replace","path":"/c","value":2}]`, payload, "$metadata"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := pnp.Patch([]byte(tc.text), tw)
			if got := causeway.CodeOf(err); err == nil || got != tc.code || !strings.Contains(causeway.MessageOf(err), tc.says) {
				t.Errorf("%v %v, want %v that says %q", got, err, tc.code, tc.says)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	for _, tc := range []struct{ name, desired, reported, want string }{
		{"nothing", "", "", ""},
		{"nothing of a component", `{"c":{"__t":"c"}}`, `{}`, ""},
		{"wanted", `{"a":{"b":1},"n":null}`, "", `[{"op":"add","path":"/$metadata/a","value":{"desiredValue":{"b":1},"desiredVersion":7}},{"op":"remove","path":"/$metadata/n/desiredValue"},{"op":"remove","path":"/$metadata/n/desiredVersion"}]`},
		{"wanted of a component", `{"c":{"__t":"c","a/b":1}}`, "", `[{"op":"add","path":"/c/$metadata/a~1b","value":{"desiredValue":1,"desiredVersion":7}}]`},
		{"acknowledged", "", `{"c":{"__t":"c","t":{"value":1,"ac":200,"av":3,"ad":"ok"}},"gone":null}`, `[
			{"op":"add","path":"/c/$metadata/t/ackVersion","value":3},{"op":"add","path":"/c/$metadata/t/ackCode","value":200},{"op":"add","path":"/c/$metadata/t/ackDescription","value":"ok"},
			{"op":"add","path":"/c/$metadata/t/lastUpdateTime","value":` + t0 + `},{"op":"add","path":"/c/t","value":1},{"op":"remove","path":"/gone"}]`},
		{"reported", "", `{"r":[1]}`, `[{"op":"add","path":"/$metadata/r/lastUpdateTime","value":` + t0 + `},{"op":"add","path":"/r","value":[1]}]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := pnp.Changes(pnp.Change{Desired: []byte(tc.desired), Reported: []byte(tc.reported), DesiredVersion: 7, At: at})
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if got != nil {
					t.Errorf("%s", got)
				}
				return
			}
			same(t, got, tc.want)
		})
	}
}

func TestCommandName(t *testing.T) {
	if pnp.CommandName("", "reboot") != "reboot" || pnp.CommandName("th1", "report") != "th1*report" {
		t.Error("names of commands")
	}
}

// FuzzPatch: a patch that is taken merges, and what it says is then in the view.
func FuzzPatch(f *testing.F) {
	for _, p := range []string{
		`[{"op":"add","path":"/t","value":21.5}]`, `[{"op":"add","path":"/th1/t","value":{"a":[1,"x"]}},{"op":"remove","path":"/a"}]`,
		`[{"op":"replace","path":"/th1","value":{"$metadata":{},"n":1e5}}]`, `[{"op":"add","path":"/~0~1","value":true}]`,
	} {
		f.Add([]byte(p))
	}
	desired := made(f, twin.Desired, `{"a":1,"o":{"x":{"y":1}},"th1":{"__t":"c","t":20}}`)
	reported := made(f, twin.Reported, `{"ro":5,"th2":{"__t":"c","m":{"value":1,"ac":200,"av":1}}}`)
	f.Fuzz(func(t *testing.T, text []byte) {
		tw := pnp.Twin{ID: "d", Desired: desired, Reported: reported}
		merge, err := pnp.Patch(text, tw)
		if err != nil {
			if c := causeway.CodeOf(err); c < causeway.InvalidDigitalTwinJsonPatch || c > causeway.InvalidDigitalTwinPatchPath {
				t.Fatal(err)
			}
			return
		}
		r, err := twin.Merge(desired, merge, twin.Change{Section: twin.Desired, Version: 2, At: at})
		if err != nil {
			if causeway.CodeOf(err) != causeway.ArgumentInvalid {
				t.Fatalf("%s became %s: %v", text, merge, err)
			}
			return
		}
		tw.Desired = r.Doc
		view, err := pnp.View(tw)
		if err != nil || !json.Valid(view) {
			t.Fatalf("%s became %s: %v", text, view, err)
		}
		if c, err := pnp.Changes(pnp.Change{Desired: r.Delta, DesiredVersion: 2, At: at}); err != nil || c != nil && !json.Valid(c) {
			t.Fatalf("%s became %s: %v", text, c, err)
		}
	})
}

func ExamplePatch() {
	merge, err := pnp.Patch([]byte(`[{"op":"add","path":"/thermostat1/targetTemperature","value":21}]`), pnp.Twin{ID: "d"})
	fmt.Println(string(merge), err)
	// Output: {"thermostat1":{"__t":"c","targetTemperature":21}} <nil>
}
