package flow

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestManyLinks has a thousand links on one connection, of one device and of
// many, all at work at once.
func TestManyLinks(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const links, devices = 1000, 50
		p := w.open(amqp.Config{})
		for i := range devices {
			id := fmt.Sprintf("d%02d", i)
			w.create(id)
			p.put("localhost/devices/"+id, w.deviceToken(id))
		}
		before := memory()
		ctx, cancel := w.waiting()
		defer cancel()
		var out outcomes
		out.Add(2 * links)
		senders := make([]*amqp.Sender, links)
		for i := range senders {
			var err error
			senders[i], err = p.Session.AttachSender(ctx, amqp.LinkConfig{Target: fmt.Sprintf("/devices/d%02d/messages/events", i%devices)}, amqp.SenderOptions{Handler: &out})
			if err != nil {
				t.Fatalf("link %d: %v", i, err)
			}
		}
		if each := (memory() - before) / links; each > 8<<10 {
			t.Errorf("%d bytes for each end of a link", each/2)
		}
		for round := range 2 {
			for i, s := range senders {
				if _, err := s.Send(ctx, amqp.Transfer{Payload: telemetry(fmt.Sprint(round, i))}); err != nil {
					t.Fatalf("link %d: %v", i, err)
				}
			}
		}
		out.Wait()
		if n := out.refused.Load(); n != 0 {
			t.Errorf("%d messages were refused", n)
		}
		for _, s := range senders[devices:] {
			s.Close(nil)
		}
		// Each device is still there with one link.
		for i, s := range senders[:devices] {
			out.Add(1)
			if _, err := s.Send(ctx, amqp.Transfer{Payload: telemetry("last")}); err != nil {
				t.Fatalf("link %d after others were detached: %v", i, err)
			}
		}
		out.Wait()
		r := w.backend(amqp.Config{}).events(1000)
		next := map[string]int{}
		for range 2*links + devices {
			d := r.next()
			var e hubamqp.Event
			if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload); err != nil {
				t.Fatal(err)
			}
			next[e.Message.From.Device]++
			r.Accept(d)
		}
		for i := range devices {
			if id := fmt.Sprintf("d%02d", i); next[id] != 2*links/devices+1 {
				t.Errorf("%s: %d events", id, next[id])
			}
		}
	})
}

// TestManySessions has as many sessions on one connection as it may, one link on
// each of some, and one too many.
func TestManySessions(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d")
		p := w.device("d", amqp.Config{})
		ctx, cancel := w.waiting()
		defer cancel()
		for i := range 1000 {
			s, err := p.Begin(ctx)
			if err != nil {
				t.Fatalf("session %d: %v", i, err)
			}
			if i%100 != 0 {
				continue
			}
			snd, err := s.AttachSender(ctx, amqp.LinkConfig{Target: "/devices/d/messages/events"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
			if err != nil {
				t.Fatalf("session %d: %v", i, err)
			}
			if st, err := snd.Deliver(ctx, amqp.Transfer{Payload: telemetry("x")}); err != nil || st.Kind != codec.CodeAccepted {
				t.Fatalf("session %d: %v %v", i, st.Kind, err)
			}
		}
	})
}

// TestManyThatVanish has 200 connections, many at a time, that go away at some
// point of their beginnings: in the handshake of TLS, in a dialogue of SASL, in
// the middle of a token, before its answer. Nothing of them is left.
func TestManyThatVanish(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const connections, atOnce = 200, 20
		w.create("d", "other")
		w.fill("other", 1, 10)
		hello := codec.ProtocolSASL.Append(nil)
		hello = codec.AppendFrame(hello, 0, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00d@sas.localhost\x00" + w.deviceToken("d"))}, nil)
		hello = amqppeer.AppendHello(hello)
		for _, p := range []codec.Performative{
			amqppeer.SendTo(hubamqp.CBSAddress, 0), amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1), amqppeer.Credit(1, 10),
		} {
			hello = codec.AppendFrame(hello, 0, p, nil)
		}
		hello = amqppeer.AppendTransfer(hello, 0, 0, 0, amqppeer.PutToken("localhost/devices/d", w.deviceToken("d")))
		hello = codec.AppendFrame(hello, 0, amqppeer.SendTo("/devices/d/messages/events", 2), nil)
		hello = codec.AppendFrame(hello, 0, amqppeer.ReceiveFrom("/devices/d/messages/devicebound", 3), nil)

		r := rand.New(rand.NewPCG(1, 2))
		var points [connections]struct{ network, hello int }
		for i := range points {
			points[i].network, points[i].hello = 1+r.IntN(6000), r.IntN(len(hello)+1)
			if i%4 != 0 {
				points[i].network = -1
			}
		}
		before := memory()
		var wg sync.WaitGroup
		for worker := range atOnce {
			wg.Go(func() {
				for i := worker; i < connections; i += atOnce {
					nc, err := w.amqp.Dial(w.ctx)
					if err != nil {
						t.Error(err)
						return
					}
					cut := &wire{Conn: nc, in: -1, out: points[i].network}
					c := w.secure(cut)
					_, _ = c.Write(hello[:points[i].hello]) // may fail: cut in the middle
					if i%2 == 0 {
						// It reads a little of what it is answered.
						_ = nc.SetReadDeadline(time.Now().Add(time.Second))
						_, _ = io.CopyN(io.Discard, c, 100)
					}
					_ = nc.Close()
				}
			})
		}
		wg.Wait()
		w.pass(time.Second)
		if n := w.connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		for _, reason := range []string{"tls_handshake", "lost"} {
			if n := w.ended(reason); n < connections/20 {
				t.Errorf("%d connections ended with %s: they do not vanish where they should", n, reason)
			}
		}
		if after := memory(); after > before+2<<20 {
			t.Errorf("%d connections that are gone take %d KiB", connections, (after-before)>>10)
		}
		w.fill("d", 1, 10)
	})
}
