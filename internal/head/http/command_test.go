package http_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// at is a world with one device, as which it asks.
type at struct {
	*world
	registry.Record
	token string
	path  string
}

func newAt(t *testing.T, module string) *at {
	w := newWorld(t)
	d := w.create("d", "")
	path := "/devices/d"
	if module != "" {
		d, path = w.create("d", module), path+"/modules/"+module
	}
	return &at{w, d, tokenOf(d), path + "/messages/deviceBound"}
}

func (a *at) ask(method, tail string) answer {
	a.t.Helper()
	return a.do(request{method: method, path: a.path + tail, token: a.token})
}

func (a *at) enqueue(m causeway.Message) {
	a.t.Helper()
	if err := a.commands.Enqueue(a.t.Context(), a.ID, m, a.GenerationID); err != nil {
		a.t.Fatal(err)
	}
}

func lockOf(a answer) string { return strings.Trim(a.header.Get("ETag"), `"`) }

func TestCommand(t *testing.T) {
	for _, module := range []string{"", "m"} {
		t.Run("module "+module, func(t *testing.T) {
			w := newAt(t, module)
			w.ask("GET", "").want(204)
			expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
			w.enqueue(causeway.Message{
				Body: []byte("\x00body\xff"), ID: "m1", CorrelationID: "c1", UserID: "u1", Ack: causeway.AckFull, Expiry: expiry,
				ContentType: "application/json", ContentEncoding: "utf-8", Properties: []causeway.Property{{Key: "prop", Value: "v 1"}, {Key: "other", Value: "2"}},
			})
			// Some clients ask for another time to lock, which is fixed.
			m := w.do(request{method: "GET", path: strings.ToLower(w.path) + "?iothub-messagelocktimeout=5", token: w.token, header: http.Header{"IotHub-MessageLockTimeout": {"5"}}}).want(200)
			if lock := m.header.Get("ETag"); len(lock) != 38 || lock[0] != '"' || lock[37] != '"' {
				t.Fatalf("lock %q", lock)
			}
			for name, want := range map[string]string{
				"iothub-messageid": "m1", "iothub-correlationid": "c1", "iothub-userid": "u1", "iothub-ack": "full",
				"iothub-expiry": expiry.Format("2006-01-02T15:04:05.0000000Z"), "ContentType": "application/json", "ContentEncoding": "utf-8",
				"iothub-app-prop": "v 1", "iothub-app-other": "2", "iothub-deliverycount": "0", "iothub-to": w.path,
			} {
				if got := m.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if string(m.body) != "\x00body\xff" {
				t.Errorf("body %q", m.body)
			}
			w.ask("GET", "").want(204) // locked

			w.ask("POST", "/"+lockOf(m)+"/abandon").want(204)
			w.ask("DELETE", "/"+lockOf(m)).refused(causeway.DeviceMessageLockLost)
			again := w.ask("GET", "").want(200)
			if again.header.Get("iothub-deliverycount") != "1" || lockOf(again) == lockOf(m) {
				t.Errorf("second delivery: %v", again.header)
			}
			w.ask("DELETE", "/%22"+lockOf(again)+"%22").want(204) // quoted in the path
			w.ask("GET", "").want(204)
			w.ask("DELETE", "/"+lockOf(again)).refused(causeway.DeviceMessageLockLost)
			w.ask("DELETE", "/not-a-lock").refused(causeway.ArgumentInvalid)
		})
	}
}

func TestReject(t *testing.T) {
	for _, query := range []string{"?reject", "?reject=", "?reject=true"} {
		w := newAt(t, "")
		w.enqueue(causeway.Message{Body: []byte("x")})
		w.ask("DELETE", "/"+lockOf(w.ask("GET", "").want(200))+query).want(204)
		w.ask("GET", "").want(204)
	}
}

// TestCommandFromOtherProtocol shows that properties no header can carry do not
// break the answer.
func TestCommandFromOtherProtocol(t *testing.T) {
	w := newAt(t, "")
	w.enqueue(causeway.Message{Body: []byte("x"), CorrelationID: "a\r\nInjected: 1", Properties: []causeway.Property{{Key: "ok", Value: "line\nline"}}})
	a := w.ask("GET", "").want(200)
	if got := a.header.Get("iothub-correlationid"); got != "a  Injected: 1" {
		t.Errorf("correlation id %q", got)
	}
	if got := a.header["Iothub-App-Ok"]; !reflect.DeepEqual(got, []string{"line line"}) {
		t.Errorf("property %q", got)
	}
}

// TestOtherConnection shows that polling does not disturb the connection that
// the same device has over another protocol, and that its locks are its own.
func TestOtherConnection(t *testing.T) {
	w := newAt(t, "")
	dev := &quiet{t: t}
	s, err := w.hub.Connect(t.Context(), causeway.Credential{Host: hubHost, Identity: w.ID, Token: causeway.Secret(w.token)}, dev)
	if err != nil {
		t.Fatal(err)
	}
	w.ask("GET", "").want(204)
	w.do(request{method: "POST", path: eventsOf, token: w.token}).want(204)
	if !w.hub.State(w.ID).Connected {
		t.Error("the connection is gone")
	}
	if err := s.Send(t.Context(), causeway.Message{}); err != nil {
		t.Error(err)
	}
	if err := s.Close(nil); err != nil {
		t.Fatal(err)
	}
}

// quiet is a device that must not be hung up.
type quiet struct {
	causeway.Device
	t *testing.T
}

func (q *quiet) Hangup(reason error) { q.t.Errorf("hung up: %v", reason) }
