package amqp_test

import (
	"fmt"
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

// TestTakeover: an identity that connects elsewhere loses its links here, and
// only these; a token that is put elsewhere takes nothing over.
func TestTakeover(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := w.open(w.dev1, w.dev2)
		one, two := first.in(hubamqp.KindCommands, w.dev1, 10), first.in(hubamqp.KindCommands, w.dev2, 10)
		events := first.out(hubamqp.KindTelemetry, w.dev1)

		second := w.open(w.dev1)
		one.quiet(time.Minute)
		second.telemetry(second.out(hubamqp.KindTelemetry, w.dev1), "x")
		if got := one.ended(); got != hubamqp.LinkStolen {
			t.Errorf("the link ended with %s", got)
		}
		if got := first.deliver(events, event("y")); got != "error "+hubamqp.LinkStolen {
			t.Errorf("telemetry on a stolen link: %s", got)
		}
		two.quiet(time.Minute)

		// It may come back, with the token that it has put.
		first.telemetry(first.out(hubamqp.KindTelemetry, w.dev1), "z")
		if got := w.stored("dev1"); got != "x,z" {
			t.Errorf("stored %q", got)
		}

		// The same from another transport.
		if _, err := w.hub.Connect(t.Context(), causeway.Credential{Host: host, Identity: w.dev2, Token: causeway.Secret(tokenOf(w.dev2, inAnHour()))}, hubtest.NewRecorder()); err != nil {
			t.Fatal(err)
		}
		if got := two.ended(); got != hubamqp.LinkStolen {
			t.Errorf("the link ended with %s", got)
		}
		first.close()
		second.close()
	})
}

// TestTakeoverStorm has two clients fight for an identity: each link is granted
// or refused, and nothing is left in the end.
func TestTakeoverStorm(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		done := make(chan int)
		for range 2 {
			go func() {
				c := w.open(w.dev1)
				n := 0
				for range 200 {
					s, err := c.tryOut("/devices/dev1/messages/events", wire.LinkConfig{}, hubamqp.LinkProperties{})
					switch {
					case err != nil:
						if got := conditionOf(err); got != hubamqp.LinkStolen {
							t.Errorf("attach: %s", got)
						}
					case c.deliver(s, event("x")) == "accepted":
						n++
					}
				}
				c.close()
				done <- n
			}()
		}
		// What was stored as the link was stolen is not settled.
		if a, b := <-done, <-done; a+b > len(w.hub.Telemetry(t, "dev1")) || a+b == 0 {
			t.Errorf("%d and %d were accepted, %d are stored", a, b, len(w.hub.Telemetry(t, "dev1")))
		}
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) {
			t.Error("still connected")
		}
	})
}

// TestHangups is what links end with when the hub ends a session.
func TestHangups(t *testing.T) {
	for _, x := range []struct {
		code causeway.Code
		want string
	}{
		{causeway.ConnectionForcefullyClosedOnNewConnection, hubamqp.LinkStolen},
		{causeway.IotHubUnauthorized, hubamqp.Unauthorized},
		{causeway.DeviceDisabled, hubamqp.Unauthorized},
		{causeway.DeviceNotFound, hubamqp.NotFound},
		{causeway.ModuleNotFound, hubamqp.NotFound},
		{causeway.ServiceUnavailable, hubamqp.DetachForced},
	} {
		t.Run(x.code.Name(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open(w.dev1, w.dev2)
				commands := c.in(hubamqp.KindCommands, w.dev1, 1)
				methods, events := c.in(hubamqp.KindMethods, w.dev1, 1), c.out(hubamqp.KindTelemetry, w.dev1)
				other := c.in(hubamqp.KindCommands, w.dev2, 1)
				w.hub.Hangup(w.dev1, causeway.Errorf(x.code, "test", "over"))
				for _, r := range []*receiver{commands, methods} {
					if got := r.ended(); got != x.want {
						t.Errorf("ended with %s", got)
					}
				}
				if got := conditionOf(events.Err()); got != x.want {
					t.Errorf("ended with %s", got)
				}
				other.quiet(time.Second)
				c.close()
			})
		})
	}
}

// TestIdentityChanges: what the hub decides later ends links too.
func TestIdentityChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1, w.dev2, w.mod)
		one, mod, two := c.in(hubamqp.KindCommands, w.dev1, 1), c.in(hubamqp.KindCommands, w.mod, 1), c.in(hubamqp.KindCommands, w.dev2, 1)
		w.hub.Disable(t, w.dev1)
		if a, b := one.ended(), mod.ended(); a != hubamqp.Unauthorized || b != hubamqp.Unauthorized {
			t.Errorf("ended with %s, %s", a, b)
		}
		if _, err := c.tryOut("/devices/dev1/messages/events", wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.Unauthorized {
			t.Errorf("attach: %v", err)
		}
		if r := c.tryPut(host+"/devices/dev1", tokenOf(w.dev1, inAnHour())); r.Status != 401 {
			t.Errorf("put-token: %d", r.Status)
		}
		two.quiet(time.Second)
	})
}

