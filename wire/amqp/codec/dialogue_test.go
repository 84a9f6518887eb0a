package codec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestDialogue lets a go-amqp client talk to a peer that answers each frame by
// itself, and gives back on one link what came by the other: frames of every
// type, in both directions, as a client that is not ours writes and reads them.
func TestDialogue(t *testing.T) {
	here, there := net.Pipe()
	e := &echo{conn: there, r: codec.NewReader(there, 1<<16), max: 600}
	done := make(chan error, 1)
	go func() {
		defer there.Close()
		done <- e.serve()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := amqp.NewConn(ctx, here, &amqp.ConnOptions{
		ContainerID: "client", HostName: "hub", SASLType: amqp.SASLTypePlain("user", "secret"),
		Properties: map[string]any{"product": "test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := session.NewReceiver(ctx, "/out", &amqp.ReceiverOptions{
		Credit:  10,
		Filters: []amqp.LinkFilter{amqp.NewSelectorFilter("amqp.annotation.x-opt-offset > '-1'")},
	})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := session.NewSender(ctx, "/in", nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.filter != "amqp.annotation.x-opt-offset > '-1'" {
		t.Errorf("filter %q", e.filter)
	}
	for _, size := range []int{0, 10, 5000} {
		body := bytes.Repeat([]byte("x"), size)
		m := amqp.NewMessage(body)
		m.ApplicationProperties = map[string]any{"size": int32(size)}
		if err := sender.Send(ctx, m, nil); err != nil {
			t.Fatal(err)
		}
		got, err := receiver.Receive(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.GetData(), body) || got.ApplicationProperties["size"] != int32(size) || len(got.DeliveryTag) != 16 {
			t.Errorf("%d bytes came back as %d, tag %x", size, len(got.GetData()), got.DeliveryTag)
		}
		if err := receiver.AcceptMessage(ctx, got); err != nil {
			t.Fatal(err)
		}
	}
	refused := amqp.NewMessage(nil)
	refused.ApplicationProperties = map[string]any{"refuse": true}
	var failed *amqp.Error
	if err := sender.Send(ctx, refused, nil); !errors.As(err, &failed) || failed.Condition != "com.microsoft:argument-error" {
		t.Errorf("refused with %v", err)
	}
	for _, c := range []interface{ Close(context.Context) error }{sender, receiver, session} {
		if err := c.Close(ctx); err != nil {
			t.Errorf("close %T: %v", c, err)
		}
	}
	// Its error tells who closed the pipe first, which does not matter.
	_ = conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if e.user != "\x00user\x00secret" || e.product != "test" || e.accepted != 3 {
		t.Errorf("user %q, product %q, %d accepted", e.user, e.product, e.accepted)
	}
}

// echo is the peer: one session, one link each way.
type echo struct {
	conn    net.Conn
	r       *codec.Reader
	max     int // bytes of the frames it sends
	in, out uint32
	next    uint32                 // id of the next delivery it sends
	first   codec.Optional[uint32] // id of the one it receives
	whole   []byte

	user, product, filter string
	accepted              int
}

func (e *echo) serve() error {
	for {
		p, err := e.r.Protocol()
		if err != nil {
			return err
		}
		if err := e.write(p.Append(nil)); err != nil {
			return err
		}
		if p == codec.ProtocolAMQP {
			break
		}
		if err := e.login(); err != nil {
			return err
		}
	}
	for {
		f, err := e.r.Next()
		if err != nil {
			return err
		}
		p, payload, err := f.Performative()
		if err != nil {
			return err
		}
		if err := e.answer(p, payload); err != nil {
			return fmt.Errorf("answer %T: %w", p, err)
		}
		if _, ok := p.(*codec.Close); ok {
			return nil
		}
	}
}

func (e *echo) write(b []byte) error {
	_, err := e.conn.Write(b)
	return err
}

func (e *echo) send(p codec.Performative) error { return e.write(codec.AppendFrame(nil, 0, p, nil)) }

func (e *echo) login() error {
	if err := e.send(&codec.SASLMechanisms{Mechanisms: codec.NewSymbols("MSSBCBS", "ANONYMOUS", "PLAIN", "EXTERNAL")}); err != nil {
		return err
	}
	f, err := e.r.Next()
	if err != nil {
		return err
	}
	var start codec.SASLInit
	if _, err := f.Decode(&start); err != nil {
		return err
	}
	e.user = string(start.InitialResponse)
	return e.send(&codec.SASLOutcome{Outcome: codec.SASLOK})
}

func (e *echo) answer(p codec.Performative, payload []byte) error {
	switch p := p.(type) {
	case *codec.Open:
		v, _ := p.Properties.Lookup("product")
		text, _ := v.Text()
		e.product = string([]byte(text))
		return e.send(&codec.Open{ContainerID: "server", MaxFrameSize: 1024, ChannelMax: 8191, IdleTimeout: 240_000})
	case *codec.Begin:
		return e.send(&codec.Begin{
			RemoteChannel: codec.Some(uint16(0)), IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 255,
		})
	case *codec.Attach:
		return e.attach(p)
	case *codec.Transfer:
		if p.DeliveryID.OK { // on the first transfer of a delivery
			e.first = p.DeliveryID
		}
		if e.whole = append(e.whole, payload...); p.More {
			return nil
		}
		return e.deliver()
	case *codec.Disposition:
		if p.Role == codec.Receiver && p.State.Kind == codec.CodeAccepted {
			e.accepted++
		}
	case *codec.Detach:
		return e.send(&codec.Detach{Handle: p.Handle, Closed: true})
	case *codec.End:
		return e.send(&codec.End{})
	case *codec.Close:
		// The client may be gone before it has read this.
		if err := e.send(&codec.Close{}); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return err
		}
	}
	return nil
}

func (e *echo) attach(p *codec.Attach) error {
	// The answer takes the handle of the question.
	reply := codec.Attach{
		Name: p.Name, Handle: p.Handle, Role: !p.Role, SndSettleMode: p.SndSettleMode, RcvSettleMode: p.RcvSettleMode,
		Source: p.Source, Target: p.Target, MaxMessageSize: 1 << 20,
	}
	if p.Role == codec.Receiver {
		e.out = p.Handle
		for _, v := range p.Source.Filter.All() {
			_, x, _ := v.Described()
			text, _ := x.Text()
			e.filter = string([]byte(text))
		}
		reply.InitialDeliveryCount = codec.Some(uint32(0))
		return e.send(&reply)
	}
	e.in = p.Handle
	if err := e.send(&reply); err != nil {
		return err
	}
	return e.send(&codec.Flow{
		NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1000, OutgoingWindow: 1000,
		Handle: codec.Some(e.in), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(100)),
	})
}

// deliver settles what has arrived whole, and gives it back in frames of e.max
// bytes.
func (e *echo) deliver() error {
	var m codec.Message
	if err := m.Decode(e.whole); err != nil {
		return err
	}
	d := codec.Disposition{Role: codec.Receiver, First: e.first.V, Settled: true, State: codec.Accepted()}
	_, refuse := m.ApplicationProperties.Lookup("refuse")
	if refuse {
		d.State = codec.Rejected(&codec.Condition{Name: "com.microsoft:argument-error", Description: "refused"})
	}
	if err := e.send(&d); err != nil || refuse {
		return err
	}
	wire, err := m.Append(nil)
	if err != nil {
		return err
	}
	e.whole = e.whole[:0]
	t := codec.Transfer{
		Handle: e.out, DeliveryID: codec.Some(e.next), DeliveryTag: make([]byte, 16), MessageFormat: codec.Some(uint32(0)),
	}
	e.next++
	for first := true; first || len(wire) > 0; first = false {
		n := min(len(wire), e.max-64)
		t.More = n < len(wire)
		if err := e.write(codec.AppendFrame(nil, 0, &t, wire[:n])); err != nil {
			return err
		}
		t, wire = codec.Transfer{Handle: e.out}, wire[n:]
	}
	return nil
}
