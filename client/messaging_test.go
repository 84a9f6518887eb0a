package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const serviceString = "HostName=hub.example;SharedAccessKeyName=service;SharedAccessKey=" + serviceKey

func (h *amqpHub) messaging() *client.Messaging {
	h.t.Helper()
	m, err := client.NewMessaging(client.MessagingOptions{Options: h.network(), ConnectionString: serviceString})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func TestMessagingCommands(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		defer m.Close()
		send := func(msg *causeway.Message) <-chan error {
			done := make(chan error, 1)
			go func() { done <- m.SendCommand(t.Context(), "d?1", "m1", msg) }()
			return done
		}
		done := send(&causeway.Message{
			Body: []byte("open"), ID: "m1", UserID: "me", Ack: causeway.AckFull, Expiry: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
			Properties: []causeway.Property{{Key: "zone", Value: "3"}},
		})
		a := h.next(hubamqp.KindServiceCommands)
		var got causeway.Message
		id, err := hubamqp.DecodeServiceCommand(&got, &hubamqp.Scratch{}, a.Payload)
		if err != nil || id != (causeway.Identity{Device: "d?1", Module: "m1"}) || got.ID != "m1" || got.Ack != causeway.AckFull ||
			got.Expiry.Year() != 2030 || string(got.Body) != "open" || got.UserID != "me" {
			t.Errorf("command %+v for %v, %v", got, id, err)
		}
		if len(done) > 0 {
			t.Error("SendCommand did not wait")
		}
		a.settle(codec.Accepted())
		if err := <-done; err != nil {
			t.Error(err)
		}
		token, err := sas.Parse(string(h.shown()[0].Token))
		if err != nil || token.Resource != "hub.example" || token.Policy != "service" || !token.Verify([]byte("0123456789abcdef")) {
			t.Errorf("token %+v, %v", token, err)
		}
		for code, s := range map[causeway.Code]codec.State{
			causeway.DeviceMaximumQueueDepthExceeded: codec.Rejected(hubamqp.ConditionOf(causeway.Errorf(causeway.DeviceMaximumQueueDepthExceeded, "", "full"))),
			causeway.DeviceNotFound:                  codec.Rejected(amqp.Refuse(amqp.NotFound, "nobody")),
		} {
			done := send(&causeway.Message{})
			h.next(hubamqp.KindServiceCommands).settle(s)
			if err := <-done; causeway.CodeOf(err) != code {
				t.Errorf("%v, want %v", err, code)
			}
		}
		// A lost connection is an error, and a new one is made for the next.
		done = send(&causeway.Message{})
		h.next(hubamqp.KindServiceCommands).peer.drop()
		if err := <-done; !errors.Is(err, amqp.ErrDetached) && !errors.Is(err, amqp.ErrClosed) {
			t.Errorf("a lost connection: %v", err)
		}
		done = send(&causeway.Message{})
		h.next(hubamqp.KindServiceCommands).settle(codec.Accepted())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// feedback sends a batch with one record.
func (p *amqpPeer) feedback(id string) {
	p.hub.t.Helper()
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	body := hubamqp.FeedbackBody([]hubamqp.Feedback{{OriginalMessageID: id, Time: at, Status: "Success", Device: "d1", GenerationID: "g"}})
	b := hubamqp.AppendFeedback(nil, body, hubamqp.Notice{MessageID: "n-" + id, Hub: "hub", Enqueued: at, DeliveryCount: 1})
	t := amqp.Transfer{Tag: []byte(id), Payload: b, Token: id}
	if _, err := p.link(hubamqp.FeedbackAddress).Send(p.hub.t.Context(), t); err != nil {
		p.hub.t.Fatal(err)
	}
}

func TestFeedback(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		defer m.Close()
		r, err := m.Feedback(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := h.peer(0)
		for id, want := range map[string]codec.Code{"a": codec.CodeAccepted, "b": codec.CodeReleased, "c": codec.CodeRejected} {
			p.feedback(id)
			b, err := r.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
			if d := cmp.Diff(&client.FeedbackBatch{
				Notice:  client.Notice{MessageID: "n-" + id, Hub: "hub", Enqueued: at, DeliveryCount: 1},
				Records: []client.Feedback{{MessageID: id, Time: at, Status: "Success", Description: "Success", Device: "d1", GenerationID: "g"}},
			}, b, cmpopts.IgnoreUnexported(client.Notice{})); d != "" {
				t.Error(d)
			}
			settle := map[codec.Code]func() error{codec.CodeAccepted: b.Complete, codec.CodeReleased: b.Abandon, codec.CodeRejected: b.Reject}
			if err := settle[want](); err != nil {
				t.Error(err)
			}
			if o := h.outcome(); o != (outcome{id, want}) {
				t.Errorf("outcome %v", o)
			}
		}
		// What cannot be read is rejected and does no harm.
		if _, err := p.link(hubamqp.FeedbackAddress).Send(t.Context(), amqp.Transfer{Tag: []byte("x"), Payload: []byte("x"), Token: "x"}); err != nil {
			t.Fatal(err)
		}
		p.feedback("d")
		b, err := r.Receive(t.Context())
		if err != nil || b.Records[0].MessageID != "d" {
			t.Fatal(b, err)
		}
		if o := h.outcome(); o != (outcome{"x", codec.CodeRejected}) {
			t.Errorf("outcome %v", o)
		}
		// What came on a lost connection cannot be settled; receiving goes on.
		p.drop()
		<-p.conn.Done()
		got := make(chan *client.FeedbackBatch, 1)
		go func() {
			b, err := r.Receive(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- b
		}()
		pass(time.Minute)
		if err := b.Complete(); causeway.CodeOf(err) != causeway.DeviceMessageLockLost {
			t.Errorf("a lost lock: %v", err)
		}
		h.peer(1).feedback("d")
		if b := <-got; b.Records[0].MessageID != "d" {
			t.Error(b)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing to receive: %v", err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := r.Receive(t.Context())
			ended <- err
		}()
		pass(time.Minute)
		r.Close()
		r.Close() // once more does no harm
		if err := <-ended; !errors.Is(err, client.ErrClosed) {
			t.Errorf("Receive while it is closed: %v", err)
		}
	})
}

func TestFeedbackRefused(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		defer m.Close()
		h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
			if a.Kind == hubamqp.KindFeedback {
				return hubamqp.ConditionOf(causeway.Errorf(causeway.IotHubUnauthorized, "", "the policy lacks ServiceConnect"))
			}
			return nil
		}
		if _, err := m.Feedback(t.Context()); causeway.CodeOf(err) != causeway.IotHubUnauthorized || !strings.Contains(err.Error(), "ServiceConnect") {
			t.Error(err)
		}
	})
}

