package amqp_test

import (
	"context"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// generous is a handler that grants every link, accepts every message, and sends
// whenever there is credit.
type generous struct {
	amqp.Client
	arrived []got
	odd     int
}

func (g *generous) Attach(a *amqp.Attach) error {
	if a.Role == codec.Receiver {
		// Some forget what they send.
		g.odd++
		a.Send(amqp.SenderOptions{Handler: gives{g}, Untracked: g.odd%3 == 0, Unsettled: 8})
		return nil
	}
	g.odd++
	o := amqp.ReceiverOptions{Handler: g, MaxMessageSize: 10_000}
	if g.odd%3 != 0 {
		o.Credit = 20
	}
	if r := a.Receive(o); o.Credit == 0 {
		r.Grant(5)
	}
	return nil
}

func (g *generous) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	if !d.Settled {
		g.arrived = append(g.arrived, got{r, d})
	}
	if len(d.Payload) == 3 {
		r.Drain()
	}
}

func (g *generous) Detached(*amqp.Receiver, error) {}

func (g *generous) Flush(*amqp.Conn) {
	for i, a := range g.arrived {
		st := codec.Accepted()
		if i%5 == 4 {
			st = codec.Rejected(amqp.Refuse(amqp.NotAllowed, "the fifth"))
		}
		a.r.Settle(a.d.ID, st)
	}
	g.arrived = g.arrived[:0]
}

type gives struct{ g *generous }

func (gives) Flow(s *amqp.Sender) {
	for i := range 30 {
		if s.TrySend(amqp.Transfer{Payload: make([]byte, i*40), Settled: i%4 == 0}) != nil {
			break
		}
	}
	if s.Draining() {
		s.Drained()
	}
}

func (gives) Disposition(s *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	amqp.Outcomes{}.Disposition(s, d, state, settled)
}

func (gives) Detached(*amqp.Sender, error) {}

// fuzzConfig has bounds that are easily met.
func fuzzConfig() amqp.Config {
	return amqp.Config{
		MaxFrameSize: 4096, ChannelMax: 15, Links: 20, IncomingWindow: 20, Partial: 32 << 10, Outbound: 16 << 10, Burst: 8,
		Mechanisms: mechanisms(), ContainerID: "server",
	}
}

// within checks that a connection holds no more than it may.
func within(t *testing.T, conn *amqp.Conn) {
	t.Helper()
	links, sessions, partial, waiting := conn.Counters()
	// The queue holds in addition what one burst of at most 32 KiB has caused.
	if links > 20+256 || sessions > 16 || partial > 32<<10 || waiting > 2<<20 {
		t.Fatalf("%d links, %d sessions, %d bytes in part, %d bytes wait", links, sessions, partial, waiting)
	}
}

// serveBytes lets a server hear say, and checks that it ends in order and within
// its bounds. A peer that reads is answered; one that does not is given up.
func serveBytes(t *testing.T, say []byte, reads bool) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 256<<10)
		conn := amqp.Serve(there, amqp.Prepare(fuzzConfig()), &generous{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if reads {
				_, _ = io.Copy(io.Discard, here)
			}
		}()
		for len(say) > 0 {
			n := min(len(say), 20_000)
			_ = here.SetWriteDeadline(time.Now().Add(time.Hour))
			if _, err := here.Write(say[:n]); err != nil {
				break
			}
			say = say[n:]
			synctest.Wait()
			within(t, conn)
		}
		start := time.Now()
		<-conn.Done() // at the latest when it was silent for too long
		if d := time.Since(start); d > time.Hour {
			t.Fatalf("it took %v", d)
		}
		if links, sessions, partial, waiting := conn.Counters(); links+sessions+partial+waiting != 0 {
			t.Fatalf("%d links, %d sessions, %d and %d bytes are left", links, sessions, partial, waiting)
		}
		here.Close()
		<-done
	})
}

