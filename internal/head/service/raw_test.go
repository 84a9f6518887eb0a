package service_test

import (
	"bufio"
	"net"
	"testing"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// raw is a client without an engine, with a sender for messages to devices
// attached, so that what it writes is one burst.
type raw struct {
	t   testing.TB
	nc  net.Conn
	r   *codec.Reader
	out []byte
}

func (w *world) raw() *raw {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	r := &raw{t: w.t, nc: nc, out: codec.ProtocolAMQP.Append(nil)}
	r.put(&codec.Open{ContainerID: "raw", MaxFrameSize: 1 << 20, ChannelMax: 10}, nil)
	r.put(&codec.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: 10}, nil)
	r.put(&codec.Attach{
		Name: "l", Role: codec.Sender, InitialDeliveryCount: codec.Some(uint32(0)),
		Target: &codec.Target{Address: codec.Some("/messages/devicebound")},
	}, nil)
	r.flush()
	in := bufio.NewReader(nc)
	var header [codec.HeaderSize]byte
	for i := range header {
		b, err := in.ReadByte()
		if err != nil {
			w.t.Fatal(err)
		}
		header[i] = b
	}
	r.r = codec.NewReader(in, 1<<20)
	for {
		if f, ok := r.next().(*codec.Flow); ok && f.Handle.OK {
			return r // there is credit
		}
	}
}

func (r *raw) put(p codec.Performative, payload []byte) {
	r.out = codec.AppendFrame(r.out, 0, p, payload)
}

func (r *raw) flush() {
	r.t.Helper()
	if _, err := r.nc.Write(r.out); err != nil {
		r.t.Fatal(err)
	}
	r.out = nil
}

// next returns the next performative.
func (r *raw) next() codec.Performative {
	r.t.Helper()
	for {
		f, err := r.r.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if len(f.Body) == 0 {
			continue
		}
		p, _, err := f.Performative()
		if err != nil {
			r.t.Fatal(err)
		}
		return p
	}
}

// queue adds a message to the burst.
func (r *raw) queue(id uint32, payload []byte) {
	r.put(&codec.Transfer{DeliveryID: codec.Some(id), DeliveryTag: []byte{byte(id >> 8), byte(id)}, MessageFormat: codec.Some(uint32(0))}, payload)
}

// send sends a message of as many frames as it takes.
func (r *raw) send(id uint32, payload []byte) {
	const most = 60_000
	for first := true; ; first = false {
		part := payload[:min(most, len(payload))]
		payload = payload[len(part):]
		t := codec.Transfer{More: len(payload) > 0}
		if first {
			t.DeliveryID, t.DeliveryTag, t.MessageFormat = codec.Some(id), []byte{1}, codec.Some(uint32(0))
		}
		r.put(&t, part)
		if !t.More {
			break
		}
	}
	r.flush()
}

// detached returns the condition with which the link is detached.
func (r *raw) detached() string {
	r.t.Helper()
	for {
		if d, ok := r.next().(*codec.Detach); ok && d.Error != nil {
			return d.Error.Name
		}
	}
}

// outcomes returns the outcomes of n messages.
func (r *raw) outcomes(n int) map[uint32]codec.State {
	r.t.Helper()
	all := map[uint32]codec.State{}
	for len(all) < n {
		d, ok := r.next().(*codec.Disposition)
		if !ok {
			continue
		}
		for id := d.First; id <= d.Last.Or(d.First); id++ {
			if _, again := all[id]; again || !d.Settled {
				r.t.Fatalf("%+v, which is no outcome or a second one", d)
			}
			all[id] = codec.State{Kind: d.State.Kind}
		}
	}
	return all
}
