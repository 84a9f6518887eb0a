// Package outboxtest is the contract of [outbox.Store] as tests: every driver is
// held to it. It also has a store in memory for the tests of others, which is
// held to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// Fixture is a store without messages, with the hubs "plant" and "depot".
type Fixture struct {
	Store outbox.Store
	// Record records feedback of identities of a hub, which it registers when
	// they are not.
	Record func(hub string, records ...outbox.FeedbackRecord)
	// Delete removes an identity from the registry, a device with its modules.
	Delete func(id causeway.Identity)
}

// Open returns a fixture of its own, closed by t.Cleanup.
type Open func(t *testing.T) Fixture

// Run holds the stores that open returns to the contract.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"gather when full", testGatherFull},
		{"gather when old", testGatherOld},
		{"gather once", testGatherOnce},
		{"pending", testPending},
		{"records come back whole", testRecords},
		{"files come back whole", testFiles},
		{"index", testIndex},
		{"queues are apart", testApart},
		{"remove", testRemove},
		{"delivery count", testDeliveryCount},
		{"positions are not used twice", testPositions},
		{"expire", testExpire},
		{"deleting an identity", testDelete},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const hub, abroad = "plant", "depot"

var base = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

// Records returns n records, one each second, of devices and modules in turn.
func Records(n int) []outbox.FeedbackRecord {
	all := make([]outbox.FeedbackRecord, n)
	for i := range all {
		all[i] = outbox.FeedbackRecord{
			OriginalMessageID: fmt.Sprintf("id-%d", i), Time: base.Add(time.Duration(i) * time.Second), DeviceID: "press-1", GenerationID: "638400000000000000",
			Status: []c2d.Status{c2d.Success, c2d.Expired, c2d.DeliveryCountExceeded, c2d.RejectedByDevice, c2d.Purged}[i%5],
		}
		if i%2 == 1 {
			all[i].ModuleID = "vision"
		}
	}
	return all
}

func item(n int) outbox.Item {
	return outbox.Item{ID: fmt.Sprintf("m-%d", n), Enqueued: base, Expires: base.Add(time.Hour)}
}

// File returns a file notification.
func File(n int) outbox.FileNotification {
	return outbox.FileNotification{
		DeviceID: "press-1", BlobURI: fmt.Sprintf("https://store.example.com/files/press-1/%d.log", n), BlobName: fmt.Sprintf("press-1/%d.log", n),
		Modified: base.Add(-time.Minute), Size: int64(n) << 32, Enqueued: base,
	}
}

// gather makes a message and returns its position, 0 for none.
func (f Fixture) gather(t *testing.T, it outbox.Item, most int, cutoff time.Time) (int64, outbox.Pending) {
	t.Helper()
	seq, left, err := f.Store.Gather(t.Context(), hub, it, most, cutoff)
	if err != nil {
		t.Fatalf("Gather: %v", err)
	}
	return seq, left
}

func (f Fixture) records(t *testing.T, seq int64) []outbox.FeedbackRecord {
	t.Helper()
	got, err := f.Store.Records(t.Context(), hub, seq)
	if err != nil {
		t.Fatalf("Records: %v", err)
	}
	return got
}

func (f Fixture) add(t *testing.T, hub string, n int) int64 {
	t.Helper()
	seq, err := f.Store.Add(t.Context(), hub, item(n), File(n))
	if err != nil {
		t.Fatalf("Add: %v", err)
	}
	return seq
}

func (f Fixture) index(t *testing.T, hub string, k outbox.Kind, after int64, now time.Time, limit int) []outbox.Item {
	t.Helper()
	items, err := f.Store.Index(t.Context(), hub, k, after, now, limit)
	if err != nil {
		t.Fatalf("Index: %v", err)
	}
	return items
}

