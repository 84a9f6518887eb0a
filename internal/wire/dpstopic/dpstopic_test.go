package dpstopic_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

func TestUsername(t *testing.T) {
	for what, c := range map[string]struct {
		text string
		want dpstopic.Username
	}{
		"Node": {
			"0ne1/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1",
			dpstopic.Username{Scope: "0ne1", ID: "dev-1", APIVersion: "2019-03-31", ClientVersion: "azure-iot-provisioning-device/1.9.1"},
		},
		"Python": {
			"0ne1/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%283.11.2%3BLinux%29",
			dpstopic.Username{Scope: "0ne1", ID: "dev-1", APIVersion: "2019-03-31", ClientVersion: "azure-iot-device-provisioning-py/2.14.0(3.11.2;Linux)"},
		},
		"Java": {
			"0ne1/registrations/dev-1/api-version=2019-03-31&ClientVersion=2019-03-31",
			dpstopic.Username{Scope: "0ne1", ID: "dev-1", APIVersion: "2019-03-31", ClientVersion: "2019-03-31"},
		},
		"documentation":    {"0ne1/registrations/dev-1/api-version=2019-03-31&clientVersion=x", dpstopic.Username{Scope: "0ne1", ID: "dev-1", APIVersion: "2019-03-31", ClientVersion: "x"}},
		"a question mark":  {"0ne1/registrations/dev-1/?api-version=2019-03-31", dpstopic.Username{Scope: "0ne1", ID: "dev-1", APIVersion: "2019-03-31"}},
		"escapes":          {"0ne1/registrations/a%3ab%2dc/api%2dversion=2019%2d03-31", dpstopic.Username{Scope: "0ne1", ID: "a:b-c", APIVersion: "2019-03-31"}},
		"the first counts": {"0ne1/registrations/d/x=y&api-version=2019-03-31&api-version=2020-01-01&&", dpstopic.Username{Scope: "0ne1", ID: "d", APIVersion: "2019-03-31"}},
		"slashes":          {"0ne1/registrations/d/ClientVersion=a/b/c&api-version=2019-03-31", dpstopic.Username{Scope: "0ne1", ID: "d", APIVersion: "2019-03-31", ClientVersion: "a/b/c"}},
		"no version":       {"0ne1/registrations/d/ClientVersion=a", dpstopic.Username{Scope: "0ne1", ID: "d", ClientVersion: "a"}},
		"no parameters":    {"0ne1/registrations/d", dpstopic.Username{Scope: "0ne1", ID: "d"}},
		"none but a slash": {"0ne1/registrations/d/", dpstopic.Username{Scope: "0ne1", ID: "d"}},
	} {
		got, err := dpstopic.ParseUsername(c.text)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v\nwant %+v", what, got, err, c.want)
		}
		if !dpstopic.Is(c.text, c.want.ID) {
			t.Errorf("%s: %s is not seen as one of the provisioning service", what, c.text)
		}
	}
	for what, text := range map[string]string{
		"empty": "", "a host": "hub", "no id": "0ne1/registrations/", "no scope": "/registrations/d/api-version=2019-03-31",
		"another word": "0ne1/devices/d/api-version=2019-03-31", "another case": "0ne1/Registrations/d/api-version=2019-03-31",
		"parameters for an id": "0ne1/registrations/api-version=2019-03-31", "a part too many": "0ne1/registrations/d/register/x",
		"huge": "0ne1/registrations/d/api-version=" + strings.Repeat("x", topic.MaxUsername),
	} {
		if u, err := dpstopic.ParseUsername(text); !errors.Is(err, topic.ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
	}
}

// TestIs tells devices to be provisioned from those of a hub.
func TestIs(t *testing.T) {
	for name, client := range map[string]string{
		"hub.example/dev1/?api-version=2021-04-12":             "dev1",
		"hub.example/dev1/mod1/?api-version=2021-04-12":        "dev1/mod1",
		"hub.example/registrations/?api-version=2021-04-12":    "registrations",
		"hub.example/registrations/api-version=2021-04-12":     "registrations",
		"hub.example/registrations":                            "registrations",
		"hub.example/registrations/":                           "registrations",
		"hub.example/registrations/m1/?api-version=2021-04-12": "registrations/m1",
		"hub.example/registrations/m1/api-version=2021-04-12":  "registrations/m1",
	} {
		if dpstopic.Is(name, client) {
			t.Errorf("%s of %s is one of a hub", name, client)
		}
	}
	// One that is to be told what is wrong with it.
	if !dpstopic.Is("0ne1/registrations/d/x/y", "d") {
		t.Error("a malformed user name is taken for one of a hub")
	}
}