// FuzzServe says any bytes to a server, from the first on or after a proper
// beginning.
func FuzzServe(f *testing.F) {
	f.Add(dialogue(), false, true)
	f.Add(javaDialogue(), false, true)
	f.Add([]byte(amqpHeader), false, true)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), false, true)
	for _, c := range badInput {
		f.Add(spoken(f, c.do), false, false)
	}
	begun := opened()
	f.Fuzz(func(t *testing.T, say []byte, begins, reads bool) {
		if begins {
			say = append(begun[:len(begun):len(begun)], say...)
		}
		serveBytes(t, say, reads)
	})
}

// javaDialogue is what a client of proton-j says with two devices on one
// connection: no SASL, small frames, a session for each.
func javaDialogue() []byte {
	say := codec.ProtocolAMQP.Append(nil)
	add := func(channel uint16, p codec.Performative) { say = codec.AppendFrame(say, channel, p, nil) }
	properties := codec.NewMap(codec.Symbol("com.microsoft:client-version"), codec.String("java"), codec.Symbol("com.microsoft:api-version"), codec.String("2020-09-30"))
	add(0, &codec.Open{ContainerID: "java", Hostname: "hub", MaxFrameSize: 4096, ChannelMax: codec.DefaultChannelMax, IdleTimeout: 240_000})
	for i := range uint16(2) {
		add(i, &codec.Begin{NextOutgoingID: 1, IncomingWindow: 1<<31 - 1, OutgoingWindow: 1<<31 - 1, HandleMax: 1<<16 - 1})
		in, out := sending("telemetry", 0, "/devices/d/messages/events/"), receiving("c2d", 1, "/devices/d/messages/devicebound/")
		in.Name += string(rune('0' + i))
		out.Name += string(rune('0' + i))
		in.SndSettleMode, in.Properties, out.Properties = codec.SendUnsettled, properties, properties
		add(i, in)
		add(i, out)
		add(i, &codec.Flow{
			NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1<<31 - 1, NextOutgoingID: 1, OutgoingWindow: 1<<31 - 1,
			Handle: codec.Some(uint32(1)), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(1024)),
		})
	}
	return codec.AppendFrame(say, 1, first(0, 0), data("telemetry"))
}

// opened is what a client says until it has a session and a link each way.
func opened() []byte {
	b := codec.AppendFrame(codec.ProtocolAMQP.Append(nil), 0, opening(), nil)
	for _, p := range []codec.Performative{beginning(), sending("in", 0, "q"), receiving("out", 1, "s"), credit(1, 10)} {
		b = codec.AppendFrame(b, 0, p, nil)
	}
	return b
}

// spoken returns what a script says when nobody answers.
func spoken(f *testing.F, do func(p *script)) []byte {
	w := &deaf{}
	defer func() { _ = recover() }() // it ends where it wants an answer
	do(&script{t: quiet{f}, nc: w, r: codec.NewReader(w, 1<<20)})
	return w.b
}

// quiet lets a script go on that misses an answer.
type quiet struct{ testing.TB }

func (quiet) Fatalf(string, ...any) { panic("no answer") }
func (quiet) Errorf(string, ...any) {}
func (quiet) Error(...any)          {}
func (quiet) Helper()               {}

// deaf is a connection that answers with headers only.
type deaf struct {
	onlyConn
	b    []byte
	said bool
}

func (d *deaf) Write(b []byte) (int, error) { d.b = append(d.b, b...); return len(b), nil }

func (d *deaf) Read(b []byte) (int, error) {
	if d.said {
		return 0, io.EOF
	}
	d.said = true
	say := codec.AppendFrame(codec.ProtocolAMQP.Append(nil), 0, opening(), nil)
	return copy(b, codec.AppendFrame(say, 0, beginning(), nil)), nil
}

// FuzzServeFrames says frames that are well-formed, with fields that the input
// chooses.
func FuzzServeFrames(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 3, 0, 0, 0, 4, 0, 0, 0}, true)
	f.Add([]byte{3, 0, 9, 3, 1, 3, 5, 1, 0, 200, 9, 9, 9, 5, 1, 3, 6, 0, 7, 0, 2, 5, 5, 1, 9, 8, 0, 1, 1}, true)
	f.Fuzz(func(t *testing.T, b []byte, reads bool) {
		serveBytes(t, append(opened(), composed(b)...), reads)
	})
}

