package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// receiver begins a session on which the script receives from a sender of ours,
// and returns that.
func attachSender(p *script, b *book) *amqp.Sender {
	p.t.Helper()
	p.begin().send(0, receiving("l", 0, "s"))
	expect[*codec.Attach](p)
	synctest.Wait()
	return b.sender()
}

// send sends messages in a goroutine of its own, and returns where it says how
// many were sent, and why not all.
func send(ctx context.Context, s *amqp.Sender, payloads ...string) <-chan string {
	done := make(chan string, 1)
	var ms []amqp.Transfer
	for i, p := range payloads {
		ms = append(ms, amqp.Transfer{Payload: []byte(p), Token: i})
	}
	go func() {
		n, err := s.Send(ctx, ms...)
		done <- fmt.Sprint(n, " ", err)
	}()
	return done
}

// none checks that the peer hears nothing more.
func (p *script) none() {
	p.t.Helper()
	synctest.Wait()
	_ = p.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	if f, err := p.read(); err == nil {
		p.t.Fatalf("heard %s", describe(f))
	}
	_ = p.nc.SetReadDeadline(time.Time{})
}

// TestCreditOfOne gives a sender one credit after the other.
func TestCreditOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		if err := snd.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrNoCredit) {
			t.Error(err)
		}
		done := send(t.Context(), snd, "a", "b", "c")
		p.none()
		for i := range uint32(3) {
			f := credit(0, 1)
			f.NextIncomingID, f.DeliveryCount = codec.Some(i), codec.Some(i)
			p.send(0, f, f, f) // saying it again does not add to it
			if m := expect[*codec.Transfer](p); m.DeliveryID.V != i || m.More || m.Settled.V {
				t.Error(m)
			}
			p.none()
			p.send(0, f) // the transfer is not counted here yet: nor does this
			p.none()
		}
		if got := <-done; got != "3 <nil>" {
			t.Error(got)
		}
		if n := snd.Unsettled(); n != 3 {
			t.Errorf("%d unsettled", n)
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(1)), Settled: true, State: codec.Released()})
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 2, State: codec.Accepted()})
		synctest.Wait()
		want := []string{"l: 0 token 0 is amqp:released:list settled true", "l: 1 token 1 is amqp:released:list settled true", "l: 2 token 2 is amqp:accepted:list settled false"}
		if got := b.read(); !slices.Equal(got[len(got)-3:], want) {
			t.Error(got)
		}
		snd.Settle(2, codec.Accepted())
		if d := expect[*codec.Disposition](p); d.First != 2 || !d.Settled || d.Role != codec.Sender || d.State.Kind != codec.CodeAccepted {
			t.Error(d)
		}
		snd.Settle(2, codec.Accepted()) // it is forgotten
		snd.Settle(77, codec.Accepted())
		p.none()
		if n := snd.Unsettled(); n != 0 {
			t.Errorf("%d unsettled", n)
		}
	})
}

