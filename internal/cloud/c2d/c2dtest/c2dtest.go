// Package c2dtest is the contract of [c2d.Store] as tests: every driver is held
// to it. It also has a store in memory for the tests of others, which is held
// to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package c2dtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// Fixture is an empty store whose identities are registered.
type Fixture struct {
	Store c2d.Store
	// Delete removes an identity from the registry, a device with its modules.
	Delete func(id causeway.Identity)
	// Feedback returns the records of a hub, oldest first.
	Feedback func(hub string) []c2d.Feedback
}

// Open returns a fixture of its own, closed by t.Cleanup, in which exactly ids
// are registered.
type Open func(t *testing.T, ids ...causeway.Identity) Fixture

// Run holds the stores that open returns to the contract.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"queue is first in first out", testOrder},
		{"messages come back whole", testWhole},
		{"memory is not shared", testBorrowed},
		{"queue is bounded", testBound},
		{"bound holds under concurrency", testConcurrentBound},
		{"identities must be registered", testUnregistered},
		{"queues are apart", testApart},
		{"remove", testRemove},
		{"remove ends once", testRemoveOnce},
		{"delivery count", testDeliveryCount},
		{"positions are not used twice", testPositions},
		{"list of queues", testQueues},
		{"expired", testExpired},
		{"feedback", testFeedback},
		{"deleting an identity", testDelete},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

var (
	base   = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)
	dev    = causeway.Identity{Hub: "plant", Device: "press-1"}
	other  = causeway.Identity{Hub: "plant", Device: "Press-1"}
	module = causeway.Identity{Hub: "plant", Device: "press-1", Module: "vision"}
	abroad = causeway.Identity{Hub: "depot", Device: "press-1"}
)

// Message returns a queued message with every part set that a queue keeps.
func Message(n int) causeway.Message {
	return causeway.Message{
		Body:       fmt.Appendf(nil, "command %d \x00\xff", n),
		Properties: []causeway.Property{{Key: "kind", Value: "open"}, {Key: "kind", Value: ""}, {Key: "n", Value: fmt.Sprint(n)}},
		ID:         fmt.Sprintf("id-%d", n), CorrelationID: "corr", UserID: "ops", To: "/devices/press-1/messages/devicebound",
		ContentType: "application/json", ContentEncoding: "utf-8", Expiry: base.Add(time.Hour), Ack: causeway.AckFull,
		Enqueued: base, GenerationID: "638400000000000000",
	}
}

func item(n int) c2d.Item { return c2d.Item{Message: Message(n), Expires: base.Add(time.Hour)} }

func push(t *testing.T, s c2d.Store, id causeway.Identity, it c2d.Item) int64 {
	t.Helper()
	seq, err := s.Push(t.Context(), id, it, causeway.MaxQueuedCommands)
	if err != nil {
		t.Fatalf("Push(%v): %v", id, err)
	}
	return seq
}

func index(t *testing.T, s c2d.Store, id causeway.Identity) []c2d.Entry {
	t.Helper()
	entries, err := s.Index(t.Context(), id)
	if err != nil {
		t.Fatalf("Index(%v): %v", id, err)
	}
	return entries
}

func testOrder(t *testing.T, open Open) {
	s := open(t, dev).Store
	var want []c2d.Entry
	for i := range 5 {
		it := item(i)
		it.Expires = base.Add(time.Duration(10-i) * time.Minute) // not the order of the queue
		seq := push(t, s, dev, it)
		want = append(want, c2d.Entry{Seq: seq, Expires: it.Expires, Ack: causeway.AckFull, MessageID: it.Message.ID, GenerationID: it.Message.GenerationID})
		if i > 0 && seq <= want[i-1].Seq {
			t.Errorf("position %d follows %d", seq, want[i-1].Seq)
		}
	}
	suitetest.Same(t, "index", index(t, s, dev), want)
}

