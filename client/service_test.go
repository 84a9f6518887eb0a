package client_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

const serviceKey = "MDEyMzQ1Njc4OWFiY2RlZg=="

// hub is a REST server that remembers the last request and gives one answer.
type hub struct {
	*httptest.Server
	last *http.Request
	body string
}

func newHub(t *testing.T, answer http.HandlerFunc) (*hub, client.Options) {
	t.Helper()
	h := &hub{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.last, h.body = r, string(b)
		answer(w, r)
	}))
	t.Cleanup(h.Close)
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	// The test certificate names example.com.
	return h, client.Options{RootCAs: roots, HTTPSPort: port, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, u.Host)
	}}
}

func newService(t *testing.T, answer http.HandlerFunc) (*client.Service, *hub) {
	t.Helper()
	h, o := newHub(t, answer)
	s, err := client.NewService("HostName=example.com;SharedAccessKeyName=service;SharedAccessKey="+serviceKey, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, h
}

func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // the client's problem
	}
}

func TestServiceRequests(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name   string
		call   func(s *client.Service) error
		method string
		uri    string
		match  string
		body   string
	}{
		{"get", func(s *client.Service) error { _, err := s.Device(ctx, "a#b"); return err }, "GET", "/devices/a%23b?api-version=2021-04-12", "", ""},
		{"list", func(s *client.Service) error { _, err := s.Devices(ctx, 5); return ignore(err) }, "GET", "/devices?api-version=2021-04-12&top=5", "", ""},
		{"create", func(s *client.Service) error {
			_, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: "d", Status: "enabled"})
			return err
		}, "PUT", "/devices/d?api-version=2021-04-12", "", `{"deviceId":"d","status":"enabled","statusReason":"","cloudToDeviceMessageCount":0}`},
		{"update", func(s *client.Service) error {
			_, err := s.UpdateDevice(ctx, client.DeviceIdentity{DeviceID: "d"}, "abc=")
			return err
		}, "PUT", "/devices/d?api-version=2021-04-12", `"abc="`, `{"deviceId":"d","statusReason":"","cloudToDeviceMessageCount":0}`},
		{"delete", func(s *client.Service) error { return s.DeleteDevice(ctx, "d", "") }, "DELETE", "/devices/d?api-version=2021-04-12", "*", ""},
		{"module", func(s *client.Service) error { _, err := s.Module(ctx, "d", "m/1"); return err }, "GET", "/devices/d/modules/m%2F1?api-version=2021-04-12", "", ""},
		{"twin", func(s *client.Service) error { _, err := s.Twin(ctx, "d", "m"); return err }, "GET", "/twins/d/modules/m?api-version=2021-04-12", "", ""},
		{"patch", func(s *client.Service) error {
			_, err := s.UpdateTwin(ctx, "d", "", client.TwinPatch{Tags: json.RawMessage(`{"a":null}`)}, "")
			return err
		}, "PATCH", "/twins/d?api-version=2021-04-12", "*", `{"tags":{"a":null}}`},
		{"replace", func(s *client.Service) error {
			_, err := s.ReplaceTwin(ctx, "d", "", client.TwinPatch{Desired: json.RawMessage(`{"b":1}`)}, `"q"`)
			return err
		}, "PUT", "/twins/d?api-version=2021-04-12", `"q"`, `{"properties":{"desired":{"b":1}}}`},
		{"invoke", func(s *client.Service) error {
			_, err := s.Invoke(ctx, "d", "", client.MethodCall{Name: "x", ConnectTimeout: 1500 * time.Millisecond})
			return err
		}, "POST", "/twins/d/methods?api-version=2021-04-12", "", `{"connectTimeoutInSeconds":2,"methodName":"x","payload":null}`},
		{"purge", func(s *client.Service) error { _, err := s.PurgeCommands(ctx, "d"); return err }, "DELETE", "/devices/d/commands?api-version=2021-04-12", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, h := newService(t, says(200, `{}`))
			if err := c.call(s); err != nil {
				t.Fatal(err)
			}
			if got := h.last.Method + " " + h.last.URL.RequestURI(); got != c.method+" "+c.uri {
				t.Errorf("got  %s\nwant %s %s", got, c.method, c.uri)
			}
			if got := h.last.Header.Get("If-Match"); got != c.match {
				t.Errorf("If-Match %s, want %s", got, c.match)
			}
			if h.body != c.body {
				t.Errorf("body %s\nwant %s", h.body, c.body)
			}
			token, err := sas.Parse(h.last.Header.Get("Authorization"))
			if err != nil || token.Resource != "example.com" || token.Policy != "service" || !token.Verify([]byte("0123456789abcdef")) {
				t.Errorf("token %+v, %v", token, err)
			}
		})
	}
}

