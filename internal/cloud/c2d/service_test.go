package c2d_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	dev    = causeway.Identity{Hub: "plant", Device: "press-1"}
	module = causeway.Identity{Hub: "plant", Device: "press-1", Module: "vision"}
	other  = causeway.Identity{Hub: "plant", Device: "press-2"}
)

// watcher notes what it hears.
type watcher struct {
	mu    sync.Mutex
	heard []causeway.Identity
}

func (w *watcher) Queued(id causeway.Identity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, id)
}

// take returns what was heard since the last call.
func (w *watcher) take() []causeway.Identity {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := w.heard
	w.heard = nil
	return heard
}

// bench is a service on a store, in a bubble when its Run is started.
type bench struct {
	*testing.T
	*c2d.Service
	store    *c2dtest.Memory
	watch    *watcher
	recorded atomic.Int64 // records of feedback of dev's hub that were told of
}

func newBench(t *testing.T, store *c2dtest.Memory, o c2d.Options) *bench {
	b := &bench{T: t, store: store, watch: &watcher{}}
	o.Store = store
	o.Recorded = func(hub string, n int) {
		if hub == dev.Hub {
			b.recorded.Add(int64(n))
		}
	}
	b.Service = c2d.New(o)
	b.Service.Watch(b.watch)
	return b
}

// start begins Run, which ends with the test or by stop.
func (b *bench) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Service.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(stop)
	synctest.Wait()
	return stop
}

// bubble runs a test in a bubble with a running service.
func bubble(t *testing.T, o c2d.Options, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, c2dtest.NewMemory(), o)
		b.start()
		test(b)
	})
}

// after lets time pass, and what happens then.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // simulated time
	synctest.Wait()
}

func (b *bench) enqueue(id causeway.Identity, m causeway.Message) {
	b.Helper()
	if err := b.Enqueue(b.Context(), id, m, "gen-1"); err != nil {
		b.Fatalf("Enqueue(%v): %v", id, err)
	}
}

func message(id string) causeway.Message {
	return causeway.Message{ID: id, Body: []byte("do " + id), Ack: causeway.AckFull}
}

// receive returns the next message, which must have the id; "" for none.
func (b *bench) receive(id causeway.Identity, want string) causeway.Message {
	b.Helper()
	m, ok, err := b.Receive(b.Context(), id)
	if err != nil || ok != (want != "") || m.ID != want {
		b.Fatalf("Receive(%v) = %q, %v, %v; want %q", id, m.ID, ok, err, want)
	}
	return m
}

func (b *bench) settle(id causeway.Identity, m causeway.Message, o causeway.Outcome, want causeway.Code) {
	b.Helper()
	if err := b.Settle(b.Context(), id, m.Lock, o); causeway.CodeOf(err) != want {
		b.Fatalf("Settle(%v, %q, %d) = %v, want code %v", id, m.ID, o, err, want)
	}
}

func (b *bench) depth(id causeway.Identity, want int) {
	b.Helper()
	if n, err := b.Depth(b.Context(), id); n != want || err != nil {
		b.Fatalf("Depth(%v) = %d, %v; want %d", id, n, err, want)
	}
}

// feedback returns the hub's feedback as "id status".
func (b *bench) feedback() []string {
	b.Helper()
	var out []string
	for _, f := range b.store.Feedback(dev.Hub) {
		out = append(out, f.OriginalMessageID+" "+string(f.Status))
	}
	return out
}

func (b *bench) wantFeedback(want ...string) {
	b.Helper()
	if d := cmp.Diff(want, b.feedback()); d != "" {
		b.Errorf("feedback (-want +got):\n%s", d)
	}
	if n := b.recorded.Load(); int(n) != len(want) {
		b.Errorf("%d records of feedback were told of, want %d", n, len(want))
	}
}

func (b *bench) heard(want ...causeway.Identity) {
	b.Helper()
	if d := cmp.Diff(want, b.watch.take()); d != "" {
		b.Errorf("watcher (-want +got):\n%s", d)
	}
}

func TestDelivery(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		sent := causeway.Message{
			ID: "m-1", CorrelationID: "c", UserID: "u", To: "/devices/press-1/messages/devicebound", Body: []byte("body"),
			ContentType: "text/plain", ContentEncoding: "utf-8", Ack: causeway.AckPositive, Expiry: time.Now().Add(time.Hour).UTC(),
			Properties: []causeway.Property{{Key: "kind", Value: "öffnen / a=b"}},
		}
		forged := sent
		forged.From, forged.Auth, forged.Source, forged.ModelID, forged.GenerationID = other, "x", "x", "x", "x"
		forged.Lock, forged.Sequence, forged.DeliveryCount, forged.Enqueued = causeway.LockToken{1}, 77, 7, time.Now().Add(time.Hour)
		b.enqueue(dev, forged)
		b.enqueue(dev, message("m-2"))
		b.heard(dev, dev)

		got := b.receive(dev, "m-1")
		want := sent
		want.Enqueued, want.GenerationID = time.Now().UTC(), "gen-1"
		want.Lock, want.Sequence = got.Lock, got.Sequence
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("message (-want +got):\n%s", d)
		}
		if got.Lock == (causeway.LockToken{}) || got.Lock[6]>>4 != 4 || got.Lock[8]>>6 != 2 {
			t.Errorf("lock %x is no random UUID", got.Lock)
		}
		second := b.receive(dev, "m-2")
		if second.Sequence <= got.Sequence || second.Lock == got.Lock {
			t.Errorf("second message: sequence %d, lock %x", second.Sequence, second.Lock)
		}
		b.receive(dev, "")
		b.depth(dev, 2)
		b.settle(dev, second, causeway.Accepted, 0) // not in order
		b.settle(dev, second, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(other, got, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.settle(dev, got, causeway.Accepted, 0)
		b.depth(dev, 0)
		b.wantFeedback("m-2 Success", "m-1 Success")
		b.heard()
	})
}

