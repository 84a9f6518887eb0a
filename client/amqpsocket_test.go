package client_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/wsnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// overWebSocket serves h on the HTTPS port of this machine that it returns.
func (h *amqpHub) overWebSocket() (port int) {
	t := h.t
	ws := wsnet.New(wsnet.Options{})
	l := ws.Listen(wsnet.AMQP)
	s := httptest.NewUnstartedServer(ws)
	s.TLS = &tls.Config{Certificates: h.cfg.Certificates, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			p := newPeer(h)
			p.mu.Lock()
			p.conn = amqp.Serve(nc, h.amqp, p)
			p.mu.Unlock()
			h.mu.Lock()
			h.peers = append(h.peers, p)
			h.mu.Unlock()
		}
	}()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	return port
}

// closed waits until all connections have ended.
func (h *amqpHub) closed() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		select {
		case <-p.conn.Done():
		case <-time.After(20 * time.Second):
			h.t.Fatal("a connection does not end")
		}
	}
}

// nearby connects to a port of this machine, whatever the address.
func nearby(port int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
}

func TestAMQPOverWebSocket(t *testing.T) {
	h := newAMQPHub(t)
	port := h.overWebSocket()
	o := h.options()
	o.Transport, o.HTTPSPort, o.Dial = causeway.AMQPWS, port, nearby(port)
	d, err := client.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Send(t.Context(), &causeway.Message{Body: make([]byte, 200<<10)}) }()
	a := h.next(hubamqp.KindTelemetry)
	if n := len(a.message().Body); n != 200<<10 {
		t.Errorf("%d bytes came", n)
	}
	a.settle(codec.Accepted())
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	h.closed()
}
