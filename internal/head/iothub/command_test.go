package iothub_test

import (
	"net/http"
	"reflect"
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

	m, ok, err := w.commands.Receive(t.Context(), causeway.Identity{Hub: "myhub", Device: "d"})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	m.Enqueued, m.Lock, m.Sequence, m.GenerationID = time.Time{}, causeway.LockToken{}, 0, ""
	want := causeway.Message{
		Body: []byte("\x00body\xff"), ID: "m1", CorrelationID: "c1", UserID: "u1", Ack: causeway.AckFull, Expiry: expiry,
		ContentType: "application/json", ContentEncoding: "utf-8", To: "/devices/d/messages/deviceBound",
		Properties: []causeway.Property{{Key: "other", Value: "2"}, {Key: "prop", Value: "v 1"}},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("queued %+v\nwant   %+v", m, want)
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
