package mqtt_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/wsnet"
)

// site is a server on the machine's own network.
type site struct {
	fake *hubtest.Fake
	tap  *hubtest.Tap
	dev  causeway.Credential
}

func newSite(t *testing.T, l net.Listener) *site {
	t.Helper()
	fake := hubtest.NewFake(host)
	s := &site{fake: fake, tap: &hubtest.Tap{Hub: fake}}
	s.dev = fake.Add(t, "dev1", "")
	fake.Accept = func(c causeway.Credential) (time.Time, error) { return time.Time{}, nil }
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- (&mqtt.Server{Hub: s.tap, Sessions: &memStore{}}).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		fake.Close()
	})
	return s
}

// talk uses all that a connection is for.
func (s *site) talk(t *testing.T, nc net.Conn, password bool) {
	t.Helper()
	c := newClient(t, nc)
	c.id = s.dev.Identity
	p := connectPacket(s.dev)
	p.HasPassword = password
	if !password {
		p.Password = ""
	}
	c.send(p)
	if ack := expect[*wire.Connack](c); ack.Code != 0 {
		t.Fatalf("CONNACK %+v", ack)
	}
	c.subscribe(1, c.commands(), twinFilter, methodFilter)
	var packets []wire.Packet
	var ids []uint16
	for i := range 500 {
		packets = append(packets, pub(c.events(""), fmt.Sprint(i), uint16(i+1)))
		ids = append(ids, uint16(i+1))
	}
	c.send(packets...)
	c.acked(ids...)
	for _, p := range packets[:50] { // each in a record of its own
		c.send(p)
	}
	c.acked(ids[:50]...)
	for i, m := range s.fake.Telemetry(t, "dev1") {
		if string(m.Body) != fmt.Sprint(i%500) {
			t.Fatalf("message %d is %s", i, m.Body)
		}
	}
	s.fake.Enqueue(t, s.dev.Identity, causeway.Message{Body: []byte("down")})
	down := expect[*wire.Publish](c)
	if string(down.Payload) != "down" {
		t.Errorf("delivered %+v", down)
	}
	c.send(&wire.Ack{Kind: wire.PUBACK, ID: down.ID})
	hubtest.Eventually(t, "an empty queue", func() bool { return s.fake.Depth(t, s.dev.Identity) == 0 })
	c.send(pub("$iothub/twin/GET/?$rid=1", "", 0))
	expect[*wire.Publish](c)
	c.disconnect()
}

func TestTLS(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{"standard": standardTLS(t), "quiet": quietTLS(t)} {
		for version, v := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			t.Run(name+" "+version, func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				s := newSite(t, wrap(l))
				dial := func(certs ...tls.Certificate) net.Conn {
					nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: v, Certificates: certs})
					if err != nil {
						t.Fatal(err)
					}
					return nc
				}
				s.talk(t, dial(), true)
				if c := s.tap.Last(); len(c.Certificates) != 0 || c.Transport != causeway.MQTT || c.Token == "" {
					t.Errorf("credential %+v", c)
				}
				// A client that never makes the handshake, and one that speaks
				// something else, harm nobody.
				for _, junk := range []string{"", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"} {
					nc, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer nc.Close()
					if _, err := nc.Write([]byte(junk)); err != nil {
						t.Fatal(err)
					}
				}
				c := newClient(t, dial(headkit.Certificate(t, "dev1")))
				p := connectPacket(s.dev)
				p.HasPassword, p.Password = false, ""
				c.send(p)
				if ack := expect[*wire.Connack](c); ack.Code != 0 {
					t.Errorf("CONNACK %+v", ack)
				}
				if got := s.tap.Last(); len(got.Certificates) != 1 || got.Certificates[0].Subject.CommonName != "dev1" || got.Token != "" {
					t.Errorf("credential %+v", got)
				}
				c.disconnect()
			})
		}
	}
}

func TestWebSocket(t *testing.T) {
	h := wsnet.New(wsnet.Options{})
	s := newSite(t, h.Listen(wsnet.MQTT))
	web := httptest.NewUnstartedServer(h)
	web.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	web.StartTLS()
	defer web.Close()
	client := web.Client()
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{headkit.Certificate(t, "dev1")}
	ctx := t.Context()
	ws, _, err := websocket.Dial(ctx, web.URL+wsnet.Path+"?iothub-no-client-cert=true", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	nc := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	s.talk(t, nc, false)
	c := s.tap.Last()
	if c.Transport != causeway.MQTTWS || len(c.Certificates) != 1 || c.Certificates[0].Subject.CommonName != "dev1" {
		t.Errorf("credential %+v", c)
	}
	if _, _, err := net.SplitHostPort(c.RemoteAddr); err != nil {
		t.Errorf("remote address %q", c.RemoteAddr)
	}

	// A hang-up ends it though the client does not take part.
	ws, _, err = websocket.Dial(ctx, web.URL+wsnet.Path, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	nc = websocket.NetConn(ctx, ws, websocket.MessageBinary)
	b, err := connectPacket(s.dev).Append(nil, wire.V311)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	s.fake.Hangup(s.dev.Identity, causeway.Errorf(causeway.IotHubUnauthorized, "test", "enough"))
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("still connected after a hang-up")
	}
	_ = ws.CloseNow()
}

// corked holds back what is written until it is told to let go.
type corked struct {
	net.Conn
	hold bool
	buf  []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if c.hold {
		c.buf = append(c.buf, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestPipelinedRecords sends CONNECT and what follows in TLS records that
// arrive together: a server that waits for the socket must not forget what it
// has read from it already.
func TestPipelinedRecords(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{"standard": standardTLS(t), "quiet": quietTLS(t)} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := newSite(t, wrap(l))
			for range 20 {
				nc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				cork := &corked{Conn: nc}
				secure := tls.Client(cork, &tls.Config{InsecureSkipVerify: true})
				if err := secure.Handshake(); err != nil {
					t.Fatal(err)
				}
				c := newClient(t, secure)
				c.id = s.dev.Identity
				cork.hold = true
				c.send(connectPacket(s.dev))
				c.send(&wire.Subscribe{ID: 1, Subscriptions: []wire.Subscription{{Filter: twinFilter}}})
				c.send(&wire.Ping{})
				if _, err := nc.Write(cork.buf); err != nil {
					t.Fatal(err)
				}
				cork.hold = false
				expect[*wire.Connack](c)
				expect[*wire.Suback](c)
				expect[*wire.Ping](c)
				c.disconnect()
			}
		})
	}
}
