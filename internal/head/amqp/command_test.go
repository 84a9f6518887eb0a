package amqp_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// settled is what the hub heard of a command.
type settled struct {
	body string
	o    causeway.Outcome
}

// settlements has the hub tell what was settled.
func (w *world) settlements() <-chan settled {
	ch := make(chan settled, 100)
	w.hub.OnSettle = func(_ causeway.Identity, m causeway.Message, o causeway.Outcome) { ch <- settled{string(m.Body), o} }
	return ch
}

func command(body string) causeway.Message { return causeway.Message{Body: []byte(body)} }

func rejectedState() codec.State {
	return codec.Rejected(&codec.Condition{Name: "test:no", Description: "no"})
}

// TestCommandOutcomes is what the outcomes of AMQP mean, in both modes of
// settlement.
func TestCommandOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  codec.State
		want   causeway.Outcome
		answer codec.Code
	}{
		{"accepted", codec.Accepted(), causeway.Accepted, codec.CodeAccepted},
		{"rejected", rejectedState(), causeway.Rejected, codec.CodeRejected},
		{"released", codec.Released(), causeway.Released, codec.CodeReleased},
		{"modified", codec.State{Kind: codec.CodeModified, DeliveryFailed: true}, causeway.Released, codec.CodeModified},
		{"modified, undeliverable here", codec.State{Kind: codec.CodeModified, UndeliverableHere: true}, causeway.Rejected, codec.CodeModified},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				heard := w.settlements()
				cl := w.open(w.dev1)
				r := cl.in(hubamqp.KindCommands, w.dev1, 10)
				w.hub.Enqueue(t, w.dev1, command("x"))
				m, d := r.command()
				if string(m.Body) != "x" || m.To != "/devices/dev1/messages/devicebound" || m.Sequence != 1 {
					t.Errorf("got %+v", m)
				}
				if lock, ok := hubamqp.LockOf(d.Tag); !ok || lock != m.Lock || d.Settled {
					t.Errorf("tag %x of lock %x, settled %v", d.Tag, m.Lock, d.Settled)
				}
				r.settle(d, c.state)
				if got := <-heard; got != (settled{"x", c.want}) {
					t.Errorf("the hub heard %v", got)
				}
				if c.want == causeway.Released {
					if again, _ := r.command(); again.DeliveryCount != 1 {
						t.Errorf("delivered again with count %d", again.DeliveryCount)
					}
				}
			})
		})
		t.Run(c.name+", settled second", func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				heard := w.settlements()
				cl := w.raw()
				cl.open(w.dev1)
				cl.attach(&codec.Attach{
					Name: "c2d", Handle: 5, Role: codec.Receiver, RcvSettleMode: codec.SettleSecond,
					Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/devicebound")}, Target: &codec.Target{Address: codec.Some("x")},
				})
				// For one alone: what is released may come again before the answer.
				cl.send(&codec.Flow{IncomingWindow: 100, OutgoingWindow: 100, NextIncomingID: codec.Some(uint32(1)), NextOutgoingID: 1, Handle: codec.Some(uint32(5)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(1))})
				w.hub.Enqueue(t, w.dev1, command("x"))
				tr := expect[*codec.Transfer](cl)
				cl.send(&codec.Disposition{Role: codec.Receiver, First: tr.DeliveryID.V, State: c.state})
				d := expect[*codec.Disposition](cl)
				if !d.Settled || d.Role != codec.Sender || d.First != tr.DeliveryID.V || d.State.Kind != c.answer {
					t.Errorf("answer %+v", d)
				}
				if got := <-heard; got != (settled{"x", c.want}) {
					t.Errorf("the hub heard %v", got)
				}
			})
		})
	}
}

