package mqtt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
)

// nullHub lets everybody in and stores nothing.
type nullHub struct{ messages atomic.Int64 }

type nullSession struct {
	hub *nullHub
	id  causeway.Identity
}

func (h *nullHub) Connect(_ context.Context, cred causeway.Credential, _ causeway.Device) (causeway.Session, error) {
	return &nullSession{h, cred.Identity}, nil
}

func (s *nullSession) Identity() causeway.Identity { return s.id }
func (s *nullSession) Send(_ context.Context, msgs ...causeway.Message) error {
	s.hub.messages.Add(int64(len(msgs)))
	return nil
}
func (s *nullSession) Twin(context.Context) (causeway.Twin, error) { return causeway.Twin{}, nil }
func (s *nullSession) Report(context.Context, causeway.Patch) (int64, error) {
	return 1, nil
}
func (*nullSession) Drain(context.Context) error { return nil }
func (s *nullSession) Listen(context.Context, causeway.Lane) error { return nil }
func (s *nullSession) Settle(context.Context, causeway.LockToken, causeway.Outcome) error {
	return nil
}
func (s *nullSession) Renew(context.Context, causeway.Credential) error { return nil }
func (s *nullSession) Close(error) error                                { return nil }

// nullStore keeps no session.
type nullStore struct{}

func (nullStore) Load(context.Context, causeway.Identity) ([]mqtt.Filter, bool, error) {
	return nil, false, nil
}
func (nullStore) Save(context.Context, causeway.Identity, []mqtt.Filter) error { return nil }
func (nullStore) Drop(context.Context, causeway.Identity) error                { return nil }

// certificate returns a self-signed certificate.
func certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// listen starts a server on a port of the machine and returns its address.
func listen(t testing.TB, hub causeway.Hub, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if wrap != nil {
		l = wrap(l)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	s := &mqtt.Server{Hub: hub, Sessions: nullStore{}}
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return addr
}

func quietTLS(t testing.TB) func(net.Listener) net.Listener {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, host)}, ClientAuth: tls.RequestClientCert}
	return func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }
}

func standardTLS(t testing.TB) func(net.Listener) net.Listener {
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, host)}, ClientAuth: tls.RequestClientCert}
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
			hub := &nullHub{}
			nc := open(b, listen(b, hub, v.wrap), "dev1", v.wrap != nil)
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
	addr := listen(b, &nullHub{}, quietTLS(b))
	b.ReportAllocs()
	for b.Loop() {
		_ = open(b, addr, "dev1", true).Close()
	}
}

// TestPublishDoesNotAllocate holds the way from the socket to the hub and back
// to no allocation in the steady state.
func TestPublishDoesNotAllocate(t *testing.T) {
	nc := open(t, listen(t, &nullHub{}, nil), "dev1", false)
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
	for range 200 {
		exchange()
	}
	// A collection in between empties the pools; the best of some runs counts.
	best := testing.AllocsPerRun(200, exchange)
	for range 5 {
		best = min(best, testing.AllocsPerRun(200, exchange))
	}
	if best > 0 && !raceEnabled {
		t.Errorf("%v allocations for ten messages", best)
	}
}

// TestIdleConnections measures what an idle TLS connection costs. With
// CAUSEWAY_IDLE=n it opens n of them and prints the figures; the test holds a
// few hundred to a generous bound.
func TestIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory would be measured")
	}
	n, long := 200, false
	if s := os.Getenv("CAUSEWAY_IDLE"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
		long = true
	}
	for _, v := range []struct {
		name string
		wrap func(net.Listener) net.Listener
	}{{"standard", standardTLS(t)}, {"quiet", quietTLS(t)}} {
		t.Run(v.name, func(t *testing.T) {
			addr := listen(t, &nullHub{}, v.wrap)
			clients := make([]net.Conn, n)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var wg sync.WaitGroup
			for k := range 4 {
				wg.Go(func() {
					for i := k; i < n; i += 4 {
						clients[i] = openRaw(t, addr, fmt.Sprintf("device-%06d", i))
					}
				})
			}
			wg.Wait()
			if long { // until they are parked, and parked anew
				time.Sleep(8 * time.Second) //nolint:forbidigo // a measurement of what time does
				runtime.GC()
				time.Sleep(150 * time.Second) //nolint:forbidigo // as above
			}
			for range 3 {
				runtime.GC()
			}
			runtime.ReadMemStats(&after)
			heap := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(n)
			stack := float64(int64(after.StackInuse)-int64(before.StackInuse)) / float64(n)
			t.Logf("%d connections: heap %.0f + stack %.0f bytes each, both ends' sockets included", n, heap, stack)
			for _, c := range clients {
				_ = c.Close()
			}
			if v.name == "quiet" && heap+stack > 20<<10 {
				t.Errorf("an idle connection costs %.0f bytes", heap+stack)
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