// composed makes frames of an input.
func composed(b []byte) (say []byte) {
	next := func() uint32 {
		if len(b) == 0 {
			return 0
		}
		x := b[0]
		b = b[1:]
		switch {
		case x < 200:
			return uint32(x) % 8 // handles, ids and counts that meet each other
		case x < 230:
			return uint32(x)
		}
		var wide [4]byte
		b = b[copy(wide[:], b):]
		return binary.BigEndian.Uint32(wide[:])
	}
	flip := func() bool { return next()%2 == 1 }
	some := func() codec.Optional[uint32] { return codec.Optional[uint32]{V: next(), OK: next() != 7} }
	state := func() codec.State {
		return []codec.State{{}, codec.Accepted(), codec.Released(), codec.Rejected(nil), {Kind: codec.CodeModified}, {Kind: codec.CodeReceived}}[next()%6]
	}
	for len(b) > 0 && len(say) < 100_000 {
		var p codec.Performative
		channel := uint16(next() % 4)
		payload := 0
		switch next() % 8 {
		case 0:
			p = &codec.Begin{NextOutgoingID: next(), IncomingWindow: next(), OutgoingWindow: next(), HandleMax: next(), RemoteChannel: codec.Optional[uint16]{V: uint16(next()), OK: next() == 6}}
		case 1:
			p = &codec.End{}
		case 2:
			a := sending([]string{"a", "b", "in", "out"}[next()%4], next(), "q")
			a.Role = codec.Role(flip())
			a.InitialDeliveryCount = some()
			a.SndSettleMode, a.RcvSettleMode, a.MaxMessageSize = codec.SenderSettleMode(next()%3), codec.ReceiverSettleMode(next()%2), uint64(next())
			p = a
		case 3:
			p = &codec.Detach{Handle: next(), Closed: flip()}
		case 4, 5:
			m := &codec.Transfer{Handle: next(), DeliveryID: some(), More: flip(), Aborted: next() == 5, Resume: next() == 5}
			m.Settled = codec.Optional[bool]{V: flip(), OK: flip()}
			payload = int(next()) % 3000
			p = m
		case 6:
			p = &codec.Disposition{Role: codec.Role(next() != 3), First: next(), Last: some(), Settled: flip(), State: state()}
		case 7:
			p = &codec.Flow{
				NextIncomingID: some(), IncomingWindow: next(), NextOutgoingID: next(), OutgoingWindow: next(), Handle: some(),
				DeliveryCount: some(), LinkCredit: some(), Drain: flip(), Echo: flip(),
			}
		}
		say = codec.AppendFrame(say, channel, p, make([]byte, payload))
	}
	return say
}

// FuzzDial says any bytes to a client that dials, and does with the connection
// what clients do.
func FuzzDial(f *testing.F) {
	begin := beginning()
	begin.RemoteChannel = codec.Some(uint16(0))
	answers := codec.AppendFrame(codec.ProtocolAMQP.Append(nil), 0, opening(), nil)
	for _, p := range []codec.Performative{begin, receiving("out", 0, ""), sending("in", 1, ""), credit(0, 3)} {
		answers = codec.AppendFrame(answers, 0, p, nil)
	}
	f.Add(answers, uint8(0), false)
	sasl := codec.AppendFrame(codec.ProtocolSASL.Append(nil), 0, &codec.SASLMechanisms{Mechanisms: codec.NewSymbols("PLAIN", "LONG")}, nil)
	f.Add(append(codec.AppendFrame(sasl, 0, &codec.SASLOutcome{}, nil), answers...), uint8(1), false)
	f.Add(codec.AppendFrame(sasl, 0, &codec.SASLChallenge{Challenge: []byte{}}, nil), uint8(2), false)
	f.Add([]byte{0, 1, 5, 3, 0, 4, 0, 0}, uint8(0), true)
	f.Fuzz(func(t *testing.T, say []byte, sasl uint8, begins bool) {
		if begins {
			say = append(answers[:len(answers):len(answers)], composed(say)...)
		}
		synctest.Test(t, func(t *testing.T) {
			here, there := memnet.Pipe("client", "server", 1<<20)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(io.Discard, there)
			}()
			_, _ = there.Write(say)
			cfg := fuzzConfig()
			cfg.SASL = []*amqp.ClientSASL{nil, amqp.PlainSASL("u", "p"), {Mechanism: "LONG", Respond: func(b []byte) ([]byte, error) { return b, nil }}}[sasl%3]
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if conn, err := amqp.Dial(ctx, here, amqp.Prepare(cfg), &generous{}); err == nil {
				use(ctx, conn)
				within(t, conn)
				conn.Close(nil)
				<-conn.Done()
				if links, sessions, partial, waiting := conn.Counters(); links+sessions+partial+waiting != 0 {
					t.Fatalf("%d links, %d sessions, %d and %d bytes are left", links, sessions, partial, waiting)
				}
			}
			there.Close()
			<-done
		})
	})
}

