package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	sink "github.com/causeway-iot/causeway/connector/amqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a container with nodes and $cbs.
type broker struct {
	t    *testing.T
	addr string
	// outcome decides about message n, from 0.
	outcome func(n int) codec.State

	mu      sync.Mutex
	want    string // token that must be shown before there is a link; "" for none
	login   string // user and password of PLAIN
	got     []hubamqp.Event
	first   []byte   // message as it came
	names   []string // of tokens
	tokens  []string
	opened  int
	current *amqp.Conn
	silent  bool // say nothing of messages
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, addr: l.Addr().String(), outcome: func(int) codec.State { return codec.Accepted() }}
	cfg := amqp.Prepare(amqp.Config{ContainerID: "broker", Mechanisms: []amqp.Mechanism{
		{Name: "ANONYMOUS", Start: func(*amqp.Conn) amqp.Dialogue {
			return func([]byte) ([]byte, bool, error) { return nil, true, nil }
		}},
		{Name: "PLAIN", Start: func(*amqp.Conn) amqp.Dialogue {
			return func(r []byte) ([]byte, bool, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.login = string(bytes.ReplaceAll(r, []byte{0}, []byte("|")))
				return nil, true, nil
			}
		}},
	}})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			n := &node{b: b}
			c := amqp.Serve(nc, cfg, n)
			b.mu.Lock()
			b.opened++
			b.current = c
			b.mu.Unlock()
			all.Go(func() { <-c.Done() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.drop()
		all.Wait()
	})
	return b
}

// drop cuts the connection that was made last.
func (b *broker) drop() {
	b.mu.Lock()
	c := b.current
	b.mu.Unlock()
	if c != nil {
		c.Abort(nil)
		<-c.Done()
	}
}

func (b *broker) messages() []hubamqp.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]hubamqp.Event(nil), b.got...)
}

// node serves one connection.
type node struct {
	amqp.Client
	b     *broker
	reply *amqp.Sender
	known bool
}

func (n *node) Attach(a *amqp.Attach) error {
	switch {
	case a.Address() == hubamqp.CBSAddress && a.Role == codec.Receiver:
		n.reply = a.Send(amqp.SenderOptions{Handler: amqp.Outcomes{}})
		return nil
	case a.Address() == hubamqp.CBSAddress:
		a.Receive(amqp.ReceiverOptions{Handler: (*cbs)(n), Credit: 10})
		return nil
	}
	n.b.mu.Lock()
	want := n.b.want
	n.b.mu.Unlock()
	if want != "" && !n.known {
		return amqp.Refuse(amqp.UnauthorizedAccess, "no token")
	}
	if a.Address() != "orders" {
		return amqp.Refuse(amqp.NotFound, "there is no node %q", a.Address())
	}
	a.Receive(amqp.ReceiverOptions{Handler: n, Credit: 50, MaxMessageSize: 100_000, SettleAtOnce: true})
	return nil
}

func (n *node) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	var e hubamqp.Event
	if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), bytes.Clone(d.Payload)); err != nil {
		n.b.t.Error(err)
	}
	n.b.mu.Lock()
	i := len(n.b.got)
	if i == 0 {
		n.b.first = bytes.Clone(d.Payload)
	}
	n.b.got = append(n.b.got, e)
	silent := n.b.silent
	n.b.mu.Unlock()
	if !silent {
		r.Settle(d.ID, n.b.outcome(i))
	}
}

func (n *node) Detached(*amqp.Receiver, error) {}

// cbs takes tokens.
type cbs node

func (c *cbs) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	req, err := hubamqp.DecodePutToken(bytes.Clone(d.Payload))
	if err != nil {
		c.b.t.Error(err)
	}
	c.b.mu.Lock()
	c.b.names, c.b.tokens = append(c.b.names, req.Name), append(c.b.tokens, string(req.Token))
	if c.b.want == "refuse" {
		err = causeway.Errorf(causeway.IotHubUnauthorized, "cbs", "the signature is wrong")
	} else {
		c.known = true
	}
	c.b.mu.Unlock()
	r.Settle(d.ID, codec.Accepted())
	if err := c.reply.TrySend(amqp.Transfer{Payload: hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(req.MessageID, err))}); err != nil {
		c.b.t.Error(err)
	}
}

func (c *cbs) Detached(*amqp.Receiver, error) {}

func open(t *testing.T, c sink.Config) plugin.Sink {
	t.Helper()
	if c.Batch == 0 {
		c.Batch = 200
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := sink.New(c, plugin.Env{Hub: "plant", Endpoint: "orders"}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func batch(first, n int) []causeway.Message {
	var all []causeway.Message
	for i := range n {
		all = append(all, causeway.Message{
			From: causeway.Identity{Hub: "plant", Device: "d"}, Body: fmt.Append(nil, first+i), Source: causeway.SourceTelemetry,
			Properties: []causeway.Property{{Key: "k", Value: "v"}, {Key: "iothub-message-source", Value: "forged"}},
		})
	}
	return all
}

var errTold = errors.New("told to")

// ended is a context that is over.
func ended() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTold)
	return ctx
}
