package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const eventsString = "Endpoint=sb://events.example/;SharedAccessKeyName=service;SharedAccessKey=" + serviceKey + ";EntityPath=eh"

var arrived = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// log is the events of one partition, which a hub hands out.
type eventLog struct {
	h     *amqpHub
	grant chan reading
}

// reading is a reader that was granted.
type reading struct {
	peer    *amqpPeer
	address hubamqp.Address
	start   hubamqp.Start
	link    string
}

func newEventLog(h *amqpHub) *eventLog {
	l := &eventLog{h: h, grant: make(chan reading, 100)}
	h.granted = func(p *amqpPeer, a hubamqp.Address, start hubamqp.Start, key string) {
		if a.Kind == hubamqp.KindEvents {
			l.grant <- reading{p, a, start, key}
		}
	}
	h.manage = func(r hubamqp.ManagementRequest) func([]byte) []byte {
		return func(dst []byte) []byte {
			switch {
			case r.Name != "eh" || r.Partition == "9":
				return hubamqp.AppendManagementError(dst, r.MessageID, causeway.Errorf(causeway.PartitionNotFound, "", "no such partition"))
			case r.Type == hubamqp.TypeEventHub:
				return hubamqp.AppendEventHubInfo(dst, r.MessageID, hubamqp.EventHubInfo{Name: "eh", Created: arrived, Partitions: []string{"0", "1"}})
			}
			return hubamqp.AppendPartitionInfo(dst, r.MessageID, hubamqp.PartitionInfo{Name: "eh", Partition: r.Partition, First: 3, Next: 7, LastEnqueued: arrived})
		}
	}
	return l
}

// next returns the next reader.
func (l *eventLog) next() reading {
	l.h.t.Helper()
	select {
	case g := <-l.grant:
		return g
	case <-time.After(time.Hour):
		l.h.t.Fatal("no reader came")
		return reading{}
	}
}

// send sends events from a sequence number on.
func (g reading) send(from, n int64, body []byte) {
	for i := range n {
		m := causeway.Message{Body: body, From: causeway.Identity{Device: "d1"}, Enqueued: arrived, Source: causeway.SourceTelemetry, ContentType: "text/plain"}
		at := hubamqp.Position{Sequence: from + i, Offset: 10 * (from + i), Enqueued: arrived}
		g.peer.send(g.link, "", hubamqp.AppendEvent(nil, &m, at, &hubamqp.Runtime{Last: at, Retrieved: arrived}))
	}
}

