package events_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// asker is a pair of links with $management, of go-amqp.
type asker struct {
	t   testing.TB
	snd *goamqp.Sender
	rcv *goamqp.Receiver
}

func (w *world) asker(address string) *asker {
	w.t.Helper()
	s := w.azure()
	rcv, err := s.NewReceiver(w.t.Context(), address, &goamqp.ReceiverOptions{TargetAddress: "reply-here", Credit: 10})
	if err != nil {
		w.t.Fatal(err)
	}
	snd, err := s.NewSender(w.t.Context(), address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &asker{w.t, snd, rcv}
}

// ask sends a request and returns the reply.
func (a *asker) ask(id any, properties map[string]any) *goamqp.Message {
	a.t.Helper()
	to := "reply-here"
	m := &goamqp.Message{Properties: &goamqp.MessageProperties{MessageID: id, ReplyTo: &to}, ApplicationProperties: properties}
	if err := a.snd.Send(a.t.Context(), m, nil); err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	reply, err := a.rcv.Receive(ctx, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if !reflect.DeepEqual(reply.Properties.CorrelationID, id) {
		a.t.Errorf("the correlation id is %T %v, want %T %v", reply.Properties.CorrelationID, reply.Properties.CorrelationID, id, id)
	}
	return reply
}

func TestManagementEventHub(t *testing.T) {
	w := open(t, nil)
	for _, address := range []string{"$management", "myhub/$management", "amqps://ns.example.com/iothub-ehub-myhub-1-ab/$management"} {
		t.Run(address, func(t *testing.T) {
			a := w.asker(address)
			for _, id := range []any{"m-1", uint64(7), goamqp.UUID{1, 2, 3}, []byte{4, 5}} {
				reply := a.ask(id, map[string]any{"operation": "READ", "type": "com.microsoft:eventhub", "name": "myhub", "security_token": "whatever"})
				if reply.ApplicationProperties["status-code"] != int32(200) {
					t.Fatal(reply.ApplicationProperties)
				}
				body, ok := reply.Value.(map[string]any)
				if !ok {
					t.Fatalf("the body is a %T", reply.Value)
				}
				if at, ok := body["created_at"].(time.Time); !ok || !at.Equal(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)) {
					t.Errorf("created_at is %v", body["created_at"])
				}
				delete(body, "created_at")
				want := map[string]any{
					"name": "myhub", "type": "com.microsoft:eventhub", "partition_count": int32(2),
					"partition_ids": []string{"0", "1"}, "georeplication_factor": int32(1),
				}
				if !reflect.DeepEqual(body, want) {
					t.Errorf("%v, want %v", body, want)
				}
			}
		})
	}
}

func TestManagementPartition(t *testing.T) {
	w := open(t, func(w *world) { w.segment = 16 << 10 })
	a := w.asker("myhub/$management")
	read := map[string]any{"operation": "READ", "type": "com.microsoft:partition", "name": "myhub", "partition": "0"}
	check := func(first, last int64, offset string, empty bool, at time.Time) {
		t.Helper()
		reply := a.ask("m", read)
		body, ok := reply.Value.(map[string]any)
		if !ok {
			t.Fatalf("the body is a %T: %v", reply.Value, reply.ApplicationProperties)
		}
		if got, ok := body["last_enqueued_time_utc"].(time.Time); !ok || !got.Equal(at) {
			t.Errorf("last_enqueued_time_utc is %v, want %v", body["last_enqueued_time_utc"], at)
		}
		delete(body, "last_enqueued_time_utc")
		want := map[string]any{
			"name": "myhub", "type": "com.microsoft:partition", "partition": "0", "begin_sequence_number": first,
			"last_enqueued_sequence_number": last, "last_enqueued_offset": offset, "is_partition_empty": empty,
		}
		if !reflect.DeepEqual(body, want) {
			t.Errorf("%v, want %v", body, want)
		}
	}
	check(0, -1, "-1", true, time.Unix(0, 0))
	w.timed(10)
	last := base.Add(9 * time.Second).Truncate(time.Millisecond)
	check(0, 9, "9", false, last)
	w.fill(1, 1000, event(256))
	if err := w.log.Trim(t.Context(), 0, 10); err != nil {
		t.Fatal(err)
	}
	oldest, next, err := w.log.Bounds(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if oldest != next {
		t.Fatalf("%d to %d are still held", oldest, next)
	}
	// Everything is gone: the time of what was there last is not known.
	check(10, 9, "9", true, time.Unix(0, 0))
}

// badRequests are requests to $management, and the status they are answered with.
var badRequests = []struct {
	name       string
	properties map[string]any
	status     int32
	condition  string
}{
	{"request about another event hub", map[string]any{"operation": "READ", "type": "com.microsoft:eventhub", "name": "other"}, 404, amqp.NotFound},
	{"request about a partition that is not there", map[string]any{"operation": "READ", "type": "com.microsoft:partition", "name": "myhub", "partition": "2"}, 404, amqp.NotFound},
	{"request about no partition", map[string]any{"operation": "READ", "type": "com.microsoft:partition", "name": "myhub"}, 404, amqp.NotFound},
	{"request of an unknown type", map[string]any{"operation": "READ", "type": "com.microsoft:consumergroup", "name": "myhub"}, 400, hubamqp.ArgumentError},
	{"request for another operation", map[string]any{"operation": "DELETE", "type": "com.microsoft:eventhub", "name": "myhub"}, 400, hubamqp.ArgumentError},
	{"request without properties", nil, 400, hubamqp.ArgumentError},
}

func TestBadRequests(t *testing.T) {
	w := open(t, nil)
	a := w.asker("$management")
	for _, row := range badRequests {
		t.Run(row.name, func(t *testing.T) {
			p := a.ask("m", row.properties).ApplicationProperties
			if p["status-code"] != row.status || p["error-condition"] != row.condition || p["status-description"] == "" {
				t.Errorf("%v, want %d %s", p, row.status, row.condition)
			}
		})
	}
}

// request returns a request about the event hub, with a message id.
func request(replyTo string) []byte {
	return hubamqp.AppendManagementRequest(nil, hubamqp.ManagementRequest{MessageID: codec.String("m"), ReplyTo: replyTo, Type: hubamqp.TypeEventHub, Name: hub})
}

// TestManagementLinks takes the ways in which replies find their link.
func TestManagementLinks(t *testing.T) {
	w := open(t, nil)
	s := w.client()
	snd, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: "$management"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(payload []byte) codec.State {
		t.Helper()
		st, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := deliver(request("nowhere")); st.Kind != codec.CodeRejected || st.Error.Name != hubamqp.ArgumentError {
		t.Errorf("without a link for the reply: %+v", st)
	}
	if st := deliver([]byte{1, 2, 3}); st.Kind != codec.CodeRejected {
		t.Errorf("no message: %+v", st)
	}
	box := func(target string, credit uint32) *in {
		t.Helper()
		b := &in{t: t}
		r, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "$management", Target: target}, amqp.ReceiverOptions{Handler: b, Credit: credit})
		if err != nil {
			t.Fatal(err)
		}
		b.r = r
		return b
	}
	reply := func(b *in) {
		t.Helper()
		d, err := b.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r, info, err := hubamqp.DecodeEventHubInfo(d.Payload); err != nil || !r.OK() || len(info.Partitions) != 2 {
			t.Fatalf("%+v %+v %v", r, info, err)
		}
	}
	one, two := box("one", 10), box("", 0)
	deliver(request("one"))
	reply(one)
	deliver(request("elsewhere")) // to the latest of the session
	two.grant(1)
	reply(two)
	// Replies wait for credit, but not without end.
	kept := 0
	for range 100 {
		if st := deliver(request("elsewhere")); st.Kind == codec.CodeAccepted {
			kept++
		} else if st.Error == nil || st.Error.Name != amqp.ResourceLimitExceeded {
			t.Fatalf("%+v", st)
		}
	}
	if kept != 64 {
		t.Errorf("%d replies are kept", kept)
	}
	for range 4 {
		two.grant(16)
		for range 16 {
			reply(two)
		}
	}
	// The right to ask ends.
	w.head.Expire()
	if got := one.ended(); got != amqp.UnauthorizedAccess {
		t.Errorf("ended with %s", got)
	}
	if _, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: request("one")}); claimstest.Condition(err) != amqp.UnauthorizedAccess {
		t.Errorf("asked all the same: %v", err)
	}
	// And comes back.
	three := box("three", 10)
	if snd, err = s.AttachSender(t.Context(), amqp.LinkConfig{Target: "$management"}, amqp.SenderOptions{Handler: amqp.Outcomes{}}); err != nil {
		t.Fatal(err)
	}
	deliver(request("three"))
	reply(three)
}