// TestNeverSettles lets a peer take messages and never settle one: a sender stops
// at its bound, however much credit there is.
func TestNeverSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Unsettled: 3}}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		p.send(0, credit(0, 50))
		done := send(t.Context(), snd, "a", "b", "c", "d", "e")
		for range 3 {
			expect[*codec.Transfer](p)
		}
		p.none()
		if err := snd.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 1, Settled: true, State: codec.Accepted()})
		if m := expect[*codec.Transfer](p); m.DeliveryID.V != 3 {
			t.Error(m)
		}
		p.none()
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(3)), Settled: true, State: codec.Accepted()})
		if m := expect[*codec.Transfer](p); m.DeliveryID.V != 4 {
			t.Error(m)
		}
		if got := <-done; got != "5 <nil>" {
			t.Error(got)
		}
		// Settled ones need not be remembered.
		for range 10 {
			if err := snd.TrySend(amqp.Transfer{Settled: true}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestWindowOut exhausts the window of the peer: messages go on when it opens,
// and the link's credit does not count until then.
func TestWindowOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		begin := beginning()
		begin.IncomingWindow = 2
		o := opening()
		o.MaxFrameSize = 512
		p.header(codec.ProtocolAMQP).send(0, o).send(0, begin, receiving("l", 0, "s"), receiving("m", 1, "s"))
		expect[*codec.Attach](p)
		expect[*codec.Attach](p)
		flow := func(handle, next, window uint32) {
			f := credit(handle, 50)
			f.NextIncomingID, f.IncomingWindow = codec.Some(next), window
			p.send(0, f)
		}
		flow(0, 0, 2)
		flow(1, 0, 2)
		synctest.Wait()
		payload := strings.Repeat("x", 5*(512-96))
		done := send(t.Context(), b.senders[0], payload)
		for i := range 2 {
			if m, f := expectFrame[*codec.Transfer](p); !m.More || len(f.payload) != 512-96 || m.DeliveryID.OK != (i == 0) {
				t.Error(m, len(f.payload))
			}
		}
		p.none()
		other := send(t.Context(), b.senders[1], "other")
		if err := b.senders[1].TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
		for i := range 20 { // credit alone, again and again, changes nothing
			flow(uint32(i%2), 2, 0)
		}
		p.none()
		flow(0, 2, 1)
		expect[*codec.Transfer](p)
		p.none()
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(3)), IncomingWindow: 1<<32 - 1})
		last, seen := 0, 0
		for seen < 3 {
			m := expect[*codec.Transfer](p)
			if seen++; m.Handle == 0 && !m.More {
				last++
			}
		}
		if got := <-done; got != "1 <nil>" || last != 1 {
			t.Error(got, last)
		}
		if got := <-other; got != "1 <nil>" {
			t.Error(got)
		}
		// A window that lies back is none.
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(3)), IncomingWindow: 2})
		synctest.Wait()
		if err := b.senders[0].TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
	})
}

// TestCutShort cuts a message short: the rest of it follows, once the window
// allows for that, and nothing else is sent on the link before.
func TestCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		begin := beginning()
		begin.IncomingWindow = 2
		o := opening()
		o.MaxFrameSize = 512
		p.header(codec.ProtocolAMQP).send(0, o).send(0, begin, receiving("l", 0, "s"))
		expect[*codec.Attach](p)
		f := credit(0, 50)
		f.IncomingWindow = 2
		p.send(0, f)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		snd := b.sender()
		want := strings.Repeat("x", 4*(512-96)+1)
		done := send(ctx, snd, want, "never")
		_, one := expectFrame[*codec.Transfer](p)
		_, two := expectFrame[*codec.Transfer](p)
		whole := string(one.payload) + string(two.payload)
		p.none()
		cancel()
		if got := <-done; got != "1 context canceled" {
			t.Error(got)
		}
		if n := snd.Unsettled(); n != 1 {
			t.Errorf("%d unsettled", n)
		}
		done = send(t.Context(), snd, "next")
		if err := snd.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
		p.none()
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(2)), IncomingWindow: 1})
		_, three := expectFrame[*codec.Transfer](p)
		whole += string(three.payload)
		p.none()
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(3)), IncomingWindow: 9})
		for more := true; more; {
			m, f := expectFrame[*codec.Transfer](p)
			whole += string(f.payload)
			more = m.More
		}
		if whole != want {
			t.Errorf("%d bytes arrived, want %d", len(whole), len(want))
		}
		if m, f := expectFrame[*codec.Transfer](p); m.DeliveryID.V != 1 || string(f.payload) != "next" {
			t.Error(m)
		}
		if got := <-done; got != "1 <nil>" {
			t.Error(got)
		}
	})
	// The network is what it waits for.
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serveOn(t, amqp.Config{Outbound: 4 << 10, MaxFrameSize: 1 << 10}, b, 4<<10)
		snd := attachSender(p, b)
		p.send(0, credit(0, 50))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := <-send(ctx, snd, strings.Repeat("x", 40_000)); got != "1 <nil>" {
			t.Error(got)
		}
		if err := snd.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
		next := send(t.Context(), snd, "next")
		for size := 0; size < 40_000; {
			m, f := expectFrame[*codec.Transfer](p)
			if size += len(f.payload); m.More != (size < 40_000) {
				t.Fatal(m, size)
			}
			if _, _, _, waiting := conn.Counters(); waiting > 6<<10 {
				t.Fatalf("%d bytes wait", waiting)
			}
		}
		if m, f := expectFrame[*codec.Transfer](p); m.DeliveryID.V != 1 || string(f.payload) != "next" {
			t.Error(m)
		}
		if got := <-next; got != "1 <nil>" {
			t.Error(got)
		}
		p.none()
	})
}

