package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// ask sends a request of a registration and returns the answer, "" for one that was
// refused.
func ask(ctx context.Context, s *amqp.Sender, r *amqppeer.Receiver, q dpsamqp.Request) (string, error) {
	q.Correlation = codec.String("q")
	st, err := s.Deliver(ctx, amqp.Transfer{Payload: dpsamqp.AppendRequest(nil, q)})
	if err != nil || st.Kind != codec.CodeAccepted {
		return "", err
	}
	d, err := r.Next(ctx)
	if err != nil {
		return "", err
	}
	defer r.Accept(d)
	reply, err := dpsamqp.DecodeReply(d.Payload)
	return string(reply.Body), err
}

// TestAMQPProvisioning has clients say what they like to the provisioning service
// over AMQP. A device finds its hub meanwhile.
func TestAMQPProvisioning(t *testing.T) {
	w := newWorld(t)
	f := newFactory(t, w)
	login := func(address, token string) (p *amqppeer.Peer, s *amqp.Sender, r *amqppeer.Receiver, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		nc, err := (&tls.Dialer{Config: w.tls}).DialContext(ctx, "tcp", w.amqp)
		if err != nil {
			return nil, nil, nil, err
		}
		if p, err = amqppeer.Open(ctx, nc, amqp.Config{SASL: amqp.PlainSASL(address, token)}); err != nil {
			return nil, nil, nil, err
		}
		if r, err = p.Receiver(ctx, amqp.LinkConfig{Source: address}, 10); err == nil {
			s, err = p.Sender(ctx, address)
		}
		return p, s, r, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() { // nothing is proven by any of these
			for i := range 50 {
				raw := w.tryRaw()
				if raw == nil {
					return
				}
				b := codec.ProtocolSASL.Append(nil)
				hello := fmt.Appendf(nil, "\x00%s\x00tpm\x00%s", f.scope, garbage(316))
				switch i % 5 {
				case 1:
					hello = bytes.Repeat([]byte{0x80}, 400)
				case 2:
					hello = []byte(garbage(2000))
				case 3:
					hello = append([]byte{0}, bytes.Repeat([]byte{'x'}, 5000)...)
				case 4:
					hello = nil
				}
				b = frames(b, &codec.SASLInit{Mechanism: "TPM", InitialResponse: hello})
				for range i % 4 {
					b = frames(b, &codec.SASLResponse{Response: []byte(garbage(100 * (k + 1)))})
				}
				_, _ = raw.Write(b) // it may be gone by then
				if _, err := raw.Protocol(); err != nil {
					t.Error(err)
				}
				raw.Close()
			}
		})
		wg.Go(func() { // the token is another's, and the requests are large
			address, token := fmt.Sprintf("%s/registrations/liar-%d", f.scope, k), f.token("another")
			p, s, r, err := login(address, token)
			if err != nil {
				t.Errorf("liar: %v", err)
				return
			}
			defer p.Cut()
			for i := range 30 {
				q := dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(`{"payload":"` + strings.Repeat("x", 100<<10) + `"}`)}
				if i%2 == 1 {
					q = dpsamqp.Request{Op: dpsamqp.Lookup, Operation: garbage(1000)}
				}
				if got, err := ask(ctx, s, r, q); err != nil || got != "" {
					t.Errorf("liar: %s %v", got, err)
				}
			}
		})
	}
	id := "honest"
	p, s, r, err := login(f.scope+"/registrations/"+id, f.token(id))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ask(ctx, s, r, dpsamqp.Request{Op: dpsamqp.Register})
	operation, rest, _ := strings.Cut(strings.TrimPrefix(got, `{"operationId":"`), `"`)
	for err == nil && strings.Contains(rest, `"status":"assigning"`) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		rest, err = ask(ctx, s, r, dpsamqp.Request{Op: dpsamqp.Lookup, Operation: operation})
	}
	if err != nil || !strings.Contains(rest, `"assignedHub":"localhost"`) {
		t.Errorf("the honest device: %s %v", rest, err)
	}
	p.Cut()
	// A token is not good for the links of a hub.
	if p, _, _, err = login(f.scope+"/registrations/"+id, f.token(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sender(ctx, "/devices/"+id+"/messages/events"); err == nil {
		t.Error("the token of a registration is good for telemetry")
	}
	p.Cut()
	wg.Wait()
	w.unharmed(16 << 20)
}