// ignore forgives that {} is no list; the request is what counts.
func ignore(err error) error {
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil
	}
	return err
}

func TestSendCommand(t *testing.T) {
	s, h := newService(t, says(204, ""))
	err := s.SendCommand(t.Context(), "d", "", &causeway.Message{
		Body: []byte("hi"), ID: "m1", CorrelationID: "c", ContentType: "text/plain", Ack: causeway.AckFull,
		Expiry: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Properties: []causeway.Property{{Key: "Zone", Value: "3"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if h.last.URL.Path != "/devices/d/messages/deviceBound" || h.body != "hi" {
		t.Errorf("%s with %q", h.last.URL.Path, h.body)
	}
	for k, want := range map[string]string{
		"iothub-messageid": "m1", "iothub-correlationid": "c", "iothub-contenttype": "text/plain", "iothub-ack": "full",
		"iothub-expiry": "2030-01-01T00:00:00.0000000Z", "iothub-app-Zone": "3",
	} {
		if got := h.last.Header.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		code   causeway.Code
		msg    string
	}{
		{"form A", says(404, `{"Message":"ErrorCode:DeviceNotFound;no device d","ExceptionMessage":"Tracking ID:1"}`), causeway.DeviceNotFound, "no device d"},
		{"form B", says(404, `{"Message":"{\"errorCode\":404103,\"message\":\"not online\"}","ExceptionMessage":""}`), causeway.DeviceNotOnline, "not online"},
		{"header", says(412, `{"Message":"changed"}`, "iothub-errorcode", "PreconditionFailed"), causeway.PreconditionFailed, "changed"},
		{"problem with a request", says(422, `{"title":"Unprocessable Entity","detail":"validation failed","errors":[{"message":"expected number <= 100","location":"body.jobsActive","value":101},{"message":"unexpected property","location":"body.x"}]}`), causeway.Code(422000), "validation failed: jobsActive: expected number <= 100; x: unexpected property"},
		{"problem", says(409, `{"title":"GenericConflict","status":409,"detail":"is there"}`), causeway.GenericConflict, "is there"},
		{"other name", says(400, `{"Message":"ErrorCode:Mystery;hm"}`), causeway.GenericBadRequest, "hm"},
		{"code of another status", says(400, `{"Message":"{\"errorCode\":404103,\"message\":\"x\"}"}`), causeway.GenericBadRequest, "x"},
		{"empty", says(500, ``), causeway.GenericServerError, "the server answered 500 Internal Server Error"},
		{"html", says(502, `<html>gateway</html>`), causeway.GenericBadGateway, "the server answered 502 Bad Gateway"},
		{"text", says(400, "nonsense\n"), causeway.GenericBadRequest, "nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newService(t, c.answer)
			_, err := s.Device(t.Context(), "d")
			if causeway.CodeOf(err) != c.code || causeway.MessageOf(err) != c.msg {
				t.Errorf("got %v %q", causeway.CodeOf(err), causeway.MessageOf(err))
			}
		})
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	n := 0
	s, _ := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			says(429, `{"Message":"ErrorCode:ThrottlingException;later"}`, "Retry-After", "0")(w, r)
			return
		}
		says(200, `{"deviceId":"d"}`)(w, r)
	})
	if d, err := s.Device(t.Context(), "d"); err != nil || d.DeviceID != "d" || n != 3 {
		t.Errorf("%+v, %v after %d requests", d, err, n)
	}
	n = -1000
	if _, err := s.Device(t.Context(), "d"); causeway.CodeOf(err) != causeway.ThrottlingException || n != -996 {
		t.Errorf("%v after %d requests", err, n+1000)
	}
}

func TestReplyTooLarge(t *testing.T) {
	s, _ := newService(t, says(200, `"`+strings.Repeat("x", client.MaxReply)+`"`))
	if _, err := s.Device(t.Context(), "d"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}

func TestServiceConnectionStrings(t *testing.T) {
	for text, want := range map[string]string{
		"": "connection string",
		"HostName=h;DeviceId=d;SharedAccessKey=YQ==":           "this is a device's",
		"HostName=h;SharedAccessKeyName=p":                     "no SharedAccessKey",
		"HostName=h;SharedAccessKeyName=p;SharedAccessKey=%%%": "not base64",
	} {
		if _, err := client.NewService(text, client.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestTwinKeepsEverything(t *testing.T) {
	const text = `{"deviceId":"d","etag":"e","version":3,"unknown":{"a":1},"tags":{"x":1},"properties":{"desired":{"$version":1},"reported":{}}}`
	s, _ := newService(t, says(200, text))
	tw, err := s.Twin(t.Context(), "d", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tw)
	if err != nil || string(b) != text || tw.ETag != "e" || string(tw.Tags) != `{"x":1}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestTimes(t *testing.T) {
	var got []client.Time
	err := json.Unmarshal([]byte(`["2024-01-31T12:00:00Z","2024-01-31T12:00:00.5","0001-01-01T00:00:00",""]`), &got)
	if err != nil {
		t.Fatal(err)
	}
	base := time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)
	want := []client.Time{{base}, {base.Add(time.Second / 2)}, {}, {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if json.Unmarshal([]byte(`"yesterday"`), new(client.Time)) == nil {
		t.Error("yesterday is a time")
	}
}

func TestConnectionStringOf(t *testing.T) {
	key := &client.SymmetricKey{PrimaryKey: "YQ=="}
	for want, a := range map[string]*client.Authentication{
		"": nil,
		"HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=YQ==": {Type: "sas", SymmetricKey: key},
		"HostName=h;DeviceId=d;ModuleId=m;x509=true":            {Type: "selfSigned"},
	} {
		if got := client.ConnectionString("h", "d", "m", a); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func newAdmin(t *testing.T, answer http.HandlerFunc) (*client.Admin, *hub) {
	t.Helper()
	h, o := newHub(t, answer)
	a, err := client.NewAdmin("https://example.com", "token", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, h
}

func TestAdmin(t *testing.T) {
	a, h := newAdmin(t, says(200, `{"policies":[{"name":"service","connectionString":"cs"}]}`))
	cs, err := a.ConnectionString(t.Context(), "my hub", "service")
	if err != nil || cs != "cs" || h.last.URL.EscapedPath() != "/api/v1/hubs/my%20hub/policies" || h.last.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("%s, %v; asked %s", cs, err, h.last.URL)
	}
	if _, err := a.ConnectionString(t.Context(), "h", "king"); err == nil || !strings.Contains(err.Error(), "it has service") {
		t.Error(err)
	}
	for _, bad := range []string{"", "http://x", "localhost:1"} {
		if _, err := client.NewAdmin(bad, "t", client.Options{}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestEvents(t *testing.T) {
	a, h := newAdmin(t, says(200, strings.Join([]string{
		`{"type":"event","partition":1,"offset":4,"deviceId":"d","enqueuedTime":"2024-01-31T12:00:00.000Z","bodyEncoding":"json","body":{"t":1}}`,
		`{"type":"heartbeat","time":"2024-01-31T12:00:00.000Z"}`,
		`{"type":"event","partition":1,"offset":5,"deviceId":"d","bodyEncoding":"text","body":"hi"}`,
		`{"type":"end","message":"the wanted number of events was shown"}`, "",
	}, "\n")))
	var got []string
	see := func(e client.Event) error {
		got = append(got, fmt.Sprintf("%d:%d %s %s", e.Partition, e.Offset, e.DeviceID, e.Text()))
		return nil
	}
	if err := a.Events(t.Context(), "h", client.EventsQuery{Device: "d", From: "earliest", Max: 2}, see); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`1:4 d {"t":1}`, "1:5 d hi"}, got); diff != "" {
		t.Error(diff)
	}
	if q := h.last.URL.Query().Encode(); q != "device=d&from=earliest&max=2" {
		t.Errorf("asked for %s", q)
	}
	if err := a.Events(t.Context(), "h", client.EventsQuery{}, see); err == nil || !strings.Contains(err.Error(), "wanted number") {
		t.Errorf("an end that was not asked for: %v", err)
	}
	stop := errors.New("enough")
	if err := a.Events(t.Context(), "h", client.EventsQuery{}, func(client.Event) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	a, _ = newAdmin(t, says(404, `{"title":"GenericNotFound","detail":"no such hub"}`))
	if err := a.Events(t.Context(), "h", client.EventsQuery{}, see); causeway.CodeOf(err) != causeway.GenericNotFound {
		t.Error(err)
	}
}
