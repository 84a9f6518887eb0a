package amqp_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// pass lets time pass in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// ended waits for the end of a connection and checks how long that took and why
// it ended.
func ended(t *testing.T, conn *amqp.Conn, start time.Time, want time.Duration, why error) {
	t.Helper()
	<-conn.Done()
	if d := time.Since(start); d != want {
		t.Errorf("it ended after %v, want %v", d, want)
	}
	if err := conn.Err(); !errors.Is(err, why) {
		t.Errorf("it ended with %v, want %v", err, why)
	}
}

// TestOpenTimeout checks that a peer has to open the connection in time, however
// far it comes.
func TestOpenTimeout(t *testing.T) {
	for name, say := range map[string]string{
		"nothing":         "",
		"half a header":   amqpHeader[:5],
		"a header":        amqpHeader,
		"a SASL header":   saslHeader,
		"half an open":    amqpHeader + string(codec.AppendFrame(nil, 0, opening(), nil)[:20]),
		"empty frames":    amqpHeader + string(codec.AppendFrame(nil, 0, nil, nil)),
		"SASL and then ?": saslHeader + string(codec.AppendFrame(nil, 0, &codec.SASLInit{Mechanism: "ANONYMOUS"}, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				p, conn := serve(t, amqp.Config{OpenTimeout: 30 * time.Second, Mechanisms: mechanisms()}, &book{})
				_, _ = p.nc.Write([]byte(say))
				ended(t, conn, start, 30*time.Second, amqp.ErrOpenTimeout)
			})
		})
	}
}

// TestIdleTimeout checks that a silent peer is told good-bye after twice the idle
// time-out, and that anything it says puts that off.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := serve(t, amqp.Config{IdleTimeout: time.Minute, CloseTimeout: 3 * time.Second}, &book{})
		p.begin()
		for range 5 {
			pass(119 * time.Second)
			p.send(0, nil) // an empty frame
		}
		for range 5 {
			pass(119 * time.Second)
			p.raw(0, 0, 0, 8, 2, 0, 0, 0).b = p.b[:1] // part of one
			p.write()
			pass(119 * time.Second)
			p.raw(0, 0, 8, 2, 0, 0, 0).write()
		}
		start := time.Now()
		if c := expect[*codec.Close](p); c.Error == nil || c.Error.Name != amqp.ResourceLimitExceeded {
			t.Error(c.Error)
		}
		if d := time.Since(start); d != 2*time.Minute {
			t.Errorf("closed after %v", d)
		}
		// It does not answer.
		ended(t, conn, start, 2*time.Minute+3*time.Second, amqp.ErrSilent)
	})
}

// TestHeartbeats checks that a peer hears of us as often as it wants, and no
// oftener.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, conn := serve(t, amqp.Config{IdleTimeout: time.Hour}, &book{})
		o := opening()
		o.IdleTimeout = 10_000
		p.header(codec.ProtocolAMQP).send(0, o, beginning())
		expect[*codec.Begin](p)
		start := time.Now()
		for i := range 10 {
			f, err := p.r.Next()
			if err != nil || len(f.Body) != 0 {
				t.Fatal(f, err)
			}
			if d := time.Since(start); d != time.Duration(i+1)*5*time.Second {
				t.Fatalf("heartbeat %d after %v", i, d)
			}
		}
		// What else is written counts too.
		pass(3 * time.Second)
		p.send(0, &codec.Flow{Echo: true})
		expect[*codec.Flow](p)
		start = time.Now()
		if f, err := p.r.Next(); err != nil || len(f.Body) != 0 || time.Since(start) != 5*time.Second {
			t.Error(f, err, time.Since(start))
		}
		conn.Close(nil)
		if expect[*codec.Close](p).Error != nil {
			t.Error("closed with an error")
		}
		// Nothing is said after the close.
		if f, err := p.r.Next(); !errors.Is(err, io.EOF) {
			t.Error(f, err)
		}
		<-conn.Done()
	})
}

