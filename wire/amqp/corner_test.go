package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestSmallFrames serves a peer that takes frames of 512 bytes only: none is
// larger, whatever has to be said.
func TestSmallFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{settle: codec.Rejected(&codec.Condition{
			Name: "com.example:long", Description: strings.Repeat("é", 600), Info: codec.NewMap(codec.Symbol("more"), codec.String(strings.Repeat("x", 500))),
		})}
		p, conn := serve(t, amqp.Config{}, b)
		p.r = codec.NewReader(p.nc, 512) // refuses larger ones
		o := opening()
		o.MaxFrameSize = 512
		p.header(codec.ProtocolAMQP).send(0, o).send(0, beginning())
		long := strings.Repeat("n", 300)
		detached := func(name, want string) {
			t.Helper()
			a := expect[*codec.Attach](p)
			d := expect[*codec.Detach](p)
			if a.Name != name || d.Handle != a.Handle || d.Error == nil || d.Error.Name != want {
				t.Errorf("%+v %+v", a, d.Error)
			}
			p.send(0, &codec.Detach{Handle: 0})
		}
		p.send(0, sending("l", 0, "x"+long+long)) // refused, with an address that does not fit
		detached("l", amqp.NotFound)
		p.send(0, sending("l", 0, "q"+long+long)) // granted, but the answer does not fit
		detached("l", amqp.FrameSizeTooSmall)
		a := sending("l", 0, "q")
		a.Name = long
		a.Source.Address = codec.Some(long)
		p.send(0, a)
		detached(long, amqp.FrameSizeTooSmall)
		synctest.Wait()
		if links, _, _, _ := conn.Counters(); links != 0 {
			t.Errorf("%d links", links)
		}
		if got := b.read(); len(got) != 2 {
			t.Error(got)
		}
		p.send(0, sending("l", 0, "q"), first(0, 0))
		d := expect[*codec.Disposition](p)
		if e := d.State.Error; e == nil || e.Name != "com.example:long" || e.Description != strings.Repeat("é", 100) || e.Info.Len() != 0 {
			t.Errorf("%+v", e)
		}
		r := b.receiver()
		r.Settle(1, codec.State{Kind: codec.CodeModified, DeliveryFailed: true, Annotations: codec.NewMap(codec.Symbol("x"), codec.String(long+long))})
		conn.Push()
		if d := expect[*codec.Disposition](p); d.State.Kind != codec.CodeModified || !d.State.DeliveryFailed || d.State.Annotations.Len() != 0 {
			t.Error(d)
		}
		r.Close(amqp.Refuse("com.example:"+long+long, "%s", long+long))
		if d := expect[*codec.Detach](p); d.Error == nil || len(d.Error.Name) != 128 || len(d.Error.Description) != 200 {
			t.Error(d)
		}
		p.send(0, &codec.Detach{Handle: 0})
		if err := r.Session().End(amqp.Refuse(amqp.InternalError, "%s", long+long)); err != nil {
			t.Error(err)
		}
		if e := expect[*codec.End](p); e.Error == nil || len(e.Error.Description) != 200 {
			t.Error(e.Error)
		}
		p.send(0, &codec.End{}, beginning(), sending(long+long, 0, "q"))
		expect[*codec.Begin](p)
		if e := expect[*codec.End](p); e.Error == nil || e.Error.Name != amqp.FrameSizeTooSmall {
			t.Error(e.Error)
		}
		conn.Close(amqp.Refuse(amqp.InternalError, "%s", long+long))
		if c := expect[*codec.Close](p); c.Error == nil || len(c.Error.Description) != 200 {
			t.Error(c.Error)
		}
	})
}