// TestSendAfterDetach ends a link, its session and its connection under a message
// that is sent in part: nothing of it comes after that.
func TestSendAfterDetach(t *testing.T) {
	for _, end := range []codec.Performative{&codec.Detach{Closed: true, Error: amqp.Refuse(amqp.ResourceDeleted, "gone")}, &codec.End{}, &codec.Close{}, nil} {
		t.Run(fmt.Sprintf("%T", end), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &book{}
				p, conn := serve(t, amqp.Config{}, b)
				begin := beginning()
				begin.IncomingWindow = 2
				o := opening()
				o.MaxFrameSize = 512
				p.header(codec.ProtocolAMQP).send(0, o).send(0, begin, receiving("l", 0, "s"))
				expect[*codec.Attach](p)
				f := credit(0, 50)
				f.IncomingWindow = 2
				p.send(0, f)
				synctest.Wait()
				done := send(t.Context(), b.sender(), "whole", strings.Repeat("x", 2000))
				expect[*codec.Transfer](p)
				expect[*codec.Transfer](p)
				if end == nil {
					p.nc.Close()
				} else {
					p.send(0, end)
				}
				if got := <-done; !strings.HasPrefix(got, "1 amqp: ") {
					t.Error(got)
				}
				synctest.Wait()
				for _, err := range []error{b.sender().TrySend(amqp.Transfer{}), b.sender().Await(t.Context()), b.sender().Err()} {
					if err == nil {
						t.Error("no error on a sender that is over")
					}
				}
				if _, ok := end.(*codec.Detach); ok {
					if got := p.end(); got != "goes on" {
						t.Error(got)
					}
					if links, _, _, _ := conn.Counters(); links != 0 {
						t.Errorf("%d links", links)
					}
				}
			})
		})
	}
}

// TestVanish lets a peer go in the middle of a message it sends, in every way.
func TestVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{Partial: 8 << 10}, b)
		p.begin()
		half := first(0, 0)
		half.More = true
		for range 20 { // were anything left, the bound would be met
			p.add(0, sending("l", 0, "q")).transfer(0, half, strings.Repeat("x", 4000)).write()
			p.send(0, &codec.Detach{})
			expect[*codec.Detach](p)
			if links, _, partial, _ := conn.Counters(); partial != 0 || links != 0 {
				t.Fatalf("%d bytes and %d links are left after a detach", partial, links)
			}
		}
		for range 20 {
			p.add(0, sending("l", 0, "q")).transfer(0, half, strings.Repeat("x", 4000)).write()
			p.send(0, &codec.End{}, beginning())
			expect[*codec.Begin](p)
			if links, sessions, partial, _ := conn.Counters(); partial != 0 || links != 0 || sessions != 1 {
				t.Fatalf("%d bytes, %d links and %d sessions are left after an end", partial, links, sessions)
			}
		}
		p.add(0, sending("l", 0, "q")).transfer(0, half, strings.Repeat("x", 4000)).write()
		synctest.Wait()
		if _, _, partial, _ := conn.Counters(); partial < 4000 {
			t.Errorf("%d bytes are held", partial)
		}
		p.nc.Close()
		<-conn.Done()
		if links, sessions, partial, waiting := conn.Counters(); links+sessions+partial+waiting != 0 {
			t.Errorf("%d links, %d sessions, %d and %d bytes are left", links, sessions, partial, waiting)
		}
		checkBook(t, b)
	})
}

