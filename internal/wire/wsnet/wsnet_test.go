package wsnet_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/wsnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a handler over TLS that asks for client certificates.
func serve(t *testing.T, h http.Handler) (url string, client *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL + wsnet.Path, s.Client()
}

func dial(t *testing.T, url string, client *http.Client, protocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: protocols, HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}}})
}

func accept(t *testing.T, l net.Listener) <-chan net.Conn {
	t.Helper()
	ch := make(chan net.Conn, 1)
	go func() {
		defer close(ch)
		if c, err := l.Accept(); err == nil {
			ch <- c
		}
	}()
	return ch
}

func TestSubprotocols(t *testing.T) {
	h := wsnet.New(wsnet.Options{})
	mqtt, amqp := h.Listen(wsnet.MQTT), h.Listen(wsnet.AMQP, wsnet.AMQPStandard)
	defer mqtt.Close()
	defer amqp.Close()
	url, client := serve(t, h)
	for _, c := range []struct {
		offered []string
		chosen  string
		by      *wsnet.Listener
	}{
		{[]string{"mqtt"}, "mqtt", mqtt},
		{[]string{"AMQPWSB10"}, "AMQPWSB10", amqp},
		{[]string{"amqp"}, "amqp", amqp},
		{[]string{"mqttv3.1", "mqtt", "AMQPWSB10"}, "mqtt", mqtt},
	} {
		t.Run(strings.Join(c.offered, ","), func(t *testing.T) {
			got := accept(t, c.by)
			ws, res, err := dial(t, url, client, c.offered...)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			if p := res.Header.Get("Sec-WebSocket-Protocol"); p != c.chosen {
				t.Errorf("echoed %q, want %q", p, c.chosen)
			}
			conn := (<-got).(*wsnet.Conn)
			if conn.Subprotocol() != c.chosen {
				t.Errorf("connection of %q", conn.Subprotocol())
			}
			_ = conn.CloseNow()
			_ = conn.Close()
		})
	}
}

func TestAt(t *testing.T) {
	for path, want := range map[string]bool{
		"/$iothub/websocket": true, "/$servicebus/websocket": true, "/$servicebus/websocket/": true, "/mqtt": true,
		"/": false, "": false, "/$servicebus": false, "/mqtt/x": false, "/MQTT": false, "/$servicebus/websocket//": false, "/$servicebus/websocket/x": false,
	} {
		if got := wsnet.At(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := wsnet.New(wsnet.Options{AcceptWait: 50 * time.Millisecond})
	l := h.Listen(wsnet.MQTT)
	url, client := serve(t, h)
	for name, offered := range map[string][]string{"none": nil, "unknown": {"soap"}, "other case": {"MQTT"}, "not listened for": {"AMQPWSB10"}} {
		t.Run(name, func(t *testing.T) {
			_, res, err := dial(t, url, client, offered...)
			if err == nil || res.StatusCode != http.StatusBadRequest {
				t.Errorf("error %v, response %v", err, res)
			}
		})
	}
	t.Run("not WebSocket", func(t *testing.T) {
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", res.StatusCode)
		}
	})
	t.Run("nobody accepts", func(t *testing.T) {
		ws, _, err := dial(t, url, client, "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		_, _, err = ws.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
			t.Errorf("closed with %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		_ = l.Close()
		_, res, err := dial(t, url, client, "mqtt")
		if err == nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("error %v, response %v", err, res)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	})
}

func TestStream(t *testing.T) {
	h := wsnet.New(wsnet.Options{ReadLimit: 100_000})
	l := h.Listen(wsnet.MQTT)
	defer l.Close()
	url, client := serve(t, h)
	got := accept(t, l)
	ws, _, err := dial(t, url, client, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	conn := <-got
	ctx := t.Context()

	// Messages are a stream: borders between them do not matter.
	for _, part := range []string{"ab", "c", "defg"} {
		if err := ws.Write(ctx, websocket.MessageBinary, []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 7)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "abcdefg" {
		t.Fatalf("read %q, %v", buf, err)
	}
	if _, err := conn.Write([]byte("reply")); err != nil {
		t.Fatal(err)
	}
	if typ, b, err := ws.Read(ctx); err != nil || typ != websocket.MessageBinary || string(b) != "reply" {
		t.Fatalf("client read %v %q, %v", typ, b, err)
	}
	// A message above the limit ends the connection.
	ctx = context.WithoutCancel(ctx)
	go func() {
		_ = ws.Write(ctx, websocket.MessageBinary, bytes.Repeat([]byte("x"), 200_000))
		_, _, _ = ws.Read(ctx) // answers the close
	}()
	n, err := io.Copy(io.Discard, conn)
	if err == nil || n > 101_000 {
		t.Errorf("read %d bytes of a message beyond the limit, error %v", n, err)
	}
	_ = conn.Close()
}

func TestTextIsRefused(t *testing.T) {
	h := wsnet.New(wsnet.Options{})
	l := h.Listen(wsnet.MQTT)
	defer l.Close()
	url, client := serve(t, h)
	got := accept(t, l)
	ws, _, err := dial(t, url, client, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	conn := <-got
	defer conn.Close()
	go func() {
		_ = ws.Write(context.WithoutCancel(t.Context()), websocket.MessageText, []byte("hello"))
		_, _, _ = ws.Read(context.WithoutCancel(t.Context())) // answers the close
	}()
	if _, err := conn.Read(make([]byte, 10)); err == nil {
		t.Error("a text message was read")
	}
}

// serveInMemory runs a handler in the bubble of the test.
func serveInMemory(t *testing.T, h http.Handler) (url string, client *http.Client) {
	t.Helper()
	l := memnet.Listen("hub")
	s := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = s.Close()
		<-done
	})
	return "http://hub" + wsnet.Path, &http.Client{Transport: tr}
}

// TestCloseNowDoesNotWait ends a connection whose other end never reads, with a
// read under way and without one.
func TestCloseNowDoesNotWait(t *testing.T) {
	for _, reading := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := wsnet.New(wsnet.Options{})
			l := h.Listen(wsnet.MQTT)
			defer l.Close()
			url, client := serveInMemory(t, h)
			got := accept(t, l)
			ws, _, err := dial(t, url, client, "mqtt") // never reads
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			conn := (<-got).(*wsnet.Conn)
			read := make(chan error, 1)
			if reading {
				go func() {
					_, err := conn.Read(make([]byte, 1))
					read <- err
				}()
				synctest.Wait()
			}
			begin := time.Now()
			_ = conn.CloseNow()
			if reading && <-read == nil {
				t.Error("read went on")
			}
			_ = conn.Close()
			if d := time.Since(begin); d != 0 {
				t.Errorf("took %v", d)
			}
			if _, err := conn.Write([]byte("x")); err == nil {
				t.Error("write after close succeeded")
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev1"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	h := wsnet.New(wsnet.Options{})
	l := h.Listen(wsnet.MQTT)
	defer l.Close()
	url, client := serve(t, h)
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	got := accept(t, l)
	ws, _, err := dial(t, url, client, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	conn := (<-got).(*wsnet.Conn)
	defer conn.Close()
	_ = conn.CloseNow()
	if peers := conn.ConnectionState().PeerCertificates; len(peers) != 1 || peers[0].Subject.CommonName != "dev1" {
		t.Errorf("certificates %v", peers)
	}
	if host, _, err := net.SplitHostPort(conn.RemoteAddr().String()); err != nil || host != "127.0.0.1" {
		t.Errorf("remote address %v", conn.RemoteAddr())
	}
}
