package hubamqp_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// seeds adds messages of every kind.
func seeds(f *testing.F) {
	m := everything()
	m.Lock, m.Input, m.DeliveryCount = uuid, "in", 2
	id := codec.UUID(uuid)
	for _, b := range [][]byte{
		nil,
		hubamqp.AppendTelemetry(nil, &m), hubamqp.AppendTelemetry(nil, sent()), hubamqp.AppendBatch(nil, []causeway.Message{{ID: "1"}, {ID: "2"}}),
		hubamqp.AppendCommand(nil, module, &m), hubamqp.AppendServiceCommand(nil, module, &m),
		hubamqp.AppendEvent(nil, &m, hubamqp.Position{}, &hubamqp.Runtime{}),
		hubamqp.AppendMethodRequest(nil, hubamqp.MethodRequest{Correlation: uuid, Call: causeway.Call{Method: "m"}}),
		hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: uuid, Result: causeway.Result{Status: 200}}),
		hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: id, Version: 2, Body: []byte("{}")}),
		hubamqp.AppendTwinResponse(nil, hubamqp.TwinResponse{Correlation: id, Status: 204, Version: 2}), hubamqp.AppendDesired(nil, 2, []byte("{}")),
		hubamqp.AppendPutToken(nil, hubamqp.PutToken{MessageID: id, Type: hubamqp.TokenSAS, Name: "hub/devices/dev1", Token: token}),
		hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(id, nil)),
		hubamqp.AppendManagementRequest(nil, hubamqp.ManagementRequest{MessageID: id, Type: hubamqp.TypePartition, Name: "eh", Partition: "0"}),
		hubamqp.AppendEventHubInfo(nil, id, hubamqp.EventHubInfo{Name: "eh", Partitions: []string{"0"}}),
		hubamqp.AppendPartitionInfo(nil, id, hubamqp.PartitionInfo{Name: "eh", Partition: "0"}),
		hubamqp.AppendFeedback(nil, hubamqp.FeedbackBody([]hubamqp.Feedback{{OriginalMessageID: "m"}}), notice),
		hubamqp.AppendFileNotification(nil, hubamqp.FileNotificationBody(hubamqp.FileNotification{Device: "d"}), notice),
	} {
		f.Add(b)
	}
}

// FuzzDecodeTelemetry: the fast decoder reads nothing that the general one does
// not, and reads the same; what is accepted survives being written.
func FuzzDecodeTelemetry(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		var quick, m causeway.Message
		var s1, s2 hubamqp.Scratch
		ok := hubamqp.Fast(&quick, &s1, b)
		err := hubamqp.General(&m, &s2, b)
		if ok {
			if err != nil {
				t.Fatalf("%x: only the fast decoder takes it: %v", b, err)
			}
			if d := cmp.Diff(m, quick, same); d != "" {
				t.Fatalf("%x (-general +fast):\n%s", b, d)
			}
		}
		if !bytes.Equal(b, given) {
			t.Fatal("the payload was changed")
		}
		if err != nil {
			return
		}
		// A user that is not text is written as its digits, and those are text.
		var again causeway.Message
		if err := hubamqp.DecodeTelemetry(&again, &s1, hubamqp.AppendTelemetry(nil, &m)); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		var kept []causeway.Property
		for _, p := range m.Properties {
			switch p.Key {
			case "iothub-ack", "iothub-message-schema", "iothub-creation-time-utc", "iothub-outputname", "iothub-operation":
			default:
				kept = append(kept, p)
			}
		}
		m.Properties = kept
		if hubamqp.ToEvents(m.To) {
			m.To = ""
		}
		if d := cmp.Diff(m, again, same); d != "" {
			t.Fatalf("%x (-first +second):\n%s", b, d)
		}
		var e hubamqp.Event
		m.From = device
		if err := hubamqp.DecodeEvent(&e, &s1, hubamqp.AppendEvent(nil, &m, hubamqp.Position{Enqueued: at}, nil)); err != nil {
			t.Fatalf("%x as an event: %v", b, err)
		}
		if !bytes.Equal(e.Message.Body, m.Body) || e.Message.ID != m.ID {
			t.Fatalf("%x as an event: %+v", b, e)
		}
	})
}

