package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const (
	feedback      = "/messages/serviceBound/feedback"
	notifications = "/messages/servicebound/filenotifications"
)

// in is a receiver of the client of this project, and what it got.
type in struct {
	amqp.Inbox
	r *amqp.Receiver
	t testing.TB
}

// how says how a receiver is attached. Its zero value receives notifications,
// with credit for 10.
type how struct {
	source string
	credit uint32
	none   bool // no credit
	snd    codec.SenderSettleMode
	rcv    codec.ReceiverSettleMode
	most   uint64
}

func tryReceive(ctx context.Context, s *amqp.Session, h how) (*in, error) {
	if h.source == "" {
		h.source = notifications
	}
	if h.credit == 0 && !h.none {
		h.credit = 10
	}
	box := &in{}
	r, err := s.AttachReceiver(ctx, amqp.LinkConfig{Source: h.source, SndSettleMode: h.snd, RcvSettleMode: h.rcv},
		amqp.ReceiverOptions{Handler: box, Credit: h.credit, MaxMessageSize: h.most})
	box.r = r
	return box, err
}

func (w *world) receive(s *amqp.Session, h how) *in {
	w.t.Helper()
	box, err := tryReceive(w.t.Context(), s, h)
	if err != nil {
		w.t.Fatal(err)
	}
	box.t = w.t
	return box
}

// got is a message that arrived.
type got struct {
	id      uint32
	lock    causeway.LockToken
	file    hubamqp.FileNotification
	notice  hubamqp.Notice
	settled bool
}

// next returns the next notification.
func (b *in) next() got {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	d, err := b.Receive(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	g := got{id: d.ID, settled: d.Settled}
	var ok bool
	if g.lock, ok = hubamqp.LockOf(d.Tag); !ok {
		b.t.Fatalf("the tag is %x", d.Tag)
	}
	if g.file, g.notice, err = hubamqp.DecodeFileNotification(d.Payload); err != nil {
		b.t.Fatal(err)
	}
	return g
}

// nothing checks that nothing has arrived.
func (b *in) nothing() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	if _, err := b.Receive(ctx); err == nil {
		b.t.Fatal("a message arrived")
	}
}

func (b *in) settle(g got, st codec.State) {
	b.r.Settle(g.id, st)
	b.r.Conn().Push()
}

func (b *in) grant(n uint32) {
	b.r.Grant(n)
	b.r.Conn().Push()
}

func (b *in) drained() {
	b.t.Helper()
	select {
	case <-b.r.Drain():
	case <-time.After(20 * time.Second):
		b.t.Fatal("the link is not drained")
	}
}

// ended waits for the end of the link and returns the condition.
func (b *in) ended() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for {
		if _, err := b.Receive(ctx); err != nil {
			return claimstest.Condition(err)
		}
	}
}

// file queues a notification.
func (w *world) file(name string) { w.notify(name, "https://x.example.com/"+name) }

// long queues a notification of some size.
func (w *world) long(name string) { w.notify(name, "https://x.example.com/"+strings.Repeat("x", 6000)) }

