package config_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/internal/app/config"
)

func TestExampleIsDefault(t *testing.T) {
	got, _, err := config.Load("example.yaml", []byte(config.Example()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), got); diff != "" {
		t.Errorf("the example changes something:\n%s", diff)
	}
}

// Uncommented, the example must still be valid, name every setting and mean
// the defaults.
func TestExampleUncommented(t *testing.T) {
	setting := regexp.MustCompile(`(?m)^(\s*)#([a-zA-Z]+:)`)
	text := setting.ReplaceAllString(config.Example(), "$1$2")
	got, _, err := config.Load("example.yaml", []byte(text), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := config.Default()
	// An empty list is not nil.
	want.TLS.Names, want.Hubs, want.Provisioning = []string{}, []config.Hub{}, []config.Provisioning{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the example does not show the defaults:\n%s", diff)
	}
	for _, v := range config.Variables() {
		key := strings.TrimPrefix(v, config.Prefix)
		key = key[strings.LastIndex(key, "_")+1:]
		if !regexp.MustCompile(`(?mi)^\s*` + key + `:`).MatchString(text) {
			t.Errorf("the example does not mention %s", v)
		}
	}
	hubs := text[strings.Index(text, "hubs: []"):]
	for _, key := range []string{"name:", "hosts:", "partitions:", "quota:", "units:", "routing:", "routes:", "source:", "condition:", "endpointNames:", "isEnabled:", "fallbackRoute:", "enrichments:", "key:", "value:", "endpoints:"} {
		if !strings.Contains(hubs, key) {
			t.Errorf("the example does not mention %s of a hub", key)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"typo", "listen:\n  htps: ':1'\n", `c.yaml:2: unknown key "htps" in listen; did you mean "https"?`},
		{"case", "Data: x\n", `c.yaml:1: unknown key "Data" in the file; did you mean "data"?`},
		{"foreign", "databases: x\n", `c.yaml:1: unknown key "databases" in the file; known keys are data, listen, tls`},
		{"in list", "hubs:\n  - nmae: a\n", `c.yaml:2: unknown key "nmae" in hubs[0]; did you mean "name"?`},
		{"two at once", "dat: x\nlog:\n  levle: info\n", "c.yaml:1: unknown key \"dat\" in the file; did you mean \"data\"?\nc.yaml:3: unknown key \"levle\" in log; did you mean \"level\"?"},
		{"twice", "data: a\ndata: b\n", `c.yaml`},
		{"section", "listen: 443\n", `c.yaml:1: listen is a section with keys https, mqtt, amqp`},
		{"list", "tls:\n  names: a\n", `c.yaml:2: tls.names is a list`},
		{"value", "data: [a]\n", `c.yaml:1: data is one value`},
		{"number", "hubs:\n- name: a\n  partitions: many\n", `c.yaml:3: hubs[0].partitions: "many" is not a whole number`},
		{"duration", "\nstop:\n  drain: soon\n", `c.yaml:3: stop.drain: "soon" is not a time span`},
		{"size", "events:\n  segmentBytes: big\n", `c.yaml:2: events.segmentBytes: "big" is not an amount`},
		{"no yaml", "data: a\nlog: b: c\n", `c.yaml: line 2: mapping values`},
		{"typo in routes", "hubs:\n- name: a\n  routing:\n    routes:\n    - nmae: x\n", `c.yaml:5: unknown key "nmae" in hubs[0].routing.routes[0]; did you mean "name"?`},
		{"switch", "hubs:\n- name: a\n  routing:\n    fallbackRoute:\n      isEnabled: maybe\n", `c.yaml:5: hubs[0].routing.fallbackRoute.isEnabled: "maybe" is not true or false`},
		{"map", "hubs:\n- name: a\n  routing:\n    endpoints:\n    - config: [a]\n", `c.yaml:5: hubs[0].routing.endpoints[0].config is a section of names and values`},
		{"value of a map", "hubs:\n- name: a\n  routing:\n    endpoints:\n    - secrets: {k: [a]}\n", `c.yaml:5: hubs[0].routing.endpoints[0].secrets.k is one value`},
		{"scalar", "hello\n", `c.yaml:1: the file is a section with keys`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := config.Load("c.yaml", []byte(c.file), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestLoadFile(t *testing.T) {
	for name, file := range map[string]string{"empty": "", "comment": "# nothing\n", "null": "null\n", "null section": "listen:\nlog:\n"} {
		got, _, err := config.Load("c.yaml", []byte(file), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(config.Default(), got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	got, _, err := config.Load("c.yaml", []byte(`
listen: {https: ":8443"}
hubs: [{name: a, hosts: [a.example, b.example], partitions: 2}]
events: {retention: 7d, retentionBytes: 10GiB}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Listen.HTTPS = ":8443"
	want.Hubs = []config.Hub{{Name: "a", Hosts: []string{"a.example", "b.example"}, Partitions: 2}}
	want.Events.Retention, want.Events.RetentionBytes = config.Duration(7*24*time.Hour), 10<<30
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	got, unknown, err := config.Load("c.yaml", []byte("data: file\n"), []string{
		"CAUSEWAY_DATA=env", "CAUSEWAY_LISTEN_MQTT=:1", "CAUSEWAY_TLS_NAMES=a, b,",
		"CAUSEWAY_STOP_DRAIN=3s", "CAUSEWAY_EVENTS_SEGMENTBYTES=2MiB", "CAUSEWAY_CONNECTION_STRING=secret",
		"CAUSEWAY_SERVICE_HOST=10.0.0.1", "HOME=/",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Data, want.Listen.MQTT, want.TLS.Names = "env", ":1", []string{"a", "b"}
	want.Stop.Drain, want.Events.SegmentBytes = config.Duration(3*time.Second), 2<<20
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"CAUSEWAY_SERVICE_HOST"}, unknown); diff != "" {
		t.Errorf("unknown: %s", diff)
	}
	_, _, err = config.Load("", nil, []string{"CAUSEWAY_STOP_DRAIN=x"})
	if err == nil || !strings.Contains(err.Error(), "CAUSEWAY_STOP_DRAIN") {
		t.Errorf("bad value: %v", err)
	}
}

// Every setting must be settable from the environment; set panics on a kind it
// does not know.
func TestEveryVariableIsSettable(t *testing.T) {
	for _, v := range config.Variables() {
		if _, _, err := config.Load("", nil, []string{v + "=1"}); err != nil && !strings.Contains(err.Error(), "time span") {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestValidate(t *testing.T) {
	d := config.Default()
	if err := d.Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for _, c := range []struct {
		want  string
		wreck func(*config.Config)
	}{
		{"data: is empty", func(c *config.Config) { c.Data = "" }},
		{`listen.mqtt: "8883" has no port; write ":8883"`, func(c *config.Config) { c.Listen.MQTT = "8883" }},
		{`listen.https: "a:b:c" is not host:port`, func(c *config.Config) { c.Listen.HTTPS = "a:b:c" }},
		{`listen.https: "99999" is not a port`, func(c *config.Config) { c.Listen.HTTPS = ":99999" }},
		{"listen.https: is empty", func(c *config.Config) { c.Listen.HTTPS = "" }},
		{"tls: certificate and key belong together", func(c *config.Config) { c.TLS.Key = "k" }},
		{`hubs[0].name: "A" is not a host label`, func(c *config.Config) { c.Hubs = []config.Hub{{Name: "A"}} }},
		{`provisioning[0].name: "A" is not a host label`, func(c *config.Config) { c.Provisioning = []config.Provisioning{{Name: "A"}} }},
		{`provisioning[1].name: "a" is there twice`, func(c *config.Config) { c.Provisioning = []config.Provisioning{{Name: "a"}, {Name: "a"}} }},
		{`hubs[1].name: "a" is there twice`, func(c *config.Config) { c.Hubs = []config.Hub{{Name: "a"}, {Name: "a"}} }},
		{"hubs[0].partitions: 33", func(c *config.Config) { c.Hubs = []config.Hub{{Name: "a", Partitions: 33}} }},
		{`hubs[0].quota: the preset "gold" is none of`, func(c *config.Config) { c.Hubs = []config.Hub{{Name: "a", Quota: "gold"}} }},
		{"hubs[0].units: there is no edition", func(c *config.Config) { c.Hubs = []config.Hub{{Name: "a", Units: 2}} }},
		{"log.format", func(c *config.Config) { c.Log.Format = "xml" }},
		{"log.level", func(c *config.Config) { c.Log.Level = "loud" }},
		{"events.retention", func(c *config.Config) { c.Events.Retention = 0 }},
		{"endpoints.deadLetters", func(c *config.Config) { c.Endpoints.DeadLetters = 0 }},
		{"endpoints.deadLetterBytes", func(c *config.Config) { c.Endpoints.DeadLetterBytes = 1 }},
		{"events.segmentBytes: 1 is not within 1MiB and 4GiB", func(c *config.Config) { c.Events.SegmentBytes = 1 }},
		{"blobs: endpoint needs bucket", func(c *config.Config) { c.Blobs.Endpoint = "s3.example.com" }},
		{"blobs: endpoint is missing", func(c *config.Config) { c.Blobs.Bucket = "b" }},
		{"blobs.prefix", func(c *config.Config) {
			c.Blobs = config.Blobs{Endpoint: "s3.example.com", Bucket: "b", AccessKey: "a", SecretKeyFile: "f", Prefix: "p"}
		}},
		{"stop.drain", func(c *config.Config) { c.Stop.Drain = config.Duration(time.Hour) }},
	} {
		d := config.Default()
		c.wreck(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestTextForms(t *testing.T) {
	for in, want := range map[string]string{"90s": "1m30s", "7d": "7d", "24h": "1d", "0s": "0s", "0.5d": "12h0m0s"} {
		d, err := config.ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%s: %v, %v", in, d, err)
		}
	}
	for in, want := range map[string]string{"0": "0", "64MiB": "64MiB", "1024": "1KiB", "10 GB": "10GiB", "1025B": "1025"} {
		b, err := config.ParseBytes(in)
		if err != nil || b.String() != want {
			t.Errorf("%s: %v, %v", in, b, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "9999999TiB", "1.5GiB"} {
		if b, err := config.ParseBytes(in); err == nil {
			t.Errorf("ParseBytes(%q) = %v", in, b)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(config.Example()))
	f.Add([]byte("hubs: [{name: a, hosts: [x]}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := config.Load("f.yaml", b, nil)
		if err == nil {
			_ = c.Validate()
		}
	})
}
