package amqppeer

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Raw is a client that writes and reads frames and knows nothing of what they
// mean: it can do what no engine does.
type Raw struct {
	net.Conn
	// Patience is how long it waits for a frame.
	Patience time.Duration

	in       *codec.Reader
	delivery [1 << 16]uint32 // next delivery-id of each channel
}

// NewRaw returns a client on nc, which it owns.
func NewRaw(nc net.Conn) *Raw {
	return &Raw{Conn: nc, Patience: 20 * time.Second, in: codec.NewReader(nc, 1<<20)}
}

// Send writes performatives on a channel with one write.
func (r *Raw) Send(channel uint16, ps ...codec.Performative) error {
	var b []byte
	for _, p := range ps {
		b = codec.AppendFrame(b, channel, p, nil)
	}
	_, err := r.Write(b)
	return err
}

// OpenFrame returns the usual open.
func OpenFrame() *codec.Open {
	return &codec.Open{ContainerID: "raw", Hostname: "localhost", MaxFrameSize: 64 << 10, ChannelMax: 1<<16 - 1}
}

// BeginFrame returns the usual begin.
func BeginFrame() *codec.Begin {
	return &codec.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 1<<32 - 1}
}

// AppendHello appends what opens a connection without a dialogue of SASL, and a
// session on channel 0.
func AppendHello(b []byte) []byte {
	b = codec.ProtocolAMQP.Append(b)
	b = codec.AppendFrame(b, 0, OpenFrame(), nil)
	return codec.AppendFrame(b, 0, BeginFrame(), nil)
}

// SendTo returns the attach of a link on which the client sends.
func SendTo(address string, handle uint32) *codec.Attach {
	return &codec.Attach{
		Name: fmt.Sprintf("to-%s-%d", address, handle), Handle: handle, Role: codec.Sender, Source: &codec.Source{},
		Target: &codec.Target{Address: codec.Some(address)}, InitialDeliveryCount: codec.Some(uint32(0)),
	}
}

// ReceiveFrom returns the attach of a link on which the client receives.
func ReceiveFrom(address string, handle uint32) *codec.Attach {
	return &codec.Attach{
		Name: fmt.Sprintf("from-%s-%d", address, handle), Handle: handle, Role: codec.Receiver, Target: &codec.Target{},
		Source: &codec.Source{Address: codec.Some(address)},
	}
}

// Credit returns a flow that gives credit on a link.
func Credit(handle, n uint32) *codec.Flow {
	return &codec.Flow{
		NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1000, NextOutgoingID: 0, OutgoingWindow: 1000,
		Handle: codec.Some(handle), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(n),
	}
}

// AppendTransfer appends a message of one frame, which is settled.
func AppendTransfer(b []byte, channel uint16, handle, id uint32, payload []byte) []byte {
	return codec.AppendFrame(b, channel, &codec.Transfer{
		Handle: handle, DeliveryID: codec.Some(id), DeliveryTag: []byte{byte(id >> 8), byte(id)}, Settled: codec.Some(true),
	}, payload)
}

// PutToken returns the payload of a request to $cbs.
func PutToken(name, token string) []byte {
	return hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.String("1"), ReplyTo: "cbs", Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token),
	})
}

// Hello opens the connection, and a session on channel 0.
func (r *Raw) Hello() error {
	if _, err := r.Write(AppendHello(nil)); err != nil {
		return err
	}
	return r.Welcome()
}

// Welcome waits for the answers to what AppendHello appends.
func (r *Raw) Welcome() error {
	_ = r.SetReadDeadline(time.Now().Add(r.Patience))
	if p, err := r.in.Protocol(); err != nil || p != codec.ProtocolAMQP {
		return fmt.Errorf("protocol header: %v %w", p, err)
	}
	for _, want := range []codec.Code{codec.CodeOpen, codec.CodeBegin} {
		if p, _, err := r.Next(); err != nil || p.Code() != want {
			return fmt.Errorf("want %v: %v %w", want, p, err)
		}
	}
	return nil
}

// Protocol waits for a protocol header.
func (r *Raw) Protocol() (codec.Protocol, error) {
	_ = r.SetReadDeadline(time.Now().Add(r.Patience))
	return r.in.Protocol()
}

// Put puts a token on a link to $cbs with a handle that nothing else has, and
// does not wait for the answer: what comes after it on the connection is dealt
// with after it.
func (r *Raw) Put(handle uint32, name, token string) error {
	if err := r.Send(0, SendTo(hubamqp.CBSAddress, handle)); err != nil {
		return err
	}
	if _, err := Expect[*codec.Attach](r); err != nil {
		return err
	}
	_, err := r.Write(AppendTransfer(nil, 0, handle, r.ID(0), PutToken(name, token)))
	return err
}

// ID returns the next delivery-id of a channel.
func (r *Raw) ID(channel uint16) uint32 {
	id := r.delivery[channel]
	r.delivery[channel]++
	return id
}

// Next waits for the next frame that is not empty, and returns its performative
// and its payload.
func (r *Raw) Next() (codec.Performative, []byte, error) {
	_ = r.SetReadDeadline(time.Now().Add(r.Patience))
	for {
		f, err := r.in.Next()
		if err != nil {
			return nil, nil, err
		}
		if len(f.Body) == 0 {
			continue
		}
		f.Body = append([]byte(nil), f.Body...)
		return f.Performative()
	}
}

// Expect waits for a performative of a type, and passes over flows and
// dispositions.
func Expect[P codec.Performative](r *Raw) (P, error) {
	for {
		p, _, err := r.Next()
		if err != nil {
			var none P
			return none, fmt.Errorf("want %T: %w", none, err)
		}
		if want, ok := p.(P); ok {
			return want, nil
		}
		switch p.Code() {
		case codec.CodeFlow, codec.CodeDisposition:
		default:
			var none P
			return none, fmt.Errorf("got %v %+v, want %T", p.Code(), p, none)
		}
	}
}

// Ended waits for the end of the network connection, and returns the condition
// of a close, an end or a detach that came before it.
func (r *Raw) Ended() (cond *codec.Condition, err error) {
	for {
		p, _, err := r.Next()
		switch p := p.(type) {
		case *codec.Close:
			cond = p.Error
		case *codec.End:
			cond = p.Error
		case *codec.Detach:
			cond = p.Error
		}
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of the connection itself
			return cond, err
		}
		if err != nil {
			return cond, nil //nolint:nilerr // that is what was waited for
		}
	}
}

var _ io.Reader = (*Raw)(nil)