// TestUntracked sends without remembering: what the peer wants settled is settled
// as it says, next to links that do remember.
func TestUntracked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Untracked: true}}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, receiving("u", 0, "s"))
		synctest.Wait()
		b.options.Untracked = false
		p.send(0, receiving("t", 1, "s"))
		p.send(0, credit(0, 50), credit(1, 50))
		synctest.Wait()
		b.read()
		for i := range 10 {
			if err := b.senders[min(i%5, 1)].TrySend(amqp.Transfer{Token: i}); err != nil { // u t t t t u t t t t
				t.Fatal(err)
			}
		}
		conn.Push()
		if _, err := b.senders[0].Deliver(t.Context(), amqp.Transfer{}); err == nil {
			t.Error("an outcome of what is not tracked")
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(12)), State: codec.Accepted()})
		for _, id := range []uint32{0, 5} {
			if d := expect[*codec.Disposition](p); d.First != id || d.Last.Or(id) != id || d.Role != codec.Sender || !d.Settled || d.State.Kind != codec.CodeAccepted {
				t.Error(d)
			}
		}
		p.none()
		synctest.Wait()
		if got := b.read(); len(got) != 8 || got[0] != "t: 1 token 1 is amqp:accepted:list settled false" {
			t.Error(got)
		}
		p.send(0, &codec.Disposition{Role: codec.Receiver, First: 0, Last: codec.Some(uint32(9)), Settled: true, State: codec.Accepted()})
		p.none()
	})
}

// TestTransferAfterClose closes a link under a peer that goes on sending: nobody
// hears of that.
func TestTransferAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{Partial: 4 << 10}, b)
		p.begin().send(0, sending("l", 0, "q"))
		synctest.Wait()
		half := first(0, 0)
		half.More = true
		p.transfer(0, half, "half of it").write()
		synctest.Wait()
		b.receiver().Close(nil)
		p.transfer(0, &codec.Transfer{}, "the rest").transfer(0, first(0, 1), "another").send(0, &codec.Detach{Closed: true}, sending("l", 0, "q"), first(0, 2))
		if d := expect[*codec.Disposition](p); d.First != 2 {
			t.Error(d)
		}
		synctest.Wait()
		if got := b.read(); len(got) != 1 {
			t.Error(got)
		}
		if links, _, partial, _ := conn.Counters(); links != 1 || partial != 0 {
			t.Errorf("%d links, %d bytes", links, partial)
		}
	})
}

// TestPartsAreCounted receives many messages in parts, one after the other and at
// once: what is held is given back with each.
func TestPartsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{Partial: 64 << 10, IncomingWindow: 100}, b)
		p.begin().send(0, sending("a", 0, "q"), sending("b", 1, "q"))
		id := uint32(0)
		for range 50 {
			for handle := range uint32(2) {
				m := first(handle, id+handle)
				m.More = true
				p.transfer(0, m, strings.Repeat("x", 5000))
			}
			for range 2 {
				for handle := range uint32(2) {
					p.transfer(0, &codec.Transfer{Handle: handle, More: true}, strings.Repeat("y", 5000))
				}
			}
			p.write()
			synctest.Wait()
			if _, _, partial, _ := conn.Counters(); partial < 30_000 || partial > 64<<10 {
				t.Fatalf("%d bytes are held", partial)
			}
			p.transfer(0, &codec.Transfer{Handle: 1}, "").transfer(0, &codec.Transfer{Handle: 0}, "z").write()
			for settled := uint32(0); settled < 2; {
				d := expect[*codec.Disposition](p)
				settled += d.Last.Or(d.First) - d.First + 1
			}
			id += 2
			if _, _, partial, _ := conn.Counters(); partial != 0 {
				t.Fatalf("%d bytes are left", partial)
			}
		}
		for i, l := range b.read() {
			if want := fmt.Sprintf("%d bytes", 15_001-(i+1)%2); !strings.Contains(l, want) {
				t.Fatalf("%s, want %s", l, want)
			}
		}
	})
}

