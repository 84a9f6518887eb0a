package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// command returns a message as a service sends it to id.
func command(id causeway.Identity, m causeway.Message) amqp.Transfer {
	return amqp.Transfer{Payload: hubamqp.AppendServiceCommand(nil, id, &m)}
}

// take returns the next message in the queue of id.
func (w *world) take(id causeway.Identity) (causeway.Message, bool) {
	w.t.Helper()
	m, ok, err := w.commands.Receive(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return m, ok
}

func TestSend(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for _, id := range []causeway.Identity{dev1, dev2, mod1} {
		st, err := snd.Deliver(t.Context(), command(id, causeway.Message{ID: "m-1", Body: []byte("hello")}))
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind != codec.CodeAccepted {
			t.Fatalf("%v: %v", id, st.Error)
		}
		m, ok := w.take(id)
		if !ok || string(m.Body) != "hello" || m.GenerationID != "gen-"+id.Device+id.Module {
			t.Errorf("%v: %v %+v", id, ok, m)
		}
	}
}

// TestSendContent sends everything that a message may have, with go-amqp.
func TestSendContent(t *testing.T) {
	w := open(t, nil)
	snd, err := w.azure().NewSender(t.Context(), "amqps://myhub.example.com/messages/deviceBound", nil)
	if err != nil {
		t.Fatal(err)
	}
	expiry := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	to, contentType, encoding := "/devices/dev-1/messages/devicebound", "application/json", "utf-8"
	m := &goamqp.Message{
		Properties: &goamqp.MessageProperties{
			MessageID: goamqp.UUID{0x12, 0x34}, CorrelationID: uint64(5), UserID: []byte("me"), To: &to,
			ContentType: &contentType, ContentEncoding: &encoding, AbsoluteExpiryTime: &expiry,
		},
		ApplicationProperties: map[string]any{"iothub-ack": "full", "level": "critical", "n": int64(7)},
		Value:                 "text", // and no data
	}
	if err := snd.Send(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
	got, ok := w.take(dev1)
	if !ok {
		t.Fatal("nothing was queued")
	}
	if string(got.Body) != "text" || got.ID != "12340000-0000-0000-0000-000000000000" || got.CorrelationID != "5" || got.UserID != "me" ||
		got.ContentType != contentType || got.ContentEncoding != encoding || !got.Expiry.Equal(expiry) || got.Ack != causeway.AckFull {
		t.Errorf("%+v", got)
	}
	want := map[string]string{"level": "critical", "n": "7"}
	for _, p := range got.Properties {
		if want[p.Key] != p.Value {
			t.Errorf("property %v", p)
		}
		delete(want, p.Key)
	}
	if len(want) > 0 {
		t.Errorf("lost are %v", want)
	}
}

// targets are ways to write to whom a message goes.
func TestTargets(t *testing.T) {
	w := open(t, nil)
	snd, err := w.azure().NewSender(t.Context(), "/messages/devicebound", nil)
	if err != nil {
		t.Fatal(err)
	}
	for to, id := range map[string]causeway.Identity{
		"/devices/dev-1/messages/devicebound":                          dev1,
		"/devices/dev-1/messages/deviceBound":                          dev1,
		"/Devices/dev-1/Messages/DeviceBound":                          dev1,
		"devices/dev-1/messages/devicebound":                           dev1,
		"/devices/dev%2D1/messages/devicebound":                        dev1,
		"amqps://myhub.example.com/devices/dev-1/messages/devicebound": dev1,
		"/devices/dev%232%2541%3F/messages/devicebound":                dev2,
		"/devices/dev-1/modules/mod-1/messages/deviceBound":            mod1,
		"/devices/dev-1/modules/mod%2D1/messages/devicebound":          mod1,
	} {
		m := goamqp.NewMessage([]byte("x"))
		m.Properties = &goamqp.MessageProperties{To: &to}
		if err := snd.Send(t.Context(), m, nil); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		if _, ok := w.take(id); !ok {
			t.Errorf("%s: nothing was queued", to)
		}
	}
}

// badInput is what a back end can get wrong with a message to a device, and what
// it is rejected with.
var badInput = []struct {
	name string
	send func() amqp.Transfer
	fail error // of the queue
	want string
	says string
}{
	{name: "device that is not there", send: func() amqp.Transfer {
		return command(causeway.Identity{Device: "none"}, causeway.Message{})
	}, want: hubamqp.NotFound, says: "none"},
	{name: "module that is not there", send: func() amqp.Transfer {
		return command(causeway.Identity{Device: "dev-1", Module: "none"}, causeway.Message{})
	}, want: hubamqp.NotFound},
	{name: "no to", send: func() amqp.Transfer { return toward("") }, want: hubamqp.ArgumentError, says: `no \"to\"`},
	{name: "to that is no device", send: func() amqp.Transfer { return toward("/messages/devicebound") }, want: hubamqp.ArgumentError},
	{name: "to that is telemetry", send: func() amqp.Transfer { return toward("/devices/dev-1/messages/events") }, want: hubamqp.ArgumentError},
	{name: "to with an empty id", send: func() amqp.Transfer { return toward("/devices//messages/devicebound") }, want: hubamqp.ArgumentError},
	{name: "to of 100 KB", send: func() amqp.Transfer {
		return toward("/devices/" + strings.Repeat("x", 100_000) + "/messages/devicebound")
	}, want: hubamqp.ArgumentError},
	{name: "expiry beyond the maximum", send: func() amqp.Transfer {
		return command(dev1, causeway.Message{Expiry: time.Now().Add(49 * time.Hour)})
	}, want: hubamqp.ArgumentError, says: "403009"},
	{name: "message above 64 KB", send: func() amqp.Transfer {
		return command(dev1, causeway.Message{Body: make([]byte, causeway.MaxCommandSize+1)})
	}, want: hubamqp.MessageSize},
	{name: "message of 900 KB", send: func() amqp.Transfer { return command(dev1, causeway.Message{Body: make([]byte, 900<<10)}) }, want: hubamqp.MessageSize},
	{name: "message above 64 KB with its properties", send: func() amqp.Transfer {
		return command(dev1, causeway.Message{Body: make([]byte, causeway.MaxCommandSize-10), Properties: []causeway.Property{{Key: "some-name", Value: "some value"}}})
	}, want: hubamqp.MessageSize},
	{name: "message id of 129 characters", send: func() amqp.Transfer {
		return command(dev1, causeway.Message{ID: strings.Repeat("i", 129)})
	}, want: hubamqp.ArgumentError},
	{name: "property name that no header can have", send: func() amqp.Transfer {
		return command(dev1, causeway.Message{Properties: []causeway.Property{{Key: "a b", Value: "v"}}})
	}, want: hubamqp.ArgumentError},
	{name: "bytes that are no message", send: func() amqp.Transfer { return amqp.Transfer{Payload: []byte("hello")} }, want: codec.DecodeError},
	{name: "no bytes", send: func() amqp.Transfer { return amqp.Transfer{Payload: nil} }, want: hubamqp.ArgumentError},
	{name: "body of a list", send: func() amqp.Transfer {
		m := codec.Message{Properties: codec.Properties{To: "/devices/dev-1/messages/devicebound"}, Body: codec.ValueBody(codec.List(codec.Int(1)))}
		payload, _ := m.Append(nil)
		return amqp.Transfer{Payload: payload}
	}, want: hubamqp.ArgumentError, says: "body"},
	{name: "batch", send: func() amqp.Transfer {
		tr := command(dev1, causeway.Message{})
		tr.Format = 0x80013700
		return tr
	}, want: hubamqp.ArgumentError, says: "one by one"},
	{name: "queue that is full", send: toDev1, fail: causeway.Errorf(causeway.DeviceMaximumQueueDepthExceeded, "t", "50"), want: hubamqp.ResourceLimit, says: "403004"},
	{name: "too many messages", send: toDev1, fail: causeway.Errorf(causeway.ThrottlingException, "t", "slow"), want: hubamqp.Throttled},
	{name: "hub that is suspended", send: toDev1, fail: causeway.Errorf(causeway.IotHubSuspended, "t", "gone"), want: hubamqp.HubSuspended},
	// Never released: some clients take that for success.
	{name: "store that is not available", send: toDev1, fail: causeway.Errorf(causeway.ServiceUnavailable, "t", "later"), want: hubamqp.InternalError},
	{name: "store that fails", send: toDev1, fail: errors.New("disk: secret detail"), want: hubamqp.InternalError},
}

func toDev1() amqp.Transfer { return command(dev1, causeway.Message{ID: "m"}) }

// toward returns a message with a "to".
func toward(to string) amqp.Transfer {
	m := codec.Message{Properties: codec.Properties{To: to}, Body: codec.Data([]byte("x"))}
	payload, _ := m.Append(nil)
	return amqp.Transfer{Payload: payload}
}

func TestBadInput(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			w.setEnqueue(func(causeway.Identity, *causeway.Message) error { return row.fail })
			st, err := snd.Deliver(t.Context(), row.send())
			if err != nil {
				t.Fatal(err)
			}
			if st.Kind != codec.CodeRejected || st.Error == nil {
				t.Fatalf("%+v", st)
			}
			if st.Error.Name != row.want || !strings.Contains(st.Error.Description, row.says) || strings.Contains(st.Error.Description, "secret") {
				t.Errorf("%s %s, want %s …%s…", st.Error.Name, st.Error.Description, row.want, row.says)
			}
		})
	}
	w.setEnqueue(nil)
	// The link is none the worse for it.
	if st, err := snd.Deliver(t.Context(), toDev1()); err != nil || st.Kind != codec.CodeAccepted {
		t.Errorf("%+v %v", st, err)
	}
}

