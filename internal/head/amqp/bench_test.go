package amqp_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// listen starts a server with a hub that does nothing, and returns its address.
func listen(t testing.TB, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	return headkit.Listen(t, wrap, (&amqp.Server{Hub: hubtest.Null("hub"), Realms: newRealms()}).Serve)
}

func quietTLS(t testing.TB) func(net.Listener) net.Listener {
	config := headkit.ServerTLS(t, host)
	return func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }
}

func standardTLS(t testing.TB) func(net.Listener) net.Listener {
	config := headkit.ServerTLS(t, host)
	return func(l net.Listener) net.Listener { return tls.NewListener(l, config) }
}

// open connects a client as device, as SDKs do: with all links, or those for
// telemetry only.
func openRaw(t testing.TB, addr, device string, secure, all bool) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: host})
	}
	id := causeway.Identity{Device: device}
	b := codec.ProtocolAMQP.Append(nil)
	b = codec.AppendFrame(b, 0, &codec.Open{ContainerID: device, Hostname: host, MaxFrameSize: 64 << 10, ChannelMax: 10}, nil)
	b = codec.AppendFrame(b, 0, &codec.Begin{IncomingWindow: 1 << 20, OutgoingWindow: 1 << 20, HandleMax: 100}, nil)
	attach := func(handle uint32, role codec.Role, address string) {
		a := &codec.Attach{Name: fmt.Sprint(address, role), Handle: handle, Role: role, Source: &codec.Source{}, Target: &codec.Target{}, InitialDeliveryCount: codec.Some(uint32(0))}
		if role == codec.Sender {
			a.Target.Address = codec.Some(address)
		} else {
			a.Source.Address = codec.Some(address)
		}
		b = codec.AppendFrame(b, 0, a, nil)
		if role == codec.Receiver {
			b = codec.AppendFrame(b, 0, &codec.Flow{NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1 << 20, OutgoingWindow: 1 << 20, Handle: codec.Some(handle), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(uint32(100))}, nil)
		}
	}
	attach(0, codec.Sender, "$cbs")
	attach(1, codec.Receiver, "$cbs")
	b = codec.AppendFrame(b, 0, &codec.Transfer{Handle: 0, DeliveryID: codec.Some(uint32(0)), DeliveryTag: []byte("t"), Settled: codec.Some(true)}, hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.String("1"), Type: hubamqp.TokenSAS, Name: hubamqp.AudienceOf(host, id),
		Token: causeway.Secret(sas.Sign(sas.DeviceResource(host, device, ""), keyOf(device), "", time.Now().Add(24*time.Hour))),
	}))
	links := 3
	attach(2, codec.Sender, hubamqp.DeviceAddress(hubamqp.KindTelemetry, id))
	if all {
		attach(3, codec.Receiver, hubamqp.DeviceAddress(hubamqp.KindCommands, id))
		attach(4, codec.Receiver, hubamqp.DeviceAddress(hubamqp.KindMethods, id))
		attach(5, codec.Sender, hubamqp.DeviceAddress(hubamqp.KindMethods, id))
		attach(6, codec.Receiver, hubamqp.DeviceAddress(hubamqp.KindTwin, id))
		attach(7, codec.Sender, hubamqp.DeviceAddress(hubamqp.KindTwin, id))
		links = 8
	}
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	r := codec.NewReader(nc, 1<<20)
	if _, err := r.Protocol(); err != nil {
		t.Fatal(err)
	}
	// Until all is granted, and the flow of the last link that sends has come: no
	// byte is left behind in the reader.
	credit := map[uint32]bool{}
	for attached := 0; attached < links || len(credit) < (links+1)/2 || r.Buffered() > 0; {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := f.Performative()
		if err != nil {
			t.Fatal(err)
		}
		switch p := p.(type) {
		case *codec.Attach:
			attached++
		case *codec.Flow:
			if p.Handle.OK {
				credit[p.Handle.V] = true
			}
		case *codec.Detach, *codec.Close:
			t.Fatalf("%+v", p)
		}
	}
	return nc
}

// pipeline sends telemetry on handle 2, and counts what is accepted.
type pipeline struct {
	t       testing.TB
	nc      net.Conn
	r       *codec.Reader
	id      uint32
	payload []byte
	buf     []byte
}

func newPipeline(t testing.TB, nc net.Conn) *pipeline {
	p := &pipeline{t: t, nc: nc, r: codec.NewReader(nc, 1<<20), id: 1}
	p.payload = hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte(strings.Repeat("x", 256)), ContentType: "application/json", ContentEncoding: "utf-8"})
	return p
}