// TestSetPartial changes the bound of what arrives in part, in both directions.
func TestSetPartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{Partial: 8 << 10}, b)
		p.begin().send(0, sending("a", 0, "q"), sending("b", 1, "q"), sending("c", 2, "q"))
		part := func(handle uint32) {
			m := first(handle, handle)
			m.More = true
			p.transfer(0, m, strings.Repeat("x", 5000)).write()
			synctest.Wait()
		}
		conn.SetPartial(16 << 10)
		part(0)
		part(1)
		if _, _, partial, _ := conn.Counters(); partial != 16<<10 || len(b.read()) != 0 {
			t.Fatalf("%d bytes are held", partial)
		}
		conn.SetPartial(8 << 10)
		part(2)
		if d := expect[*codec.Detach](p); d.Handle != 2 || d.Error == nil || d.Error.Name != amqp.ResourceLimitExceeded {
			t.Errorf("%+v", d)
		}
		// What had been taken goes on as far as there is room.
		p.transfer(0, &codec.Transfer{Handle: 0}, "").write()
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Errorf("%+v", d)
		}
	})
}

// TestCreditInSteps checks that credit is given in large steps, and is all there
// again once half is used up.
func TestCreditInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("l", 0, "q"))
		if f := expect[*codec.Flow](p); f.LinkCredit.V != 10 {
			t.Error(f)
		}
		for i := range uint32(30) {
			m := first(0, i)
			m.Settled = codec.Some(true)
			p.send(0, m)
			if i%5 != 4 {
				p.none()
			} else if f := expect[*codec.Flow](p); f.LinkCredit.V != 10 || f.DeliveryCount.V != i+1 {
				t.Error(f)
			}
		}
	})
}

// TestSendDoesNotWait sends when the network is full: what Send has queued it
// does not wait for.
func TestSendDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Untracked: true}}
		p, conn := serveOn(t, amqp.Config{}, b, 20<<10)
		snd := attachSender(p, b)
		p.send(0, credit(0, 90))
		synctest.Wait()
		start := time.Now()
		m := amqp.Transfer{Payload: make([]byte, 2000)}
		for range 20 {
			if _, err := snd.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		conn.Push()
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		for range 20 {
			expect[*codec.Transfer](p)
		}
	})
}

// TestInbox receives in a goroutine that asks for messages.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		b := &book{}
		served := amqp.Serve(there, amqp.Prepare(amqp.Config{}), b)
		conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{Hostname: "host", ContainerID: "me"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if served.Hostname() != "host" || served.RemoteContainer() != "me" || served.NetConn() != there {
			t.Error("the server does not know its client")
		}
		if _, ok := served.ConnectionState(); ok {
			t.Error("there is TLS")
		}
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var in amqp.Inbox
		r, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Name: "r", Source: "s"}, amqp.ReceiverOptions{Handler: &in, Credit: 4})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := in.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
		for i := range 4 {
			if err := b.sender().TrySend(amqp.Transfer{Payload: []byte{byte(i)}, Tag: []byte{9}, Format: 7}); err != nil {
				t.Fatal(err)
			}
		}
		served.Push()
		synctest.Wait()
		if r.Unsettled() != 4 || b.sender().Unsettled() != 4 || b.sender().Credit() != 0 {
			t.Error(r.Unsettled(), b.sender().Unsettled(), b.sender().Credit())
		}
		for i := range 3 {
			d, err := in.Receive(t.Context())
			if err != nil || d.Payload[0] != byte(i) || d.Format != 7 || !slices.Equal(d.Tag, []byte{9}) {
				t.Error(d, err)
			}
			r.Settle(d.ID, codec.Accepted())
		}
		conn.Push()
		synctest.Wait()
		if r.Unsettled() != 1 || b.sender().Unsettled() != 1 {
			t.Error(r.Unsettled(), b.sender().Unsettled())
		}
		b.sender().Close(amqp.Refuse(amqp.ResourceDeleted, "gone"))
		if d, err := in.Receive(t.Context()); err != nil || d.Payload[0] != 3 {
			t.Error(d, err)
		}
		_, err = in.Receive(t.Context())
		if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != amqp.ResourceDeleted || !errors.Is(err, amqp.ErrDetached) {
			t.Error(err)
		}
		if !errors.Is(r.Err(), amqp.ErrDetached) {
			t.Error(r.Err())
		}
		ctx = conn.Context()
		conn.Close(nil)
		<-conn.Done()
		<-served.Done()
		if ctx.Err() == nil || conn.Context().Err() == nil {
			t.Error("the context outlives the connection")
		}
		if _, err := conn.Begin(t.Context()); !errors.Is(err, amqp.ErrClosed) {
			t.Error(err)
		}
		if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{}, amqp.ReceiverOptions{}); !errors.Is(err, amqp.ErrClosed) {
			t.Error(err)
		}
		if err := s.End(nil); !errors.Is(err, amqp.ErrClosed) {
			t.Error(err)
		}
	})
}

