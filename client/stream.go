package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// Where WebSockets are, and what they carry.
const (
	hubSocket    = "/$iothub/websocket"
	eventsSocket = "/$servicebus/websocket"
	mqttSocket   = "mqtt"
	amqpSocket   = "AMQPWSB10"

	wsReadLimit = 16 << 20 // bytes of one WebSocket message, which is read piece by piece
)

// endpoint is where a stream of bytes leads to.
type endpoint struct {
	host         string // as the server's certificate names it
	addr         string // host:port to connect to
	socket       string // path of a WebSocket; "" for none
	protocol     string // that the WebSocket carries
	plain        bool   // without TLS
	certificates []tls.Certificate
}

// stream opens a stream to e.
func (o *Options) stream(ctx context.Context, e endpoint) (net.Conn, error) {
	if e.socket != "" {
		return o.webSocket(ctx, e)
	}
	raw, err := o.dial(ctx, "tcp", e.addr)
	if err != nil || e.plain {
		return raw, err
	}
	conn := tls.Client(raw, o.tlsFor(e))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS with %s: %w", raw.RemoteAddr(), err)
	}
	return conn, nil
}

func (o *Options) tlsFor(e endpoint) *tls.Config {
	cfg := o.tls(e.host)
	cfg.Certificates = e.certificates
	return cfg
}

func (o *Options) webSocket(ctx context.Context, e endpoint) (net.Conn, error) {
	u := "wss://" + e.addr + e.socket
	if e.socket == hubSocket && len(e.certificates) == 0 {
		u += "?iothub-no-client-cert=true"
	}
	tr := &http.Transport{DialContext: o.dial, TLSClientConfig: o.tlsFor(e), TLSHandshakeTimeout: DialTimeout, Proxy: http.ProxyFromEnvironment}
	ws, _, err := websocket.Dial(ctx, u, &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{e.protocol}, Host: e.host,
	})
	if err != nil {
		return nil, fmt.Errorf("WebSocket to %s: %w", e.addr, err)
	}
	s := &socket{Conn: websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), ws: ws}
	ws.SetReadLimit(wsReadLimit) // NetConn lifted it
	return s, nil
}

// socket is a WebSocket as a stream.
type socket struct {
	net.Conn
	ws *websocket.Conn
}

// CloseNow closes the connection without saying good-bye.
func (s *socket) CloseNow() error { return s.ws.CloseNow() }

// stream opens the stream that carries MQTT.
func (d *Device) stream(ctx context.Context) (net.Conn, error) {
	return d.o.stream(ctx, d.endpoint(mqttSocket))
}

// endpoint returns where the device's hub is, for the protocol of its transport.
func (d *Device) endpoint(protocol string) endpoint {
	e := endpoint{host: d.host, protocol: protocol}
	if d.o.Certificate != nil {
		e.certificates = []tls.Certificate{*d.o.Certificate}
	}
	port, def := d.o.MQTTPort, DefaultMQTTPort
	switch {
	case d.overWebSocket():
		e.socket = hubSocket
		if port, def = d.o.HTTPSPort, DefaultHTTPSPort; port == 0 {
			_, port = splitHost(d.cs.HostName)
		}
	case protocol == amqpSocket:
		port, def = d.o.AMQPPort, DefaultAMQPPort
	}
	e.addr = d.o.address(d.host, port, def)
	return e
}