// TestLockLost: who waits for the end of a settlement hears that it came too
// late.
func TestLockLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.raw()
		cl.open(w.dev1)
		cl.attach(&codec.Attach{
			Name: "c2d", Handle: 5, Role: codec.Receiver, RcvSettleMode: codec.SettleSecond,
			Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/devicebound")}, Target: &codec.Target{},
		})
		dev := w.tap.Device(w.dev1)
		cl.send(&codec.Flow{IncomingWindow: 100, OutgoingWindow: 100, NextIncomingID: codec.Some(uint32(1)), NextOutgoingID: 1, Handle: codec.Some(uint32(5)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(10))})
		synctest.Wait()
		// A delivery of which the hub does not know.
		if err := dev.Deliver(t.Context(), causeway.Message{Body: []byte("x"), Lock: causeway.LockToken{9}}); err != nil {
			t.Fatal(err)
		}
		tr := expect[*codec.Transfer](cl)
		cl.send(&codec.Disposition{Role: codec.Receiver, First: tr.DeliveryID.V, State: codec.Accepted()})
		d := expect[*codec.Disposition](cl)
		if !d.Settled || d.State.Kind != codec.CodeRejected || d.State.Error == nil || d.State.Error.Name != hubamqp.NotFound {
			t.Errorf("answer %+v", d)
		}
		if code := causeway.CodeOf(hubamqp.ErrorOf(d.State.Error)); code != causeway.DeviceMessageLockLost {
			t.Errorf("code %v", code)
		}
		// Dispositions of deliveries that are settled, or never were, are ignored.
		for _, id := range []uint32{tr.DeliveryID.V, 77} {
			cl.send(&codec.Disposition{Role: codec.Receiver, First: id, Settled: true, State: codec.Released()})
		}
		cl.quiet()
	})
}

// TestSettledLink: a client that wants commands settled has them completed as
// they are sent.
func TestSettledLink(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		heard := w.settlements()
		cl := w.open(w.dev1)
		r, err := cl.tryIn("/devices/dev1/messages/deviceBound", wire.LinkConfig{SndSettleMode: codec.SendSettled}, 10)
		if err != nil {
			t.Fatal(err)
		}
		w.hub.Enqueue(t, w.dev1, command("x"))
		if _, d := r.command(); !d.Settled {
			t.Error("not settled")
		}
		if got := <-heard; got != (settled{"x", causeway.Accepted}) {
			t.Errorf("the hub heard %v", got)
		}
	})
}

// TestCredit: commands wait in their queue, not counted as tried, until the
// client gives credit; one by one if it wants.
func TestCredit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		heard := w.settlements()
		cl := w.open(w.dev1)
		r := cl.in(hubamqp.KindCommands, w.dev1, 0)
		for i := range 5 {
			w.hub.Enqueue(t, w.dev1, command(fmt.Sprint(i)))
		}
		r.quiet(time.Minute)
		for i := range 5 {
			r.Grant(1)
			cl.c.Push()
			m, d := r.command()
			if string(m.Body) != fmt.Sprint(i) || m.DeliveryCount != 0 {
				t.Errorf("command %d: %q, count %d", i, m.Body, m.DeliveryCount)
			}
			r.quiet(time.Minute)
			r.settle(d, codec.Accepted())
			if got := <-heard; got != (settled{fmt.Sprint(i), causeway.Accepted}) {
				t.Errorf("the hub heard %v", got)
			}
			r.quiet(time.Second)
		}
		if n := w.hub.Depth(t, w.dev1); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestDrain: a client that asks for what there is gets it, and has no credit
// left then.
func TestDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.dev1)
		r := cl.in(hubamqp.KindCommands, w.dev1, 0)
		drain := func(credit uint32) int {
			t.Helper()
			r.Grant(credit)
			done := r.Drain()
			select {
			case <-done:
			case <-time.After(patience):
				t.Fatal("the link was not drained")
			}
			n := 0
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				d, err := r.inbox.Receive(ctx)
				cancel()
				if err != nil {
					return n
				}
				n++
				r.settle(d, codec.Accepted())
			}
		}
		if n := drain(10); n != 0 {
			t.Errorf("%d from an empty queue", n)
		}
		for i := range 5 {
			w.hub.Enqueue(t, w.dev1, command(fmt.Sprint(i)))
		}
		synctest.Wait()
		if n := drain(3); n != 3 {
			t.Errorf("%d with a credit of 3", n)
		}
		if n := drain(10); n != 2 {
			t.Errorf("%d of the two that were left", n)
		}
		if n := drain(1); n != 0 {
			t.Errorf("%d from an empty queue", n)
		}
		// Afterwards the link works as before.
		w.hub.Enqueue(t, w.dev1, command("x"))
		r.quiet(time.Second)
		r.Grant(1)
		cl.c.Push()
		if m, _ := r.command(); string(m.Body) != "x" {
			t.Errorf("got %q", m.Body)
		}
	})
}