// dialScript returns a connection of ours to a script that has opened it.
func dialScript(t *testing.T, cfg amqp.Config) (*script, *amqp.Conn) {
	t.Helper()
	here, there := memnet.Pipe("client", "server", 0)
	p := &script{t: t, nc: there, r: codec.NewReader(there, 1<<20)}
	p.raw(codec.ProtocolAMQP.Append(nil)...).send(0, opening())
	conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(cfg), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		there.Close()
		conn.Abort(nil)
		<-conn.Done()
	})
	if _, err := p.r.Protocol(); err != nil {
		t.Fatal(err)
	}
	expect[*codec.Open](p)
	return p, conn
}

// TestDialLinks attaches links to a peer that answers them in every way.
func TestDialLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := dialScript(t, amqp.Config{Links: 3})
		// A begin that is not answered in time, and then is.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := conn.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		expect[*codec.Begin](p)
		expect[*codec.End](p)
		answered := beginning()
		answered.RemoteChannel = codec.Some(uint16(0))
		p.send(5, answered, &codec.End{})
		synctest.Wait()
		begun := make(chan *amqp.Session)
		go func() {
			s, err := conn.Begin(t.Context())
			if err != nil {
				t.Error(err)
			}
			begun <- s
		}()
		if _, f := expectFrame[*codec.Begin](p); f.channel != 0 {
			t.Error("channel 0 was not used again")
		}
		p.send(5, answered)
		s := <-begun

		attach := func(ctx context.Context, name string) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.AttachSender(ctx, amqp.LinkConfig{Name: name, Target: "t"}, amqp.SenderOptions{Handler: sends{&book{}}})
				done <- err
			}()
			return done
		}
		answer := func(handle uint32) *codec.Attach {
			a := *expect[*codec.Attach](p)
			a.Handle, a.Role = handle, codec.Receiver
			return &a
		}
		// Refused.
		done := attach(t.Context(), "a")
		a := answer(7)
		a.Target = nil
		p.send(5, a)
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("attached before the detach came: %v", err)
		default:
		}
		p.send(5, &codec.Detach{Handle: 7, Closed: true, Error: amqp.Refuse(amqp.NotFound, "no")})
		if c, ok := errors.AsType[*codec.Condition](<-done); !ok || c.Name != amqp.NotFound {
			t.Error(c)
		}
		expect[*codec.Detach](p)
		// Answered as if it were refused, and given credit.
		done = attach(t.Context(), "z")
		a = answer(7)
		a.Target = nil
		p.send(5, a, credit(7, 1))
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.send(5, &codec.Detach{Handle: 7, Closed: true})
		expect[*codec.Detach](p)
		// Given up, and answered then; the name can be used meanwhile only once.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		done = attach(ctx, "a")
		late := answer(7)
		if c, ok := errors.AsType[*codec.Condition](<-attach(ctx, "a")); !ok || c.Name != amqp.NotAllowed {
			t.Error(c)
		}
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
		expect[*codec.Detach](p)
		p.send(5, late, credit(7, 5), &codec.Detach{Handle: 7, Closed: true})
		synctest.Wait()
		if links, _, _, _ := conn.Counters(); links != 0 {
			t.Errorf("%d links", links)
		}
		// Granted, then answered once more.
		done = attach(t.Context(), "a")
		a = answer(0)
		p.send(5, a)
		if err := <-done; err != nil {
			t.Error(err)
		}
		// More than the bound, or than the peer allows for.
		for _, name := range []string{"b", "c"} {
			done := attach(t.Context(), name)
			p.send(5, answer(uint32(name[0])))
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := <-attach(t.Context(), "d"); !errors.Is(err, amqp.ErrFull) {
			t.Error(err)
		}
		a.Handle = 9
		p.send(5, a)
		if e := expect[*codec.End](p); e.Error == nil || e.Error.Name != amqp.IllegalState {
			t.Error(e.Error)
		}
		p.send(5, &codec.End{})
		if err := <-attach(t.Context(), "e"); !errors.Is(err, amqp.ErrEnded) {
			t.Error(err)
		}
	})
}

