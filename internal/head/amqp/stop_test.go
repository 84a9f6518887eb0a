package amqp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestStop shows that what was begun is finished and settled.
func TestStop(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.hub.OnSend = func(context.Context, causeway.Identity, []causeway.Message) error {
			<-release
			return nil
		}
		w.hub.OnReport = func(context.Context, causeway.Identity, causeway.Patch) error {
			<-release
			return nil
		}
		busy, idle, asks := w.open(w.dev1), w.open(w.dev2), w.open(w.mod)
		half := w.raw()
		s := busy.out(hubamqp.KindTelemetry, w.dev1)
		idle.in(hubamqp.KindCommands, w.dev2, 1)
		tw := asks.twin(w.mod, 10)
		outcome := make(chan string)
		go func() { outcome <- busy.deliver(s, event("under way")) }()
		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: codec.Ulong(1), Body: []byte(`{}`)})
		synctest.Wait()
		w.stop()
		if got := idle.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("the idle client: %s", got)
		}
		half.closed()
		time.AfterFunc(3*time.Second, func() { close(release) })
		if got := <-outcome; got != "accepted" {
			t.Errorf("what was under way: %s", got)
		}
		if got := busy.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("the busy client: %s", got)
		}
		if p := tw.answer(); p.Status != 204 {
			t.Errorf("the twin request: %+v", p)
		}
		if got := asks.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("the asking client: %s", got)
		}
		if got := w.stored("dev1"); got != "under way" {
			t.Errorf("stored %q", got)
		}
	})
}

// TestStopEndsSessions: clients that wait for the end of their session, as those of
// Node do, are told of it before the connection is closed, and with a condition that
// they come back after.
func TestStopEndsSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		c.attach(&codec.Attach{
			Name: "commands", Handle: 1, Role: codec.Receiver,
			Source: &codec.Source{Address: codec.Some("/devices/dev1/messages/devicebound")}, Target: &codec.Target{},
		})
		w.stop()
		e := expect[*codec.End](c)
		if e.Error == nil || e.Error.Name != hubamqp.DetachForced || causeway.CodeOf(hubamqp.ErrorOf(e.Error)) != causeway.ServiceUnavailable {
			t.Errorf("the session ended with %+v", e.Error)
		}
		if e := expect[*codec.Close](c); e.Error == nil || e.Error.Name != hubamqp.ConnectionForced {
			t.Errorf("the connection ended with %+v", e.Error)
		}
		c.send(&codec.End{}, &codec.Close{})
		c.closed()
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) {
			t.Error("the hub has its session still")
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hub.OnSend = func(ctx context.Context, _ causeway.Identity, _ []causeway.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		go c.deliver(s, event("stuck"))
		synctest.Wait()
		begin := time.Now()
		w.stop()
		if err := <-w.served; err != nil {
			t.Error(err)
		}
		w.served <- nil
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("stopped after %v", d)
		}
		<-c.c.Done()
	})
}

// TestStopOfFirehose: a client that never stops sending is closed all the same,
// with what it sent settled.
func TestStopOfFirehose(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		accepted := make(chan int)
		for range 4 {
			go func() {
				n := 0
				for c.deliver(s, event("x")) == "accepted" {
					n++
					time.Sleep(time.Millisecond) //nolint:forbidigo // simulated time
				}
				accepted <- n
			}()
		}
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		begin := time.Now()
		w.stop()
		n := 0
		for range 4 {
			n += <-accepted
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("stopped after %v", d)
		}
		if got := c.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("ended with %s", got)
		}
		if stored := len(w.hub.Telemetry(t, "dev1")); stored < n {
			t.Errorf("%d accepted, %d stored", n, stored)
		}
	})
}

// TestLimits are the bounds of connections.
func TestConnectionLimit(t *testing.T) {
	withLimits(t, amqp.Limits{Connections: 2}, func(t *testing.T, w *world) {
		one, two := w.open(w.dev1), w.open(w.dev2)
		if _, err := w.tryDial(wire.Config{}); err == nil {
			t.Error("a third connection is open")
		}
		if got := w.refused(amqp.ReasonConnections); got != 1 {
			t.Errorf("counted %d", got)
		}
		two.close()
		synctest.Wait()
		w.open(w.mod).close()
		one.close()
	})
}

func TestHalfOpenLimit(t *testing.T) {
	withLimits(t, amqp.Limits{HalfOpen: 2}, func(t *testing.T, w *world) {
		w.dial()
		two := w.dial()
		connected := make(chan *client)
		go func() { connected <- w.dial() }()
		synctest.Wait()
		select {
		case <-connected:
			t.Fatal("a third connection was accepted")
		default:
		}
		two.put(w.dev1, inAnHour()) // is no longer half-open
		third := <-connected
		third.put(w.dev2, inAnHour())
		two.close()
		third.close()
	})
}

// TestNothing: who says nothing is cut.
func TestConnectDeadline(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"part of a header": []byte("AMQP"),
		"no open":          codec.ProtocolAMQP.Append(nil),
		"no init":          codec.ProtocolSASL.Append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				nc, err := w.net.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if len(b) > 0 {
					if _, err := nc.Write(b); err != nil {
						t.Fatal(err)
					}
				}
				for err == nil {
					_, err = nc.Read(make([]byte, 100))
				}
				if d := time.Since(begin); d != time.Minute {
					t.Errorf("cut after %v", d)
				}
				synctest.Wait()
				if got := w.refused(amqp.ReasonConnectTimeout); got != 1 {
					t.Errorf("counted %d", got)
				}
			})
		})
	}
}

// TestHandshakeDeadline: TLS that does not get on is cut, too.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, amqp.Limits{})
		w.withTLS(host)
		w.start()
		defer w.close()
		nc, err := w.net.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for err == nil {
			_, err = nc.Read(make([]byte, 100))
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("cut after %v", d)
		}
		synctest.Wait()
		if got := w.refused(amqp.ReasonConnectTimeout); got != 1 {
			t.Errorf("counted %d", got)
		}
		// One that is no TLS ends at once.
		nc, err = w.net.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte("AMQP\x00\x01\x00\x00 and more bytes than a record's header")); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = nc.Read(make([]byte, 100))
		}
		synctest.Wait()
		if got := w.refused(amqp.ReasonHandshake); got != 1 {
			t.Errorf("counted %d", got)
		}
	})
}

// TestSilence: a client that is not heard of is disconnected, and one that is
// stays for as long as it wants.
func TestSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		begin := time.Now()
		_ = c.nc.SetReadDeadline(time.Now().Add(time.Hour))
		for {
			f, err := c.r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Body) == 0 {
				continue
			}
			p, _, err := f.Performative()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := p.(*codec.Close); ok {
				break
			}
		}
		if d := time.Since(begin); d < 8*time.Minute || d > 8*time.Minute+time.Second {
			t.Errorf("closed after %v", d)
		}
		_ = c.nc.Close()
		synctest.Wait()
		if got := w.refused(amqp.ReasonIdle); got != 1 {
			t.Errorf("counted %d", got)
		}
		kept := w.dial()
		kept.put(w.dev2, time.Now().Add(1000*time.Hour))
		time.Sleep(100 * time.Hour) //nolint:forbidigo // simulated time
		kept.telemetry(kept.out(hubamqp.KindTelemetry, w.dev2), "x")
		kept.close()
	})
}

// TestIncomplete: a server without a hub does not serve.
func TestIncomplete(t *testing.T) {
	l := memnet.Listen("x")
	defer l.Close()
	if err := (&amqp.Server{}).Serve(t.Context(), l); err == nil {
		t.Error("a server without a hub serves")
	}
}