// TestNoHeartbeats checks that a peer without an idle time-out gets none.
func TestNoHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := serve(t, amqp.Config{IdleTimeout: time.Hour}, &book{})
		p.begin()
		_ = p.nc.SetReadDeadline(time.Now().Add(119 * time.Minute))
		var b [1]byte
		if n, err := p.nc.Read(b[:]); n != 0 || err == nil {
			t.Error("something was said")
		}
	})
}

// TestWriteStall checks that a peer that does not read is given up, and how much
// was kept for it.
func TestWriteStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Untracked: true}}
		p, conn := serveOn(t, amqp.Config{WriteStall: 20 * time.Second, Outbound: 64 << 10}, b, 4<<10)
		p.begin().send(0, receiving("l", 0, "s"))
		expect[*codec.Attach](p)
		f := credit(0, 1<<20)
		f.IncomingWindow = 1 << 20
		p.send(0, f)
		synctest.Wait()
		start := time.Now()
		snd := b.sender()
		n := 0
		for snd.TrySend(amqp.Transfer{Payload: make([]byte, 1000)}) == nil {
			n++
		}
		conn.Push()
		synctest.Wait()
		if n < 64 { // and more, when the first are being written already
			t.Errorf("%d messages were queued", n)
		}
		for ; snd.TrySend(amqp.Transfer{Payload: make([]byte, 1000)}) == nil; n++ {
			synctest.Wait()
		}
		if n < 100 || n > 140 {
			t.Errorf("%d messages were queued and written", n)
		}
		// A Send keeps to its context.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := snd.Send(ctx, amqp.Transfer{Payload: make([]byte, 1000)}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := snd.Send(t.Context(), amqp.Transfer{Payload: []byte("x")}); !errors.Is(err, amqp.ErrClosed) {
			t.Error(err)
		}
		ended(t, conn, start, 20*time.Second, amqp.ErrStuck)
	})
}