// TestManagementBounds bounds the links of one connection.
func TestManagementBounds(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.ManagementLinks = 4 })
	s := w.client()
	attach := func() (*amqp.Receiver, error) {
		return s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "$management"}, amqp.ReceiverOptions{Handler: &in{}})
	}
	var last *amqp.Receiver
	for range 4 {
		r, err := attach()
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	if _, err := attach(); claimstest.Condition(err) != amqp.ResourceLimitExceeded {
		t.Errorf("a fifth link: %v", err)
	}
	last.Close(nil)
	if _, err := attach(); err != nil {
		t.Error(err)
	}
}

// TestManagementOfNoLog answers when the hub is not there any more.
func TestManagementOfNoLog(t *testing.T) {
	w := open(t, func(w *world) {
		w.plane.HubLog = func(string) (eventlog.Log, bool) { return nil, false }
	})
	p := w.asker("$management").ask("m", map[string]any{"operation": "READ", "type": "com.microsoft:eventhub", "name": "myhub"}).ApplicationProperties
	if p["status-code"] != int32(404) {
		t.Error(p)
	}
	_, err := w.azure().NewReceiver(t.Context(), address("0"), nil)
	if e, ok := errors.AsType[*goamqp.Error](err); !ok || e.Condition != amqp.NotFound {
		t.Error(err)
	}
}