func (h *amqpHub) events(text string) *client.Events {
	h.t.Helper()
	e, err := client.NewEvents(client.EventsOptions{Options: h.network(), ConnectionString: text})
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

func TestEventHub(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		newEventLog(h)
		e := h.events(eventsString)
		info, err := e.Hub(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(client.EventHub{Name: "eh", Created: arrived, Partitions: []string{"0", "1"}}, info); d != "" {
			t.Error(d)
		}
		p, err := e.Partition(t.Context(), "1")
		if d := cmp.Diff(client.Partition{ID: "1", First: 3, Next: 7, LastEnqueued: arrived}, p); d != "" || err != nil {
			t.Error(d, err)
		}
		if _, err := e.Partition(t.Context(), "9"); causeway.CodeOf(err) != causeway.GenericNotFound {
			t.Errorf("no such partition: %v", err)
		}
		if len(h.conns()) != 1 || h.dials[0] != "events.example:5671" {
			t.Errorf("dialled %q", h.dials)
		}
		// The key itself signs, not what it is the base64 of.
		token, err := sas.Parse(string(h.shown()[0].Token))
		if err != nil || token.Resource != "sb://events.example/eh" || token.Policy != "service" || !token.Verify([]byte(serviceKey)) || h.shown()[0].Name != token.Resource {
			t.Errorf("token %+v, %v", token, err)
		}
		h.peer(0).drop()
		if _, err := e.Hub(t.Context()); err != nil {
			t.Errorf("on another connection: %v", err)
		}
		e.Close()
		if _, err := e.Hub(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestEventsReader(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		r, err := e.Reader(t.Context(), "1", client.ReaderOptions{From: client.AfterOffset(30), LastEnqueued: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := l.next()
		if g.address != (hubamqp.Address{Kind: hubamqp.KindEvents, Entity: "eh", Group: "$Default", Partition: "1"}) ||
			g.start != (hubamqp.Start{Kind: hubamqp.StartOffset, Offset: 30}) {
			t.Errorf("reader %+v", g)
		}
		synctest.Wait()
		if n := g.peer.link(g.link).Credit(); n != 64 {
			t.Errorf("credit %d", n)
		}
		g.send(4, 1, []byte("hello"))
		got, err := r.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := client.PartitionEvent{
			Message: causeway.Message{
				Body: []byte("hello"), ContentType: "text/plain", From: causeway.Identity{Device: "d1"}, Enqueued: arrived,
				Source: causeway.SourceTelemetry, Sequence: 4, Properties: []causeway.Property{},
			},
			Partition: "1", Sequence: 4, Offset: "40", Enqueued: arrived, PartitionKey: "d1",
			Last: client.LastEnqueued{Sequence: 4, Offset: "40", Enqueued: arrived, Seen: arrived},
		}
		if len(got) != 1 {
			t.Fatalf("%d events", len(got))
		}
		kept := got[0].Clone()
		if d := cmp.Diff(want, kept, cmp.Transformer("list", func(p []causeway.Property) []causeway.Property { return append([]causeway.Property{}, p...) })); d != "" {
			t.Error(d)
		}
		// What comes while nobody takes it waits; the credit bounds it. It
		// has grown since the first event was small.
		g.send(5, client.DefaultPrefetch, []byte("x"))
		synctest.Wait()
		if n := g.peer.link(g.link).Credit(); n != 0 {
			t.Errorf("credit %d", n)
		}
		next := int64(5)
		for next < 5+client.DefaultPrefetch {
			list, err := r.Receive(t.Context())
			if err != nil || len(list) > 256 {
				t.Fatal(len(list), err)
			}
			for _, x := range list {
				if x.Sequence != next {
					t.Fatalf("event %d, want %d", x.Sequence, next)
				}
				next++
			}
		}
		synctest.Wait()
		if n := g.peer.link(g.link).Credit(); n != client.DefaultPrefetch {
			t.Errorf("credit %d after all was taken", n)
		}
		if want.Message.Body = []byte("hello"); string(kept.Message.Body) != "hello" || kept.Offset != "40" {
			t.Errorf("the clone has changed: %+v", kept)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing comes: %v", err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := r.Receive(t.Context())
			ended <- err
		}()
		pass(time.Minute)
		r.Close()
		if err := <-ended; !errors.Is(err, client.ErrClosed) {
			t.Errorf("Receive while it is closed: %v", err)
		}
	})
}

func TestEventsGoOnAfterALoss(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		r, err := e.Reader(t.Context(), "0", client.ReaderOptions{From: client.Latest()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := l.next()
		if g.start != (hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: 7, Inclusive: true}) {
			t.Errorf("the latest is %+v", g.start)
		}
		g.peer.drop() // before the first event
		got := make(chan int64, 100)
		go func() {
			for x, err := range r.All(t.Context()) {
				if err != nil {
					t.Error(err)
					return
				}
				if got <- x.Sequence; x.Sequence == 10 {
					return
				}
			}
		}()
		if g = l.next(); g.start.Sequence != 7 || !g.start.Inclusive {
			t.Errorf("it goes on at %+v", g.start)
		}
		g.send(7, 2, nil)
		if a, b := <-got, <-got; a != 7 || b != 8 {
			t.Errorf("events %d and %d", a, b)
		}
		// A restart of the server.
		g.peer.link(g.link).Close(amqp.Refuse(amqp.DetachForced, "moved"))
		if g = l.next(); g.start != (hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: 8}) {
			t.Errorf("it goes on at %+v", g.start)
		}
		g.send(9, 2, nil)
		if a, b := <-got, <-got; a != 9 || b != 10 {
			t.Errorf("events %d and %d", a, b)
		}
	})
}

func TestEventsEpoch(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		var seen hubamqp.LinkProperties
		var runtime bool
		h.attach = func(a hubamqp.Address, w *amqp.Attach) error {
			if a.Kind == hubamqp.KindEvents {
				seen, runtime = hubamqp.ParseLinkProperties(w.Properties), hubamqp.WantsRuntime(w.DesiredCapabilities)
			}
			return nil
		}
		epoch := int64(5)
		r, err := e.Reader(t.Context(), "0", client.ReaderOptions{Epoch: &epoch, Name: "me"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := l.next()
		if !seen.Epoch.OK || seen.Epoch.V != 5 || seen.ReceiverName != "me" || runtime || g.start != (hubamqp.Start{}) {
			t.Errorf("properties %+v, start %+v, runtime %v", seen, g.start, runtime)
		}
		g.send(3, 1, nil)
		synctest.Wait()
		g.peer.link(g.link).Close(amqp.Refuse(amqp.LinkStolen, "a reader with epoch 6 has come"))
		// What had come before is not lost.
		if list, err := r.Receive(t.Context()); err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if _, err := r.Receive(t.Context()); causeway.CodeOf(err) != causeway.ConnectionForcefullyClosedOnNewConnection || !strings.Contains(err.Error(), "epoch 6") {
			t.Error(err)
		}
		h.mu.Lock()
		h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
			if a.Kind == hubamqp.KindEvents {
				return amqp.Refuse(amqp.NotFound, "no such consumer group")
			}
			return nil
		}
		h.mu.Unlock()
		if _, err := e.Reader(t.Context(), "0", client.ReaderOptions{}); causeway.CodeOf(err) != causeway.DeviceNotFound || !strings.Contains(err.Error(), "consumer group") {
			t.Error(err)
		}
	})
}

func TestEventsUnreadable(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		r, err := e.Reader(t.Context(), "0", client.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := l.next()
		g.send(1, 1, nil)
		g.peer.send(g.link, "", []byte("nonsense"))
		g.send(2, 1, nil)
		synctest.Wait()
		var got []string
		for len(got) < 3 {
			list, err := r.Receive(t.Context())
			if err != nil {
				if !errors.Is(err, client.ErrUnreadable) {
					t.Fatal(err)
				}
				got = append(got, causeway.CodeOf(err).Name())
			}
			for _, x := range list {
				got = append(got, fmt.Sprint(x.Sequence))
			}
		}
		if !slices.Equal(got, []string{"1", "IotHubFormatError", "2"}) {
			t.Error(got)
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		r, err := e.Reader(t.Context(), "0", client.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		g := l.next()
		const n = 200 // of 256 KB: more than may wait
		body := bytes.Repeat([]byte("x"), 256<<10)
		sent := make(chan bool)
		go func() { defer close(sent); g.send(0, n, body) }()
		pass(10 * time.Second) // a hub does not wait for long
		select {
		case <-sent:
			t.Error("50 MB were taken by a reader that reads nothing")
		default:
		}
		for next := int64(0); next < n; {
			list, err := r.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range list {
				if x.Sequence != next || len(x.Message.Body) != len(body) {
					t.Fatalf("event %d, want %d", x.Sequence, next)
				}
				next++
			}
		}
		<-sent
		sent = make(chan bool)
		go func() {
			defer close(sent)
			for range 80 {
				m := hubamqp.AppendEvent(nil, &causeway.Message{Body: body}, hubamqp.Position{}, nil)
				if _, err := g.peer.link(g.link).Send(t.Context(), amqp.Transfer{Payload: m}); err != nil {
					return
				}
			}
		}()
		pass(10 * time.Second)
		r.Close() // while events wait
		<-sent
	})
}

func TestEventsByRedirect(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
			if a.Kind == hubamqp.KindRedirect {
				return hubamqp.Redirect("events.example", 5999, "eh", a.Tail)
			}
			return nil
		}
		e := h.events(serviceString)
		defer e.Close()
		r, err := e.Reader(t.Context(), "0", client.ReaderOptions{From: client.FromTime(arrived)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if g := l.next(); g.address.Entity != "eh" || g.start.Kind != hubamqp.StartTime || !g.start.Inclusive || !g.start.Time.Equal(arrived) {
			t.Errorf("reader %+v", g)
		}
		if want := []string{"hub.example:5671", "events.example:5999"}; !slices.Equal(h.dials, want) {
			t.Errorf("dialled %q, want %q", h.dials, want)
		}
		tokens := h.shown()
		hub, err1 := sas.Parse(string(tokens[0].Token))
		events, err2 := sas.Parse(string(tokens[1].Token))
		if err1 != nil || err2 != nil || !hub.Verify([]byte("0123456789abcdef")) || !events.Verify([]byte(serviceKey)) ||
			hub.Resource != "hub.example" || events.Resource != "sb://events.example/eh" {
			t.Errorf("tokens %+v, %+v", hub, events)
		}
		if _, err := e.Hub(t.Context()); err != nil { // the hub is asked once
			t.Error(err)
		}
		if n := len(h.conns()); n != 3 {
			t.Errorf("%d connections", n)
		}
	})
	for name, answer := range map[string]func() error{
		"does not say where": func() error { return nil },
		"which is no address": func() error {
			return &codec.Condition{Name: amqp.LinkRedirect, Info: codec.NewMap(codec.Symbol("address"), codec.String("::"))}
		},
		"names no event hub": func() error {
			return &codec.Condition{Name: amqp.LinkRedirect, Info: codec.NewMap(codec.Symbol("address"), codec.String("amqps://x:5671"))}
		},
		"nothing for you": func() error { return amqp.Refuse(amqp.UnauthorizedAccess, "nothing for you") },
	} {
		inHub(t, func(t *testing.T, h *amqpHub) {
			h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
				if a.Kind == hubamqp.KindRedirect {
					return answer()
				}
				return nil
			}
			e := h.events(serviceString)
			defer e.Close()
			if _, err := e.Reader(t.Context(), "0", client.ReaderOptions{}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want %s", err, name)
			}
		})
	}
}

