package amqp_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// node accepts what is sent to it, and sends it back on links that receive.
type node struct {
	amqp.Client
	got  []got
	back *amqp.Sender
	seen chan string
}

type got struct {
	r *amqp.Receiver
	d amqp.Delivery
}

func (n *node) Attach(a *amqp.Attach) error {
	switch a.Address() {
	case "q":
		if a.Role == codec.Sender {
			a.Receive(amqp.ReceiverOptions{Handler: n, Credit: 100})
		} else {
			n.back = a.Send(amqp.SenderOptions{Handler: amqp.Outcomes{}})
		}
		return nil
	}
	return amqp.Refuse(amqp.NotFound, "no node %q", a.Address())
}

func (n *node) Transfer(r *amqp.Receiver, d amqp.Delivery) { n.got = append(n.got, got{r, d}) }
func (n *node) Detached(r *amqp.Receiver, err error)       {}
func (n *node) Flush(*amqp.Conn) {
	for _, g := range n.got {
		if n.seen != nil {
			n.seen <- string(g.d.Payload)
		}
		if n.back != nil {
			_ = n.back.TrySend(amqp.Transfer{Payload: g.d.Payload})
		}
		g.r.Settle(g.d.ID, codec.Accepted())
	}
	n.got = n.got[:0]
}

func listen(t testing.TB, cfg amqp.Config, h func() amqp.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := amqp.Prepare(cfg)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conn := amqp.Serve(nc, c, h())
			t.Cleanup(func() { conn.Abort(nil); <-conn.Done() })
		}
	}()
	return l.Addr().String()
}

func TestGoAMQPSendsAndReceives(t *testing.T) {
	n := &node{}
	addr := listen(t, amqp.Config{}, func() amqp.Handler { return n })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := goamqp.Dial(ctx, "amqp://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewReceiver(ctx, "q", &goamqp.ReceiverOptions{Credit: 100})
	if err != nil {
		t.Fatal(err)
	}
	snd, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		want := fmt.Sprint("message ", i)
		if err := snd.Send(ctx, goamqp.NewMessage([]byte(want)), nil); err != nil {
			t.Fatal(err)
		}
		m, err := r.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.GetData()) != want {
			t.Fatalf("got %q, want %q", m.GetData(), want)
		}
		if err := r.AcceptMessage(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.NewReceiver(ctx, "nowhere", nil); err == nil {
		t.Fatal("a link to a node that is not there was granted")
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDial(t *testing.T) {
	n := &node{}
	addr := listen(t, amqp.Config{}, func() amqp.Handler { return n })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp.Dial(ctx, nc, amqp.Prepare(amqp.Config{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var in amqp.Inbox
	r, err := s.AttachReceiver(ctx, amqp.LinkConfig{Source: "q"}, amqp.ReceiverOptions{Handler: &in, Credit: 10})
	if err != nil {
		t.Fatal(err)
	}
	snd, err := s.AttachSender(ctx, amqp.LinkConfig{Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		size := 10
		if i%100 == 0 {
			size = 200_000
		}
		want := fmt.Sprintf("%0*d", size, i)
		payload, _ := (&codec.Message{Body: codec.Data([]byte(want))}).Append(nil)
		st, err := snd.Deliver(ctx, amqp.Transfer{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind != codec.CodeAccepted {
			t.Fatal(st)
		}
		d, err := in.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Payload) != string(payload) {
			t.Fatalf("message %d arrived differently", i)
		}
		r.Settle(d.ID, codec.Accepted())
		conn.Push()
	}
	if _, err := s.AttachReceiver(ctx, amqp.LinkConfig{Source: "nowhere"}, amqp.ReceiverOptions{Handler: &in, Credit: 10}); err == nil {
		t.Fatal("a link to a node that is not there was granted")
	} else {
		t.Log(err)
	}
	conn.Close(nil)
	<-conn.Done()
	if err := conn.Err(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkGoAMQPSend(b *testing.B) {
	addr := listen(b, amqp.Config{}, func() amqp.Handler { return &node{} })
	ctx := b.Context()
	conn, err := goamqp.Dial(ctx, "amqp://"+addr, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, _ := conn.NewSession(ctx, nil)
	snd, _ := s.NewSender(ctx, "q", nil)
	m := goamqp.NewMessage(make([]byte, 256))
	for b.Loop() {
		if err := snd.Send(ctx, m, nil); err != nil {
			b.Fatal(err)
		}
	}
}