// FuzzDecodeEvent: the fast decoder reads nothing that the general one does not,
// and reads the same.
func FuzzDecodeEvent(f *testing.F) {
	seeds(f)
	m := everything()
	f.Add(hubamqp.AppendEvent(nil, &m, hubamqp.Position{Sequence: 1 << 40, Offset: 7, Enqueued: at}, &hubamqp.Runtime{Retrieved: at}))
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		var quick, e hubamqp.Event
		var s1, s2 hubamqp.Scratch
		ok := hubamqp.FastEvent(&quick, &s1, b)
		err := hubamqp.GeneralEvent(&e, &s2, b)
		if !bytes.Equal(b, given) {
			t.Fatal("the payload was changed")
		}
		if !ok {
			return
		}
		if err != nil {
			t.Fatalf("%x: only the fast decoder takes it: %v", b, err)
		}
		if d := cmp.Diff(e, quick, same); d != "" {
			t.Fatalf("%x (-general +fast):\n%s", b, d)
		}
	})
}

// FuzzBatch: what is in a batch is a part of it.
func FuzzBatch(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, size := 0, 0
		for one, err := range hubamqp.Batch(b) {
			if err != nil {
				if one != nil {
					t.Fatal("a message and an error")
				}
				break
			}
			n++
			size += len(one)
			var m causeway.Message
			var s hubamqp.Scratch
			_ = hubamqp.DecodeTelemetry(&m, &s, one)
		}
		if n > hubamqp.MaxBatch || size > len(b) {
			t.Fatalf("%d messages of %d bytes in %d", n, size, len(b))
		}
	})
}

// FuzzDecodeCommand: what is accepted survives being written.
func FuzzDecodeCommand(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m causeway.Message
		var s hubamqp.Scratch
		if id, err := hubamqp.DecodeServiceCommand(&m, &s, b); err == nil {
			if again, err := hubamqp.DecodeServiceCommand(&m, &s, hubamqp.AppendServiceCommand(nil, id, &m)); err != nil || again != id {
				t.Fatalf("to %v, then %v, %v", id, again, err)
			}
		}
		if err := hubamqp.DecodeCommand(&m, &s, b); err != nil {
			return
		}
		if m.To == "" {
			m.To = "x"
		}
		m.Sequence = max(m.Sequence, 0)
		m.Enqueued = m.Enqueued.UTC()
		kept := m.Properties[:0]
		for _, p := range m.Properties {
			if p.Key != "iothub-ack" {
				kept = append(kept, p)
			}
		}
		m.Properties = kept
		var again causeway.Message
		if err := hubamqp.DecodeCommand(&again, &s, hubamqp.AppendCommand(nil, module, &m)); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if d := cmp.Diff(m, again, same); d != "" {
			t.Fatalf("%x (-first +second):\n%s", b, d)
		}
	})
}

