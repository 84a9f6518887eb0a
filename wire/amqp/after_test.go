package amqp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// everything is what a peer may have said before it has heard of an end.
func everything() []codec.Performative {
	return []codec.Performative{
		first(0, 5), credit(1, 5), sending("new", 5, "q"), first(5, 6), &codec.Disposition{Role: codec.Receiver, Settled: true},
		&codec.Detach{Handle: 5}, &codec.Detach{Handle: 0}, &codec.End{},
	}
}

// TestAfterOurClose goes on after the connection was closed: what was settled
// before is said before, nothing is said after it, and what the peer says is heard
// by nobody.
func TestAfterOurClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("in", 0, "n"), receiving("out", 1, "s"), first(0, 0), first(0, 1))
		synctest.Wait()
		r, s := b.receiver(), b.sender()
		waits := send(t.Context(), s, "x")
		synctest.Wait()
		b.read()
		start := time.Now()
		r.Settle(0, codec.Accepted())
		conn.Close(nil)
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Error(d)
		}
		expect[*codec.Close](p)
		if got := <-waits; !strings.HasPrefix(got, "0 amqp: the connection is closed") || time.Since(start) != 0 {
			t.Error(got, time.Since(start))
		}
		r.Settle(1, codec.Accepted())
		r.Grant(7)
		r.Close(nil)
		<-r.Drain()
		s.Drained()
		conn.Push()
		conn.Close(amqp.Refuse(amqp.InternalError, "again"))
		conn.Shutdown(nil)
		for _, err := range []error{s.TrySend(amqp.Transfer{}), r.Session().End(nil), s.Await(t.Context())} {
			if !errors.Is(err, amqp.ErrClosed) {
				t.Error(err)
			}
		}
		p.add(0, everything()...).add(1, beginning()).write()
		p.none()
		if got := b.read(); len(got) > 0 {
			t.Error(got)
		}
		p.send(0, &codec.Close{Error: amqp.Refuse(amqp.InternalError, "theirs")})
		<-conn.Done()
		if conn.Err() != nil || time.Since(start) > time.Second {
			t.Error(conn.Err(), time.Since(start))
		}
		checkBook(t, b)
	})
}

// TestAfterError goes on after the connection has failed.
func TestAfterError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("in", 0, "q"), receiving("out", 1, "s"))
		synctest.Wait()
		p.add(0, beginning()).add(0, everything()...).write()
		expect[*codec.Close](p)
		p.none()
		if got := b.read(); len(got) > 0 {
			t.Error(got)
		}
		p.raw(0, 0, 0, 8, 2, 9, 0, 0).write() // what is no frame changes nothing
		p.nc.Close()
		<-conn.Done()
		checkBook(t, b)
	})
}

// TestAfterOurEnd goes on after a session was ended.
func TestAfterOurEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("in", 0, "n"), receiving("out", 1, "s"), first(0, 0))
		synctest.Wait()
		b.read()
		b.receiver().Settle(0, codec.Accepted())
		if err := b.receiver().Session().End(nil); err != nil {
			t.Fatal(err)
		}
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Error(d)
		}
		expect[*codec.End](p)
		p.send(0, everything()...)
		p.none()
		if got := b.read(); len(got) > 0 || len(b.receivers) != 1 {
			t.Error(got)
		}
		p.send(0, beginning(), sending("in", 0, "q"), first(0, 0))
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Error(d)
		}
	})
}

// TestSettleThenDetach says what was settled before it detaches.
func TestSettleThenDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("in", 0, "n"), first(0, 0))
		synctest.Wait()
		b.receiver().Settle(0, codec.Accepted())
		b.receiver().Close(nil)
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Error(d)
		}
		if d := expect[*codec.Detach](p); !d.Closed || d.Error != nil {
			t.Error(d)
		}
	})
}

// TestBurst hands messages over in bursts of at most so many.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{Burst: 3}, b)
		p.begin().send(0, sending("in", 0, "q"))
		synctest.Wait()
		var bursts []int
		b.flushing(func() {
			if n := len(b.read()); n > 0 {
				bursts = append(bursts, n)
			}
		})
		for i := range uint32(8) {
			p.add(0, first(0, i))
		}
		p.write()
		synctest.Wait()
		if !slices.Equal(bursts, []int{3, 3, 2}) {
			t.Error(bursts)
		}
	})
}

// hasty is a handler that asks for things before they can be.
type hasty struct {
	amqp.Client
	said chan error
}

func (h *hasty) Open(c *amqp.Conn, _ *codec.Open) error {
	_, err := c.Begin(context.Background())
	h.said <- err
	return nil
}

// TestBeginBeforeOpen begins a session while the connection is being opened.
func TestBeginBeforeOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hasty{said: make(chan error, 1)}
		p, _ := serve(t, amqp.Config{}, h)
		p.open()
		if err := <-h.said; !errors.Is(err, amqp.ErrNotOpen) {
			t.Error(err)
		}
	})
}

// suicidal ends the session while it decides about a link of it.
type suicidal struct{ book }

func (s *suicidal) Attach(a *amqp.Attach) error {
	err := s.book.Attach(a)
	_ = a.Session().End(nil)
	return err
}