func testWhole(t *testing.T, open Open) {
	s := open(t, dev).Store
	for _, it := range []c2d.Item{
		item(1),
		{Message: causeway.Message{Enqueued: base}, Expires: base},
		{Message: causeway.Message{Body: make([]byte, causeway.MaxCommandSize), Enqueued: base}, Expires: base, DeliveryCount: 3},
	} {
		seq := push(t, s, dev, it)
		got, ok, err := s.Item(t.Context(), dev, seq)
		if err != nil || !ok {
			t.Fatalf("Item(%d): %v, %v", seq, ok, err)
		}
		if !bytes.Equal(got.Message.Body, it.Message.Body) {
			t.Errorf("a body of %d bytes came back with %d, or others", len(it.Message.Body), len(got.Message.Body))
		}
		got.Message.Body, it.Message.Body = nil, nil
		it.Message.Sequence = seq
		suitetest.Same(t, "item", got, it)
	}
}

func testBorrowed(t *testing.T, open Open) {
	s := open(t, dev).Store
	it := item(1)
	seq := push(t, s, dev, it)
	it.Message.Body[0] = 'X'
	it.Message.Properties[0].Value = "X"
	for range 2 {
		got, _, err := s.Item(t.Context(), dev, seq)
		if err != nil {
			t.Fatal(err)
		}
		want := Message(1)
		suitetest.Same(t, "body", got.Message.Body, want.Body)
		suitetest.Same(t, "properties", got.Message.Properties, want.Properties)
		got.Message.Body[0] = 'Y'
	}
}

func testBound(t *testing.T, open Open) {
	s := open(t, dev, other).Store
	var first int64
	for i := range 3 {
		seq, err := s.Push(t.Context(), dev, item(i), 3)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = seq
		}
	}
	_, err := s.Push(t.Context(), dev, item(3), 3)
	suitetest.Code(t, err, causeway.DeviceMaximumQueueDepthExceeded)
	if _, err := s.Push(t.Context(), other, item(3), 3); err != nil {
		t.Errorf("another queue is full too: %v", err)
	}
	if _, err := s.Remove(t.Context(), dev, c2d.End{Seq: first}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Push(t.Context(), dev, item(3), 3); err != nil {
		t.Errorf("no room after a message left: %v", err)
	}
}