// use does what clients do.
func use(ctx context.Context, conn *amqp.Conn) {
	s, err := conn.Begin(ctx)
	if err != nil {
		return
	}
	snd, err := s.AttachSender(ctx, amqp.LinkConfig{Name: "out", Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	var in amqp.Inbox
	r, err2 := s.AttachReceiver(ctx, amqp.LinkConfig{Name: "in", Source: "q"}, amqp.ReceiverOptions{Handler: &in, Credit: 3})
	if err == nil {
		_, _ = snd.Deliver(ctx, amqp.Transfer{Payload: make([]byte, 5000)})
	}
	if err2 == nil {
		if d, err := in.Receive(ctx); err == nil {
			r.Settle(d.ID, codec.Accepted())
			conn.Push()
		}
		r.Close(nil)
	}
	_ = s.End(nil)
}

// FuzzSASL says any bytes in a SASL dialogue, to a server and to a client.
func FuzzSASL(f *testing.F) {
	frames := func(ps ...codec.Performative) (b []byte) {
		for _, p := range ps {
			b = codec.AppendFrame(b, 0, p, nil)
		}
		return b
	}
	f.Add(frames(&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00user\x00secret"), Hostname: "h"}), true)
	f.Add(frames(&codec.SASLInit{Mechanism: "PLAIN"}, &codec.SASLResponse{Response: []byte("\x00user\x00secret")}), true)
	f.Add(frames(&codec.SASLInit{Mechanism: "LONG", InitialResponse: []byte{}}, &codec.SASLResponse{Response: []byte("x")}), true)
	f.Add(frames(&codec.SASLMechanisms{Mechanisms: codec.NewSymbols("LONG")}, &codec.SASLChallenge{Challenge: []byte("c")}, &codec.SASLOutcome{}), false)
	f.Add(frames(&codec.SASLMechanisms{Mechanisms: codec.NewSymbols("LONG", "PLAIN")}, &codec.SASLOutcome{Outcome: codec.SASLSys, AdditionalData: []byte{1}}), false)
	f.Fuzz(func(t *testing.T, say []byte, server bool) {
		synctest.Test(t, func(t *testing.T) {
			here, there := memnet.Pipe("client", "server", 1<<20)
			_, _ = here.Write(append([]byte(saslHeader), say...))
			b := &book{}
			if server {
				conn := amqp.Serve(there, amqp.Prepare(fuzzConfig()), b)
				synctest.Wait()
				_ = here.SetReadDeadline(time.Now().Add(10 * time.Minute))
				_, _ = io.Copy(io.Discard, here)
				<-conn.Done()
			} else {
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = io.Copy(io.Discard, here)
				}()
				cfg := fuzzConfig()
				cfg.SASL = &amqp.ClientSASL{Mechanism: "LONG", Respond: func(b []byte) ([]byte, error) { return b, nil }}
				if conn, err := amqp.Dial(t.Context(), there, amqp.Prepare(cfg), b); err == nil {
					conn.Abort(nil)
					<-conn.Done()
				}
				<-done
			}
			here.Close()
			if lines := b.read(); len(lines) != 1 {
				t.Errorf("the handler heard %q", lines)
			}
		})
	})
}
