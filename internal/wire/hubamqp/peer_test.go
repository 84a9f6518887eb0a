package hubamqp_test

import (
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func ptr[T any](v T) *T { return &v }

// absent returns nil for the zero value.
func absent[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// theirs is m as a user of go-amqp would build it.
func theirs(m *causeway.Message) *amqp.Message {
	x := &amqp.Message{
		Properties: &amqp.MessageProperties{
			To: absent(m.To), ContentType: absent(m.ContentType), ContentEncoding: absent(m.ContentEncoding),
		},
		ApplicationProperties: map[string]any{},
		Annotations:           amqp.Annotations{},
		Data:                  [][]byte{m.Body},
	}
	if m.ID != "" {
		x.Properties.MessageID = m.ID
	}
	if m.CorrelationID != "" {
		x.Properties.CorrelationID = m.CorrelationID
	}
	if m.UserID != "" {
		x.Properties.UserID = []byte(m.UserID)
	}
	if !m.Expiry.IsZero() {
		x.Properties.AbsoluteExpiryTime = ptr(m.Expiry)
	}
	for key, value := range map[string]string{
		"iothub-ack": string(m.Ack), "iothub-message-schema": m.Schema, "iothub-creation-time-utc": m.CreationTime,
		"iothub-outputname": m.Output, "iothub-operation": m.Operation,
	} {
		if value != "" {
			x.ApplicationProperties[key] = value
		}
	}
	for _, p := range m.Properties {
		x.ApplicationProperties[p.Key] = p.Value
	}
	for key, value := range map[string]string{
		"iothub-interface-id": m.InterfaceID, "dt-subject": m.Component, "Diagnostic-Id": m.DiagnosticID, "Correlation-Context": m.DiagnosticCtx,
	} {
		if value != "" {
			x.Annotations[key] = value
		}
	}
	return x
}

var peer = cmp.Options{cmpopts.IgnoreUnexported(amqp.Message{}), cmpopts.EquateEmpty()}

// TestPeerTelemetry: what go-amqp sends is read, and what is written go-amqp
// reads as what it would have sent.
func TestPeerTelemetry(t *testing.T) {
	sorted := cmpopts.SortSlices(func(a, b causeway.Property) bool { return a.Key < b.Key })
	rapid.Check(t, func(t *rapid.T) {
		m := drawn(t)
		x := theirs(&m)
		b, err := x.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got causeway.Message
		if err := hubamqp.DecodeTelemetry(&got, new(hubamqp.Scratch), b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if d := cmp.Diff(m, got, same, sorted); d != "" {
			t.Fatalf("theirs (-sent +got):\n%s", d)
		}
		var back amqp.Message
		if err := back.UnmarshalBinary(hubamqp.AppendTelemetry(nil, &m)); err != nil {
			t.Fatal(err)
		}
		if back.Properties == nil {
			back.Properties = &amqp.MessageProperties{}
		}
		if d := cmp.Diff(x, &back, peer); d != "" {
			t.Fatalf("ours (-theirs +ours):\n%s", d)
		}
	})
}

// TestPeerEvent has the types that a Go reader of events casts to.
func TestPeerEvent(t *testing.T) {
	m := everything()
	var x amqp.Message
	if err := x.UnmarshalBinary(hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 1 << 40, Offset: 77, Enqueued: at}, &hubamqp.Runtime{
		Last: hubamqp.Position{Sequence: 9, Offset: 900, Enqueued: at}, Retrieved: at,
	})); err != nil {
		t.Fatal(err)
	}
	utc := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if d := cmp.Diff(amqp.Annotations{
		"x-opt-sequence-number": int64(1 << 40), "x-opt-offset": "77", "x-opt-enqueued-time": at, "x-opt-partition-key": "dev1",
		"iothub-connection-device-id": "dev1", "iothub-connection-module-id": "mod1", "iothub-connection-auth-method": m.Auth,
		"iothub-connection-auth-generation-id": "g1", "iothub-enqueuedtime": at.Add(time.Second), "iothub-message-source": "Telemetry",
		"dt-dataschema": "dtmi:x;1", "iothub-interface-id": "urn:i", "dt-subject": "thermostat1", "Diagnostic-Id": "d1", "Correlation-Context": "creationtimeutc=1",
	}, x.Annotations, utc); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	if d := cmp.Diff(amqp.Annotations{
		"last_enqueued_sequence_number": int64(9), "last_enqueued_offset": "900", "last_enqueued_time_utc": at, "runtime_info_retrieval_time_utc": at,
	}, x.DeliveryAnnotations, utc); d != "" {
		t.Errorf("delivery annotations (-want +got):\n%s", d)
	}
	if string(x.GetData()) != string(m.Body) || *x.Properties.ContentType != "application/json" || x.Properties.MessageID != "m1" {
		t.Errorf("%+v", x)
	}
}

// TestPeerReplies has the types that SDKs cast to.
func TestPeerReplies(t *testing.T) {
	read := func(b []byte) *amqp.Message {
		t.Helper()
		x := new(amqp.Message)
		if err := x.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := read(hubamqp.AppendEventHubInfo(nil, codec.String("m"), hubamqp.EventHubInfo{Name: "eh", Created: at, Partitions: []string{"0", "1"}}))
	info, ok := x.Value.(map[string]any)
	if ids, isStrings := info["partition_ids"].([]string); !ok || !isStrings || len(ids) != 2 || info["partition_count"] != int32(2) {
		t.Errorf("event hub %#v", x.Value)
	}
	if x.ApplicationProperties["status-code"] != int32(200) || x.Properties.CorrelationID != "m" {
		t.Errorf("%#v, %#v", x.ApplicationProperties, x.Properties)
	}
	x = read(hubamqp.AppendPartitionInfo(nil, codec.UUID(uuid), hubamqp.PartitionInfo{Name: "eh", Partition: "0", Next: 300}))
	info, _ = x.Value.(map[string]any)
	if info["last_enqueued_sequence_number"] != int64(299) || info["last_enqueued_offset"] != "299" || info["is_partition_empty"] != false || x.Properties.CorrelationID != amqp.UUID(uuid) {
		t.Errorf("partition %#v", x.Value)
	}
	x = read(hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(codec.UUID(uuid), nil)))
	if x.ApplicationProperties["status-code"] != int32(200) || x.Properties.CorrelationID != amqp.UUID(uuid) {
		t.Errorf("%#v, %#v", x.ApplicationProperties, x.Properties)
	}
	m := causeway.Message{ID: "m1", Lock: uuid, Sequence: 7, DeliveryCount: 1, Enqueued: at}
	x = read(hubamqp.AppendCommand(nil, device, &m))
	if x.Annotations["x-opt-sequence-number"] != uint64(7) || x.Annotations["iothub-deliverycount"] != uint8(1) || x.Annotations["x-opt-lock-token"] != amqp.UUID(uuid) {
		t.Errorf("%#v", x.Annotations)
	}
	x = read(hubamqp.AppendTwinResponse(nil, hubamqp.TwinResponse{Correlation: codec.UUID(uuid), Status: 200, Version: 3}))
	if x.Annotations["status"] != int32(200) || x.Annotations["version"] != int64(3) {
		t.Errorf("%#v", x.Annotations)
	}
	x = read(hubamqp.AppendMethodRequest(nil, hubamqp.MethodRequest{Correlation: uuid, Call: causeway.Call{Method: "m"}}))
	if x.Properties.CorrelationID != amqp.UUID(uuid) || x.ApplicationProperties["IoThub-methodname"] != "m" {
		t.Errorf("%#v", x)
	}
}