func testConcurrentBound(t *testing.T, open Open) {
	s := open(t, dev).Store
	const callers, limit = 20, 7
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for i := range callers {
		wg.Go(func() {
			_, err := s.Push(t.Context(), dev, item(i), limit)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	done := 0
	for err := range errs {
		if err == nil {
			done++
		} else {
			suitetest.Code(t, err, causeway.DeviceMaximumQueueDepthExceeded)
		}
	}
	if n := len(index(t, s, dev)); done != limit || n != limit {
		t.Errorf("%d pushes succeeded and %d messages are queued, want %d", done, n, limit)
	}
}

func testUnregistered(t *testing.T, open Open) {
	s := open(t, dev).Store
	_, err := s.Push(t.Context(), other, item(1), 50)
	suitetest.Code(t, err, causeway.DeviceNotFound)
	_, err = s.Push(t.Context(), module, item(1), 50)
	suitetest.Code(t, err, causeway.ModuleNotFound)
	_, err = s.Push(t.Context(), causeway.Identity{Hub: "plant", Device: "nobody", Module: "m"}, item(1), 50)
	suitetest.Code(t, err, causeway.DeviceNotFound)
	suitetest.Same(t, "index", index(t, s, other), []c2d.Entry(nil))
	if _, ok, err := s.Item(t.Context(), other, 1); ok || err != nil {
		t.Errorf("Item of nothing: %v, %v", ok, err)
	}
}

func testApart(t *testing.T, open Open) {
	ids := []causeway.Identity{dev, other, module, abroad}
	s := open(t, ids...).Store
	seqs := map[causeway.Identity]int64{}
	for i, id := range ids {
		seqs[id] = push(t, s, id, item(i))
	}
	for i, id := range ids {
		entries := index(t, s, id)
		if len(entries) != 1 || entries[0].Seq != seqs[id] || entries[0].MessageID != Message(i).ID {
			t.Errorf("queue of %v: %+v", id, entries)
		}
	}
	if seqs[dev] != seqs[other] {
		if _, ok, _ := s.Item(t.Context(), other, seqs[dev]); ok {
			t.Error("a message was read from another queue")
		}
		if n, err := s.Remove(t.Context(), other, c2d.End{Seq: seqs[dev]}); n != 0 || err != nil {
			t.Errorf("a message was removed from another queue: %d, %v", n, err)
		}
	}
}

func feedbackOf(n int, at time.Time) *c2d.Feedback {
	return &c2d.Feedback{
		OriginalMessageID: Message(n).ID, Device: dev.Device, GenerationID: "g", Status: c2d.Success, Time: at,
	}
}

func testRemove(t *testing.T, open Open) {
	fix := open(t, dev)
	s := fix.Store
	a, b, c := push(t, s, dev, item(0)), push(t, s, dev, item(1)), push(t, s, dev, item(2))
	n, err := s.Remove(t.Context(), dev, c2d.End{Seq: c, Feedback: feedbackOf(2, base)}, c2d.End{Seq: a}, c2d.End{Seq: c + 1000, Feedback: feedbackOf(9, base)})
	if n != 2 || err != nil {
		t.Fatalf("Remove: %d, %v; want 2", n, err)
	}
	if e := index(t, s, dev); len(e) != 1 || e[0].Seq != b {
		t.Errorf("left: %+v, want only %d", e, b)
	}
	suitetest.Same(t, "feedback", fix.Feedback(dev.Hub), []c2d.Feedback{*feedbackOf(2, base)})
}

func testRemoveOnce(t *testing.T, open Open) {
	fix := open(t, dev)
	s := fix.Store
	seq := push(t, s, dev, item(0))
	const callers = 8
	var wg sync.WaitGroup
	counts := make(chan int, callers)
	for range callers {
		wg.Go(func() {
			n, err := s.Remove(t.Context(), dev, c2d.End{Seq: seq, Feedback: feedbackOf(0, base)})
			if err != nil {
				t.Error(err)
			}
			counts <- n
		})
	}
	wg.Wait()
	close(counts)
	total := 0
	for n := range counts {
		total += n
	}
	if fb := fix.Feedback(dev.Hub); total != 1 || len(fb) != 1 {
		t.Errorf("%d of %d removals found the message and %d records of feedback were made, want 1 each", total, callers, len(fb))
	}
}

func testDeliveryCount(t *testing.T, open Open) {
	s := open(t, dev).Store
	a, b := push(t, s, dev, item(0)), push(t, s, dev, item(1))
	if err := s.SetDeliveryCount(t.Context(), dev, a, 4); err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeliveryCount(t.Context(), dev, b+1000, 4); err != nil {
		t.Errorf("count of a message that is gone: %v", err)
	}
	e := index(t, s, dev)
	if len(e) != 2 || e[0].DeliveryCount != 4 || e[1].DeliveryCount != 0 {
		t.Errorf("index: %+v", e)
	}
	it, _, err := s.Item(t.Context(), dev, a)
	if err != nil || it.DeliveryCount != 4 {
		t.Errorf("item: count %d, %v", it.DeliveryCount, err)
	}
}

func testPositions(t *testing.T, open Open) {
	s := open(t, dev).Store
	var last int64
	for i := range 4 {
		seq := push(t, s, dev, item(i))
		if i > 0 && seq <= last {
			t.Fatalf("position %d was given after %d", seq, last)
		}
		last = seq
		if _, err := s.Remove(t.Context(), dev, c2d.End{Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
}

func testQueues(t *testing.T, open Open) {
	s := open(t, dev, other, module, abroad).Store
	for i, id := range []causeway.Identity{module, dev, abroad, dev} {
		push(t, s, id, item(i))
	}
	list := func(after causeway.Identity, limit int) []causeway.Identity {
		ids, err := s.Queues(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	waiting := func(hub string, most int) int {
		n, err := s.Waiting(t.Context(), hub, most)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	suitetest.Same(t, "waiting in the hub", waiting(dev.Hub, 10), 3)
	suitetest.Same(t, "waiting in another hub", waiting(abroad.Hub, 10), 1)
	suitetest.Same(t, "waiting in no hub", waiting("none", 10), 0)
	suitetest.Same(t, "counted no further than asked", waiting(dev.Hub, 2), 2)
	suitetest.Same(t, "all", list(causeway.Identity{}, 10), []causeway.Identity{abroad, dev, module})
	suitetest.Same(t, "first page", list(causeway.Identity{}, 2), []causeway.Identity{abroad, dev})
	suitetest.Same(t, "second page", list(dev, 2), []causeway.Identity{module})
	suitetest.Same(t, "end", list(module, 2), []causeway.Identity(nil))
	if _, err := s.Remove(t.Context(), module, c2d.End{Seq: index(t, s, module)[0].Seq}); err != nil {
		t.Fatal(err)
	}
	suitetest.Same(t, "after one was emptied", list(causeway.Identity{}, 10), []causeway.Identity{abroad, dev})
}

func testExpired(t *testing.T, open Open) {
	s := open(t, dev, module, abroad).Store
	var want []c2d.Due
	for i, id := range []causeway.Identity{dev, module, abroad, dev} {
		it := item(i)
		it.Expires = base.Add(time.Duration(4-i) * time.Second)
		seq := push(t, s, id, it)
		want = append([]c2d.Due{{ID: id, Entry: c2d.Entry{
			Seq: seq, Expires: it.Expires, Ack: causeway.AckFull, MessageID: it.Message.ID, GenerationID: it.Message.GenerationID,
		}}}, want...)
	}
	at := func(now time.Time, limit int) []c2d.Due {
		due, err := s.Expired(t.Context(), now, limit)
		if err != nil {
			t.Fatal(err)
		}
		return due
	}
	suitetest.Same(t, "before any", at(base, 10), []c2d.Due(nil))
	suitetest.Same(t, "at the instant of the first", at(base.Add(time.Second), 10), want[:1])
	suitetest.Same(t, "bounded", at(base.Add(time.Hour), 3), want[:3])
	suitetest.Same(t, "all", at(base.Add(time.Hour), 10), want)
}

func testFeedback(t *testing.T, open Open) {
	fix := open(t, dev, module, abroad)
	s := fix.Store
	var all []c2d.Feedback
	for i := range 5 {
		id := []causeway.Identity{dev, module}[i%2]
		f := feedbackOf(i, base.Add(time.Duration(i)*time.Second))
		f.Module = id.Module
		f.Status = []c2d.Status{c2d.Success, c2d.Expired, c2d.DeliveryCountExceeded, c2d.RejectedByDevice, c2d.Purged}[i]
		if n, err := s.Remove(t.Context(), id, c2d.End{Seq: push(t, s, id, item(i)), Feedback: f}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		all = append(all, *f)
	}
	if n, err := s.Remove(t.Context(), abroad, c2d.End{Seq: push(t, s, abroad, item(9)), Feedback: feedbackOf(9, base)}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	suitetest.Same(t, "feedback", fix.Feedback(dev.Hub), all)
	suitetest.Same(t, "feedback of another hub", fix.Feedback(abroad.Hub), []c2d.Feedback{*feedbackOf(9, base)})
}

func testDelete(t *testing.T, open Open) {
	f := open(t, dev, module, other, abroad)
	s := f.Store
	for i, id := range []causeway.Identity{dev, module, other, abroad} {
		push(t, s, id, item(i))
		fb := feedbackOf(i, base)
		fb.Device, fb.Module = id.Device, id.Module
		if _, err := s.Remove(t.Context(), id, c2d.End{Seq: push(t, s, id, item(i)), Feedback: fb}); err != nil {
			t.Fatal(err)
		}
	}
	f.Delete(dev)
	for id, want := range map[causeway.Identity]int{dev: 0, module: 0, other: 1, abroad: 1} {
		if n := len(index(t, s, id)); n != want {
			t.Errorf("queue of %v has %d messages, want %d", id, n, want)
		}
	}
	if fb := f.Feedback(dev.Hub); len(fb) != 1 || fb[0].Device != other.Device {
		t.Errorf("feedback: %+v", fb)
	}
	_, err := s.Push(t.Context(), dev, item(1), 50)
	suitetest.Code(t, err, causeway.DeviceNotFound)
}

func testContext(t *testing.T, open Open) {
	s := open(t, dev).Store
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Push(ctx, dev, item(1), 50)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Push: %v", err)
	}
	if _, err := s.Index(ctx, dev); !errors.Is(err, context.Canceled) {
		t.Errorf("Index: %v", err)
	}
	suitetest.Same(t, "index", index(t, s, dev), []c2d.Entry(nil))
}