// TestHugeMessage ends the link, and nothing else.
func TestHugeMessage(t *testing.T) {
	w := open(t, nil)
	s := w.client()
	snd := w.sender(s)
	if most := snd.MaxMessageSize(); most != 1<<20 {
		t.Errorf("the link takes messages of %d bytes", most)
	}
	raw := w.raw()
	raw.send(0, make([]byte, 1<<20+1))
	if got := raw.detached(); got != hubamqp.MessageSize {
		t.Errorf("detached with %s", got)
	}
	if st, err := snd.Deliver(t.Context(), toDev1()); err != nil || st.Kind != codec.CodeAccepted {
		t.Errorf("%+v %v", st, err)
	}
}

// TestFull fills the queue of a device.
func TestFull(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for i := range causeway.MaxQueuedCommands + 1 {
		st, err := snd.Deliver(t.Context(), toDev1())
		if err != nil {
			t.Fatal(err)
		}
		if want := i < causeway.MaxQueuedCommands; (st.Kind == codec.CodeAccepted) != want || !want && st.Error.Name != hubamqp.ResourceLimit {
			t.Fatalf("message %d: %+v", i, st)
		}
	}
}

// TestBurst sends many messages at once: those of different devices are queued at
// the same time, those of one in their order, and each gets its own outcome.
func TestBurst(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.Parallel = 8 })
	const devices, each = 20, 10
	var mu sync.Mutex
	var once sync.Once
	busy, most := 0, 0
	order := map[string][]string{}
	full := make(chan struct{})
	w.setEnqueue(func(id causeway.Identity, m *causeway.Message) error {
		mu.Lock()
		busy++
		if most = max(most, busy); busy == 8 {
			once.Do(func() { close(full) })
		}
		mu.Unlock()
		select {
		case <-full: // as many at once as there may be
		case <-time.After(20 * time.Second):
		}
		mu.Lock()
		defer mu.Unlock()
		busy--
		order[id.Device] = append(order[id.Device], m.ID)
		if strings.HasSuffix(m.ID, "3") {
			return causeway.Errorf(causeway.DeviceMaximumQueueDepthExceeded, "t", "full")
		}
		return errQueued
	})
	raw := w.raw()
	for i := range each {
		for d := range devices {
			m := causeway.Message{ID: fmt.Sprint(i)}
			raw.queue(uint32(i*devices+d), hubamqp.AppendServiceCommand(nil, causeway.Identity{Device: fmt.Sprint("bulk-", d)}, &m))
		}
	}
	raw.flush()
	outcomes := raw.outcomes(devices * each)
	for i := range each {
		for d := range devices {
			st := outcomes[uint32(i*devices+d)]
			if want := i != 3; (st.Kind == codec.CodeAccepted) != want {
				t.Errorf("message %d to %d: %+v", i, d, st)
			}
		}
	}
	if most != 8 {
		t.Errorf("at most %d at once", most)
	}
	for d, ids := range order {
		if got := strings.Join(ids, ""); got != "0123456789" {
			t.Errorf("device %s got %s", d, got)
		}
	}
}