// TestDialServesNothing checks that a client refuses links that the server wants.
func TestDialServesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := dialScript(t, amqp.Config{})
		p.send(0, beginning(), sending("l", 0, "q"))
		if d := expect[*codec.Detach](p); d.Error == nil || d.Error.Name != amqp.NotAllowed {
			t.Error(d.Error)
		}
	})
}

// TestOutcomes delivers messages, whose outcome the peer says in every way.
func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := dialScript(t, amqp.Config{})
		ready := make(chan struct{})
		go func() {
			defer close(ready)
			answered := beginning()
			answered.RemoteChannel = codec.Some(uint16(0))
			expect[*codec.Begin](p)
			p.send(0, answered)
			a := receiving("l", 0, "")
			a.Source, a.Target = &codec.Source{}, &codec.Target{}
			expect[*codec.Attach](p)
			p.send(0, a, credit(0, 50))
		}()
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		snd, err := s.AttachSender(t.Context(), amqp.LinkConfig{Name: "l"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		if err != nil {
			t.Fatal(err)
		}
		<-ready
		rejected := codec.Rejected(amqp.Refuse(amqp.NotAllowed, "no"))
		for i, c := range []struct {
			say     []codec.Disposition
			want    codec.Code
			answers bool
		}{
			{[]codec.Disposition{{Settled: true, State: codec.Accepted()}}, codec.CodeAccepted, false},
			{[]codec.Disposition{{State: codec.Accepted()}}, codec.CodeAccepted, true},
			{[]codec.Disposition{{State: codec.State{Kind: codec.CodeReceived}}, {Settled: true, State: rejected}}, codec.CodeRejected, false},
			{[]codec.Disposition{{Settled: true}}, codec.CodeReleased, false},
			{[]codec.Disposition{{Settled: true, State: codec.State{Kind: codec.CodeModified, UndeliverableHere: true}}}, codec.CodeModified, false},
			{[]codec.Disposition{{Settled: true, State: codec.Accepted()}, {Settled: true, State: rejected}}, codec.CodeAccepted, false},
		} {
			done := make(chan codec.State, 1)
			go func() {
				st, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: []byte("x")})
				if err != nil {
					t.Error(err)
				}
				done <- st
			}()
			expect[*codec.Transfer](p)
			for _, d := range c.say {
				d.Role, d.First = codec.Receiver, uint32(i)
				p.send(0, &d)
			}
			st := <-done
			if st.Kind != c.want || st.Kind == codec.CodeRejected && st.Error.Description != "no" {
				t.Errorf("%d: %+v", i, st)
			}
			if c.answers {
				if d := expect[*codec.Disposition](p); d.First != uint32(i) || !d.Settled || d.Role != codec.Sender {
					t.Error(d)
				}
			}
			p.none()
		}
		if st, err := snd.Deliver(t.Context(), amqp.Transfer{Settled: true}); err != nil || st.Kind != codec.CodeAccepted {
			t.Error(st, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := snd.Deliver(ctx, amqp.Transfer{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := snd.Deliver(t.Context(), amqp.Transfer{})
			failed <- err
		}()
		synctest.Wait()
		p.send(0, &codec.Detach{Closed: true, Error: amqp.Refuse(amqp.DetachForced, "go")})
		if c, ok := errors.AsType[*codec.Condition](<-failed); !ok || c.Name != amqp.DetachForced {
			t.Error(c)
		}
		if _, err := snd.Deliver(t.Context(), amqp.Transfer{}); !errors.Is(err, amqp.ErrDetached) {
			t.Error(err)
		}
	})
}

