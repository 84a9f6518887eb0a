package topic_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/topic"
)

func TestParseUsername(t *testing.T) {
	const host = "hub.azure-devices.net"
	tests := []struct {
		name, in string
		want     topic.Username
	}{
		{
			"Node", host + "/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.0%20(node%20v18)",
			topic.Username{Host: host, Device: "dev1", APIVersion: "2021-04-12", ClientType: "azure-iot-device/1.18.0 (node v18)"},
		},
		{
			"Node with a model, not escaped", host + "/dev1/?api-version=2021-04-12&DeviceClientType=x&model-id=dtmi:com:example:Thermostat;1",
			topic.Username{Host: host, Device: "dev1", APIVersion: "2021-04-12", ClientType: "x", ModelID: "dtmi:com:example:Thermostat;1"},
		},
		{
			"C# module", host + "/dev1/mod1/?api-version=2020-09-30&DeviceClientType=x&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
			topic.Username{Host: host, Device: "dev1", Module: "mod1", APIVersion: "2020-09-30", ClientType: "x", ModelID: "dtmi:com:example:Thermostat;1"},
		},
		{
			"Python without a model", host + "/dev1/?api-version=2019-10-01&DeviceClientType=a+b",
			topic.Username{Host: host, Device: "dev1", APIVersion: "2019-10-01", ClientType: "a+b"},
		},
		{
			"model of an old version does not count", host + "/dev1/?api-version=2019-10-01&model-id=dtmi:x;1",
			topic.Username{Host: host, Device: "dev1", APIVersion: "2019-10-01"},
		},
		{"preview", host + "/dev1/?api-version=2021-06-30-preview", topic.Username{Host: host, Device: "dev1", APIVersion: "2021-06-30-preview"}},
		{"no question mark", host + "/dev1/api-version=2016-11-14&DeviceClientType=x", topic.Username{Host: host, Device: "dev1", APIVersion: "2016-11-14", ClientType: "x"}},
		{"no question mark, module", host + "/dev1/mod1/api-version=2017-06-30", topic.Username{Host: host, Device: "dev1", Module: "mod1", APIVersion: "2017-06-30"}},
		{"no question mark, in another order", host + "/dev1/DeviceClientType=x&api-version=2016-11-14", topic.Username{Host: host, Device: "dev1", APIVersion: "2016-11-14", ClientType: "x"}},
		{"no question mark, module, in another order", host + "/dev1/mod1/x=y&api-version=2017-06-30", topic.Username{Host: host, Device: "dev1", Module: "mod1", APIVersion: "2017-06-30"}},
		{"module, in another order, slashes in the query", host + "/dev1/mod1/?DeviceClientType=a/b&api-version=2021-04-12", topic.Username{Host: host, Device: "dev1", Module: "mod1", APIVersion: "2021-04-12", ClientType: "a/b"}},
		{"no query", host + "/dev1", topic.Username{Host: host, Device: "dev1"}},
		{"no query, slash", host + "/dev1/", topic.Username{Host: host, Device: "dev1"}},
		{"no query, module", host + "/dev1/mod1", topic.Username{Host: host, Device: "dev1", Module: "mod1"}},
		{"empty query", host + "/dev1/?", topic.Username{Host: host, Device: "dev1"}},
		{"edge hub", host + "/dev1/$edgeHub/?api-version=2021-04-12", topic.Username{Host: host, Device: "dev1", Module: "$edgeHub", APIVersion: "2021-04-12"}},
		{"auth-chain", host + "/leaf/?api-version=2021-04-12&auth-chain=leaf%3Bchild%3Bparent", topic.Username{Host: host, Device: "leaf", APIVersion: "2021-04-12", AuthChain: "leaf;child;parent"}},
		{"first duplicate wins, unknown ignored", host + "/dev1/?x=y&api-version=2021-04-12&api-version=nonsense&&z", topic.Username{Host: host, Device: "dev1", APIVersion: "2021-04-12"}},
		{"slashes in the query", host + "/dev1/?api-version=2021-04-12&DeviceClientType=a/b/c", topic.Username{Host: host, Device: "dev1", APIVersion: "2021-04-12", ClientType: "a/b/c"}},
		{"ids are not decoded", host + "/a%20b/?api-version=2021-04-12", topic.Username{Host: host, Device: "a%20b", APIVersion: "2021-04-12"}},
		{"an id like a parameter", host + "/?x/?api-version=2021-04-12", topic.Username{Host: host, Device: "?x", APIVersion: "2021-04-12"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := topic.ParseUsername(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseUsernameRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":            "",
		"only a host":      "hub",
		"no device":        "hub/",
		"no device, query": "hub//?api-version=2021-04-12",
		"no host":          "/dev1/?api-version=2021-04-12",
		"three ids":        "hub/a/b/c",
		"three and query":  "hub/a/b/c/?api-version=2021-04-12",
		"not a date":       "hub/a/?api-version=latest",
		"not a day":        "hub/a/?api-version=2021-02-30",
		"too early":        "hub/a/?api-version=2015-08-15",
		"long device":      "hub/" + strings.Repeat("d", 129) + "/?api-version=2021-04-12",
		"long module":      "hub/d/" + strings.Repeat("m", 129) + "/?api-version=2021-04-12",
		"long in all":      "hub/d/?api-version=2021-04-12&DeviceClientType=" + strings.Repeat("x", topic.MaxUsername),
	} {
		if u, err := topic.ParseUsername(in); !errors.Is(err, topic.ErrMalformed) {
			t.Errorf("%s: got %+v, %v, want ErrMalformed", name, u, err)
		}
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add("hub/dev1/mod1/?api-version=2021-04-12&DeviceClientType=a%2Fb&model-id=dtmi:x;1&auth-chain=a%3Bb")
	f.Add("hub/dev1/api-version=2016-11-14")
	f.Add("hub/?/?")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := topic.ParseUsername(s)
		if err != nil {
			return
		}
		if u.Device == "" || u.Host == "" {
			t.Fatalf("%q: accepted without a device or host: %+v", s, u)
		}
		if strings.HasPrefix(u.Module, "?") || strings.HasPrefix(u.Module, "api-version=") {
			t.Fatalf("%q: a query became the module %q", s, u.Module)
		}
		text := u.String()
		if len(text) > topic.MaxUsername {
			return // escaping made it longer than is accepted
		}
		if again, err := topic.ParseUsername(text); err != nil || again != u {
			t.Fatalf("%q\nfirst  %+v\nsecond %+v, %v", s, u, again, err)
		}
	})
}