func TestFileNotifications(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		r, err := m.FileNotifications(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
		body := hubamqp.FileNotificationBody(hubamqp.FileNotification{
			Device: "d1", BlobURI: "https://x/d1/f", BlobName: "d1/f", LastUpdated: at, Size: 5, Enqueued: at.Add(time.Second),
		})
		h.peer(0).send(hubamqp.FileNotificationsAddress, "f", hubamqp.AppendFileNotification(nil, body, hubamqp.Notice{Hub: "hub", Enqueued: at}))
		f, err := r.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&client.FileNotification{
			Notice: client.Notice{Hub: "hub", Enqueued: at}, Device: "d1", BlobURI: "https://x/d1/f", BlobName: "d1/f",
			LastUpdated: at, Size: 5, Uploaded: at.Add(time.Second),
		}, f, cmpopts.IgnoreUnexported(client.Notice{})); d != "" {
			t.Error(d)
		}
		if err := f.Complete(); err != nil {
			t.Error(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := r.Receive(t.Context())
			ended <- err
		}()
		pass(time.Minute)
		m.Close()
		if err := <-ended; !errors.Is(err, client.ErrClosed) {
			t.Errorf("Receive while it is closed: %v", err)
		}
		if err := m.SendCommand(t.Context(), "d", "", &causeway.Message{}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("a command after Close: %v", err)
		}
	})
}

func TestMessagingTokenIsRenewed(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		defer m.Close()
		r, err := m.Feedback(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		pass(3 * time.Hour)
		names := map[string]int{}
		for _, q := range h.shown() {
			names[q.Name]++
		}
		if len(h.conns()) != 1 || fmt.Sprint(names) != "map[hub.example:4]" {
			t.Errorf("%d connections, tokens for %v", len(h.conns()), names)
		}
	})
}

func TestMessagingAddresses(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		h.refuse = true
		for _, o := range []client.MessagingOptions{
			{},
			{WebSocket: true},
			{WebSocket: true, Options: client.Options{HTTPSPort: 8443}},
			{Options: client.Options{AMQPPort: 5999, Address: "10.1.1.1"}},
		} {
			o.Dial, o.ConnectionString = h.dial, serviceString
			m, err := client.NewMessaging(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.SendCommand(t.Context(), "d", "", &causeway.Message{}); err == nil {
				t.Error("nobody listens, but it was sent")
			}
			m.Close()
		}
		if want := []string{"hub.example:5671", "hub.example:443", "hub.example:8443", "10.1.1.1:5999"}; !slices.Equal(h.dials, want) {
			t.Errorf("dialled %q, want %q", h.dials, want)
		}
		for text, want := range map[string]string{"": "connection string", deviceString: "this is a device's"} {
			if _, err := client.NewMessaging(client.MessagingOptions{ConnectionString: text}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
		}
	})
}

// TestAMQPStrayAnswer: an answer that nobody waits for is settled and ignored.
func TestAMQPStrayAnswer(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		m := h.messaging()
		defer m.Close()
		r, err := m.Feedback(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := h.peer(0)
		for tag, payload := range map[string][]byte{
			"late":   hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(codec.String("99"), nil)),
			"broken": []byte("x"),
		} {
			if _, err := p.link(hubamqp.CBSAddress).Send(t.Context(), amqp.Transfer{Tag: []byte(tag), Payload: payload, Token: tag}); err != nil {
				t.Fatal(err)
			}
			if o := h.outcome(); o != (outcome{tag, codec.CodeAccepted}) {
				t.Errorf("outcome %v", o)
			}
		}
		p.feedback("a")
		if _, err := r.Receive(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