// TestDrainSender asks our senders for what they have.
func TestDrainSender(t *testing.T) {
	drain := func(count, n uint32) *codec.Flow {
		f := credit(0, n)
		f.DeliveryCount, f.Drain = codec.Some(count), true
		return f
	}
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		p.send(0, drain(0, 5))
		synctest.Wait()
		if got := b.read(); !slices.Equal(got, []string{"l: credit 5 drain true"}) || !snd.Draining() {
			t.Error(got)
		}
		if err := snd.TrySend(amqp.Transfer{}); err != nil {
			t.Error(err)
		}
		p.none() // Push writes it
		snd.Drained()
		expect[*codec.Transfer](p)
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 0 || !f.Drain || f.Handle.V != 0 {
			t.Error(f)
		}
		if snd.Credit() != 0 || snd.Draining() {
			t.Error("there is credit left")
		}
		snd.Drained() // once is enough
		p.none()
		p.send(0, drain(5, 0)) // nothing to drain
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 0 {
			t.Error(f)
		}
		f := credit(0, 7)
		f.DeliveryCount, f.Echo = codec.Some(uint32(5)), true
		p.send(0, f)
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 7 || f.Drain {
			t.Error(f)
		}
	})
	// With nobody who calls Drained: at once when nothing is sent, after a Send
	// that is under way otherwise.
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		p := &script{t: t, nc: there, r: codec.NewReader(there, 1<<20)}
		var s *amqp.Sender
		attached := make(chan struct{})
		go func() {
			defer close(attached)
			conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{}), nil)
			if err != nil {
				t.Error(err)
				return
			}
			ss, err := conn.Begin(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			s, err = ss.AttachSender(t.Context(), amqp.LinkConfig{Name: "l", Target: "t"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
			if err != nil {
				t.Error(err)
			}
		}()
		if _, err := p.r.Protocol(); err != nil {
			t.Fatal(err)
		}
		p.raw(codec.ProtocolAMQP.Append(nil)...)
		b := beginning()
		b.RemoteChannel = codec.Some(uint16(0))
		p.add(0, opening()).write()
		expect[*codec.Begin](p)
		p.send(0, b)
		a := *expect[*codec.Attach](p)
		a.Role = codec.Receiver
		p.send(0, &a)
		<-attached
		p.send(0, drain(0, 5))
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		done := send(t.Context(), s, "a", "b", "c")
		p.none()
		p.send(0, drain(5, 5))
		for range 3 {
			expect[*codec.Transfer](p)
		}
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 10 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		if got := <-done; got != "3 <nil>" {
			t.Error(got)
		}
		p.send(0, &codec.Close{})
		<-s.Conn().Done()
		there.Close()
	})
}

// TestDrainWaiting: messages in Send by now go before a drain is answered, and no
// longer than their credit lasts.
func TestDrainWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		// flow gives credit to be drained, and the window that takes it.
		flow := func(count, n, next, window uint32) {
			f := credit(0, n)
			f.DeliveryCount, f.Drain = codec.Some(count), n > 0
			f.NextIncomingID, f.IncomingWindow = codec.Some(next), window
			p.send(0, f)
			synctest.Wait()
		}
		one, two := send(t.Context(), snd, "a", "b"), send(t.Context(), snd, "c")
		flow(0, 5, 0, 0)
		snd.Drained()
		p.none()
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 100, OutgoingWindow: 100})
		for range 3 {
			expect[*codec.Transfer](p)
		}
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		if x, y := <-one, <-two; x != "2 <nil>" || y != "1 <nil>" || snd.Draining() {
			t.Error(x, y)
		}
		// What there is no credit for waits for more.
		one, two = send(t.Context(), snd, "d"), send(t.Context(), snd, "e")
		flow(5, 1, 3, 0)
		snd.Drained()
		p.none()
		p.send(0, &codec.Flow{NextIncomingID: codec.Some(uint32(3)), IncomingWindow: 100, OutgoingWindow: 100})
		expect[*codec.Transfer](p)
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 6 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		p.none()
		f := credit(0, 9)
		f.DeliveryCount = codec.Some(uint32(6))
		p.send(0, f)
		expect[*codec.Transfer](p)
		p.none()
		if x, y := <-one, <-two; x != "1 <nil>" || y != "1 <nil>" || snd.Credit() != 8 {
			t.Error(x, y, snd.Credit())
		}
		// Nor does who gives up leave a drain open.
		ctx, cancel := context.WithCancel(t.Context())
		one = send(ctx, snd, "f")
		expect[*codec.Transfer](p)
		<-one
		f = credit(0, 2)
		f.DeliveryCount, f.IncomingWindow, f.Drain = codec.Some(uint32(7)), 0, true
		f.NextIncomingID = codec.Some(uint32(6))
		one = send(ctx, snd, "g", "h", "i", "j", "k", "l", "m", "n") // the last of which has no credit
		for range 7 {
			expect[*codec.Transfer](p)
		}
		f.DeliveryCount, f.NextIncomingID = codec.Some(uint32(14)), codec.Some(uint32(13))
		p.send(0, f)
		synctest.Wait()
		snd.Drained()
		p.none()
		cancel()
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 16 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		if x := <-one; x != "7 context canceled" {
			t.Error(x)
		}
	})
	// Who waits for something else than credit is not waited for.
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Unsettled: 1}}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		done := send(t.Context(), snd, "a", "b")
		f := credit(0, 5)
		f.Drain = true
		p.send(0, f)
		synctest.Wait()
		snd.Drained()
		expect[*codec.Transfer](p)
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != 5 || f.LinkCredit.V != 0 || !f.Drain {
			t.Error(f)
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Settled: true, State: codec.Accepted()})
		p.none()
		f = credit(0, 1)
		f.DeliveryCount = codec.Some(uint32(5))
		p.send(0, f)
		expect[*codec.Transfer](p)
		if got := <-done; got != "2 <nil>" {
			t.Error(got)
		}
	})
}