func testGatherFull(t *testing.T, f Fixture) {
	all := Records(7)
	f.Record(hub, all[:2]...)
	early := base.Add(-time.Hour)
	if seq, left := f.gather(t, item(0), 3, early); seq != 0 || left.Count != 2 || !left.Oldest.Equal(base) {
		t.Fatalf("of two records: message %d, left %+v", seq, left)
	}
	f.Record(hub, all[2:]...)
	first, left := f.gather(t, item(1), 3, early)
	suitetest.Same(t, "left of seven", left, outbox.Pending{Hub: hub, Count: 3, Oldest: all[3].Time})
	second, left := f.gather(t, item(2), 3, early)
	suitetest.Same(t, "left of four", left, outbox.Pending{Hub: hub, Count: 1, Oldest: all[6].Time})
	if seq, _ := f.gather(t, item(3), 3, early); seq != 0 {
		t.Errorf("a message was made of one record")
	}
	suitetest.Same(t, "first message", f.records(t, first), all[:3])
	suitetest.Same(t, "second message", f.records(t, second), all[3:6])
	want := []outbox.Item{item(1), item(2)}
	want[0].Seq, want[1].Seq = first, second
	suitetest.Same(t, "index", f.index(t, hub, outbox.Feedback, 0, base, 10), want)
	if second <= first || first <= 0 {
		t.Errorf("positions %d, %d", first, second)
	}
}

func testGatherOld(t *testing.T, f Fixture) {
	all := Records(3)
	f.Record(hub, all...)
	if seq, _ := f.gather(t, item(0), 10, base.Add(-time.Microsecond)); seq != 0 {
		t.Error("a message was made before its time")
	}
	seq, left := f.gather(t, item(0), 10, base)
	suitetest.Same(t, "left", left, outbox.Pending{Hub: hub})
	suitetest.Same(t, "message", f.records(t, seq), all)
	if seq, left = f.gather(t, item(0), 10, base.Add(time.Hour)); seq != 0 || left.Count != 0 || !left.Oldest.IsZero() {
		t.Errorf("of nothing: message %d, left %+v", seq, left)
	}
}

func testGatherOnce(t *testing.T, f Fixture) {
	const callers, each = 8, 5
	all := Records(callers / 2 * each)
	f.Record(hub, all...)
	var wg sync.WaitGroup
	seqs := make(chan int64, callers)
	for i := range callers {
		wg.Go(func() {
			seq, _, err := f.Store.Gather(t.Context(), hub, item(i), each, base.Add(-time.Hour))
			if err != nil {
				t.Error(err)
			}
			seqs <- seq
		})
	}
	wg.Wait()
	close(seqs)
	made := 0
	for seq := range seqs {
		if seq != 0 {
			made++
			if n := len(f.records(t, seq)); n != each {
				t.Errorf("message %d has %d records, want %d", seq, n, each)
			}
		}
	}
	if made != callers/2 {
		t.Errorf("%d messages were made, want %d", made, callers/2)
	}
}

