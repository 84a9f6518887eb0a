package http_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// TestBadInput: what is wrong, where, and how to mend it.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	token := tokenOf(d)
	batch := func(body string) request {
		return request{method: "POST", path: eventsOf, body: body, header: http.Header{"Content-Type": {hubhttp.BatchType}}}
	}
	const argument, form = causeway.ArgumentInvalid, causeway.DeserializationError
	for _, tc := range []struct {
		name string
		request
		code causeway.Code
		says string
	}{
		{"no version", request{method: "POST", path: eventsOf, raw: true}, causeway.InvalidProtocolVersion, "api-version"},
		{"a version that is no date", request{method: "POST", path: eventsOf + "?api-version=latest"}, causeway.InvalidProtocolVersion, "latest"},
		{"a version before the first", request{method: "POST", path: eventsOf + "?api-version=2015-01-01"}, causeway.InvalidProtocolVersion, "2016-02-03"},
		{"another method", request{method: "PUT", path: eventsOf}, causeway.GenericMethodNotAllowed, "POST"},
		{"another path", request{method: "POST", path: "/devices/d/messages"}, causeway.GenericNotFound, "/devices/d/messages"},
		{"an escape that is none", request{method: "POST", path: "/devices/%2e%2e/messages/events"}, causeway.IotHubUnauthorized, ""},
		{"an id with a slash", request{method: "POST", path: "/devices/d%2Fx/messages/events"}, causeway.IotHubUnauthorized, ""},
		{"an id too long", request{method: "POST", path: "/devices/" + strings.Repeat("d", 129) + "/messages/events"}, causeway.IotHubUnauthorized, ""},
		{"message id too long", request{method: "POST", path: eventsOf, header: http.Header{"iothub-messageid": {strings.Repeat("1", 129)}}}, argument, "128"},
		{"expiry that is no time", request{method: "POST", path: eventsOf, header: http.Header{"iothub-expiry": {"soon"}}}, argument, "soon"},
		{"batch that is empty", batch(""), form, "array"},
		{"batch that is no array", batch(`{"body":""}`), form, "array"},
		{"batch of nothing", batch(`[]`), argument, "no message"},
		{"batch that ends", batch(`[{"body":""}`), form, "does not end"},
		{"batch that ends in a message", batch(`[{"body":"`), form, "element 0"},
		{"batch with a tail", batch(`[{"body":""}] x`), form, "follows"},
		{"element that is no object", batch(`[{"body":""},7]`), form, "element 1"},
		{"element without body", batch(`[{}]`), argument, "element 0 of the batch: body is missing"},
		{"body that is no text", batch(`[{"body":{}}]`), form, "element 0"},
		{"body that is no base64", batch(`[{"body":"hello!"}]`), argument, "base64"},
		{"properties that are a list", batch(`[{"body":"","properties":[]}]`), form, "properties"},
		{"property that is an object", batch(`[{"body":"","properties":{"iothub-app-a":{"b":1}}}]`), form, "iothub-app-a"},
		{"properties without end", batch(`[{"body":"","properties":{` + strings.Repeat(`"a":"",`, hubhttp.MaxProperties) + `"a":""}}]`), argument, "1024"},
		{"expiry in a batch that is no time", batch(`[{"body":"","properties":{"iothub-expiry":"soon"}}]`), argument, "element 0"},
		{"lock that is none", request{method: "DELETE", path: "/devices/d/messages/deviceBound/abc"}, argument, "abc"},
		{"lock of zeros", request{method: "DELETE", path: "/devices/d/messages/deviceBound/00000000-0000-0000-0000-000000000000"}, argument, ""},
		{"lock that is gone", request{method: "POST", path: "/devices/d/messages/deviceBound/00000000-0000-0000-0000-000000000001/abandon"}, causeway.DeviceMessageLockLost, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.token = token
			a := w.do(tc.request).refused(tc.code)
			if !strings.Contains(string(a.body), tc.says) {
				t.Errorf("it does not say %q: %s", tc.says, a.body)
			}
		})
	}
	if n := len(w.stored("d")); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestLogFails shows that nothing is acknowledged that was not stored, and that
// a client does not see why.
func TestLogFails(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	w.log.Fail(errors.New("disk on fire"))
	a := w.do(request{method: "POST", path: eventsOf, token: tokenOf(d)}).refused(causeway.ServiceUnavailable)
	if strings.Contains(string(a.body), "fire") {
		t.Errorf("the cause is shown: %s", a.body)
	}
}