// TestRepeatedDisposition: a peer that says over and over what it makes of a
// delivery is heard once.
func TestRepeatedDisposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		p.send(0, credit(0, 2))
		done := send(t.Context(), snd, "a", "b")
		expect[*codec.Transfer](p)
		expect[*codec.Transfer](p)
		<-done
		b.read()
		say := func(settled bool, state codec.State) {
			p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(1)), Settled: settled, State: state})
			synctest.Wait()
		}
		say(false, codec.State{Kind: codec.CodeReceived})
		say(false, codec.Accepted())
		say(false, codec.Accepted())
		say(false, codec.Released())
		want := []string{
			"l: 0 token 0 is amqp:received:list settled false", "l: 1 token 1 is amqp:received:list settled false",
			"l: 0 token 0 is amqp:accepted:list settled false", "l: 1 token 1 is amqp:accepted:list settled false",
		}
		if got := b.read(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		snd.Settle(0, codec.Accepted())
		expect[*codec.Disposition](p)
		say(true, codec.Accepted()) // the other one is settled by the peer
		if got := b.read(); len(got) != 0 || snd.Unsettled() != 0 {
			t.Errorf("%q, %d unsettled", got, snd.Unsettled())
		}
		snd.Settle(1, codec.Accepted())
		p.none()
	})
}

// TestDrainReceiver drains peers: those that use credit up with messages, those
// that say so in a flow, and one that is told something else meanwhile.
func TestDrainReceiver(t *testing.T) {
	isClosed := func(ch <-chan struct{}) bool {
		synctest.Wait()
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("n", 0, "m"))
		expect[*codec.Attach](p)
		synctest.Wait()
		r := b.receiver()
		if !isClosed(r.Drain()) {
			t.Error("there is no credit, and still it is drained")
		}
		grant := func(n, count uint32) {
			t.Helper()
			r.Grant(n)
			conn.Push()
			if f := expect[*codec.Flow](p); f.LinkCredit.V != n || f.DeliveryCount.V != count || f.Drain {
				t.Error(f)
			}
		}
		drain := func(n, count uint32) <-chan struct{} {
			t.Helper()
			ch := r.Drain()
			if f := expect[*codec.Flow](p); f.LinkCredit.V != n || f.DeliveryCount.V != count || !f.Drain {
				t.Error(f)
			}
			return ch
		}
		grant(5, 0)
		ch := drain(5, 0)
		half := first(0, 0)
		half.More = true
		p.send(0, half, &codec.Transfer{Aborted: true}, first(0, 1))
		if isClosed(ch) {
			t.Error("drained too early")
		}
		p.send(0, &codec.Flow{Handle: codec.Some(uint32(0)), DeliveryCount: codec.Some(uint32(2)), LinkCredit: codec.Some(uint32(3)), Echo: true})
		if f := expect[*codec.Flow](p); f.LinkCredit.V != 3 || f.DeliveryCount.V != 2 || !f.Drain {
			t.Error(f)
		}
		if isClosed(ch) || r.Drain() != ch {
			t.Error("drained too early")
		}
		p.send(0, &codec.Flow{Handle: codec.Some(uint32(0)), DeliveryCount: codec.Some(uint32(5)), LinkCredit: codec.Some(uint32(0)), Drain: true})
		if !isClosed(ch) {
			t.Error("not drained")
		}
		grant(2, 5) // used up by messages
		ch = drain(2, 5)
		p.send(0, first(0, 2), first(0, 3))
		if !isClosed(ch) {
			t.Error("not drained")
		}
		if got := b.read(); len(got) != 3 {
			t.Error(got)
		}
		grant(2, 7) // granted anew
		ch = drain(2, 7)
		grant(4, 7)
		if !isClosed(ch) {
			t.Error("a grant has not ended the drain")
		}
		ch = drain(4, 7) // the link ends
		p.send(0, &codec.Detach{})
		if !isClosed(ch) {
			t.Error("the end of the link has not ended the drain")
		}
	})
	// A link with automatic credit gets none while it is drained, and new one then.
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("l", 0, "q"))
		expect[*codec.Flow](p)
		ch := b.receiver().Drain()
		if f := expect[*codec.Flow](p); f.LinkCredit.V != 10 || !f.Drain {
			t.Error(f)
		}
		for i := range uint32(9) {
			p.send(0, first(0, i))
			expect[*codec.Disposition](p)
		}
		p.none()
		p.send(0, first(0, 9))
		if f := expect[*codec.Flow](p); f.LinkCredit.V != 10 || f.Drain || f.DeliveryCount.V != 10 {
			t.Error(f)
		}
		if !isClosed(ch) {
			t.Error("not drained")
		}
	})
}

