package flow

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// wire is a connection that is cut after some bytes, without a word.
type wire struct {
	net.Conn
	mu      sync.Mutex
	in, out int // bytes that are still let through; negative is no bound
}

func (c *wire) pass(left *int, p []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *left < 0 {
		return p
	}
	p = p[:min(len(p), *left)]
	*left -= len(p)
	return p
}

func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if passed := c.pass(&c.in, p[:n]); len(passed) < n {
		_ = c.Conn.Close()
		return len(passed), io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *wire) Write(p []byte) (int, error) {
	passed := c.pass(&c.out, p)
	n, err := c.Conn.Write(passed)
	if err == nil && len(passed) < len(p) {
		_ = c.Conn.Close()
		err = io.ErrClosedPipe
	}
	return n, err
}

// fragile opens a connection that can be told to be cut. TLS is above it: what
// counts are the bytes of the network.
func (w *world) fragile(cfg amqp.Config) (*peer, *wire) {
	w.t.Helper()
	ctx, cancel := w.waiting()
	defer cancel()
	nc, err := w.amqp.Dial(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	cut := &wire{Conn: nc, in: -1, out: -1}
	p, err := amqppeer.Open(ctx, w.secure(cut), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Cut)
	return &peer{p, w}, cut
}

func (c *wire) cutAfter(in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in, c.out = in, out
}

// large is the body of a message of many frames.
var large = strings.Repeat("0123456789abcdef", 200<<10/16)

// TestSenderThatVanishes cuts connections at many points of a message of 200 KB
// that a device sends in small frames. It is stored as a whole or not at all.
func TestSenderThatVanishes(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d")
		w.fill("d", 1, 10) // what is made once is made
		before := memory()
		stored := 0
		const cuts = 48
		for i := range cuts {
			p, wire := w.fragile(amqp.Config{})
			p.put("localhost/devices/d", w.deviceToken("d"))
			s := p.sender("/devices/d/messages/events")
			wire.cutAfter(-1, i*len(large)/(cuts-6)) // the last ones let all of it through
			ctx, cancel := w.waiting()
			st, err := s.Deliver(ctx, amqp.Transfer{Payload: telemetry(fmt.Sprintf("%06d %s", i, large))})
			cancel()
			switch {
			case err == nil && st.Kind == codec.CodeAccepted:
				stored++
			case err == nil:
				t.Errorf("cut %d: %v %v", i, st.Kind, st.Error)
			}
			p.Cut()
		}
		if stored == 0 || stored == cuts {
			t.Errorf("%d of %d messages were sent as a whole: the cuts show nothing", stored, cuts)
		}
		w.fill("d", 1, 10)
		// Timers that were stopped keep what they refer to, connections, until
		// time passes and they are swept.
		w.pass(2 * causeway.ConnectDeadline)
		if after := memory(); after > before+2<<20 {
			t.Errorf("half messages of %d connections that are gone take %d KiB", cuts, (after-before)>>10)
		}
		r := w.backend(amqp.Config{}).events(10)
		whole := 0
		r.event() // of the first fill
		for {
			d := r.next()
			var e hubamqp.Event
			if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload); err != nil {
				t.Fatal(err)
			}
			r.Accept(d)
			if len(e.Message.Body) < 100 {
				break // of the second
			}
			if !strings.HasSuffix(string(e.Message.Body), " "+large) {
				t.Errorf("a message of %d bytes is stored", len(e.Message.Body))
			}
			whole++
		}
		// One whose acknowledgement was cut off may be there, too.
		if whole < stored || whole > cuts {
			t.Errorf("%d messages are stored, %d were accepted", whole, stored)
		}
	})
}

// TestReaderThatVanishes cuts connections at many points of large events that
// arrive in small frames, and reads on from where it was. Its place is free for
// another one at once.
func TestReaderThatVanishes(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const events = 10
		w.create("d")
		w.fill("d", events, 150<<10)
		seen := 0
		for i := 0; seen < events && i < 200; i++ {
			p, wire := w.fragile(amqp.Config{MaxFrameSize: 512, IncomingWindow: 64})
			p.put("localhost", w.token())
			start := hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: int64(seen - 1)}
			wire.cutAfter(100<<10+i*7919, -1)
			ctx, cancel := w.waiting()
			// An epoch: each has the partition for itself, as consumers do.
			r := &amqppeer.Receiver{}
			var err error
			r.Receiver, err = p.Session.AttachReceiver(ctx, amqp.LinkConfig{Source: eventsAddress, Filter: start.Filter()}, amqp.ReceiverOptions{
				Handler: &r.Inbox, Credit: 20, Properties: codec.NewMap(codec.Symbol("com.microsoft:epoch"), codec.Long(1)),
			})
			for err == nil {
				var d amqp.Delivery
				if d, err = r.Next(ctx); err != nil {
					break
				}
				var e hubamqp.Event
				if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload); err != nil {
					t.Fatal(err)
				}
				if e.Sequence != int64(seen) || w.numberOf(e.Message.Body) != seen || len(e.Message.Body) != 150<<10 {
					t.Fatalf("event %d is %d, of %d bytes", seen, e.Sequence, len(e.Message.Body))
				}
				if seen++; seen == events {
					break
				}
			}
			cancel()
			p.Cut()
		}
		if seen < events {
			t.Errorf("only %d of %d events could be read", seen, events)
		}
	})
}

// TestDeviceThatVanishes cuts connections in the middle of commands of 60 KB.
// They come again as a whole, at once and with the count that they had, until
// they are accepted.
func TestDeviceThatVanishes(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d")
		body := large[:60<<10]
		out := w.backend(amqp.Config{}).sender(hubamqp.ServiceCommandsAddress)
		for i := range 3 {
			out.deliver(command("d", fmt.Sprint(i), body))
		}
		whole := 0
		for i := range 12 {
			p, wire := w.fragile(amqp.Config{MaxFrameSize: 1024})
			p.put("localhost/devices/d", w.deviceToken("d"))
			wire.cutAfter(4096+i*12000, -1)
			ctx, cancel := w.waiting()
			// Commands may have arrived, and the cut too, before the link is looked at.
			var box amqp.Inbox
			_, _ = p.Session.AttachReceiver(ctx, amqp.LinkConfig{Source: "/devices/d/messages/devicebound"}, amqp.ReceiverOptions{Handler: &box, Credit: 10})
			for last := ""; ; {
				d, err := box.Receive(ctx)
				if err != nil {
					break
				}
				whole++
				var m causeway.Message
				// What the connection before still had may be missing at first.
				if err := hubamqp.DecodeCommand(&m, new(hubamqp.Scratch), d.Payload); err != nil || m.ID <= last || !bytes.Equal(m.Body, []byte(body)) {
					t.Errorf("command %q after %q, of %d bytes, %v", m.ID, last, len(m.Body), err)
				}
				last = m.ID
			}
			cancel()
			p.Cut()
		}
		if whole == 0 {
			t.Error("no command arrived as a whole before a cut: the cuts show nothing")
		}
		in := w.device("d", amqp.Config{}).receiver("/devices/d/messages/devicebound", 10)
		for i := range 3 {
			m, d := in.command()
			if m.ID != fmt.Sprint(i) || string(m.Body) != body || m.DeliveryCount != 0 {
				t.Errorf("command %d is %s of %d bytes, given back %d times", i, m.ID, len(m.Body), m.DeliveryCount)
			}
			in.Accept(d)
		}
	})
}
