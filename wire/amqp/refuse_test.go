package amqp_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// fickle grants links, and takes those to "gone" back before the peer was
// answered.
type fickle struct {
	node
	conn chan *amqp.Conn
}

func (f *fickle) Open(c *amqp.Conn, _ *codec.Open) error {
	f.conn <- c
	return nil
}

func (f *fickle) Attach(a *amqp.Attach) error {
	r := a.Receive(amqp.ReceiverOptions{Handler: f, Credit: 10})
	if a.Address() == "gone" {
		r.Close(amqp.Refuse(amqp.LinkStolen, "taken over"))
	}
	return nil
}

// TestCloseBeforeAnswer closes a link before the peer was told of it: the peer
// is refused with the condition, and no other link is harmed.
func TestCloseBeforeAnswer(t *testing.T) {
	f := &fickle{conn: make(chan *amqp.Conn, 1)}
	addr := listen(t, amqp.Config{}, func() amqp.Handler { return f })
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
	if served := <-f.conn; served.Handler() != amqp.Handler(f) {
		t.Error("the connection does not know its handler")
	}
	s, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	snd, err := s.AttachSender(ctx, amqp.LinkConfig{Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.AttachSender(ctx, amqp.LinkConfig{Target: "gone"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if cond, ok := errors.AsType[*codec.Condition](err); !ok || cond.Name != amqp.LinkStolen {
		t.Errorf("attach: %v, want %s", err, amqp.LinkStolen)
	}
	if st, err := snd.Deliver(ctx, amqp.Transfer{Payload: []byte{0, 0x53, 0x75, 0xa0, 0}}); err != nil || st.Kind != codec.CodeAccepted {
		t.Errorf("the other link: %v %v", st, err)
	}
}

// TestLongNames: names of links are kept, and so have a bound.
func TestLongNames(t *testing.T) {
	addr := listen(t, amqp.Config{}, func() amqp.Handler { return &node{} })
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
	for size, want := range map[int]string{1 << 10: "", 1<<10 + 1: amqp.InvalidField, 50_000: amqp.InvalidField} {
		_, err := s.AttachSender(ctx, amqp.LinkConfig{Name: strings.Repeat("n", size), Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		got := ""
		if cond, ok := errors.AsType[*codec.Condition](err); ok {
			got = cond.Name
		}
		if got != want || (err == nil) != (want == "") {
			t.Errorf("a name of %d bytes: %v, want %q", size, err, want)
		}
	}
}