// TestSlowReader checks that a peer that reads now and then is not given up.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{options: amqp.SenderOptions{Untracked: true}}
		p, _ := serveOn(t, amqp.Config{WriteStall: 20 * time.Second, Outbound: 16 << 10, IdleTimeout: time.Hour}, b, 4<<10)
		p.begin().send(0, receiving("l", 0, "s"))
		expect[*codec.Attach](p)
		f := credit(0, 1<<20)
		f.IncomingWindow = 1 << 20
		p.send(0, f)
		synctest.Wait()
		done := make(chan error, 1)
		go func() {
			for range 500 {
				if _, err := b.sender().Send(t.Context(), amqp.Transfer{Payload: make([]byte, 1000)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for i := range 500 {
			if i%10 == 0 {
				pass(time.Second)
			}
			if f := expect[*codec.Transfer](p); f.DeliveryID.V != uint32(i) {
				t.Fatalf("delivery %d instead of %d", f.DeliveryID.V, i)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestCloseTimeout checks that a close is not waited for for ever: neither the
// answer, nor that what was said before is taken.
func TestCloseTimeout(t *testing.T) {
	for _, name := range []string{"our close", "the peer's close", "our close, unread", "the peer's close, unread"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &book{options: amqp.SenderOptions{Untracked: true}}
				p, conn := serveOn(t, amqp.Config{CloseTimeout: 3 * time.Second}, b, 4<<10)
				p.begin().send(0, receiving("l", 0, "s"))
				expect[*codec.Attach](p)
				p.send(0, credit(0, 99))
				synctest.Wait()
				ours := name[:3] == "our"
				unread := name[len(name)-6:] == "unread"
				if unread {
					for range 20 {
						if err := b.sender().TrySend(amqp.Transfer{Payload: make([]byte, 1000)}); err != nil {
							t.Fatal(err)
						}
					}
					conn.Push()
				}
				start := time.Now()
				want := 3 * time.Second
				if ours {
					conn.Close(nil)
				} else {
					p.send(0, &codec.Close{})
					if !unread {
						want = 0
					}
				}
				ended(t, conn, start, want, nil)
				for _, err := range []error{b.sender().TrySend(amqp.Transfer{}), b.sender().Await(t.Context())} {
					if !errors.Is(err, amqp.ErrClosed) {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestErrorThatIsAnswered checks that a connection that ends with an error is over
// once the peer has answered, or as soon as it has closed the network connection.
func TestErrorThatIsAnswered(t *testing.T) {
	for name, answer := range map[string]func(p *script){
		"close":         func(p *script) { p.send(0, first(0, 0), &codec.Close{}) },
		"end of stream": func(p *script) { p.nc.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, conn := serve(t, amqp.Config{}, &book{})
				p.begin()
				start := time.Now()
				p.send(0, beginning())
				if c := expect[*codec.Close](p); c.Error == nil || c.Error.Name != amqp.IllegalState {
					t.Error(c.Error)
				}
				answer(p)
				<-conn.Done()
				if d := time.Since(start); d != 0 {
					t.Errorf("it took %v", d)
				}
				if c, ok := errors.AsType[*codec.Condition](conn.Err()); !ok || c.Name != amqp.IllegalState {
					t.Error(conn.Err())
				}
			})
		})
	}
}

// TestSlowHandler checks that time a handler takes is not counted against the
// peer.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{IdleTimeout: time.Second}, b)
		p.begin().send(0, sending("l", 0, "q"))
		synctest.Wait()
		b.flushing(func() { pass(time.Hour) })
		p.send(0, first(0, 0))
		if d := expect[*codec.Disposition](p); d.First != 0 {
			t.Error(d)
		}
		b.flushing(nil)
		if conn.Err() != nil {
			t.Error(conn.Err())
		}
	})
}

// TestPark checks that an idle connection is parked, and works on after that.
func TestPark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe("client", "server", 0)
		w := &waits{Conn: there}
		b := &book{}
		conn := amqp.Serve(w, amqp.Prepare(amqp.Config{IdleTimeout: time.Hour}), b)
		p := &script{t: t, nc: here, r: codec.NewReader(here, 1<<20)}
		p.begin().send(0, sending("l", 0, "q"))
		for i := range uint32(5) {
			pass(6 * time.Second)
			if w.waits.Load() != int32(i)+1 {
				t.Fatalf("parked %d times, want %d", w.waits.Load(), i+1)
			}
			p.send(0, first(0, i))
			if d := expect[*codec.Disposition](p); d.First != i {
				t.Fatal(d)
			}
		}
		pass(10 * time.Minute) // it is parked anew once
		if w.waits.Load() != 7 {
			t.Errorf("parked %d times", w.waits.Load())
		}
		here.Close()
		<-conn.Done()
		if !errors.Is(conn.Err(), amqp.ErrLost) {
			t.Error(conn.Err())
		}
	})
}

// waits counts how often a connection is parked.
type waits struct {
	*memnet.Conn
	waits atomic.Int32
}

func (w *waits) Wait() error {
	w.waits.Add(1)
	return w.Conn.Wait()
}

// TestShutdown checks that what was handed over is settled before the close, also
// when the peer goes on sending.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		p, conn := serve(t, amqp.Config{}, b)
		p.begin().send(0, sending("l", 0, "q"))
		synctest.Wait()
		b.flushing(func() { pass(time.Second) })
		p.send(0, first(0, 0), first(0, 1))
		synctest.Wait()
		conn.Shutdown(amqp.Refuse(amqp.ConnectionForced, "stop"))
		p.send(0, first(0, 2)) // comes too late
		if d := expect[*codec.Disposition](p); d.First != 0 || d.Last.V != 1 {
			t.Error(d)
		}
		// Some wait for the end of their session before they connect again.
		if e := expect[*codec.End](p); e.Error == nil || e.Error.Name != amqp.DetachForced || e.Error.Description != "stop" {
			t.Error(e.Error)
		}
		if c := expect[*codec.Close](p); c.Error == nil || c.Error.Name != amqp.ConnectionForced {
			t.Error(c.Error)
		}
		p.send(0, &codec.Close{})
		<-conn.Done()
		if c, ok := errors.AsType[*codec.Condition](conn.Err()); !ok || c.Name != amqp.ConnectionForced {
			t.Error(conn.Err())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, conn := serve(t, amqp.Config{}, &book{})
		p.begin()
		conn.Shutdown(nil) // idle: at once
		if e := expect[*codec.End](p); e.Error != nil {
			t.Error(e.Error)
		}
		expect[*codec.Close](p)
	})
}