func TestEventsAddresses(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		h.refuse = true
		for _, o := range []client.EventsOptions{
			{ConnectionString: eventsString},
			{ConnectionString: strings.Replace(eventsString, "example/", "example:6000/", 1)},
			{ConnectionString: strings.Replace(eventsString, "example/", "example:6000/", 1), Options: client.Options{AMQPPort: 7000}},
			{ConnectionString: eventsString, WebSocket: true},
			{ConnectionString: eventsString, WebSocket: true, Options: client.Options{HTTPSPort: 8443}},
			{ConnectionString: eventsString + ";UseDevelopmentEmulator=true"},
		} {
			o.Dial = h.dial
			e, err := client.NewEvents(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Hub(t.Context()); err == nil {
				t.Error("nobody listens, but there was an answer")
			}
			e.Close()
		}
		want := []string{
			"events.example:5671", "events.example:6000", "events.example:7000", "events.example:443", "events.example:8443", "events.example:5672",
		}
		if !slices.Equal(h.dials, want) {
			t.Errorf("dialled %q, want %q", h.dials, want)
		}
	})
	for text, want := range map[string]string{
		"":           "connection string",
		deviceString: "this is a device's",
		strings.TrimSuffix(eventsString, ";EntityPath=eh"): "EntityPath is missing",
	} {
		if _, err := client.NewEvents(client.EventsOptions{ConnectionString: text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestPartitionEventAsALine(t *testing.T) {
	e := client.PartitionEvent{
		Partition: "1", Sequence: 4, Offset: "40", Enqueued: arrived.Add(time.Second),
		Message: causeway.Message{
			Body: []byte(`{"t": "<1>"}`), ContentType: "application/json", ID: "m1", From: causeway.Identity{Device: "d1", Module: "m"},
			Enqueued: arrived, Source: "Telemetry", Properties: []causeway.Property{{Key: "a", Value: "b"}},
		},
	}
	got, err := e.Event()
	const want = `{"type":"event","partition":1,"offset":40,"deviceId":"d1","moduleId":"m","sequenceNumber":4,` +
		`"systemProperties":{"content-type":"application/json","message-id":"m1"},` +
		`"annotations":{"iothub-connection-device-id":"d1","iothub-connection-module-id":"m","iothub-enqueuedtime":"2026-05-06T07:08:09.000Z","iothub-message-source":"Telemetry"},` +
		`"properties":{"a":"b"},"bodyEncoding":"json","body":{"t":"<1>"},"enqueuedTime":"2026-05-06T07:08:09.000Z"}`
	if err != nil || string(got.Raw) != want {
		t.Errorf("got  %s, %v\nwant %s", got.Raw, err, want)
	}
	if got.Text() != `{"t":"<1>"}` || !got.Time().Equal(arrived) || got.Offset != 40 || got.Partition != 1 {
		t.Errorf("%+v", got)
	}
	for body, want := range map[string]string{"hi": "text", "\xff": "base64", `{"t":`: "text"} {
		e.Message.Body = []byte(body)
		if got, err := e.Event(); err != nil || got.BodyEncoding != want {
			t.Errorf("%q: %s, %v", body, got.BodyEncoding, err)
		}
	}
}