// TestEndDuringAttach ends a session under a link that is being granted: its
// handler hears of that.
func TestEndDuringAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &suicidal{}
		p, conn := serve(t, amqp.Config{}, h)
		p.begin().send(0, sending("in", 0, "q"))
		expect[*codec.End](p)
		p.none()
		if got := h.read(); len(got) != 1 || !strings.HasPrefix(got[0], "in: detached") {
			t.Error(got)
		}
		if links, _, _, _ := conn.Counters(); links != 0 {
			t.Errorf("%d links", links)
		}
	})
}

// TestOwnFrameSize cuts messages into frames of our own size, for a peer that would
// take larger ones.
func TestOwnFrameSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{MaxFrameSize: 4096}, b)
		snd := attachSender(p, b)
		p.r = codec.NewReader(p.nc, 4096)
		p.send(0, credit(0, 5))
		synctest.Wait()
		done := send(t.Context(), snd, strings.Repeat("x", 10_000))
		for size := 0; size < 10_000; {
			_, f := expectFrame[*codec.Transfer](p)
			size += len(f.payload)
		}
		if got := <-done; got != "1 <nil>" {
			t.Error(got)
		}
	})
}

// TestTwoSends lets two goroutines send on one link: one message after the other,
// each whole.
func TestTwoSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{MaxFrameSize: 512}, b)
		snd := attachSender(p, b)
		one := send(t.Context(), snd, strings.Repeat("1", 1000), strings.Repeat("1", 1000))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if got := <-send(ctx, snd, "never"); got != "0 context deadline exceeded" || time.Since(start) != time.Second {
			t.Error(got, time.Since(start))
		}
		two := send(t.Context(), snd, strings.Repeat("2", 1000), strings.Repeat("2", 1000))
		for i := range uint32(4) {
			f := credit(0, 1)
			f.DeliveryCount, f.NextIncomingID = codec.Some(i), codec.Some(3*i)
			p.send(0, f)
			whole := ""
			for more := true; more; {
				m, f := expectFrame[*codec.Transfer](p)
				whole += string(f.payload)
				more = m.More
			}
			if want := strings.Repeat(string("1122"[i]), 1000); whole != want {
				t.Errorf("message %d: %d bytes of %q", i, len(whole), whole[:1])
			}
		}
		for _, done := range []<-chan string{one, two} {
			if got := <-done; got != "2 <nil>" {
				t.Error(got)
			}
		}
	})
}

// TestSendAfterSend lets a Send wait for another one, and for nothing else.
func TestSendAfterSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serveOn(t, amqp.Config{MaxFrameSize: 1024, Outbound: 4 << 10}, b, 4<<10)
		snd := attachSender(p, b)
		p.send(0, credit(0, 10))
		synctest.Wait()
		one := send(t.Context(), snd, strings.Repeat("1", 20_000))
		synctest.Wait()
		two := send(t.Context(), snd, "2")
		for last := ""; last != "2"; {
			_, f := expectFrame[*codec.Transfer](p)
			last = string(f.payload)
		}
		for _, done := range []<-chan string{one, two} {
			if got := <-done; got != "1 <nil>" {
				t.Error(got)
			}
		}
	})
}

// TestCreditBehind gives credit that what is under way has used up already.
func TestCreditBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		snd := attachSender(p, b)
		p.send(0, credit(0, 3))
		synctest.Wait()
		for range 3 {
			if err := snd.TrySend(amqp.Transfer{}); err != nil {
				t.Fatal(err)
			}
		}
		conn.Push()
		p.send(0, credit(0, 1)) // counted from before the three
		synctest.Wait()
		if err := snd.TrySend(amqp.Transfer{}); !errors.Is(err, amqp.ErrNoCredit) || snd.Credit() != 0 {
			t.Error(err, snd.Credit())
		}
	})
}

// TestCreditCountsParts gives no credit for a message that has arrived in part.
func TestCreditCountsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, _ := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("in", 0, "n"))
		expect[*codec.Flow](p)
		for i := range uint32(5) {
			p.send(0, first(0, i))
		}
		half := first(0, 5)
		half.More = true
		p.send(0, half)
		p.none()
	})
}

// TestWriteStallAlone gives a peer up that does not read, where nothing else makes
// the timer look.
func TestWriteStallAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 4<<10)
		b := &book{}
		conn := amqp.Serve(onlyConn{there}, amqp.Prepare(amqp.Config{WriteStall: 20 * time.Second, IdleTimeout: time.Hour}), b)
		p := &script{t: t, nc: here, r: codec.NewReader(here, 1<<20)}
		snd := attachSender(p, b)
		p.send(0, credit(0, 90))
		synctest.Wait()
		pass(time.Minute)
		for range 20 {
			if err := snd.TrySend(amqp.Transfer{Payload: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		conn.Push()
		ended(t, conn, start, 20*time.Second, amqp.ErrStuck)
		here.Close()
	})
}

// TestEndOfStream lets a client that speaks another protocol see the end of the
// stream at once, on a real socket.
func TestEndOfStream(t *testing.T) {
	addr := listen(t, amqp.Config{CloseTimeout: time.Minute}, func() amqp.Handler { return &node{} })
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\n\r\n")
	_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	if b, err := io.ReadAll(nc); err != nil || string(b) != amqpHeader {
		t.Errorf("%q, %v", b, err)
	}
}
