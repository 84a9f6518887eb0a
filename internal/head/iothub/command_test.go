package iothub_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

func TestCommand(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	a := w.do(request{method: "POST", path: "/devices/d/messages/devicebound", body: "\x00body\xff", header: http.Header{
		"iothub-messageid": {"m1"}, "iothub-correlationid": {"c1"}, "iothub-userid": {"u1"}, "iothub-ack": {"Full"},
		"iothub-expiry": {expiry.Format(time.RFC3339)}, "iothub-contenttype": {"application/json"}, "iothub-contentencoding": {"utf-8"},
		"iothub-app-Prop": {"v 1"}, "iothub-app-other": {"2"}, "Content-Encoding": {"utf-8"}, "Content-Type": {"text/plain"},
	}}).want(204)
	if len(a.body) != 0 {
		t.Errorf("body %q", a.body)
	}
	if got := w.get("/devices/d").text("cloudToDeviceMessageCount"); got != "1" {
		t.Errorf("queue depth %s", got)
	}

	m := w.get("/devices/d/messages/deviceBound").want(200)
	lock := m.header.Get("ETag")
	if len(lock) != 38 || lock[0] != '"' || lock[37] != '"' {
		t.Fatalf("lock %q", lock)
	}
	for name, want := range map[string]string{
		"iothub-messageid": "m1", "iothub-correlationid": "c1", "iothub-userid": "u1", "iothub-ack": "full",
		"iothub-expiry": expiry.Format("2006-01-02T15:04:05.0000000Z"), "ContentType": "application/json", "ContentEncoding": "utf-8",
		"iothub-app-prop": "v 1", "iothub-app-other": "2", "iothub-deliverycount": "0", "iothub-to": "/devices/d/messages/deviceBound",
	} {
		if got := m.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if string(m.body) != "\x00body\xff" {
		t.Errorf("body %q", m.body)
	}
	w.get("/devices/d/messages/devicebound").want(204) // locked

	at := "/devices/d/messages/deviceBound/" + strings.Trim(lock, `"`)
	w.post(at+"/abandon", "").want(204)
	w.delete(at).refused(causeway.DeviceMessageLockLost)
	again := w.get("/devices/d/messages/devicebound").want(200)
	if again.header.Get("iothub-deliverycount") != "1" || again.header.Get("ETag") == lock {
		t.Errorf("second delivery: %v", again.header)
	}
	at = pathOf("devices", "d", "messages", "deviceBound", again.header.Get("ETag")) // quoted in the path
	w.delete(at).want(204)
	w.get("/devices/d/messages/devicebound").want(204)
	w.delete(at).refused(causeway.DeviceMessageLockLost)
	w.delete("/devices/d/messages/deviceBound/not-a-lock").refused(causeway.ArgumentInvalid)
}

func TestCommandReject(t *testing.T) {
	for _, query := range []string{"?reject", "?reject=", "?reject=true"} {
		w := newWorld(t)
		w.put("/devices/d", `{}`).want(200)
		w.post("/devices/d/messages/deviceBound", "x").want(204)
		lock := strings.Trim(w.get("/devices/d/messages/deviceBound").want(200).header.Get("ETag"), `"`)
		w.delete("/devices/d/messages/deviceBound/" + lock + query).want(204)
		w.get("/devices/d/messages/deviceBound").want(204)
	}
}

func TestCommandToModuleAndPurge(t *testing.T) {
	w := newWorld(t)
	w.post("/devices/d/messages/deviceBound", "x").refused(causeway.DeviceNotFound)
	w.delete("/devices/d/commands").refused(causeway.DeviceNotFound)
	w.put("/devices/d", `{}`).want(200)
	w.post("/devices/d/modules/m/messages/deviceBound", "x").refused(causeway.ModuleNotFound)
	w.put("/devices/d/modules/m", `{}`).want(200)
	w.post("/devices/d/modules/m/messages/deviceBound", "x").want(204)
	if got := w.get("/devices/d/modules/m").text("cloudToDeviceMessageCount"); got != "1" {
		t.Errorf("queue of the module: %s", got)
	}
	for range 3 {
		w.post("/devices/d/messages/deviceBound", "x").want(204)
	}
	if a := w.delete("/devices/d/commands").want(200); string(a.body) != `{"totalMessagesPurged":3,"deviceId":"d","moduleId":null}` {
		t.Errorf("purged: %s", a.body)
	}
	for range causeway.MaxQueuedCommands {
		w.post("/devices/d/messages/deviceBound", "x").want(204)
	}
	w.post("/devices/d/messages/deviceBound", "x").refused(causeway.DeviceMaximumQueueDepthExceeded)
}

// TestCommandFromOtherProtocol shows that properties no header can carry do not
// break the answer.
func TestCommandFromOtherProtocol(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	m := causeway.Message{Body: []byte("x"), CorrelationID: "a\r\nInjected: 1", Properties: []causeway.Property{{Key: "ok", Value: "line\nline"}}}
	if err := w.commands.Enqueue(t.Context(), causeway.Identity{Hub: "myhub", Device: "d"}, m, ""); err != nil {
		t.Fatal(err)
	}
	a := w.get("/devices/d/messages/deviceBound").want(200)
	if got := a.header.Get("iothub-correlationid"); got != "a  Injected: 1" {
		t.Errorf("correlation id %q", got)
	}
	if got := a.header["Iothub-App-Ok"]; !reflect.DeepEqual(got, []string{"line line"}) {
		t.Errorf("property %q", got)
	}
}
