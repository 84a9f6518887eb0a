package routed_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/routed"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 891_234_500, time.UTC)

func telemetry() causeway.Message {
	return causeway.Message{
		From: causeway.Identity{Hub: "plant", Device: "press-1"}, Source: causeway.SourceTelemetry, Enqueued: at,
		Auth: `{"scope":"device"}`, GenerationID: "7", Body: []byte(`{"t":21.5}`), ContentType: "application/json", ContentEncoding: "UTF-8",
		Properties: []causeway.Property{{Key: "level", Value: "high"}, {Key: "level", Value: "low"}}, ID: "m1",
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRecord(t *testing.T) {
	m := telemetry()
	want := `{"EnqueuedTimeUtc":"2026-03-04T05:06:07.8912345Z","Properties":{"level":"high"},"SystemProperties":{` +
		`"connectionAuthMethod":"{\"scope\":\"device\"}","connectionDeviceGenerationId":"7","connectionDeviceId":"press-1","contentEncoding":"UTF-8",` +
		`"contentType":"application/json","enqueuedTime":"2026-03-04T05:06:07.8912345Z","iothub-message-source":"Telemetry","messageId":"m1"},"Body":{"t":21.5}}`
	if d := cmp.Diff(want, text(t, routed.NewRecord(&m))); d != "" {
		t.Error(d)
	}
	for name, change := range map[string]func(*causeway.Message){
		"other type": func(m *causeway.Message) { m.ContentType = "text/plain" },
		"no charset": func(m *causeway.Message) { m.ContentEncoding = "" },
		"broken":     func(m *causeway.Message) { m.Body = []byte(`{"t":`) },
	} {
		m := telemetry()
		change(&m)
		if b := string(routed.NewRecord(&m).Body); !strings.HasPrefix(b, `"ey`) {
			t.Errorf("%s: body %s", name, b)
		}
	}
}

func TestTelemetryEvent(t *testing.T) {
	m := telemetry()
	e := routed.NewEvent(&m)
	data := `{"body":{"t":21.5},"properties":{"level":"high"},"systemProperties":{"iothub-connection-auth-generation-id":"7",` +
		`"iothub-connection-auth-method":"{\"scope\":\"device\"}","iothub-connection-device-id":"press-1","iothub-content-encoding":"UTF-8",` +
		`"iothub-content-type":"application/json","iothub-enqueuedtime":"2026-03-04T05:06:07.8912345Z","iothub-message-id":"m1","iothub-message-source":"Telemetry"}}`
	if d := cmp.Diff(`{"id":"`+e.ID+`","topic":"T","subject":"devices/press-1","eventType":"Microsoft.Devices.DeviceTelemetry",`+
		`"eventTime":"2026-03-04T05:06:07.8912345Z","data":`+data+`,"dataVersion":"1","metadataVersion":"1"}`, text(t, e.Grid("T"))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(`{"id":"`+e.ID+`","source":"T","specversion":"1.0","type":"Microsoft.Devices.DeviceTelemetry","subject":"devices/press-1",`+
		`"time":"2026-03-04T05:06:07.8912345Z","datacontenttype":"application/json","data":`+data+`}`, text(t, e.Cloud("T"))); d != "" {
		t.Error(d)
	}
	if again := routed.NewEvent(&m); again.ID != e.ID {
		t.Error("the same message has another id when it is sent again")
	}
	if m.Sequence++; routed.NewEvent(&m).ID == e.ID {
		t.Error("another message has the same id")
	}
	if !strings.HasSuffix(routed.Topic("plant"), "/IOTHUBS/PLANT") {
		t.Error(routed.Topic("plant"))
	}
}

func TestHubEvents(t *testing.T) {
	for _, row := range []struct{ source, op, body, module, kind, data string }{
		{causeway.SourceLifecycle, "createDeviceIdentity", `{"deviceId":"d","version":2}`, "", routed.DeviceCreated, `{"twin":{"deviceId":"d","version":2},"hubName":"plant","deviceId":"d"}`},
		{causeway.SourceLifecycle, "deleteDeviceIdentity", `{"deviceId":"d"}`, "m", routed.DeviceDeleted, `{"twin":{"deviceId":"d"},"hubName":"plant","deviceId":"d","moduleId":"m"}`},
		{causeway.SourceLifecycle, "createModuleIdentity", `no JSON`, "m", routed.DeviceCreated, `{"twin":{},"hubName":"plant","deviceId":"d","moduleId":"m"}`},
		{causeway.SourceConnectionState, "deviceConnected", `{"sequenceNumber":"01"}`, "", routed.DeviceConnected, `{"deviceConnectionStateEventInfo":{"sequenceNumber":"01"},"hubName":"plant","deviceId":"d"}`},
		{causeway.SourceConnectionState, "deviceDisconnected", `{"sequenceNumber":"02"}`, "", routed.DeviceDisconnected, `{"deviceConnectionStateEventInfo":{"sequenceNumber":"02"},"hubName":"plant","deviceId":"d"}`},
		{causeway.SourceTwinChange, "updateTwin", `{}`, "", routed.TwinUpdated, ""},
		{causeway.SourceTwinChange, "replaceTwin", `{}`, "", routed.TwinReplaced, ""},
		{causeway.SourceDigitalTwin, "updateDigitalTwin", `[]`, "", routed.DigitalTwinUpdated, ""},
		{causeway.SourceJobLifecycle, "", `{}`, "", routed.JobChanged, ""},
	} {
		m := causeway.Message{
			From: causeway.Identity{Hub: "plant", Device: "d", Module: row.module}, Source: row.source, Enqueued: at, Body: []byte(row.body),
			Properties: []causeway.Property{{Key: "opType", Value: row.op}, {Key: "hubName", Value: "plant"}},
		}
		e := routed.NewEvent(&m)
		if e.Type != row.kind || row.data != "" && text(t, e.Data) != row.data {
			t.Errorf("%s %s: %s %s", row.source, row.op, e.Type, text(t, e.Data))
		}
		if want := strings.TrimSuffix("devices/d/"+row.module, "/"); e.Subject != want {
			t.Errorf("subject %s", e.Subject)
		}
	}
}