// FuzzRequests: whatever is sent to links that answer, what is accepted can be
// written so that it says the same.
func FuzzRequests(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s hubamqp.Scratch
		if r, err := hubamqp.DecodeTwinRequest(&s, b); err == nil {
			again, err := hubamqp.DecodeTwinRequest(&s, hubamqp.AppendTwinRequest(nil, r))
			if d := cmp.Diff(r, again, same, values); d != "" || err != nil {
				t.Fatalf("%x: %v (-first +second):\n%s", b, err, d)
			}
		}
		if r, err := hubamqp.DecodeMethodResponse(&s, b); err == nil {
			again, err := hubamqp.DecodeMethodResponse(&s, hubamqp.AppendMethodResponse(nil, r))
			if d := cmp.Diff(r, again, same); d != "" || err != nil {
				t.Fatalf("%x: %v (-first +second):\n%s", b, err, d)
			}
		}
		if r, err := hubamqp.DecodePutToken(b); err == nil {
			again, err := hubamqp.DecodePutToken(hubamqp.AppendPutToken(nil, r))
			if err != nil || again.Name != r.Name || again.Type != r.Type || !again.MessageID.Equal(r.MessageID) || !again.Expiration.Equal(r.Expiration) {
				t.Fatalf("%x: %+v, then %+v, %v", b, r, again, err)
			}
		}
		if r, err := hubamqp.DecodeManagementRequest(b); err == nil {
			again, err := hubamqp.DecodeManagementRequest(hubamqp.AppendManagementRequest(nil, r))
			if d := cmp.Diff(r, again, values); d != "" || err != nil {
				t.Fatalf("%x: %v (-first +second):\n%s", b, err, d)
			}
		}
	})
}

// FuzzReplies: nothing that a server sends does harm to a client.
func FuzzReplies(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s hubamqp.Scratch
		var e hubamqp.Event
		if err := hubamqp.DecodeEvent(&e, &s, b); err == nil && e.Message.Sequence != e.Sequence {
			t.Fatalf("%+v", e)
		}
		if r, err := hubamqp.DecodeMethodRequest(&s, b); err == nil && r.Call.Method == "" {
			t.Fatal("a call of no method")
		}
		if r, err := hubamqp.DecodeTwinResponse(&s, b); err == nil && r.Desired() && r.Status != 0 && r.Correlation.Kind() != codec.KindNull {
			t.Fatalf("%+v", r)
		}
		if r, err := hubamqp.DecodePutTokenResponse(b); err == nil && r.Status == 0 {
			t.Fatal("a reply without a status")
		}
		if r, h, err := hubamqp.DecodeEventHubInfo(b); (err != nil || !r.OK()) && (h.Name != "" || h.Partitions != nil) {
			t.Fatalf("%+v, %+v, %v", r, h, err)
		}
		if r, p, err := hubamqp.DecodePartitionInfo(b); (err != nil || !r.OK()) && p != (hubamqp.PartitionInfo{}) {
			t.Fatalf("%+v, %+v, %v", r, p, err)
		}
		_, _, _ = hubamqp.DecodeFeedback(b)
		_, _, _ = hubamqp.DecodeFileNotification(b)
	})
}

// FuzzParseAddress: an address that is accepted can be written so that it says
// the same; so can an audience, and a condition ends as some error.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{
		"/devices/a%20b/modules/m/messages/events", "amqps://h:5671/devices/d/twin", "eh/ConsumerGroups/$Default/Partitions/0", "$cbs",
		"messages/events/x/y", "h%2Fdevices%2Fd", "sb://ns/eh/$management", "amqps://[::1]:1/eh",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := hubamqp.ParseAddress(s); err == nil {
			if again, err := hubamqp.ParseAddress(a.String()); err != nil || again != a {
				t.Fatalf("%q is %+v, written as %q, which is %+v, %v", s, a, a.String(), again, err)
			}
		} else if a != (hubamqp.Address{}) {
			t.Fatalf("%q: %+v with %v", s, a, err)
		}
		if a, err := hubamqp.ParseAudience(s); err == nil && a.Device != "" {
			id := causeway.Identity{Device: a.Device, Module: a.Module}
			if again, err := hubamqp.ParseAudience(hubamqp.AudienceOf(a.Host, id)); err != nil || again.Key() != a.Key() {
				t.Fatalf("%q has key %q, written as %q with key %q, %v", s, a.Key(), hubamqp.AudienceOf(a.Host, id), again.Key(), err)
			}
		}
		_, _, _ = hubamqp.ParseCommandTarget(s)
		c := &codec.Condition{Name: s, Description: s}
		if code := causeway.CodeOf(hubamqp.ErrorOf(c)); code < 400000 || code > 599999 {
			t.Fatalf("%q is code %d", s, code)
		}
	})
}