// TestDrainOtherLinks: links that nothing waits for are drained at once.
func TestDrainOtherLinks(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.dev1)
		for _, r := range []*receiver{
			cl.in(hubamqp.KindMethods, w.dev1, 5), cl.in(hubamqp.KindTwin, w.dev1, 5),
			{c: cl, Receiver: cl.cbs.r},
		} {
			select {
			case <-r.Drain():
			case <-time.After(patience):
				t.Error("a link was not drained")
			}
		}
	})
}

// TestNeverSettles: a client that settles nothing holds no more than the hub
// gives out at a time, and memory stays bounded when locks run out.
func TestNeverSettles(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.dev1)
		r := cl.in(hubamqp.KindCommands, w.dev1, 1000)
		synctest.Wait()
		dev := w.tap.Device(w.dev1)
		n := 0
		var err error
		for ; n < 1000 && err == nil; n++ {
			err = dev.Deliver(t.Context(), causeway.Message{Body: []byte("x"), Lock: causeway.LockToken{1, byte(n), byte(n >> 8)}})
		}
		if causeway.CodeOf(err) != causeway.DeviceUnavailable || n > 50 {
			t.Errorf("after %d deliveries: %v", n, err)
		}
		for range n - 1 {
			r.next()
		}
		r.quiet(time.Minute)
	})
}

// TestCommandTooLargeForClient: what the client never takes does not block the
// queue.
func TestCommandTooLargeForClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		heard := w.settlements()
		cl := w.raw()
		cl.open(w.dev1)
		cl.attach(&codec.Attach{
			Name: "c2d", Handle: 5, Role: codec.Receiver, MaxMessageSize: 500,
			Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/devicebound")}, Target: &codec.Target{},
		})
		w.hub.Enqueue(t, w.dev1, command(strings.Repeat("x", 1000)))
		w.hub.Enqueue(t, w.dev1, command("small"))
		cl.send(&codec.Flow{IncomingWindow: 100, OutgoingWindow: 100, NextIncomingID: codec.Some(uint32(1)), NextOutgoingID: 1, Handle: codec.Some(uint32(5)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(10))})
		if got := <-heard; got.o != causeway.Rejected || len(got.body) != 1000 {
			t.Errorf("the hub heard %v", got)
		}
		expect[*codec.Transfer](cl)
		if !bytes.Contains(cl.payload, []byte("small")) {
			t.Errorf("got %q", cl.payload)
		}
	})
}

// TestSmallFrames: a command of many frames through a small window.
func TestSmallFrames(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial(func(cfg *wire.Config) { cfg.MaxFrameSize, cfg.IncomingWindow = 512, 4 })
		cl.put(w.dev1, inAnHour())
		r := cl.in(hubamqp.KindCommands, w.dev1, 10)
		body := strings.Repeat("0123456789", 6000)
		for range 3 {
			w.hub.Enqueue(t, w.dev1, command(body))
		}
		for range 3 {
			m, d := r.command()
			if string(m.Body) != body {
				t.Fatalf("%d bytes arrived", len(m.Body))
			}
			r.settle(d, codec.Accepted())
		}
	})
}

// TestCommandsGoBack: what was not settled is delivered again after the link, or
// the connection, ended; what was settled in the last moment is not.
func TestCommandsGoBack(t *testing.T) {
	for name, end := range map[string]func(c *client, r *receiver){
		"detach":     func(_ *client, r *receiver) { r.Close(nil) },
		"end":        func(c *client, _ *receiver) { _ = c.s.End(nil) },
		"close":      func(c *client, _ *receiver) { c.c.Close(nil) },
		"connection": func(c *client, _ *receiver) { synctest.Wait(); c.c.Abort(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl := w.open(w.dev1)
				events := cl.out(hubamqp.KindTelemetry, w.dev1) // keeps the session
				r := cl.in(hubamqp.KindCommands, w.dev1, 10)
				for _, body := range []string{"one", "two", "three"} {
					w.hub.Enqueue(t, w.dev1, command(body))
				}
				_, first := r.command()
				r.command()
				r.command()
				r.settle(first, codec.Accepted())
				end(cl, r)
				synctest.Wait()
				if n := w.hub.Depth(t, w.dev1); n != 2 {
					t.Errorf("%d commands are left", n)
				}
				if name == "detach" {
					cl.telemetry(events, "x")
				} else {
					if w.hub.Connected(t, w.dev1) {
						t.Error("still connected")
					}
					cl = w.open(w.dev1)
				}
				r = cl.in(hubamqp.KindCommands, w.dev1, 10)
				for _, body := range []string{"two", "three"} {
					if m, _ := r.command(); string(m.Body) != body {
						t.Errorf("got %q, want %q", m.Body, body)
					}
				}
			})
		})
	}
}

