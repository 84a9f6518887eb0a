package routecond_test

import (
	_ "embed"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

//go:embed testdata/conditions.txt
var vectors string

// message is a message in memory.
type message struct {
	properties map[string]*string
	system     map[string]string
	body       []byte
	twin       *routecond.Twin
	looked     map[string]int // how often something was asked for
}

func (m *message) count(kind, name string) {
	if m.looked != nil {
		m.looked[strings.TrimSpace(kind+" "+strings.ToLower(name))]++
	}
}

func (m *message) Property(name string) (value string, null, ok bool) {
	m.count("property", name)
	for k, v := range m.properties {
		if strings.EqualFold(k, name) {
			if v == nil {
				return "", true, true
			}
			return *v, false, true
		}
	}
	return "", false, false
}

func (m *message) Shadows() bool {
	for k := range m.properties {
		if strings.HasPrefix(k, "$") {
			return true
		}
	}
	return false
}

func (m *message) System(name string) (string, bool) {
	m.count("system", name)
	v, ok := m.system[name]
	return v, ok
}

func (m *message) Body() []byte {
	m.count("body", "")
	return m.body
}

func (m *message) Twin() (routecond.Twin, bool) {
	m.count("twin", "")
	if m.twin == nil {
		return routecond.Twin{}, false
	}
	return *m.twin, true
}

const document = `{"t":21.5,"n":50,"s":"hot","on":true,"off":false,"z":null,"arr":[1,{"k":"v"}],"obj":{"in":{"p":7}},` +
	`"when":"2024-01-02T03:04:05Z","ns":"50","Case":1}`

// sample returns one of the messages that the vectors are about.
func sample(name string) *message {
	m := &message{
		properties: map[string]*string{
			"color": new("red"), "size": new("42"), "tiny": new("7.5"), "blank": new(""), "nul": nil,
			"word": new("résumé"), "$own": new("mine"), "True": new("yes"),
		},
		system: map[string]string{
			"contenttype": "application/json", "contentencoding": "utf-8", "connectiondeviceid": "dev-7",
			"messageid": "m1", "enqueuedtime": "2024-05-01T10:00:00Z",
		},
		body: []byte(document),
	}
	switch name {
	case "B":
		delete(m.system, "contentencoding")
	case "C":
		m.system["contenttype"] = "application/json; charset=utf-8"
	case "D":
		m.body = []byte("not json")
	case "E":
		m.body = []byte("[1,2]")
	case "F":
		m.system["contenttype"], m.system["contentencoding"] = "APPLICATION/JSON", "UTF-16"
		m.body = nil
		for _, b := range []byte(document) {
			m.body = append(m.body, b, 0)
		}
	case "G":
		m.properties = map[string]*string{"$body.t": new("shadow"), "$messageId": new("app")}
	}
	return m
}

// outcome compiles and evaluates one condition.
func outcome(t *testing.T, set *routecond.Set, text string, m *message, o routecond.Options) string {
	t.Helper()
	c, err := set.Compile(text, o)
	if err != nil {
		if _, ok := errors.AsType[routecond.Errors](err); !ok {
			t.Errorf("%s: the error is a %T", text, err)
		}
		return "ERR"
	}
	e := set.Evaluator()
	e.Reset(m)
	return map[routecond.Bool]string{routecond.True: "T", routecond.False: "F", routecond.Undefined: "U"}[c.Eval(e)]
}

func TestVectors(t *testing.T) {
	// Where EdgeMissing takes a path that is not there as the edge runtime does.
	edge := map[string]bool{"85": true, "86": true, "95": true}
	n := 0
	for line := range strings.Lines(vectors) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		n++
		f := strings.SplitN(line, "\t", 5)
		number, name, reference, here, text := f[0], f[1], f[2], f[3], f[4]
		want := here
		if want == "-" {
			want = reference
		}
		if got := outcome(t, &routecond.Set{}, text, sample(name), routecond.Options{}); got != want {
			t.Errorf("row %s: %s over message %s is %s, want %s", number, text, name, got, want)
		}
		if edge[number] {
			want = reference
		}
		if got := outcome(t, &routecond.Set{EdgeMissing: true}, text, sample(name), routecond.Options{}); got != want {
			t.Errorf("row %s at the edge: %s over message %s is %s, want %s", number, text, name, got, want)
		}
	}
	if n != 182 {
		t.Errorf("%d vectors, want 182", n)
	}
}

func TestTwinChangeIncludes(t *testing.T) {
	m := sample("A")
	m.body = []byte(`{"tags":{"a":null,"b":{"c":1}},"properties":{"reported":{"x":5}}}`)
	for text, want := range map[string]string{
		"twin_change_includes(tags.a)":                "T",
		"twin_change_includes(tags.b)":                "T",
		"twin_change_includes(tags.b.c)":              "T",
		"twin_change_includes(tags.q)":                "F",
		"TWIN_CHANGE_INCLUDES(Properties.Reported.x)": "F",
		"twin_change_includes(properties.reported.x)": "T",
		"twin_change_includes('tags.a')":              "ERR",
		"twin_change_includes(foo.a)":                 "ERR",
		"twin_change_includes(tags.)":                 "ERR",
		"twin_change_includes(tags.a,tags.b)":         "ERR",
		"twin_change_includes()":                      "ERR",
		"NOT twin_change_includes(tags.q)":            "T",
	} {
		if got := outcome(t, &routecond.Set{}, text, m, routecond.Options{TwinChanges: true}); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
		if got := outcome(t, &routecond.Set{}, text, m, routecond.Options{}); got != "ERR" {
			t.Errorf("%s over another source is %s, want an error", text, got)
		}
	}
	m.body = []byte("[]")
	if got := outcome(t, &routecond.Set{}, "twin_change_includes(tags.a)", m, routecond.Options{TwinChanges: true}); got != "U" {
		t.Errorf("over a body that is no object: %s, want U", got)
	}
}

func TestTwin(t *testing.T) {
	m := sample("A")
	m.twin = &routecond.Twin{
		Tags:     []byte(`{"floor":3,"muted":false,"Site":"a","list":[1,2]}`),
		Reported: []byte(`{"fw":"1.3","deep":{"er":true}}`),
	}
	for text, want := range map[string]string{
		"$twin.tags.floor = 3":                                       "T",
		"$TWIN.Tags.FLOOR = 3":                                       "T",
		"$twin.tags.site = 'a'":                                      "T",
		"$twin.properties.reported.fw > '1.2' AND $body.t > 20":      "T",
		"NOT $twin.tags.muted":                                       "T",
		"$twin.tags.nope = null":                                     "U",
		"is_defined($twin.tags.nope)":                                "F",
		"$twin.tags.list[1] = 2":                                     "T",
		"$twin.properties.reported.deep.er":                          "T",
		"is_object($twin.properties.reported.deep)":                  "T",
		"is_object($twin.tags)":                                      "T",
		"is_defined($twin.properties.desired)":                       "F",
		"is_defined($twin.deviceId)":                                 "F",
		"{$twin.tags.floor} = 3":                                     "T",
		"$twin.tags..x = 3":                                          "ERR",
		"$twin = 'x'":                                                "U",
		"color = 'red' AND $twin.tags.floor = 3 AND $twin.tags.site": "U",
	} {
		if got := outcome(t, &routecond.Set{}, text, m, routecond.Options{}); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	m.twin = nil
	if got := outcome(t, &routecond.Set{}, "$twin.tags.floor = 3", m, routecond.Options{}); got != "U" {
		t.Errorf("without a twin: %s, want U", got)
	}
}
