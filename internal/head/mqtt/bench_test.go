package mqtt_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
)

// nullStore keeps no session.
type nullStore struct{}

func (nullStore) Load(context.Context, causeway.Identity) ([]mqtt.Filter, bool, error) {
	return nil, false, nil
}
func (nullStore) Save(context.Context, causeway.Identity, []mqtt.Filter) error { return nil }
func (nullStore) Drop(context.Context, causeway.Identity) error                { return nil }

// listen starts a server with a hub that does nothing, and returns its address.
func listen(t testing.TB, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	return headkit.Listen(t, wrap, (&mqtt.Server{Hub: hubtest.Null("hub"), Sessions: nullStore{}}).Serve)
}

func quietTLS(t testing.TB) func(net.Listener) net.Listener {
	config := headkit.ServerTLS(t, host)
	return func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }
}

func standardTLS(t testing.TB) func(net.Listener) net.Listener {
	config := headkit.ServerTLS(t, host)
	return func(l net.Listener) net.Listener { return tls.NewListener(l, config) }
}

// open connects a client as device.
func open(t testing.TB, addr, device string, secure bool) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: host})
	}
	p := connectPacket(causeway.Credential{Host: host, Identity: causeway.Identity{Device: device}, Token: causeway.Secret(strings.Repeat("s", 150))})
	p.CleanStart, p.KeepAlive = true, 0
	b, err := p.Append(nil, wire.V311)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	ack := make([]byte, 4)
	if _, err := io.ReadFull(nc, ack); err != nil || ack[3] != 0 {
		t.Fatalf("connect %s: %v %v", device, ack, err)
	}
	return nc
}

// BenchmarkPublish sends 256-byte QoS 1 messages, ten under way, each with a
// write of its own, and waits for their acknowledgements.
func BenchmarkPublish(b *testing.B) {
	for _, v := range []struct {
		name string
		wrap func(net.Listener) net.Listener
	}{{"tcp", nil}, {"tls standard", standardTLS(b)}, {"tls", quietTLS(b)}} {
		b.Run(v.name, func(b *testing.B) {
			nc := open(b, listen(b, v.wrap), "dev1", v.wrap != nil)
			defer nc.Close()
			one, err := pub("devices/dev1/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8", strings.Repeat("x", 256), 7).Append(nil, wire.V311)
			if err != nil {
				b.Fatal(err)
			}
			const under = 10
			acks := make([]byte, 4*under)
			exchange := func() {
				for range under {
					if _, err := nc.Write(one); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := io.ReadFull(nc, acks); err != nil {
					b.Fatal(err)
				}
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

// BenchmarkConnect makes connections one after the other.
func BenchmarkConnect(b *testing.B) {
	addr := listen(b, quietTLS(b))
	b.ReportAllocs()
	for b.Loop() {
		_ = open(b, addr, "dev1", true).Close()
	}
}

// TestPublishDoesNotAllocate holds the way from the socket to the hub and back
// to no allocation in the steady state.
func TestPublishDoesNotAllocate(t *testing.T) {
	nc := open(t, listen(t, nil), "dev1", false)
	defer nc.Close()
	var burst []byte
	for i := range 10 {
		var err error
		if burst, err = pub("devices/dev1/messages/events/%24.ct=application%2Fjson&a=b", strings.Repeat("x", 256), uint16(i+1)).Append(burst, wire.V311); err != nil {
			t.Fatal(err)
		}
	}
	acks := make([]byte, 40)
	exchange := func() {
		if _, err := nc.Write(burst); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, acks); err != nil {
			t.Fatal(err)
		}
	}
	if n := headkit.Allocations(exchange); n > 0 && !raceEnabled {
		t.Errorf("%v allocations for ten messages", n)
	}
}

// TestIdleConnections holds what an idle TLS connection costs to a generous
// bound. With CAUSEWAY_IDLE=n it opens n of them and prints the figures.
func TestIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory would be measured")
	}
	for _, v := range []struct {
		name string
		wrap func(net.Listener) net.Listener
	}{{"standard", standardTLS(t)}, {"quiet", quietTLS(t)}} {
		t.Run(v.name, func(t *testing.T) {
			addr := listen(t, v.wrap)
			cost := headkit.IdleCost(t, func(i int) net.Conn { return openRaw(t, addr, fmt.Sprintf("device-%06d", i)) })
			if v.name == "quiet" && cost > 20<<10 {
				t.Errorf("an idle connection costs %.0f bytes", cost)
			}
		})
	}
}

// openRaw opens a TLS connection, sends a message over it, and then forgets the
// client's TLS state, so that only the server's is left to measure.
func openRaw(t testing.TB, addr, device string) net.Conn {
	nc := open(t, addr, device, true).(*tls.Conn)
	b, err := pub("devices/"+device+"/messages/events/", strings.Repeat("x", 100), 7).Append(nil, wire.V311)
	if err != nil {
		t.Error(err)
	}
	ack := make([]byte, 4)
	if _, err := nc.Write(b); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(nc, ack); err != nil {
		t.Error(err)
	}
	return nc.NetConn()
}