// append appends the next transfer.
func (p *pipeline) append() {
	t := codec.Transfer{Handle: 2, DeliveryID: codec.Some(p.id), DeliveryTag: []byte{byte(p.id), byte(p.id >> 8), byte(p.id >> 16), byte(p.id >> 24)}, MessageFormat: codec.Some(uint32(0)), Settled: codec.Some(false)}
	p.id++
	p.buf = codec.AppendTransfer(p.buf, 0, &t, p.payload)
}

// accepted reads until n are accepted.
func (p *pipeline) accepted(n int) {
	for n > 0 {
		f, err := p.r.Next()
		if err != nil {
			p.t.Fatal(err)
		}
		if code, err := f.Code(); err != nil || code != codec.CodeDisposition {
			continue // credit
		}
		var d codec.Disposition
		if _, err := f.Decode(&d); err != nil {
			p.t.Fatal(err)
		}
		if d.State.Kind != codec.CodeAccepted {
			p.t.Fatalf("%+v", d)
		}
		n -= int(d.Last.Or(d.First)-d.First) + 1
	}
}

// BenchmarkTelemetry sends messages of 256 bytes, ten under way, each with a
// write of its own, and waits for their dispositions: as BenchmarkPublish of the
// MQTT head does.
func BenchmarkTelemetry(b *testing.B) {
	for _, v := range []struct {
		name string
		wrap func(net.Listener) net.Listener
	}{{"tcp", nil}, {"tls standard", standardTLS(b)}, {"tls", quietTLS(b)}} {
		b.Run(v.name, func(b *testing.B) {
			nc := openRaw(b, listen(b, v.wrap), "dev1", v.wrap != nil, false)
			defer nc.Close()
			p := newPipeline(b, nc)
			const under = 10
			exchange := func() {
				for range under {
					p.buf = p.buf[:0]
					p.append()
					if _, err := nc.Write(p.buf); err != nil {
						b.Fatal(err)
					}
				}
				p.accepted(under)
			}
			for range 100 {
				exchange()
			}
			b.ReportAllocs()
			for b.Loop() {
				exchange()
			}
			b.ReportMetric(float64(b.N)*under/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkFlood keeps a connection full: what the server can do at most.
func BenchmarkFlood(b *testing.B) {
	nc := openRaw(b, listen(b, nil), "dev1", false, false)
	defer nc.Close()
	p := newPipeline(b, nc)
	const under = 500
	b.ReportAllocs()
	for b.Loop() {
		p.buf = p.buf[:0]
		for range under {
			p.append()
		}
		if _, err := nc.Write(p.buf); err != nil {
			b.Fatal(err)
		}
		p.accepted(under)
	}
	b.ReportMetric(float64(b.N)*under/b.Elapsed().Seconds(), "msg/s")
}

// TestTelemetryDoesNotAllocate holds the way from the socket to the hub and back
// to no allocation in the steady state.
func TestTelemetryDoesNotAllocate(t *testing.T) {
	nc := openRaw(t, listen(t, nil), "dev1", false, false)
	defer nc.Close()
	p := newPipeline(t, nc)
	var bursts [][]byte
	for range 1500 {
		p.buf = nil
		for range 10 {
			p.append()
		}
		bursts = append(bursts, p.buf)
	}
	// Bytes are counted, not frames decoded: the client would allocate, too.
	var in [1 << 12]byte
	at := 0
	exchange := func() {
		if _, err := nc.Write(bursts[at]); err != nil {
			t.Fatal(err)
		}
		at++
		if _, err := io.ReadAtLeast(nc, in[:], 20); err != nil {
			t.Fatal(err)
		}
	}
	if n := headkit.Allocations(exchange); n > 0 && !raceEnabled {
		t.Errorf("%v allocations for ten messages", n)
	}
}

// TestIdleConnections holds what an idle TLS connection costs whose device has
// links for everything to a generous bound. With CAUSEWAY_IDLE=n it opens n of
// them and prints the figures.
func TestIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory would be measured")
	}
	addr := listen(t, quietTLS(t))
	cost := headkit.IdleCost(t, func(i int) net.Conn {
		c := openRaw(t, addr, fmt.Sprintf("device-%06d", i), true, true)
		return c.(*tls.Conn).NetConn() // only the server's TLS state is left to measure
	})
	if cost > 30<<10 {
		t.Errorf("an idle connection costs %.0f bytes", cost)
	}
}