func testPending(t *testing.T, f Fixture) {
	pending := func() []outbox.Pending {
		t.Helper()
		all, err := f.Store.Pending(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	suitetest.Same(t, "at first", pending(), []outbox.Pending(nil))
	all := Records(5)
	f.Record(hub, all...)
	f.Record(abroad, all[2])
	suitetest.Same(t, "two hubs", pending(), []outbox.Pending{{Hub: abroad, Count: 1, Oldest: all[2].Time}, {Hub: hub, Count: 3, Oldest: base}})
	f.gather(t, item(0), 3, base)
	suitetest.Same(t, "after one message", pending(), []outbox.Pending{{Hub: abroad, Count: 1, Oldest: all[2].Time}, {Hub: hub, Count: 2, Oldest: all[3].Time}})
}

func testRecords(t *testing.T, f Fixture) {
	all := Records(10)
	all[4].OriginalMessageID = ""
	f.Record(hub, all...)
	seq, _ := f.gather(t, item(0), 10, base)
	suitetest.Same(t, "records", f.records(t, seq), all)
	suitetest.Same(t, "records of nothing", f.records(t, seq+1), []outbox.FeedbackRecord(nil))
	other, err := f.Store.Records(t.Context(), abroad, seq)
	if len(other) != 0 || err != nil {
		t.Errorf("another hub read them: %v, %v", other, err)
	}
}

func testFiles(t *testing.T, f Fixture) {
	for i := range 3 {
		n := File(i)
		n.BlobName = "press-1/größe \x00 \"x\""
		seq, err := f.Store.Add(t.Context(), hub, item(i), n)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := f.Store.File(t.Context(), hub, seq)
		if err != nil || !ok {
			t.Fatalf("File: %v, %v", ok, err)
		}
		suitetest.Same(t, "file", got, n)
		if _, ok, err := f.Store.File(t.Context(), abroad, seq); ok || err != nil {
			t.Errorf("another hub read it: %v, %v", ok, err)
		}
		if _, ok, err := f.Store.File(t.Context(), hub, seq+1); ok || err != nil {
			t.Errorf("File of nothing: %v, %v", ok, err)
		}
	}
	_, err := f.Store.Add(t.Context(), "nowhere", item(0), File(0))
	suitetest.Code(t, err, causeway.GenericNotFound)
}

func testIndex(t *testing.T, f Fixture) {
	var want []outbox.Item
	for i := range 5 {
		it := item(i)
		it.Expires = base.Add(time.Duration(5-i) * time.Minute)
		it.DeliveryCount = i
		seq, err := f.Store.Add(t.Context(), hub, it, File(i))
		if err != nil {
			t.Fatal(err)
		}
		it.Seq = seq
		want = append(want, it)
	}
	k := outbox.FileNotifications
	suitetest.Same(t, "all", f.index(t, hub, k, 0, base, 10), want)
	suitetest.Same(t, "page", f.index(t, hub, k, want[1].Seq, base, 2), want[2:4])
	suitetest.Same(t, "end", f.index(t, hub, k, want[4].Seq, base, 2), []outbox.Item(nil))
	suitetest.Same(t, "those not expired", f.index(t, hub, k, 0, base.Add(3*time.Minute), 10), want[:2])
}

func testApart(t *testing.T, f Fixture) {
	f.Record(hub, Records(1)...)
	fb, _ := f.gather(t, item(0), 1, base)
	file, other := f.add(t, hub, 1), f.add(t, abroad, 2)
	for _, c := range []struct {
		hub  string
		kind outbox.Kind
		want int64
	}{{hub, outbox.Feedback, fb}, {hub, outbox.FileNotifications, file}, {abroad, outbox.FileNotifications, other}} {
		if items := f.index(t, c.hub, c.kind, 0, base, 10); len(items) != 1 || items[0].Seq != c.want {
			t.Errorf("%s of %s: %+v, want %d", c.kind, c.hub, items, c.want)
		}
		if n, err := f.Store.Waiting(t.Context(), c.hub, c.kind, base, 10); n != 1 || err != nil {
			t.Errorf("%s of %s: %d wait, %v", c.kind, c.hub, n, err)
		}
	}
	if items := f.index(t, abroad, outbox.Feedback, 0, base, 10); len(items) != 0 {
		t.Errorf("an empty queue has %+v", items)
	}
	for _, wrong := range []struct {
		hub  string
		kind outbox.Kind
	}{{abroad, outbox.Feedback}, {hub, outbox.FileNotifications}} {
		if ok, err := f.Store.Remove(t.Context(), wrong.hub, wrong.kind, fb); ok || err != nil {
			t.Errorf("a message was removed from another queue: %v, %v", ok, err)
		}
		if err := f.Store.SetDeliveryCount(t.Context(), wrong.hub, wrong.kind, fb, 9); err != nil {
			t.Error(err)
		}
	}
	if items := f.index(t, hub, outbox.Feedback, 0, base, 10); len(items) != 1 || items[0].DeliveryCount != 0 {
		t.Errorf("a message was counted through another queue: %+v", items)
	}
}

func testRemove(t *testing.T, f Fixture) {
	f.Record(hub, Records(4)...)
	a, _ := f.gather(t, item(0), 2, base)
	b, _ := f.gather(t, item(1), 2, base)
	for _, want := range []bool{true, false} {
		if ok, err := f.Store.Remove(t.Context(), hub, outbox.Feedback, a); ok != want || err != nil {
			t.Errorf("Remove: %v, %v; want %v", ok, err, want)
		}
	}
	suitetest.Same(t, "records of the removed", f.records(t, a), []outbox.FeedbackRecord(nil))
	suitetest.Same(t, "records of the other", f.records(t, b), Records(4)[2:])
	// Its records are not gathered again.
	if seq, left := f.gather(t, item(2), 1, base.Add(time.Hour)); seq != 0 || left.Count != 0 {
		t.Errorf("message %d of nothing, left %+v", seq, left)
	}
}

func testDeliveryCount(t *testing.T, f Fixture) {
	a, b := f.add(t, hub, 0), f.add(t, hub, 1)
	k := outbox.FileNotifications
	if err := f.Store.SetDeliveryCount(t.Context(), hub, k, b, 4); err != nil {
		t.Fatal(err)
	}
	if err := f.Store.SetDeliveryCount(t.Context(), hub, k, b+1000, 4); err != nil {
		t.Errorf("count of a message that is gone: %v", err)
	}
	items := f.index(t, hub, k, 0, base, 10)
	if len(items) != 2 || items[0].Seq != a || items[0].DeliveryCount != 0 || items[1].DeliveryCount != 4 {
		t.Errorf("index: %+v", items)
	}
}

func testPositions(t *testing.T, f Fixture) {
	var last int64
	for i := range 4 {
		seq := f.add(t, hub, i)
		if seq <= last {
			t.Fatalf("position %d was given after %d", seq, last)
		}
		last = seq
		if _, err := f.Store.Remove(t.Context(), hub, outbox.FileNotifications, seq); err != nil {
			t.Fatal(err)
		}
	}
}

func testExpire(t *testing.T, f Fixture) {
	f.Record(hub, Records(1)...)
	fb, _ := f.gather(t, item(0), 1, base) // for an hour
	for i := range 3 {
		it := item(i)
		it.Expires = base.Add(time.Duration(i) * time.Minute)
		if _, err := f.Store.Add(t.Context(), []string{hub, abroad}[i%2], it, File(i)); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(now time.Time, most, want int) {
		t.Helper()
		if n, err := f.Store.Waiting(t.Context(), hub, outbox.FileNotifications, now, most); n != want || err != nil {
			t.Errorf("%d wait, %v; want %d", n, err, want)
		}
	}
	waiting(base.Add(-1), 10, 2)
	waiting(base.Add(-1), 1, 1)
	waiting(base, 10, 1)
	expire := func(now time.Time, limit, want int) {
		t.Helper()
		if n, err := f.Store.Expire(t.Context(), now, limit); n != want || err != nil {
			t.Errorf("Expire: %d, %v; want %d", n, err, want)
		}
	}
	expire(base.Add(-time.Second), 10, 0)
	expire(base.Add(2*time.Minute), 2, 2)
	expire(base.Add(2*time.Minute), 2, 1)
	expire(base.Add(2*time.Minute), 2, 0)
	suitetest.Same(t, "feedback", f.records(t, fb), Records(1))
	expire(base.Add(time.Hour), 10, 1)
	suitetest.Same(t, "feedback", f.records(t, fb), []outbox.FeedbackRecord(nil))
}

func testDelete(t *testing.T, f Fixture) {
	all := Records(5)
	all[2].DeviceID = "press-2"
	f.Record(hub, all...)
	f.Record(abroad, all[0])
	seq, _ := f.gather(t, item(0), 4, base)
	f.Delete(causeway.Identity{Hub: hub, Device: "press-1", Module: "vision"})
	suitetest.Same(t, "after a module", f.records(t, seq), []outbox.FeedbackRecord{all[0], all[2]})
	f.Delete(causeway.Identity{Hub: hub, Device: "press-1"})
	suitetest.Same(t, "after its device", f.records(t, seq), all[2:3])
	pending, err := f.Store.Pending(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	suitetest.Same(t, "pending", pending, []outbox.Pending{{Hub: abroad, Count: 1, Oldest: base}})
	f.Delete(causeway.Identity{Hub: hub, Device: "press-2"})
	suitetest.Same(t, "after all", f.records(t, seq), []outbox.FeedbackRecord(nil))
}

func testContext(t *testing.T, f Fixture) {
	f.Record(hub, Records(1)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Store.Add(ctx, hub, item(0), File(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Add: %v", err)
	}
	if _, _, err := f.Store.Gather(ctx, hub, item(0), 1, base); !errors.Is(err, context.Canceled) {
		t.Errorf("Gather: %v", err)
	}
	if _, err := f.Store.Index(ctx, hub, outbox.Feedback, 0, base, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Index: %v", err)
	}
	for _, k := range []outbox.Kind{outbox.Feedback, outbox.FileNotifications} {
		suitetest.Same(t, "index", f.index(t, hub, k, 0, base, 10), []outbox.Item(nil))
	}
}