// TestTooLargeToSend refuses what the peer, or the protocol, does not take.
func TestTooLargeToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		a := receiving("l", 0, "s")
		a.MaxMessageSize = 10
		p.begin().send(0, a, credit(0, 5))
		synctest.Wait()
		for _, m := range []amqp.Transfer{{Payload: make([]byte, 11)}, {Tag: make([]byte, 33)}} {
			if err := b.sender().TrySend(m); err == nil {
				t.Error("sent")
			}
			if n, err := b.sender().Send(t.Context(), amqp.Transfer{}, m, amqp.Transfer{}); n != 1 || err == nil {
				t.Error(n, err)
			}
		}
		if n := b.sender().MaxMessageSize(); n != 10 {
			t.Error(n)
		}
	})
}

// TestInboxIsBounded sends settled messages to an inbox that nobody empties: there
// are no more than the credit, until somebody does.
func TestInboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		b := &book{}
		served := amqp.Serve(there, amqp.Prepare(amqp.Config{}), b)
		conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{}), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var in amqp.Inbox
		r, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "s"}, amqp.ReceiverOptions{Handler: &in, Credit: 4})
		if err != nil {
			t.Fatal(err)
		}
		if r.PeerAddress() != "s" || r.PeerProperties().Len() != 0 {
			t.Error(r.PeerAddress(), r.PeerProperties())
		}
		synctest.Wait()
		sent := func() (n int) {
			for b.sender().TrySend(amqp.Transfer{Settled: true}) == nil {
				n++
				served.Push()
				synctest.Wait()
			}
			return n
		}
		if n := sent(); n != 4 {
			t.Errorf("%d messages, want 4", n)
		}
		for range 2 { // half of the credit, as always
			if _, err := in.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := sent(); n != 2 {
			t.Errorf("%d messages more, want 2", n)
		}
		for range 4 {
			if _, err := in.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := sent(); n != 4 {
			t.Errorf("%d messages more, want 4", n)
		}
		conn.Close(nil)
		<-conn.Done()
		<-served.Done()
	})
}

// dynamic gives peers nodes of their own.
type dynamic struct{ book }

func (d *dynamic) Attach(a *amqp.Attach) error {
	if a.Role == codec.Receiver && a.Source.Dynamic {
		a.Source.Address = codec.Some("made-1")
		a.Source.Filter = codec.Map{} // is not supported
		a.Send(amqp.SenderOptions{Properties: codec.NewMap(codec.Symbol("k"), codec.Int(1))})
		return nil
	}
	if a.Role == codec.Sender && a.Target.Dynamic {
		a.Target.Address = codec.Some("made-2")
		a.Receive(amqp.ReceiverOptions{Handler: &amqp.Inbox{}})
		return nil
	}
	return errors.New("the disk is full")
}

// TestDynamic asks for nodes, and is answered with less than was asked for.
func TestDynamic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		var said strings.Builder
		served := amqp.Serve(there, amqp.Prepare(amqp.Config{Log: slog.New(slog.NewTextHandler(&said, nil))}), &dynamic{})
		conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{}), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{
			Dynamic: true, Filter: codec.NewMap(codec.Symbol("f"), codec.Described(codec.Symbol("f"), codec.String("x"))),
		}, amqp.ReceiverOptions{Handler: &amqp.Inbox{}})
		if err != nil || r.PeerAddress() != "made-1" || r.PeerProperties().Len() != 1 {
			t.Error(err, r.PeerAddress())
		}
		snd, err := s.AttachSender(t.Context(), amqp.LinkConfig{Dynamic: true}, amqp.SenderOptions{})
		if err != nil || snd.PeerAddress() != "made-2" {
			t.Error(err, snd.PeerAddress())
		}
		_, err = s.AttachSender(t.Context(), amqp.LinkConfig{Target: "t"}, amqp.SenderOptions{})
		if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != amqp.InternalError || c.Description != "" {
			t.Error(err)
		}
		conn.Close(nil)
		<-conn.Done()
		<-served.Done()
		if !strings.Contains(said.String(), "the disk is full") {
			t.Errorf("the log says %q", said.String())
		}
	})
}