func TestRequest(t *testing.T) {
	for text, want := range map[string]dpstopic.Request{
		"$dps/registrations/PUT/iotdps-register/?$rid=1":                                                    {Register: true, RID: "1"},
		"$dps/registrations/PUT/iotdps-register/?x=y&$rid=a-%20b&$rid=c&forceRegistration=true":             {Register: true, RID: "a-%20b"},
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.00ab.9f0c-1":               {RID: "2", Operation: "5.00ab.9f0c-1"},
		"$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5%2e1&%24rid=3":                     {RID: "3", Operation: "5.1"},
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=4":                                         {RID: "4"},
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=" + strings.Repeat("r", 256) + "&&=&&x&&=": {RID: strings.Repeat("r", 256)},
	} {
		if got, err := dpstopic.ParseRequest(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		"":                               topic.ErrUnknown,
		"devices/d/messages/events/":     topic.ErrUnknown,
		"$dps/registrations/res/200/":    topic.ErrUnknown,
		"$dps/registrations/PUT/another": topic.ErrUnknown,
		"$dps/registrations/PUT/iotdps-register?$rid=1":                                                      topic.ErrUnknown,
		"$dps/registrations/put/iotdps-register/?$rid=1":                                                     topic.ErrUnknown,
		"$dps/registrations/PUT/iotdps-register/":                                                            topic.ErrMalformed,
		"$dps/registrations/PUT/iotdps-register/?":                                                           topic.ErrMalformed,
		"$dps/registrations/PUT/iotdps-register/?$rid=":                                                      topic.ErrMalformed,
		"$dps/registrations/PUT/iotdps-register/?rid=1":                                                      topic.ErrMalformed,
		"$dps/registrations/GET/iotdps-get-operationstatus/$rid=1&operationId=1":                             topic.ErrMalformed,
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=" + strings.Repeat("r", 257):                topic.ErrMalformed,
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=" + strings.Repeat("\xff", 257) + "&x=\x00": topic.ErrMalformed,
	} {
		if got, err := dpstopic.ParseRequest(text); !errors.Is(err, want) || got != (dpstopic.Request{}) {
			t.Errorf("%s: %+v, %v, want %v", text, got, err, want)
		}
	}
}

// TestAnswer has the texts that clients depend on.
func TestAnswer(t *testing.T) {
	for text, a := range map[string]dpstopic.Answer{
		"$dps/registrations/res/202/?$rid=1&retry-after=3": {Status: 202, RID: "1", RetryAfter: 3 * time.Second},
		"$dps/registrations/res/200/?$rid=a%20b":           {Status: 200, RID: "a%20b"},
	} {
		if got := string(dpstopic.AppendAnswer(nil, a.Status, a.RID, a.RetryAfter)); got != text {
			t.Errorf("%+v is %s, want %s", a, got, text)
		}
		if got, err := dpstopic.ParseAnswer(text); err != nil || got != a {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if got := string(dpstopic.AppendAnswer(nil, 429, "1", 1001*time.Millisecond)); got != "$dps/registrations/res/429/?$rid=1&retry-after=2" {
		t.Errorf("a second and a bit is %s", got)
	}
	for text, want := range map[string]error{
		"":                                  topic.ErrUnknown,
		"$dps/registrations/res/200/":       topic.ErrMalformed,
		"$dps/registrations/res/ok/?$rid=1": topic.ErrMalformed,
		"$dps/registrations/res/200/?":      topic.ErrMalformed,
		"$dps/registrations/res/-1/?$rid=1": topic.ErrMalformed,
		"$dps/registrations/res/202/?$rid=1&retry-after=soon":        topic.ErrMalformed,
		"$dps/registrations/res/202/?$rid=1&retry-after=99999999999": topic.ErrMalformed,
	} {
		if got, err := dpstopic.ParseAnswer(text); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", text, got, err, want)
		}
	}
}

// FuzzUsername: whatever is accepted is within bounds and survives being written
// and read again.
func FuzzUsername(f *testing.F) {
	f.Add("0ne1/registrations/dev-1/api-version=2019-03-31&ClientVersion=a%2F1", "dev-1")
	f.Add("0ne1/registrations/a%3Ab/?clientVersion=x&api-version=2019-03-31", "a:b")
	f.Add("hub/registrations/m/?api-version=2019-03-31", "registrations/m")
	f.Fuzz(func(t *testing.T, text, client string) {
		u, err := dpstopic.ParseUsername(text)
		if err != nil {
			if !errors.Is(err, topic.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if len(u.Scope)+len(u.ID)+len(u.APIVersion)+len(u.ClientVersion) > len(text) || u.Scope == "" || u.ID == "" {
			t.Fatalf("%q is %+v", text, u)
		}
		_ = dpstopic.Is(text, client)
		if 3*len(text) > topic.MaxUsername {
			return // escaped, it may be too long
		}
		if again, err := dpstopic.ParseUsername(u.String()); err != nil || again != u {
			t.Fatalf("%q is %+v, and again %+v, %v", text, u, again, err)
		}
	})
}

// FuzzRequest does the same with the topics of requests, and with those of the
// answers.
func FuzzRequest(f *testing.F) {
	f.Add("$dps/registrations/PUT/iotdps-register/?$rid=1", 202, int64(3))
	f.Add("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.00ab%2e9f0c-1", 200, int64(0))
	f.Add("$dps/registrations/GET/iotdps-get-operationstatus/?operationId==&&%24rid==", 429, int64(1))
	f.Fuzz(func(t *testing.T, text string, status int, seconds int64) {
		r, err := dpstopic.ParseRequest(text)
		if err != nil {
			if !errors.Is(err, topic.ErrMalformed) && !errors.Is(err, topic.ErrUnknown) {
				t.Fatal(err)
			}
			return
		}
		if again, err := dpstopic.ParseRequest(string(dpstopic.AppendRequest(nil, r))); err != nil || again != (dpstopic.Request{Register: r.Register, RID: r.RID, Operation: r.Operation}) {
			t.Fatalf("%q is %+v, and again %+v, %v", text, r, again, err)
		}
		want := dpstopic.Answer{Status: status & 0xfff, RID: r.RID, RetryAfter: time.Duration(seconds&0xffff) * time.Second}
		name := string(dpstopic.AppendAnswer(nil, want.Status, want.RID, want.RetryAfter))
		if got, err := dpstopic.ParseAnswer(name); err != nil || got != want {
			t.Fatalf("%q is %+v, %v, want %+v", name, got, err, want)
		}
	})
}