func (w *world) notify(name, uri string) {
	w.t.Helper()
	err := w.box.Notify(context.Background(), hub, outbox.FileNotification{
		DeviceID: "dev-1", BlobURI: uri, BlobName: name, Modified: time.Unix(1700000000, 0).UTC(), Size: 7,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// left waits until a queue holds n messages.
func (w *world) left(n int) {
	w.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; {
		got, err := w.box.Waiting(context.Background(), hub, outbox.FileNotifications)
		if err != nil {
			w.t.Fatal(err)
		}
		if got == n {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("the queue holds %d messages, want %d", got, n)
		}
	}
}

// TestFeedback looks at a message of feedback as go-amqp sees it.
func TestFeedback(t *testing.T) {
	for _, source := range []string{feedback, "/messages/servicebound/feedback", "amqps://myhub.example.com/Messages/ServiceBound/Feedback"} {
		t.Run(source, func(t *testing.T) {
			w := open(t, nil)
			r, err := w.azure().NewReceiver(t.Context(), source, nil)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2024, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
			w.kept.Record(hub, outbox.FeedbackRecord{OriginalMessageID: "m-1", Time: at, Status: c2d.Success, DeviceID: "dev-1", GenerationID: "g"},
				outbox.FeedbackRecord{OriginalMessageID: "m-2", Time: at, Status: c2d.Expired, DeviceID: "dev-1", ModuleID: "mod-1", GenerationID: "g"})
			w.box.Recorded(hub, 2)
			m, err := r.Receive(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.DeliveryTag) != 16 {
				t.Errorf("the tag is %x", m.DeliveryTag)
			}
			p := m.Properties
			if _, ok := p.MessageID.(string); !ok || *p.ContentType != "application/vnd.microsoft.iothub.feedback.json" ||
				*p.ContentEncoding != "utf-8" || string(p.UserID) != "myhub" || *p.To != "/messages/serviceBound/feedback" {
				t.Errorf("properties are %+v", p)
			}
			if enqueued, ok := m.Annotations["iothub-enqueuedtime"].(time.Time); !ok || time.Since(enqueued) > time.Minute {
				t.Errorf("annotations are %v", m.Annotations)
			}
			var records []map[string]string
			if err := json.Unmarshal(m.GetData(), &records); err != nil || len(records) != 2 {
				t.Fatalf("%s: %v", m.GetData(), err)
			}
			first := records[0]
			if first["originalMessageId"] != "m-1" || first["enqueuedTimeUtc"] != "2024-01-02T03:04:05.6000000Z" || first["statusCode"] != "Success" ||
				first["description"] == "" || first["deviceId"] != "dev-1" || first["deviceGenerationId"] != "g" {
				t.Errorf("%v", first)
			}
			if records[1]["statusCode"] != "Expired" || records[1]["moduleId"] != "mod-1" {
				t.Errorf("%v", records[1])
			}
			if err := r.AcceptMessage(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFileNotification looks at a notification as go-amqp sees it.
func TestFileNotification(t *testing.T) {
	w := open(t, nil)
	r, err := w.azure().NewReceiver(t.Context(), "/messages/serviceBound/filenotifications", nil)
	if err != nil {
		t.Fatal(err)
	}
	const name = "dev-1/fö/日本/😀.txt"
	w.file(name)
	m, err := r.Receive(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.DeliveryTag) != 16 || *m.Properties.ContentType != "application/vnd.microsoft.iothub.filenotification.json" {
		t.Errorf("%x %+v", m.DeliveryTag, m.Properties)
	}
	if _, ok := m.Annotations["iothub-enqueuedtime"].(time.Time); !ok {
		t.Errorf("annotations are %v", m.Annotations)
	}
	if i := strings.IndexFunc(string(m.GetData()), func(r rune) bool { return r > 126 }); i >= 0 {
		t.Errorf("%s is not ASCII", m.GetData())
	}
	var body struct {
		DeviceID, BlobURI, BlobName, LastUpdatedTime, EnqueuedTimeUTC string
		BlobSizeInBytes                                               int
	}
	if err := json.Unmarshal(m.GetData(), &body); err != nil {
		t.Fatal(err)
	}
	if body.DeviceID != "dev-1" || body.BlobName != name || body.BlobURI != "https://x.example.com/"+name ||
		body.LastUpdatedTime != "2023-11-14T22:13:20+00:00" || body.BlobSizeInBytes != 7 || body.EnqueuedTimeUTC == "" {
		t.Errorf("%+v", body)
	}
}

// TestOutcomes settles messages in every way, in both modes.
func TestOutcomes(t *testing.T) {
	for _, row := range []struct {
		name  string
		state codec.State
		ends  bool
		count int // deliveries that are counted, when it comes again
	}{
		{"accepted", codec.Accepted(), true, 0},
		{"rejected", codec.Rejected(&codec.Condition{Name: "x:y"}), true, 0},
		{"released", codec.Released(), false, 1},
		{"modified", codec.State{Kind: codec.CodeModified, DeliveryFailed: true}, false, 1},
		{"modified, undeliverable here", codec.State{Kind: codec.CodeModified, UndeliverableHere: true}, false, 1},
		{"none", codec.State{}, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := open(t, nil)
			w.file("a")
			box := w.receive(w.client(), how{})
			g := box.next()
			if g.settled || g.notice.DeliveryCount != 0 {
				t.Fatalf("%+v", g)
			}
			box.settle(g, row.state)
			if row.ends {
				w.left(0)
				box.nothing()
				return
			}
			again := box.next()
			if again.notice.DeliveryCount != row.count || again.notice.MessageID != g.notice.MessageID || again.lock == g.lock {
				t.Errorf("%+v after %+v", again, g)
			}
		})
	}
}

// TestSecond has the receiver wait until its outcome was written down, as C#
// does.
func TestSecond(t *testing.T) {
	w := open(t, nil)
	for i := range 4 {
		w.file(fmt.Sprint(i))
	}
	r, err := w.azure().NewReceiver(t.Context(), notifications, &goamqp.ReceiverOptions{SettlementMode: goamqp.ReceiverSettleModeSecond.Ptr(), Credit: 1})
	if err != nil {
		t.Fatal(err)
	}
	receive := func() *goamqp.Message {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m, err := r.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := r.AcceptMessage(t.Context(), receive()); err != nil {
		t.Fatal(err)
	}
	w.left(3)
	if err := r.RejectMessage(t.Context(), receive(), nil); err != nil {
		t.Fatal(err)
	}
	w.left(2)
	m := receive()
	if err := r.ReleaseMessage(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m = receive()
	if m.Annotations["iothub-deliverycount"] != uint8(1) {
		t.Errorf("delivered again with %v", m.Annotations)
	}
	if err := r.ModifyMessage(t.Context(), m, &goamqp.ModifyMessageOptions{DeliveryFailed: true}); err != nil {
		t.Fatal(err)
	}
	m = receive()
	// The lock is over: the answer says that nothing came of it.
	lock, _ := hubamqp.LockOf(m.DeliveryTag)
	w.box.Unlock(hub, outbox.FileNotifications, lock)
	err = r.AcceptMessage(t.Context(), m)
	if err == nil || !strings.Contains(err.Error(), hubamqp.MessageLockLost) {
		t.Errorf("accepted without a lock: %v", err)
	}
	w.left(2)
}

// TestAtOnce has messages end as they are sent.
func TestAtOnce(t *testing.T) {
	w := open(t, nil)
	for i := range 3 {
		w.file(fmt.Sprint(i))
	}
	box := w.receive(w.client(), how{snd: codec.SendSettled})
	for range 3 {
		if g := box.next(); !g.settled {
			t.Fatalf("%+v", g)
		}
	}
	w.left(0)
}

// TestCompete shares a queue among receivers: every message goes to one of them.
func TestCompete(t *testing.T) {
	w := open(t, nil)
	const total = 100
	seen := make(chan string, total)
	for range 4 {
		box := w.receive(w.client(), how{credit: 3})
		go func() {
			for {
				d, err := box.Receive(t.Context())
				if err != nil {
					return
				}
				f, _, err := hubamqp.DecodeFileNotification(d.Payload)
				if err != nil {
					t.Error(err)
				}
				box.settle(got{id: d.ID}, codec.Accepted())
				seen <- f.BlobName
			}
		}()
	}
	for i := range total {
		w.file(fmt.Sprint(i))
	}
	names := map[string]bool{}
	for range total {
		select {
		case name := <-seen:
			if names[name] {
				t.Errorf("%s came twice", name)
			}
			names[name] = true
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d messages came", len(names))
		}
	}
	w.left(0)
}

// TestGone gives messages back when who has them is gone, and counts no delivery.
func TestGone(t *testing.T) {
	w := open(t, nil)
	for i := range 5 {
		w.file(fmt.Sprint(i))
	}
	for _, end := range []func(*in){
		func(b *in) { b.r.Close(nil) },
		func(b *in) { _ = b.r.Session().End(nil) },
		func(b *in) { b.r.Conn().Close(nil) },
		func(b *in) { b.r.Conn().Abort(nil) },
		func(*in) { w.head.Expire() },
	} {
		box := w.receive(w.client(), how{})
		for i := range 5 {
			if g := box.next(); g.file.BlobName != fmt.Sprint(i) || g.notice.DeliveryCount != 0 {
				t.Fatalf("%+v", g)
			}
		}
		end(box)
	}
	// What was settled before stays settled.
	box := w.receive(w.client(), how{})
	for range 5 {
		box.settle(box.next(), codec.Accepted())
	}
	box.r.Conn().Close(nil)
	w.left(0)
}

// TestCredit sends as many messages as there is credit for, and answers drains.
func TestCredit(t *testing.T) {
	w := open(t, nil)
	for i := range 10 {
		w.file(fmt.Sprint(i))
	}
	box := w.receive(w.client(), how{none: true})
	box.grant(1)
	box.next()
	box.grant(3)
	box.drained()
	for range 3 {
		box.next()
	}
	box.nothing()
	box.grant(100)
	box.drained()
	for range 6 {
		box.next()
	}
	box.nothing()
	for range 20 {
		box.grant(5)
		box.drained() // nothing to send
	}
	w.file("new")
	box.nothing()
	box.grant(1)
	if g := box.next(); g.file.BlobName != "new" {
		t.Errorf("%+v", g)
	}
	// While it waits for messages.
	box.grant(1)
	box.drained()
	box.nothing()
}

// TestUnsettledBound stops at the bound, and goes on below it.
func TestUnsettledBound(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.Unsettled = 3 })
	for i := range 6 {
		w.file(fmt.Sprint(i))
	}
	box := w.receive(w.client(), how{none: true})
	box.grant(100)
	first := box.next()
	box.next()
	box.next()
	box.drained()
	box.nothing()
	box.grant(100)
	box.settle(first, codec.Accepted())
	if g := box.next(); g.file.BlobName != "3" {
		t.Errorf("%+v", g)
	}
	box.drained()
	box.nothing()
	// Others get what one does not take.
	if g := w.receive(w.client(), how{}).next(); g.file.BlobName != "4" {
		t.Errorf("%+v", g)
	}
}

// TestReceiversBound bounds the links of one connection.
func TestReceiversBound(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.Receivers = 2 })
	s := w.client()
	w.receive(s, how{})
	last := w.receive(s, how{source: feedback})
	if _, err := tryReceive(t.Context(), s, how{}); claimstest.Condition(err) != amqp.ResourceLimitExceeded {
		t.Errorf("a third link: %v", err)
	}
	last.r.Close(nil)
	for until := time.Now().Add(20 * time.Second); ; {
		if _, err := tryReceive(t.Context(), s, how{}); err == nil {
			break
		} else if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	w.receive(w.client(), how{})
}

// TestTooLargeForPeer ends the link of a receiver that does not take the message,
// which others get.
func TestTooLargeForPeer(t *testing.T) {
	w := open(t, nil)
	w.file("a")
	// The end may have come by the time that the link is looked at.
	box, err := tryReceive(t.Context(), w.client(), how{most: 10})
	got := claimstest.Condition(err)
	if err == nil {
		box.t = t
		got = box.ended()
	}
	if got != amqp.MessageSizeExceeded {
		t.Errorf("ended with %s", got)
	}
	if g := w.receive(w.client(), how{}).next(); g.notice.DeliveryCount != 0 {
		t.Errorf("%+v", g)
	}
}

// TestStoreFails goes on once the store works again.
func TestStoreFails(t *testing.T) {
	w := open(t, nil)
	w.file("a")
	w.kept.Fail(errors.New("no disk"))
	box := w.receive(w.client(), how{})
	box.nothing()
	w.kept.Fail(nil)
	g := box.next()
	// An outcome that cannot be written down leaves the message with its lock.
	_, before := w.kept.Calls()
	w.kept.Fail(errors.New("no disk"))
	box.settle(g, codec.Accepted())
	for until := time.Now().Add(20 * time.Second); ; {
		if _, after := w.kept.Calls(); after > before {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the outcome was not written")
		}
	}
	w.kept.Fail(nil)
	box.settle(g, codec.Accepted()) // a second word changes nothing
	w.box.Unlock(hub, outbox.FileNotifications, g.lock)
	if again := box.next(); again.notice.MessageID != g.notice.MessageID {
		t.Errorf("%+v", again)
	}
	w.left(1)
}

// done returns a context that has ended.
func done(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
