package iothub_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/iothub"
)

// FuzzPath: whatever is matched has ids that lead back to the same route.
func FuzzPath(f *testing.F) {
	for _, p := range []string{
		"/devices", "/devices/", "/devices/d", "/devices/a%2Fb", "/Devices/d/modules/m/", "/twins/%24x/methods", "/devices/d/messages/deviceBound/x/abandon",
		"//devices", "/devices/%", "/devices/%zz", "/%64evices/d", "/devices/d?x=/y", "/statistics/devices", "/devices/../d",
	} {
		f.Add("GET", p)
		f.Add("DELETE", p)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		name, pattern, device, module, lock, _ := iothub.Match(method, u)
		if name == "" {
			return
		}
		back := strings.NewReplacer("{deviceId}", url.PathEscape(device), "{moduleId}", url.PathEscape(module), "{lockToken}", url.PathEscape(lock), "{componentPath}", "c", "{commandName}", "x", "{configurationId}", "c").Replace(pattern)
		u2, err := url.ParseRequestURI(back)
		if err != nil {
			t.Fatalf("%q became %q: %v", path, back, err)
		}
		name2, _, device2, module2, lock2, _ := iothub.Match(method, u2)
		if name2 != name || device2 != device || module2 != module || lock2 != lock {
			t.Fatalf("%q is %s %q %q %q, %q is %s %q %q %q", path, name, device, module, lock, back, name2, device2, module2, lock2)
		}
	})
}

// FuzzBody: no body makes a handler panic or fail on our side, whatever the
// operation.
func FuzzBody(f *testing.F) {
	for _, b := range []string{
		`{}`, `null`, `[]`, `{"deviceId":"d","status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":null}}}`,
		`{"tags":{"a":null},"properties":{"desired":{"b":[1,{"c":"é"}]}}}`, `{"methodName":"m","payload":{"x":1},"responseTimeoutInSeconds":5}`,
		`{"statusReason":null,"parentScopes":["x"],"deviceScope":""}`, "{\"a\":\"\xff\"}", `{"tags":{"a":1e400}}`,
	} {
		f.Add([]byte(b), uint8(0))
		f.Add([]byte(b), uint8(3))
		f.Add([]byte("["+b+"]"), uint8(6))
		f.Add([]byte(b), uint8(7))
		f.Add([]byte(b), uint8(8))
		f.Add([]byte(b), uint8(9))
	}
	w := newWorld(&testing.T{})
	w.hub.answering(causeway.Result{Status: 200}, nil)
	owner := token("iothubowner")
	targets := []struct{ method, path string }{
		{"PUT", "/devices/d"},
		{"PUT", "/devices/d/modules/m"},
		{"PATCH", "/twins/d"},
		{"PUT", "/twins/d"},
		{"POST", "/twins/d/methods"},
		{"POST", "/devices/d/messages/deviceBound"},
		{"POST", "/devices"},
		{"POST", "/devices/keys/regenerate"},
		{"POST", "/devices/query"},
		{"PUT", "/configurations/c"},
		{"POST", "/configurations/testQueries"},
		{"POST", "/devices/d/applyConfigurationContent"},
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		to := targets[int(which)%len(targets)]
		for _, match := range []string{"", "*"} {
			r := httptest.NewRequest(to.method, to.path+"?"+version, strings.NewReader(string(body)))
			r.Host = hubHost
			r.Header.Set("Authorization", owner)
			if match != "" {
				r.Header.Set("If-Match", match)
			}
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			if rec.Code >= 500 {
				t.Fatalf("%s %s %q: %d %s", to.method, to.path, body, rec.Code, rec.Body)
			}
		}
	})
}
