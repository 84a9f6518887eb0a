package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// goDial returns a session of Azure/go-amqp on a connection to h.
func goDial(t testing.TB, h amqp.Handler, o *goamqp.ConnOptions) (context.Context, *goamqp.Conn, *goamqp.Session) {
	t.Helper()
	addr := listen(t, amqp.Config{Mechanisms: mechanisms()}, func() amqp.Handler { return h })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	conn, err := goamqp.Dial(ctx, "amqp://"+addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, conn, s
}

// TestGoAMQP sends messages of all sizes with go-amqp and receives them again,
// one after the other and many at once.
func TestGoAMQP(t *testing.T) {
	for name, o := range map[string]*goamqp.ConnOptions{
		"":                 {},
		"small frames":     {MaxFrameSize: 512},
		"SASL PLAIN":       {SASLType: goamqp.SASLTypePlain("user", "secret")},
		"SASL ANONYMOUS":   {SASLType: goamqp.SASLTypeAnonymous(), IdleTimeout: time.Second},
		"frames of 64 KiB": {MaxFrameSize: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, conn, s := goDial(t, &node{}, o)
			r, err := s.NewReceiver(ctx, "q", &goamqp.ReceiverOptions{Credit: 100})
			if err != nil {
				t.Fatal(err)
			}
			snd, err := s.NewSender(ctx, "q", nil)
			if err != nil {
				t.Fatal(err)
			}
			receive := func(want []byte) {
				t.Helper()
				m, err := r.Receive(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(m.GetData(), want) {
					t.Fatalf("got %d bytes, want %d", len(m.GetData()), len(want))
				}
				if err := r.AcceptMessage(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			for i, size := range []int{0, 1, 100, 400, 420, 512, 5000, 65_400, 65_536, 70_000, 500_000, 1 << 20} {
				want := bytes.Repeat([]byte{byte(i)}, size)
				if err := snd.Send(ctx, goamqp.NewMessage(want), nil); err != nil {
					t.Fatal(err)
				}
				receive(want)
			}
			done := make(chan error, 1)
			go func() {
				for i := range 2000 {
					if err := snd.Send(ctx, goamqp.NewMessage(fmt.Append(nil, "message ", i)), nil); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for i := range 2000 {
				receive(fmt.Append(nil, "message ", i))
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if _, err := s.NewReceiver(ctx, "nowhere", nil); !isCondition(err, amqp.NotFound) {
				t.Errorf("a link to a node that is not there: %v", err)
			}
			for _, c := range []interface{ Close(context.Context) error }{snd, r, s} {
				if err := c.Close(ctx); err != nil {
					t.Errorf("close %T: %v", c, err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func isCondition(err error, name string) bool {
	var link *goamqp.LinkError
	if errors.As(err, &link) && link.RemoteErr != nil {
		return string(link.RemoteErr.Condition) == name
	}
	var e *goamqp.Error
	return errors.As(err, &e) && string(e.Condition) == name
}

// TestGoAMQPSettles uses every way to settle.
func TestGoAMQPSettles(t *testing.T) {
	b := &book{}
	ctx, _, s := goDial(t, b, nil)
	for _, mode := range []goamqp.SenderSettleMode{goamqp.SenderSettleModeUnsettled, goamqp.SenderSettleModeSettled, goamqp.SenderSettleModeMixed} {
		for _, rcv := range []goamqp.ReceiverSettleMode{goamqp.ReceiverSettleModeFirst, goamqp.ReceiverSettleModeSecond} {
			snd, err := s.NewSender(ctx, "q", &goamqp.SenderOptions{SettlementMode: &mode, RequestedReceiverSettleMode: &rcv})
			if err != nil {
				t.Fatal(err)
			}
			for _, settled := range []bool{false, true} {
				if mode != goamqp.SenderSettleModeMixed && settled != (mode == goamqp.SenderSettleModeSettled) {
					continue
				}
				if err := snd.Send(ctx, goamqp.NewMessage([]byte("x")), &goamqp.SendOptions{Settled: settled}); err != nil {
					t.Errorf("mode %v, %v, settled %v: %v", mode, rcv, settled, err)
				}
			}
			if err := snd.Close(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	for _, rcv := range []goamqp.ReceiverSettleMode{goamqp.ReceiverSettleModeFirst, goamqp.ReceiverSettleModeSecond} {
		for _, mode := range []goamqp.SenderSettleMode{goamqp.SenderSettleModeUnsettled, goamqp.SenderSettleModeSettled, goamqp.SenderSettleModeMixed} {
			n := &node{unsent: [][]byte{data("a"), data("b"), data("c"), data("d")}}
			ctx, _, s := goDial(t, n, nil)
			r, err := s.NewReceiver(ctx, "q", &goamqp.ReceiverOptions{Credit: 2, SettlementMode: &rcv, RequestedSenderSettleMode: &mode})
			if err != nil {
				t.Fatal(err)
			}
			for i, settle := range []func(m *goamqp.Message) error{
				func(m *goamqp.Message) error { return r.AcceptMessage(ctx, m) },
				func(m *goamqp.Message) error { return r.ReleaseMessage(ctx, m) },
				func(m *goamqp.Message) error {
					return r.RejectMessage(ctx, m, &goamqp.Error{Condition: "a:b", Description: "c"})
				},
				func(m *goamqp.Message) error {
					return r.ModifyMessage(ctx, m, &goamqp.ModifyMessageOptions{DeliveryFailed: true})
				},
			} {
				m, err := r.Receive(ctx, nil)
				if err != nil {
					t.Fatalf("mode %v, %v: %v", rcv, mode, err)
				}
				if want := string("abcd"[i]); string(m.GetData()) != want {
					t.Errorf("%q, want %q", m.GetData(), want)
				}
				// go-amqp gives the error of the answer, which is its own.
				if err := settle(m); err != nil && !isCondition(err, "a:b") {
					t.Errorf("mode %v, %v: settle %d: %v", rcv, mode, i, err)
				}
			}
		}
	}
}

// data is a message with s in its body.
func data(s string) []byte {
	b, err := (&codec.Message{Body: codec.Data([]byte(s))}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// TestGoAMQPRejected has what go-amqp sends rejected.
func TestGoAMQPRejected(t *testing.T) {
	b := &book{settle: codec.Rejected(amqp.Refuse("com.microsoft:argument-error", "no"))}
	ctx, _, s := goDial(t, b, nil)
	snd, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snd.Send(ctx, goamqp.NewMessage([]byte("x")), nil); !isCondition(err, "com.microsoft:argument-error") {
		t.Error(err)
	}
}

// TestGoAMQPCredit gives credit by hand, and drains.
func TestGoAMQPCredit(t *testing.T) {
	n := &node{unsent: [][]byte{data("a"), data("b"), data("c")}}
	ctx, _, s := goDial(t, n, nil)
	r, err := s.NewReceiver(ctx, "q", &goamqp.ReceiverOptions{Credit: -1})
	if err != nil {
		t.Fatal(err)
	}
	receive := func(n uint32, want string) {
		t.Helper()
		if err := r.IssueCredit(n); err != nil {
			t.Fatal(err)
		}
		m, err := r.Receive(ctx, nil)
		if err != nil || string(m.GetData()) != want {
			t.Fatalf("%v, %v", m, err)
		}
		if err := r.AcceptMessage(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	receive(1, "a")
	receive(1, "b")
	receive(10, "c")
	for range 3 { // there is credit, or none, and nothing to have
		if err := r.DrainCredit(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	snd, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snd.Send(ctx, goamqp.NewMessage([]byte("d")), nil); err != nil {
		t.Fatal(err)
	}
	receive(1, "d") // not before there is credit again
}

// TestGoAMQPErrors ends links, sessions and connections under go-amqp.
func TestGoAMQPErrors(t *testing.T) {
	b := &book{}
	ctx, conn, s := goDial(t, b, nil)
	if _, err := s.NewSender(ctx, "x", nil); !isCondition(err, amqp.NotFound) {
		t.Error(err)
	}
	snd, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.receiver().Close(amqp.Refuse(amqp.DetachForced, "go away"))
	for err == nil {
		err = snd.Send(ctx, goamqp.NewMessage([]byte("x")), nil)
	}
	if !isCondition(err, amqp.DetachForced) {
		t.Error(err)
	}
	if snd, err = s.NewSender(ctx, "q", nil); err != nil {
		t.Fatal(err)
	}
	if err := snd.Send(ctx, goamqp.NewMessage(make([]byte, 2<<20)), nil); err == nil {
		t.Error("a message larger than the limit was sent")
	}
	if err := b.receiver().Session().End(amqp.Refuse(amqp.ResourceDeleted, "end")); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		err = snd.Send(ctx, goamqp.NewMessage([]byte("x")), nil)
	}
	var session *goamqp.SessionError
	if !errors.As(err, &session) || session.RemoteErr == nil || session.RemoteErr.Condition != amqp.ResourceDeleted {
		t.Error(err)
	}
	if s, err = conn.NewSession(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if snd, err = s.NewSender(ctx, "q", nil); err != nil {
		t.Fatal(err)
	}
	b.receiver().Conn().Close(amqp.Refuse(amqp.ConnectionForced, "stop"))
	for err = nil; err == nil; {
		err = snd.Send(ctx, goamqp.NewMessage([]byte("x")), nil)
	}
	// The session ends before the connection; a sender that looks when both have
	// ended is told of either.
	var closed *goamqp.ConnError
	if session = nil; errors.As(err, &session) {
		if session.RemoteErr == nil || session.RemoteErr.Condition != amqp.DetachForced {
			t.Error(err)
		}
	} else if !errors.As(err, &closed) {
		t.Error(err)
	}
	<-conn.Done()
	closed = nil
	if err := conn.Err(); !errors.As(err, &closed) || closed.RemoteErr == nil || closed.RemoteErr.Condition != amqp.ConnectionForced {
		t.Error(err)
	}
}