// serve lets the head answer on a connection in memory.
func (w *world) serve(t *testing.T) io.ReadWriter {
	t.Helper()
	l := memnet.Listen("hub")
	srv := &http.Server{Handler: w.handler}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	conn, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

func requestLine(method, path, token, extra string) string {
	return method + " " + path + "?" + version + " HTTP/1.1\r\nHost: " + hubHost + "\r\nAuthorization: " + token + "\r\n" + extra + "\r\n"
}

// TestSlowBody shows that a client that does not send its body is given up, also
// when its request is refused before the body is looked at, and that the promise
// of a large body costs nothing.
func TestSlowBody(t *testing.T) {
	for _, tc := range []struct {
		name, token, path string
		status            int
	}{{"accepted", "", eventsOf, 400}, {"refused", "Bearer x", eventsOf, 401}, {"batch", "", eventsOf, 400}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				token := tokenOf(w.create("d", ""))
				if tc.token != "" {
					token = tc.token
				}
				conn := w.serve(t)
				began := time.Now()
				if _, err := io.WriteString(conn, requestLine("POST", tc.path, token, "Content-Length: 1000\r\n")+"x"); err != nil {
					t.Fatal(err)
				}
				wire, err := io.ReadAll(conn)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(string(wire), fmt.Sprintf("HTTP/1.1 %d ", tc.status)) {
					t.Errorf("answered %s", wire)
				}
				if took := time.Since(began); took > 31*time.Second {
					t.Errorf("given up after %v", took)
				}
			})
		})
	}
}

// TestHeadersOnTheWire holds header names to the spelling of the service, which
// some clients compare with case, and a connection to many requests.
func TestHeadersOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.create("d", "")
		m := causeway.Message{Body: []byte("x"), ContentType: "text/plain", Properties: []causeway.Property{{Key: "a", Value: "1"}}}
		if err := w.commands.Enqueue(t.Context(), d.ID, m, d.GenerationID); err != nil {
			t.Fatal(err)
		}
		conn := w.serve(t)
		r := bufio.NewReader(conn)
		for range 2 {
			if _, err := io.WriteString(conn, requestLine("POST", eventsOf, tokenOf(d), "Content-Length: 1\r\n")+"x"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 204 {
				t.Fatal(res, err)
			}
			res.Body.Close()
		}
		if _, err := io.WriteString(conn, requestLine("GET", "/devices/d/messages/deviceBound", tokenOf(d), "Connection: close\r\n")); err != nil {
			t.Fatal(err)
		}
		wire, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ETag: \"", "iothub-sequencenumber: ", "iothub-app-a: 1", "ContentType: text/plain", "Content-Length: 1\r\n"} {
			if !strings.Contains(string(wire), "\r\n"+name) {
				t.Errorf("no %q in\n%s", name, wire)
			}
		}
	})
}

// FuzzRequest: no request of a device makes the head panic or fail on our side.
func FuzzRequest(f *testing.F) {
	f.Add("/devices/d/messages/events", `[{"body":"","properties":{"iothub-app-a":"b"}}]`, hubhttp.BatchType, "iothub-app-x", "y")
	f.Add("/devices/d/modules/m/messages/events/", "x", "", "iothub-expiry", "2024-01-01")
	f.Add("/devices/%64/messages/devicebound/x/abandon", "", "text/plain; a", "dt-subject", "é")
	w := newWorld(f)
	token := tokenOf(w.create("d", ""))
	f.Fuzz(func(t *testing.T, path, body, contentType, name, value string) {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+hubHost+"/x", strings.NewReader(body))
			if err != nil {
				return
			}
			u, err := r.URL.Parse(path)
			if err != nil {
				return
			}
			r.URL = u
			r.URL.RawQuery = version
			r.Header.Set("Authorization", token)
			r.Header.Set("Content-Type", contentType)
			r.Header.Set(name, value)
			rec := &status{}
			w.handler.ServeHTTP(rec, r)
			if rec.code >= 500 {
				t.Fatalf("%s %q %q: %d", method, path, body, rec.code)
			}
		}
	})
}

type status struct {
	discard
	code int
}

func (s *status) WriteHeader(code int) { s.code = code }