// TestCreditTakenBack grants less than before: what is under way still arrives,
// and no more than that.
func TestCreditTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("n", 0, "m"))
		expect[*codec.Attach](p)
		synctest.Wait()
		r := b.receiver()
		r.Grant(5)
		r.Grant(0)
		conn.Push()
		for i := range uint32(5) {
			p.send(0, first(0, i))
		}
		synctest.Wait()
		if got := b.read(); len(got) != 5 {
			t.Error(got)
		}
		p.send(0, first(0, 5))
		if d := expect[*codec.Detach](p); d.Error == nil || d.Error.Name != amqp.TransferLimitExceeded {
			t.Error(d.Error)
		}
	})
}

// TestGrantBeforeAnswer grants credit to a link while the handler decides about
// it: the peer hears of it after the answer.
func TestGrantBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := serve(t, amqp.Config{}, eager{})
		p.begin().send(0, sending("l", 9, "q"))
		if a, ok := p.next().p.(*codec.Attach); !ok || a.Handle != 0 {
			t.Error(a)
		}
		if f, ok := p.next().p.(*codec.Flow); !ok || f.Handle.V != 0 || f.LinkCredit.V != 3 {
			t.Error(f)
		}
	})
}

// eager does all it can with links that are not attached yet.
type eager struct{ amqp.Client }

func (eager) Attach(a *amqp.Attach) error {
	r := a.Receive(amqp.ReceiverOptions{Handler: &amqp.Inbox{}})
	r.Grant(3)
	<-r.Drain()
	s := a.Send(amqp.SenderOptions{})
	if err := s.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrNoCredit) {
		return err
	}
	s.Drained()
	r = a.Receive(amqp.ReceiverOptions{Handler: &amqp.Inbox{}})
	r.Grant(3)
	return nil
}

// TestWindowIn checks that the window of a session is renewed in time, on links
// that nobody settles on too.
func TestWindowIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{IncomingWindow: 8}, b)
		p.begin().send(0, sending("n", 0, "m"))
		synctest.Wait()
		b.receiver().Grant(1000)
		conn.Push()
		f := expect[*codec.Flow](p)
		window := f.IncomingWindow
		for i := range uint32(200) {
			for window == 0 {
				f := expect[*codec.Flow](p)
				window = f.NextIncomingID.V + f.IncomingWindow - i
			}
			p.send(0, first(0, i))
			window--
		}
		synctest.Wait()
		if got := b.read(); len(got) != 200 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// TestWrap sends and receives across the end of every serial number.
