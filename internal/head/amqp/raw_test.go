package amqp_test

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// raw is a client that writes and reads frames, on channel 0.
type raw struct {
	w       *world
	nc      net.Conn
	r       *codec.Reader
	payload []byte // of the last transfer
	sent    uint32
}

// raw opens a network connection.
func (w *world) raw() *raw {
	w.t.Helper()
	nc := w.nc()
	w.t.Cleanup(func() { _ = nc.Close() })
	return &raw{w: w, nc: nc, r: codec.NewReader(nc, 1<<20)}
}

func (c *raw) write(b []byte) {
	c.w.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.w.t.Fatalf("write: %v", err)
	}
}

// send writes performatives with one write.
func (c *raw) send(ps ...codec.Performative) {
	c.w.t.Helper()
	var b []byte
	for _, p := range ps {
		b = codec.AppendFrame(b, 0, p, nil)
	}
	c.write(b)
}

// transfer is a message on a handle.
func (c *raw) transfer(handle uint32, t codec.Transfer, payload []byte) []byte {
	t.Handle = handle
	if !t.DeliveryID.OK {
		t.DeliveryID = codec.Some(c.sent)
		c.sent++
	}
	if t.DeliveryTag == nil {
		t.DeliveryTag = []byte{byte(t.DeliveryID.V)}
	}
	return codec.AppendFrame(nil, 0, &t, payload)
}

// hello opens the connection and a session.
func (c *raw) hello() {
	c.w.t.Helper()
	b := codec.ProtocolAMQP.Append(nil)
	b = codec.AppendFrame(b, 0, &codec.Open{ContainerID: "raw", Hostname: host, MaxFrameSize: 64 << 10, ChannelMax: 100}, nil)
	b = codec.AppendFrame(b, 0, &codec.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 100}, nil)
	c.write(b)
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if p, err := c.r.Protocol(); err != nil || p != codec.ProtocolAMQP {
		c.w.t.Fatalf("header %v %v", p, err)
	}
	expect[*codec.Open](c)
	expect[*codec.Begin](c)
}

// open is hello with the token of an identity.
func (c *raw) open(id causeway.Identity) {
	c.w.t.Helper()
	c.hello()
	c.attach(&codec.Attach{Name: "cbs", Handle: 0, Target: &codec.Target{Address: codec.Some("$cbs")}, Source: &codec.Source{}, InitialDeliveryCount: codec.Some(uint32(0))})
	expect[*codec.Flow](c)
	c.write(c.transfer(0, codec.Transfer{Settled: codec.Some(true)}, hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.String("1"), Type: hubamqp.TokenSAS, Name: hubamqp.AudienceOf(host, id), Token: causeway.Secret(tokenOf(id, inAnHour())),
	})))
}

// attach attaches a link and expects it to be granted.
func (c *raw) attach(a *codec.Attach) *codec.Attach {
	c.w.t.Helper()
	c.send(a)
	got := expect[*codec.Attach](c)
	if got.Name != a.Name || got.Role == a.Role || got.Source == nil && a.Source != nil || got.Target == nil && a.Target != nil {
		c.w.t.Fatalf("attach: %+v", got)
	}
	return got
}

// next waits for a performative.
func (c *raw) next() (codec.Performative, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		f, err := c.r.Next()
		if err != nil {
			return nil, err
		}
		if len(f.Body) == 0 {
			continue
		}
		p, payload, err := f.Performative()
		if err != nil {
			c.w.t.Fatal(err)
		}
		c.payload = append([]byte(nil), payload...)
		return p, nil
	}
}

// expect waits for a performative of one type; flows that are not wanted are
// passed over.
func expect[P codec.Performative](c *raw) P {
	c.w.t.Helper()
	for {
		got, err := c.next()
		if err != nil {
			c.w.t.Fatalf("waiting for a frame: %v", err)
		}
		p, ok := got.(P)
		if ok {
			return p
		}
		if _, isFlow := got.(*codec.Flow); !isFlow {
			c.w.t.Fatalf("got %v %+v, want %T", got.Code(), got, p)
		}
	}
}

// quiet expects that nothing comes for a while.
func (c *raw) quiet() {
	c.w.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	f, err := c.r.Next()
	if err == nil {
		c.w.t.Fatalf("got a frame %x, want nothing", f.Body)
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		c.w.t.Fatalf("the connection ended: %v", err)
	}
}

// closed waits for the end of the network connection, and expects no frame before.
func (c *raw) closed() {
	c.w.t.Helper()
	p, err := c.next()
	if err == nil {
		c.w.t.Fatalf("got %v %+v, want the end", p.Code(), p)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.w.t.Fatalf("the connection was not closed: %v", err)
	}
}
