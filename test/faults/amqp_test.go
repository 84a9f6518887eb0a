package faults

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// amqpWait is how long one step of a client over AMQP may take.
const amqpWait = 30 * time.Second

// dialAMQP opens a connection of TLS to the AMQP port.
func (w *world) dialAMQP(ctx context.Context) (net.Conn, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: w.tls}
	return d.DialContext(ctx, "tcp", fmt.Sprintf("localhost:%d", w.Ready().AMQPPort))
}

// token is what a device proves itself by.
func (d identity) token() string {
	return sas.Sign("localhost/devices/"+d.id, d.key, "", time.Now().Add(time.Hour))
}

// engine opens a connection of our own engine and puts tokens: those of
// devices, or without any that of the hub's owner.
func (w *world) engine(ctx context.Context, owner string, devices ...identity) (*amqppeer.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, amqpWait)
	defer cancel()
	nc, err := w.dialAMQP(ctx)
	if err != nil {
		return nil, err
	}
	p, err := amqppeer.Open(ctx, nc, amqp.Config{})
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if err := p.Put(ctx, "localhost/devices/"+d.id, d.token()); err != nil {
			p.Cut()
			return nil, err
		}
	}
	if len(devices) == 0 {
		if err := p.Put(ctx, "localhost", owner); err != nil {
			p.Cut()
			return nil, err
		}
	}
	return p, nil
}

// azure is one connection of go-amqp, with one session.
type azure struct {
	*goamqp.Conn
	session *goamqp.Session
}

// azure opens a connection of go-amqp and puts a token.
func (w *world) azure(ctx context.Context, name, token string) (*azure, error) {
	ctx, cancel := context.WithTimeout(ctx, amqpWait)
	defer cancel()
	nc, err := w.dialAMQP(ctx)
	if err != nil {
		return nil, err
	}
	c, err := goamqp.NewConn(ctx, nc, &goamqp.ConnOptions{HostName: "localhost", SASLType: goamqp.SASLTypeAnonymous()})
	if err != nil {
		return nil, err
	}
	s, err := c.NewSession(ctx, nil)
	if err == nil {
		err = putToken(ctx, s, name, token)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &azure{c, s}, nil
}

func putToken(ctx context.Context, s *goamqp.Session, name, token string) error {
	in, err := s.NewReceiver(ctx, hubamqp.CBSAddress, nil)
	if err != nil {
		return err
	}
	out, err := s.NewSender(ctx, hubamqp.CBSAddress, nil)
	if err != nil {
		return err
	}
	reply := "cbs"
	err = out.Send(ctx, &goamqp.Message{
		Value:                 token,
		Properties:            &goamqp.MessageProperties{MessageID: "1", ReplyTo: &reply},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": hubamqp.TokenSAS, "name": name},
	}, nil)
	if err != nil {
		return err
	}
	m, err := in.Receive(ctx, nil)
	if err != nil {
		return err
	}
	if status := m.ApplicationProperties["status-code"]; status != int32(200) {
		return fmt.Errorf("put-token for %s: %v %v", name, status, m.ApplicationProperties["status-description"])
	}
	return errors.Join(in.AcceptMessage(ctx, m), out.Close(ctx), in.Close(ctx))
}

// errRefused is the outcome of a message that was answered, and not accepted.
var errRefused = errors.New("refused")

// outlet sends messages, and does not wait for their outcomes.
type outlet interface {
	// send returns once the message is on its way; wait waits for its outcome.
	send(ctx context.Context, m causeway.Message) (wait func(ctx context.Context) error, err error)
}

// azureOutlet sends over go-amqp.
type azureOutlet struct{ *goamqp.Sender }

func (o azureOutlet) send(ctx context.Context, m causeway.Message) (func(context.Context) error, error) {
	receipt, err := o.SendWithReceipt(ctx, azureMessage(m), nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		st, err := receipt.Wait(ctx)
		if r, ok := st.(*goamqp.StateRejected); ok && err == nil {
			return fmt.Errorf("%w: %v", errRefused, r.Error)
		}
		if _, ok := st.(*goamqp.StateAccepted); !ok && err == nil {
			return fmt.Errorf("%w: %T", errRefused, st)
		}
		return err
	}, nil
}

func azureMessage(m causeway.Message) *goamqp.Message {
	x := goamqp.NewMessage(m.Body)
	x.Properties = &goamqp.MessageProperties{}
	x.ApplicationProperties = map[string]any{}
	if m.ID != "" {
		x.Properties.MessageID = m.ID
	}
	if m.To != "" {
		x.Properties.To = &m.To
	}
	if m.Ack != "" {
		x.ApplicationProperties["iothub-ack"] = string(m.Ack)
	}
	return x
}

// engineOutlet sends over our engine.
type engineOutlet struct{ *amqp.Sender }

// pending is a message whose outcome is waited for.
type pending chan error

// engineHandler passes outcomes on.
type engineHandler struct{}

func (engineHandler) Flow(*amqp.Sender)            {}
func (engineHandler) Detached(*amqp.Sender, error) {}

func (engineHandler) Disposition(_ *amqp.Sender, d amqp.Sent, st *codec.State, _ bool) {
	var err error
	if st.Kind != codec.CodeAccepted {
		err = fmt.Errorf("%w: %v", errRefused, st.Kind)
		if st.Error != nil {
			err = fmt.Errorf("%w: %s: %.200s", errRefused, st.Error.Name, st.Error.Description)
		}
	}
	d.Token.(pending) <- err
}

func (o engineOutlet) send(ctx context.Context, m causeway.Message) (func(context.Context) error, error) {
	p := make(pending, 1)
	if _, err := o.Send(ctx, amqp.Transfer{Payload: hubamqp.AppendTelemetry(nil, &m), Token: p}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		select {
		case err := <-p:
			return err
		case <-o.Conn().Done():
			select {
			case err := <-p: // it came before the end
				return err
			default:
				return amqp.ErrClosed
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

// telemetryOf opens a link on which a device sends, over go-amqp.
func (a *azure) telemetryOf(ctx context.Context, d identity) (outlet, error) {
	s, err := a.session.NewSender(ctx, "/devices/"+d.id+"/messages/events", nil)
	return azureOutlet{s}, err
}

// telemetryOf opens a link on which a device sends, over our engine.
func telemetryOf(ctx context.Context, p *amqppeer.Peer, d identity) (outlet, error) {
	s, err := p.Session.AttachSender(ctx, amqp.LinkConfig{Target: "/devices/" + d.id + "/messages/events"}, amqp.SenderOptions{Handler: engineHandler{}})
	return engineOutlet{s}, err
}

// pause waits a little before something is tried again.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(2 * time.Millisecond) // there is nothing to wait on
	}
}
