package amqp_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// badInput are things that a peer gets wrong, and how it hears of that.
var badInput = []struct {
	name string
	want string
	do   func(p *script)
}{
	// The connection.
	{"begin before the open", "close amqp:illegal-state", func(p *script) {
		p.header(codec.ProtocolAMQP).send(0, beginning())
	}},
	{"transfer before the open", "close amqp:illegal-state", func(p *script) {
		p.header(codec.ProtocolAMQP).send(0, first(0, 0))
	}},
	{"close before the open", "close", func(p *script) { p.header(codec.ProtocolAMQP).send(0, &codec.Close{}) }},
	{"second open", "close amqp:illegal-state", func(p *script) { p.open().send(0, opening()) }},
	{"open without a container-id", "close amqp:decode-error", func(p *script) {
		p.header(codec.ProtocolAMQP).raw(0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x10, 0x45).write()
	}},
	{"max-frame-size of 511", "close amqp:invalid-field", func(p *script) {
		o := opening()
		o.MaxFrameSize = 511
		p.header(codec.ProtocolAMQP).send(0, o)
	}},
	{"idle-time-out of 99 ms", "close amqp:not-allowed", func(p *script) {
		o := opening()
		o.IdleTimeout = 99
		p.header(codec.ProtocolAMQP).send(0, o)
	}},
	{"SASL frame after the open", "close amqp:connection:framing-error", func(p *script) {
		p.open().send(0, &codec.SASLOutcome{})
	}},
	{"SASL performative in an AMQP frame", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 16, 2, 0, 0, 0, 0, 0x53, 0x44, 0xC0, 3, 1, 0x50, 0).write()
	}},
	{"frame larger than ours", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 1, 0, 1, 2, 0, 0, 0).write()
	}},
	{"frame of 7 bytes", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 7, 2, 0, 0, 0).write()
	}},
	{"data offset in the header", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 8, 1, 0, 0, 0).write()
	}},
	{"data offset after the end", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 8, 3, 0, 0, 0).write()
	}},
	{"frame of type 2", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 8, 2, 2, 0, 0).write()
	}},
	{"extended header", "goes on", func(p *script) {
		p.begin().raw(0, 0, 0, 16, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8).write()
	}},
	{"unknown performative", "close amqp:connection:framing-error", func(p *script) {
		p.open().raw(0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x99, 0x45).write()
	}},
	{"body that is not described", "close amqp:decode-error", func(p *script) {
		p.open().raw(0, 0, 0, 9, 2, 0, 0, 0, 0x45).write()
	}},
	{"body that ends early", "close amqp:decode-error", func(p *script) {
		p.open().raw(0, 0, 0, 14, 2, 0, 0, 0, 0, 0x53, 0x11, 0xC0, 9, 1).write()
	}},
	{"bytes after a begin", "close amqp:decode-error", func(p *script) {
		p.open().add(0, beginning())
		p.raw(0x40).b[3]++
		p.write()
	}},
	{"delivery tag of 33 bytes", "close amqp:invalid-field", func(p *script) {
		f := first(0, 0)
		f.DeliveryTag = make([]byte, 33)
		p.begin().send(0, f)
	}},

	// Sessions.
	{"channel above channel-max", "close amqp:connection:framing-error", func(p *script) { p.open().send(8, beginning()) }},
	{"flow above channel-max", "close amqp:connection:framing-error", func(p *script) { p.open().send(8, &codec.Flow{}) }},
	{"second begin", "close amqp:illegal-state", func(p *script) { p.begin().send(0, beginning()) }},
	{"begin that answers none", "close amqp:illegal-state", func(p *script) {
		b := beginning()
		b.RemoteChannel = codec.Some(uint16(0))
		p.open().send(0, b)
	}},
	{"begin that answers an answer", "close amqp:illegal-state", func(p *script) {
		b := beginning()
		b.RemoteChannel = codec.Some(uint16(0))
		p.begin().send(1, b)
	}},
	{"more sessions than channels", "close amqp:resource-limit-exceeded", func(p *script) {
		o := opening()
		o.ChannelMax = 1 // ours: the third session has no channel of it
		p.header(codec.ProtocolAMQP).send(0, o)
		p.send(0, beginning()).send(1, beginning()).send(2, beginning())
	}},
	{"attach without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, sending("l", 0, "q")) }},
	{"flow without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, &codec.Flow{}) }},
	{"transfer without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, first(0, 0)) }},
	{"disposition without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, &codec.Disposition{}) }},
	{"detach without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, &codec.Detach{}) }},
	{"end without a session", "close amqp:illegal-state", func(p *script) { p.open().send(0, &codec.End{}) }},
	{"attach after the end", "close amqp:illegal-state", func(p *script) {
		p.begin().send(0, &codec.End{})
		expect[*codec.End](p)
		p.send(0, sending("l", 0, "q"))
	}},
	{"channel used again after the end", "goes on", func(p *script) {
		p.begin()
		for range 3 {
			p.send(0, sending("l", 0, "q"), &codec.End{}, beginning())
			expect[*codec.Begin](p)
		}
	}},
	{"transfers above the window", "end amqp:session:window-violation", func(p *script) {
		p.begin().send(0, sending("n", 0, "n"))
		m := first(0, 0)
		m.More = true // one message: there is credit
		p.transfer(0, m, "x")
		for range 4 {
			p.transfer(0, &codec.Transfer{More: true}, "x")
		}
		p.write()
	}},

	// Links.
	{"handle above handle-max", "close amqp:connection:framing-error", func(p *script) {
		p.begin().send(0, sending("l", 1<<16, "q"))
	}},
	{"largest handle", "goes on", func(p *script) { p.begin().send(0, sending("l", 1<<16-1, "q")) }},
	{"handle in use", "end amqp:session:handle-in-use", func(p *script) {
		p.begin().send(0, sending("a", 0, "q"), sending("b", 0, "q"))
	}},
	{"no initial-delivery-count", "detach amqp:invalid-field", func(p *script) {
		a := sending("l", 0, "q")
		a.InitialDeliveryCount = codec.Optional[uint32]{}
		p.begin().send(0, a)
	}},
	{"unknown address", "detach amqp:not-found", func(p *script) { p.begin().send(0, sending("l", 0, "x")) }},
	{"no address", "detach amqp:not-found", func(p *script) {
		a := sending("l", 0, "q")
		a.Target = nil
		p.begin().send(0, a)
	}},
	{"transaction coordinator", "detach amqp:not-implemented", func(p *script) {
		a := sending("l", 0, "q")
		a.Target, a.Coordinator = nil, &codec.Coordinator{}
		p.begin().send(0, a)
	}},
	{"name attached anew", "detach amqp:link:stolen", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"), sending("l", 1, "q"))
	}},
	{"name attached anew on another session", "detach amqp:link:stolen", func(p *script) {
		p.begin().send(0, sending("l", 0, "q")).send(1, beginning(), sending("l", 0, "q"))
	}},
	{"one name in both directions", "goes on", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"), receiving("l", 1, "s"))
	}},
	{"name used again after the detach", "goes on", func(p *script) {
		p.begin()
		for range 3 {
			p.send(0, sending("l", 7, "q"), &codec.Detach{Handle: 7, Closed: true})
		}
		for range 3 {
			p.send(0, receiving("l", 7, "s"), &codec.Detach{Handle: 7})
		}
	}},
	{"more links than Links", "detach amqp:resource-limit-exceeded", func(p *script) {
		p.begin()
		for i := range uint32(6) {
			p.send(0, sending(fmt.Sprint(i), i, "q"))
		}
	}},
	{"far more links than Links", "end amqp:resource-limit-exceeded", func(p *script) {
		p.begin()
		for i := range uint32(5 + 257) {
			p.send(0, sending(fmt.Sprint(i), i, "q"))
		}
		for {
			if m, ok := p.next().p.(*codec.Detach); ok && m.Error.Name != amqp.ResourceLimitExceeded {
				p.t.Error(m.Error)
			} else if ok && m.Handle == 5+255 {
				return
			}
		}
	}},
	{"more links than the own handle-max", "end amqp:resource-limit-exceeded", func(p *script) {
		b := beginning()
		b.HandleMax = 1
		p.open().send(0, b, sending("a", 0, "q"), sending("b", 1, "q"), sending("c", 2, "q"))
	}},
	{"flow on a handle that is not attached", "end amqp:session:unattached-handle", func(p *script) {
		p.begin().send(0, credit(3, 1))
	}},
	{"detach of a handle that is not attached", "end amqp:session:unattached-handle", func(p *script) {
		p.begin().send(0, &codec.Detach{Handle: 3})
	}},
	{"second detach", "end amqp:session:unattached-handle", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"), &codec.Detach{}, &codec.Detach{})
	}},
	{"transfer on a handle that is not attached", "end amqp:session:unattached-handle", func(p *script) {
		p.begin().send(0, first(3, 0))
	}},
	{"transfer on a link that receives", "end amqp:session:unattached-handle", func(p *script) {
		p.begin().send(0, receiving("l", 0, "s"), first(0, 0))
	}},
	{"transfer without credit", "detach amqp:link:transfer-limit-exceeded", func(p *script) {
		p.begin().send(0, sending("l", 0, "m"), first(0, 0))
	}},
	{"one message more than the credit", "detach amqp:link:transfer-limit-exceeded", func(p *script) {
		p.begin().send(0, sending("n", 0, "n"))
		for i := range uint32(11) {
			p.send(0, first(0, i))
			if i%2 == 0 && i < 10 {
				expect[*codec.Flow](p) // for the window
			}
		}
	}},
	{"no delivery-id", "detach amqp:invalid-field", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"), &codec.Transfer{})
	}},
	{"delivery within a delivery", "detach amqp:invalid-field", func(p *script) {
		m := first(0, 0)
		m.More = true
		p.begin().send(0, sending("l", 0, "q"), m, first(0, 1))
	}},
	{"message larger than max-message-size", "detach amqp:link:message-size-exceeded", func(p *script) {
		p.begin().add(0, sending("l", 0, "q")).transfer(0, first(0, 0), strings.Repeat("x", 1001)).write()
	}},
	{"message larger than max-message-size, in parts", "detach amqp:link:message-size-exceeded", func(p *script) {
		m := first(0, 0)
		m.More = true
		p.begin().add(0, sending("l", 0, "q")).transfer(0, m, strings.Repeat("x", 600))
		p.transfer(0, &codec.Transfer{}, strings.Repeat("x", 401)).write()
	}},
	{"too much in parts", "detach amqp:resource-limit-exceeded", func(p *script) {
		p.begin()
		for i := range uint32(3) {
			m := first(i, i)
			m.More = true
			p.add(0, sending(fmt.Sprint(i), i, "q")).transfer(0, m, "x").write()
		}
	}},
	{"transfers after our detach", "goes on", func(p *script) {
		p.begin().add(0, sending("l", 0, "m"), first(0, 0)).write() // no credit
		expect[*codec.Detach](p)
		p.send(0, first(0, 1), first(0, 2), credit(0, 5), &codec.Detach{Closed: true})
	}},
	{"frames after our end", "goes on", func(p *script) {
		p.begin().send(0, credit(3, 1))
		expect[*codec.End](p)
		p.send(0, sending("l", 0, "q"), first(0, 0), credit(0, 1), &codec.Disposition{}, &codec.Detach{}, &codec.End{}, beginning())
		expect[*codec.Begin](p)
	}},

	// Deliveries.
	{"disposition of deliveries that were never sent", "goes on", func(p *script) {
		p.begin().send(0, receiving("l", 0, "s"),
			&codec.Disposition{Role: codec.Receiver, First: 7, Settled: true, State: codec.Accepted()},
			&codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(1<<31 - 1)), State: codec.Accepted()},
			&codec.Disposition{Role: codec.Receiver, First: 9, Last: codec.Some(uint32(3)), Settled: true, State: codec.Released()})
	}},
	{"disposition of a sender", "goes on", func(p *script) {
		p.begin().send(0, sending("n", 0, "n"), first(0, 0),
			&codec.Disposition{Role: codec.Sender, First: 0, Settled: true, State: codec.Accepted()})
	}},
	{"state that is none", "close amqp:decode-error", func(p *script) {
		p.begin().send(0, &codec.Disposition{Role: codec.Receiver, State: codec.State{Extension: codec.String("accepted")}})
	}},
	{"unknown state", "goes on", func(p *script) {
		p.begin().send(0, &codec.Disposition{Role: codec.Receiver, State: codec.State{Extension: codec.Described(codec.Ulong(0x34), codec.List())}})
	}},
	{"message that is aborted", "goes on", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"))
		m := first(0, 0)
		m.More = true
		p.transfer(0, m, "half").send(0, &codec.Transfer{Aborted: true})
		m = first(0, 1)
		m.Aborted = true
		p.send(0, m, first(0, 2))
		if d := expect[*codec.Disposition](p); d.First != 2 || d.Last.OK {
			p.t.Error(d)
		}
	}},
	{"message that is resumed", "goes on", func(p *script) {
		p.begin().send(0, sending("l", 0, "q"))
		m := first(0, 0)
		m.Resume = true
		n := first(0, 1)
		n.Resume, n.More = true, true
		p.send(0, m, n, &codec.Transfer{More: true}, &codec.Transfer{Handle: 0})
		for { // the first flow may be the one that gives credit
			if f := expect[*codec.Flow](p); f.NextIncomingID.V+f.IncomingWindow > 4 {
				break
			}
		}
		p.send(0, first(0, 2))
		if d := expect[*codec.Disposition](p); d.First != 2 || d.Last.OK {
			p.t.Error(d)
		}
	}},
	{"anything after a close", "close", func(p *script) {
		p.begin().send(0, &codec.Close{}, beginning(), &codec.Open{})
	}},
}