func TestWrap(t *testing.T) {
	const start, after20 = 1<<32 - 5, 15
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{IncomingWindow: 8}, b)
		begin := beginning()
		begin.NextOutgoingID = start
		in := sending("in", 0, "q")
		in.InitialDeliveryCount = codec.Some(uint32(start))
		p.open().send(0, begin, in, receiving("out", 1, "s"))
		for range 2 {
			expect[*codec.Attach](p)
		}
		for i := range uint32(20) {
			p.send(0, first(0, start+i))
			if d := expect[*codec.Disposition](p); d.First != start+i {
				t.Fatal(d)
			}
		}
		p.send(0, &codec.Flow{Echo: true})
		for { // flows that give credit come before
			f := expect[*codec.Flow](p)
			if f.NextIncomingID.V == after20 {
				break
			}
		}
		snd := b.sender()
		snd.Wind(1<<32 + start)
		f := credit(1, 100)
		f.NextIncomingID, f.DeliveryCount = codec.Some(uint32(start)), codec.Some(uint32(start))
		p.send(0, f)
		synctest.Wait()
		b.read()
		for i := range uint32(20) {
			if err := snd.TrySend(amqp.Transfer{Token: i}); err != nil {
				t.Fatal(err)
			}
		}
		snd.Conn().Push()
		for i := range uint32(20) {
			if m := expect[*codec.Transfer](p); m.DeliveryID.V != start+i {
				t.Fatal(m)
			}
		}
		f.NextIncomingID, f.DeliveryCount, f.Echo = codec.Some(uint32(after20)), codec.Some(uint32(after20)), true
		p.send(0, f)
		if f := expect[*codec.Flow](p); f.DeliveryCount.V != after20 || f.LinkCredit.V != 100 || f.NextOutgoingID != after20 {
			t.Error(f)
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: start + 2, Last: codec.Some(uint32(10)), Settled: true, State: codec.Accepted()})
		synctest.Wait()
		got := b.read()
		if len(got) != 15 || got[1] != fmt.Sprintf("out: %d token 2 is amqp:accepted:list settled true", uint32(start+2)) || snd.Unsettled() != 6 {
			t.Error(len(got), got, snd.Unsettled())
		}
	})
}

// TestBothWaysAtOnce lets two of our own send to each other as much as they can,
// over a network that holds next to nothing: neither stops reading because the
// other one does not read.
func TestBothWaysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 3000
		here, there := memnet.Pipe("client", "server", 4<<10)
		cfg := amqp.Config{Outbound: 32 << 10, IncomingWindow: 100, IdleTimeout: time.Hour}
		n := &exchange{}
		served := amqp.Serve(there, amqp.Prepare(cfg), n)
		start := time.Now()
		conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(cfg), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const links, batch = 3, 50
		received := &counter{}
		m := slices.Repeat([]amqp.Transfer{{Payload: make([]byte, 1000)}}, batch)
		done := make(chan error, 2*links)
		pump := func(s *amqp.Sender) {
			for range messages / links / batch {
				if _, err := s.Send(t.Context(), m...); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}
		for range links {
			if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "s"}, amqp.ReceiverOptions{Handler: received, Credit: 500}); err != nil {
				t.Fatal(err)
			}
			go pump(n.s)
			snd, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: "q"}, amqp.SenderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			go pump(snd)
		}
		for range 2 * links {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if received.n != messages || n.n != messages {
			t.Errorf("%d and %d messages arrived", received.n, n.n)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("somebody waited for %v", d)
		}
		conn.Close(nil)
		<-conn.Done()
		<-served.Done()
	})
}

// counter counts messages, and accepts them at once.
type counter struct{ n int }

func (c *counter) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	c.n++
	if !d.Settled {
		r.Settle(d.ID, codec.Accepted())
	}
}
func (c *counter) Detached(*amqp.Receiver, error) {}

// exchange serves one link of each kind.
type exchange struct {
	amqp.Client
	counter
	s *amqp.Sender
}

func (e *exchange) Attach(a *amqp.Attach) error {
	if a.Role == codec.Sender {
		a.Receive(amqp.ReceiverOptions{Handler: &e.counter, Credit: 500})
	} else {
		e.s = a.Send(amqp.SenderOptions{Unsettled: 500})
	}
	return nil
}