// TestDeletedIdentity: who was deleted is told so, as the SDKs know it, and who
// comes anew is not.
func TestDeletedIdentity(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1, w.dev2, w.mod)
		one, mod, two := c.in(hubamqp.KindCommands, w.dev1, 1), c.in(hubamqp.KindCommands, w.mod, 1), c.in(hubamqp.KindCommands, w.dev2, 1)
		w.hub.Delete(t, w.dev1)
		if a, b := one.ended(), mod.ended(); a != hubamqp.NotFound || b != hubamqp.NotFound {
			t.Errorf("ended with %s, %s", a, b)
		}
		if _, err := c.tryOut("/devices/dev1/messages/events", wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.Unauthorized {
			t.Errorf("attach: %v", err)
		}
		if r := c.tryPut(host+"/devices/dev1", tokenOf(w.dev1, inAnHour())); r.Status != 401 {
			t.Errorf("put-token: %d", r.Status)
		}
		two.quiet(time.Second)
	})
}

// TestLinkProperties is what a link says of its client.
func TestLinkProperties(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		_, err := c.tryOut("/devices/dev1/messages/events", wire.LinkConfig{}, hubamqp.LinkProperties{
			ClientVersion: "test/1", APIVersion: "2021-04-12", ModelID: "dtmi:x;1", AuthChain: "a;b",
		})
		if err != nil {
			t.Fatal(err)
		}
		got := w.tap.Last()
		if got.ClientType != "test/1" || got.APIVersion != "2021-04-12" || got.ModelID != "dtmi:x;1" || got.AuthChain != "a;b" ||
			got.Transport != causeway.AMQP || got.RemoteAddr == "" || got.Host != host {
			t.Errorf("credential %+v", got)
		}
		if got := w.hub.Model(t, w.dev1); got != "dtmi:x;1" {
			t.Errorf("model %q", got)
		}
	})
}

// TestAttachAnswer: what clients check of the answer to an attach.
func TestAttachAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		for i, x := range []struct {
			address string
			role    codec.Role
		}{
			{"/devices/dev1/messages/events", codec.Sender},
			{"/devices/dev1/messages/events/", codec.Sender},
			{"amqps://" + host + ":5671/devices/dev1/messages/events", codec.Sender},
			{"devices/dev1/messages/deviceBound", codec.Receiver},
			{"/devices/dev1/methods/devicebound", codec.Sender},
			{"/devices/dev1/methods/devicebound", codec.Receiver},
			{"/devices/dev1/twin", codec.Sender},
			{"/Devices/dev1/TWIN", codec.Receiver},
		} {
			a := &codec.Attach{Name: fmt.Sprint("link", i), Handle: uint32(i) + 1, Role: x.role, Source: &codec.Source{Address: codec.Some("here")}, Target: &codec.Target{Address: codec.Some("here")}}
			if x.role == codec.Sender {
				a.Target.Address = codec.Some(x.address)
				a.InitialDeliveryCount = codec.Some(uint32(0))
			} else {
				a.Source.Address = codec.Some(x.address)
				a.MaxMessageSize = 1 << 20
			}
			got := c.attach(a)
			if got.Source.Address != a.Source.Address || got.Target.Address != a.Target.Address {
				t.Errorf("%s: source %v, target %v", x.address, got.Source.Address, got.Target.Address)
			}
			if x.role == codec.Sender && got.MaxMessageSize < 100<<10 {
				t.Errorf("%s: max-message-size %d", x.address, got.MaxMessageSize)
			}
			if x.role == codec.Receiver && !got.InitialDeliveryCount.OK {
				t.Errorf("%s: no initial-delivery-count", x.address)
			}
		}
	})
}

// TestWrongDirection: links that exist in the other direction only.
func TestWrongDirection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1, w.mod)
		if _, err := c.tryOut("/devices/dev1/messages/devicebound", wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.NotAllowed {
			t.Errorf("sending commands: %v", err)
		}
		if _, err := c.tryIn("/devices/dev1/messages/events", wire.LinkConfig{}, 1); conditionOf(err) != hubamqp.NotAllowed {
			t.Errorf("receiving telemetry: %v", err)
		}
		if w.hub.Connected(t, w.dev1) {
			t.Error("a refused link connects")
		}
	})
}

// TestHubIsBusy: a hub that has no time refuses the link, and the token, in a way
// that clients try again.
func TestHubIsBusy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		w.tap.Refuse(causeway.Errorf(causeway.ServerBusy, "test", "busy"))
		if _, err := c.tryOut("/devices/dev1/messages/events", wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.InternalError {
			t.Errorf("attach: %v", err)
		}
		if r := c.tryPut(host+"/devices/dev2", tokenOf(w.dev2, inAnHour())); r.Status != 503 {
			t.Errorf("put-token: %d", r.Status)
		}
		if got := w.refused(amqp.ReasonBusy); got != 2 {
			t.Errorf("counted %d", got)
		}
	})
}

// TestManySessionsOfLinks: attaching and detaching leaves nothing behind.
func TestAttachDetach(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		for range 300 {
			r := c.in(hubamqp.KindCommands, w.dev1, 1)
			s := c.out(hubamqp.KindTelemetry, w.dev1)
			s.Close(nil)
			r.Close(nil)
		}
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) {
			t.Error("still connected")
		}
		c.telemetry(c.out(hubamqp.KindTelemetry, w.dev1), "x")
	})
}