// TestBadInput lets a peer do what it must not, and checks how the standard's
// condition reaches it and that nothing is left behind.
func TestBadInput(t *testing.T) {
	for _, c := range badInput {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &book{largest: 1000}
				p, conn := serve(t, amqp.Config{ChannelMax: 7, Links: 5, IncomingWindow: 4, Partial: 4 << 10, Mechanisms: []amqp.Mechanism{anonymous()}}, b)
				c.do(p)
				if got := p.end(); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				p.nc.Close()
				<-conn.Done()
				checkBook(t, b)
			})
		})
	}
}

// checkBook checks that every link and the connection were said good-bye to
// once.
func checkBook(t *testing.T, b *book) {
	t.Helper()
	detached, closed := map[string]int{}, 0
	for _, l := range b.read() {
		name, rest, _ := strings.Cut(l, ":")
		switch {
		case strings.HasPrefix(rest, " detached"):
			detached[name]++
		case strings.HasPrefix(l, "closed,"):
			closed++
		}
	}
	n := 0
	for _, k := range detached {
		n += k
	}
	if want := len(b.receivers) + len(b.senders); n != want || closed != 1 {
		t.Errorf("%d of %d links were detached, and the connection closed %d times", n, want, closed)
	}
	for _, r := range b.receivers {
		if r.Err() == nil {
			t.Errorf("receiver %q lives", r.Name())
		}
	}
}

func anonymous() amqp.Mechanism {
	return amqp.Mechanism{Name: "ANONYMOUS", Start: func(*amqp.Conn) amqp.Dialogue {
		return func([]byte) ([]byte, bool, error) { return nil, true, nil }
	}}
}
