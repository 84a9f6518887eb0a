package amqp_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// node accepts what is sent to "q", and sends it back on links that receive from
// it.
type node struct {
	amqp.Client
	got    []got
	back   *amqp.Sender
	unsent [][]byte
}

type got struct {
	r *amqp.Receiver
	d amqp.Delivery
}

func (n *node) Attach(a *amqp.Attach) error {
	if a.Address() != "q" {
		return amqp.Refuse(amqp.NotFound, "no node %q", a.Address())
	}
	if a.Role == codec.Sender {
		a.Receive(amqp.ReceiverOptions{Handler: n, Credit: 100, MaxMessageSize: 2 << 20})
	} else {
		n.back = a.Send(amqp.SenderOptions{Handler: backs{n}})
	}
	return nil
}

func (n *node) Transfer(r *amqp.Receiver, d amqp.Delivery) { n.got = append(n.got, got{r, d}) }
func (n *node) Detached(*amqp.Receiver, error)             {}
func (n *node) Flush(*amqp.Conn) {
	for _, g := range n.got {
		n.unsent = append(n.unsent, bytes.Clone(g.d.Payload))
		if !g.d.Settled {
			g.r.Settle(g.d.ID, codec.Accepted())
		}
	}
	n.got = n.got[:0]
	n.pump()
}

// pump sends back what can be sent.
func (n *node) pump() {
	for n.back != nil && len(n.unsent) > 0 && n.back.TrySend(amqp.Transfer{Payload: n.unsent[0]}) == nil {
		n.unsent = n.unsent[1:]
	}
	if n.back != nil && n.back.Draining() {
		n.back.Drained()
	}
}

// backs is the handler of a node's sender.
type backs struct{ n *node }

func (b backs) Flow(*amqp.Sender)            { b.n.pump() }
func (b backs) Detached(*amqp.Sender, error) { b.n.back = nil }
func (b backs) Disposition(s *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	amqp.Outcomes{}.Disposition(s, d, state, settled)
	b.n.pump()
}

// listen serves with handlers of h until the test ends, and returns where.
func listen(t testing.TB, cfg amqp.Config, h func() amqp.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []*amqp.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := amqp.Prepare(cfg)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, amqp.Serve(nc, c, h()))
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, conn := range conns {
			conn.Abort(nil)
			<-conn.Done()
		}
	})
	return l.Addr().String()
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