// TestSettled takes messages that the sender has settled.
func TestSettled(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for _, tr := range []amqp.Transfer{toDev1(), toward(""), toDev1()} {
		tr.Settled = true
		if _, err := snd.Send(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := snd.Deliver(t.Context(), toDev1()); err != nil || st.Kind != codec.CodeAccepted {
		t.Fatalf("%+v %v", st, err)
	}
	for range 3 {
		if _, ok := w.take(dev1); !ok {
			t.Fatal("a message is lost")
		}
	}
}

// TestDirections refuses links that run the wrong way.
func TestDirections(t *testing.T) {
	w := open(t, nil)
	s := w.client()
	_, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "/messages/devicebound"}, amqp.ReceiverOptions{Handler: &in{}})
	if claimstest.Condition(err) != amqp.NotAllowed {
		t.Errorf("receiving commands: %v", err)
	}
	for _, target := range []string{"/messages/serviceBound/feedback", "/messages/servicebound/filenotifications"} {
		_, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: target}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		if claimstest.Condition(err) != amqp.NotAllowed {
			t.Errorf("sending to %s: %v", target, err)
		}
	}
}

// TestUnauthorized refuses links, and ends them.
func TestUnauthorized(t *testing.T) {
	w := open(t, nil)
	s := w.client()
	snd := w.sender(s)
	box := w.receive(s, how{})
	w.head.Expire()
	if _, err := snd.Deliver(t.Context(), toDev1()); claimstest.Condition(err) != amqp.UnauthorizedAccess {
		t.Errorf("sending: %v", err)
	}
	if got := box.ended(); got != amqp.UnauthorizedAccess {
		t.Errorf("receiving: %s", got)
	}
	// A new claim lets in again.
	w.sender(s)
	w.receive(s, how{})
	w.head.Deny()
	if _, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: "/messages/devicebound"}, amqp.SenderOptions{Handler: amqp.Outcomes{}}); claimstest.Condition(err) != amqp.UnauthorizedAccess {
		t.Errorf("attaching a sender: %v", err)
	}
	for _, source := range []string{"/messages/serviceBound/feedback", "/messages/servicebound/filenotifications"} {
		if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: source}, amqp.ReceiverOptions{Handler: &in{}}); claimstest.Condition(err) != amqp.UnauthorizedAccess {
			t.Errorf("receiving from %s: %v", source, err)
		}
	}
}