// TestNewerLink: a second link of a kind takes the place of the first.
func TestNewerLink(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.dev1)
		old := cl.in(hubamqp.KindCommands, w.dev1, 10)
		w.hub.Enqueue(t, w.dev1, command("x"))
		old.command()
		r := cl.in(hubamqp.KindCommands, w.dev1, 10)
		if got := old.ended(); got != hubamqp.LinkStolen {
			t.Errorf("the older link ended with %s", got)
		}
		m, d := r.command() // what the older one had not settled
		if string(m.Body) != "x" {
			t.Errorf("got %q", m.Body)
		}
		r.settle(d, codec.Accepted())
		hubtest.Eventually(t, "the settlement", func() bool { return w.hub.Depth(t, w.dev1) == 0 })
	})
}

// TestInputs: messages to a module's inputs have a link of their own.
func TestInputs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.mod, w.dev1)
		if _, err := cl.tryIn("/devices/dev1/messages/events", wire.LinkConfig{}, 1); conditionOf(err) != hubamqp.NotAllowed {
			t.Errorf("a device's telemetry to receive from: %v", err)
		}
		commands, inputs := cl.in(hubamqp.KindCommands, w.mod, 10), cl.in(hubamqp.KindTelemetry, w.mod, 10)
		if got := w.hub.Lanes(t, w.mod); got != causeway.LaneCommands|causeway.LaneInputs {
			t.Errorf("lanes %b", got)
		}
		synctest.Wait()
		dev := w.tap.Device(w.mod)
		from := causeway.Identity{Hub: "hub", Device: "dev1", Module: "other"}
		if err := dev.Deliver(t.Context(), causeway.Message{Body: []byte("in"), Input: "in1", From: from}); err != nil {
			t.Fatal(err)
		}
		m, d := inputs.command()
		if string(m.Body) != "in" || m.Input != "in1" || m.From.Module != "other" || len(d.Tag) != 16 {
			t.Errorf("got %+v", m)
		}
		inputs.settle(d, codec.Accepted())
		w.hub.Enqueue(t, w.mod, command("c"))
		if m, _ := commands.command(); string(m.Body) != "c" || m.To != "/devices/dev1/modules/m1/messages/devicebound" {
			t.Errorf("got %+v", m)
		}
		inputs.Close(nil)
		synctest.Wait()
		if got := w.hub.Lanes(t, w.mod); got != causeway.LaneCommands {
			t.Errorf("lanes %b", got)
		}
		hubtest.WantCode(t, dev.Deliver(t.Context(), causeway.Message{Input: "in1"}), causeway.DeviceNotOnline)
	})
}

// TestSlowReader: a client that does not read holds up the hub no longer than
// its context, and is disconnected.
func TestSlowReader(t *testing.T) {
	withLimits(t, amqp.Limits{Outbound: 64 << 10}, func(t *testing.T, w *world) {
		w.net.Buffer = 16 << 10
		cl := w.raw()
		cl.open(w.dev1)
		cl.attach(&codec.Attach{
			Name: "c2d", Handle: 5, Role: codec.Receiver,
			Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/devicebound")}, Target: &codec.Target{},
		})
		cl.send(&codec.Flow{IncomingWindow: 1000, OutgoingWindow: 100, NextIncomingID: codec.Some(uint32(1)), NextOutgoingID: 1, Handle: codec.Some(uint32(5)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(1000))})
		synctest.Wait()
		dev := w.tap.Device(w.dev1)
		// Who finds nobody writing writes, and is stuck with it.
		go func() {
			_ = dev.Deliver(context.Background(), causeway.Message{Body: make([]byte, 32<<10), Lock: causeway.LockToken{1}})
		}()
		synctest.Wait()
		begin := time.Now()
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err = dev.Deliver(ctx, causeway.Message{Body: make([]byte, 8<<10), Lock: causeway.LockToken{2, byte(n)}})
			cancel()
		}
		if d := time.Since(begin); err == nil || d != 5*time.Second || n > 12 {
			t.Fatalf("after %d commands and %v: %v", n, d, err)
		}
		time.Sleep(40 * time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		if w.refused(amqp.ReasonSlow) != 1 || w.hub.Connected(t, w.dev1) {
			t.Error("the client is still connected")
		}
	})
}