func TestPurge(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		for i := range 5 {
			b.enqueue(dev, message(fmt.Sprint("m", i)))
		}
		b.enqueue(module, message("kept"))
		held := b.receive(dev, "m0")
		b.watch.take()
		for _, want := range []int{5, 0} {
			if n, err := b.Purge(t.Context(), dev); n != want || err != nil {
				t.Errorf("Purge = %d, %v; want %d", n, err, want)
			}
		}
		b.settle(dev, held, causeway.Accepted, causeway.DeviceMessageLockLost)
		b.Unlock(dev, held.Lock)
		b.heard()
		b.receive(dev, "")
		b.depth(module, 1)
		b.wantFeedback("m0 Purged", "m1 Purged", "m2 Purged", "m3 Purged", "m4 Purged")
		b.enqueue(dev, message("new"))
		b.receive(dev, "new")
	})
}

func TestQueueIsBounded(t *testing.T) {
	bubble(t, c2d.Options{}, func(b *bench) {
		for i := range causeway.MaxQueuedCommands {
			b.enqueue(dev, message(fmt.Sprint(i)))
		}
		held := b.receive(dev, "0") // still counts
		full := func() causeway.Code { return causeway.CodeOf(b.Enqueue(t.Context(), dev, message("x"), "g")) }
		if got := full(); got != causeway.DeviceMaximumQueueDepthExceeded {
			t.Errorf("code %v", got)
		}
		b.enqueue(module, message("x"))
		b.settle(dev, held, causeway.Accepted, 0)
		if got := full(); got != 0 {
			t.Errorf("code %v after a message left", got)
		}
		b.depth(dev, causeway.MaxQueuedCommands)
	})
}

func TestEnqueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, c2dtest.NewMemory(dev), c2d.Options{})
		edit := func(f func(m *causeway.Message)) causeway.Message {
			m := message("a")
			f(&m)
			return m
		}
		for name, tc := range map[string]struct {
			m    causeway.Message
			id   causeway.Identity
			code causeway.Code
		}{
			"no id":            {edit(func(m *causeway.Message) { m.ID = "" }), dev, 0},
			"all of an id":     {edit(func(m *causeway.Message) { m.ID = "aZ09-:.+%_#*?!(),=@;$'" }), dev, 0},
			"longest id":       {edit(func(m *causeway.Message) { m.ID = strings.Repeat("x", 128) }), dev, 0},
			"long id":          {edit(func(m *causeway.Message) { m.ID = strings.Repeat("x", 129) }), dev, causeway.ArgumentInvalid},
			"id with slash":    {edit(func(m *causeway.Message) { m.ID = "a/b" }), dev, causeway.ArgumentInvalid},
			"id with umlaut":   {edit(func(m *causeway.Message) { m.ID = "ä" }), dev, causeway.ArgumentInvalid},
			"id not UTF-8":     {edit(func(m *causeway.Message) { m.ID = "\xff" }), dev, causeway.ArgumentInvalid},
			"largest":          {causeway.Message{Body: make([]byte, causeway.MaxCommandSize)}, dev, 0},
			"too large":        {causeway.Message{Body: make([]byte, causeway.MaxCommandSize), ID: "x"}, dev, causeway.MessageTooLarge},
			"ack":              {edit(func(m *causeway.Message) { m.Ack = "some" }), dev, causeway.ArgumentInvalid},
			"property name":    {edit(func(m *causeway.Message) { m.Properties = []causeway.Property{{Key: "a b"}} }), dev, causeway.ArgumentInvalid},
			"no property name": {edit(func(m *causeway.Message) { m.Properties = []causeway.Property{{Value: "x"}} }), dev, causeway.ArgumentInvalid},
			"properties":       {edit(func(m *causeway.Message) { m.Properties = make([]causeway.Property, c2d.MaxProperties+1) }), dev, causeway.ArgumentInvalid},
			"latest expiry":    {edit(func(m *causeway.Message) { m.Expiry = time.Now().Add(causeway.MaxCommandTTL) }), dev, 0},
			"late expiry":      {edit(func(m *causeway.Message) { m.Expiry = time.Now().Add(causeway.MaxCommandTTL + 1) }), dev, causeway.InvalidMessageExpiryTime},
			"no device":        {message("a"), other, causeway.DeviceNotFound},
			"no module":        {message("a"), module, causeway.ModuleNotFound},
		} {
			err := b.Enqueue(t.Context(), tc.id, tc.m, "g")
			if got := causeway.CodeOf(err); got != tc.code {
				t.Errorf("%s: %v (code %v), want %v", name, err, got, tc.code)
			}
			if heard := len(b.watch.take()); heard > 0 != (tc.code == 0) {
				t.Errorf("%s: watcher heard %d times", name, heard)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Enqueue(ctx, dev, message("a"), "g"); !errors.Is(err, context.Canceled) {
			t.Errorf("ended context: %v", err)
		}
	})
}
