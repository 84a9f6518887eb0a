package hostile

import (
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// garbage returns bytes that follow no protocol, the same ones every time.
func garbage(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return string(b)
}

// TestGarbage sends to all ports what does not belong there, before and after
// the TLS handshake: the connection is closed.
func TestGarbage(t *testing.T) {
	w := newWorld(t)
	const cutShort = "TLS hello cut short" // the one that more could follow
	const plainAMQP = "AMQP"
	inputs := []struct{ name, text string }{
		{"random bytes", garbage(64 << 10)},
		{"zeros", strings.Repeat("\x00", 64<<10)},
		{"plain HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"plain MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"},
		{plainAMQP, "AMQP\x00\x01\x00\x00"},
		{"AMQP 0-9-1", "AMQP\x00\x00\x09\x01"},
		{"SSH", "SSH-2.0-OpenSSH_9.9\r\n"},
		{"SSL 2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("\x00", 40)},
		{"TLS record larger than any", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70_000)},
		{"TLS alert", "\x15\x03\x03\x00\x02\x02\x28"},
		{"TLS application data before the handshake", "\x17\x03\x03\x00\x05hello"},
		{"TLS hello that lies about its length", "\x16\x03\x01\x00\x08\x01\xff\xff\xff\x03\x03ab"},
		{cutShort, "\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x03\x03abc"},
	}
	for _, port := range []struct{ name, addr string }{{"MQTT", w.mqtt}, {"HTTPS", w.https}, {"AMQP", w.amqp}} {
		for _, in := range inputs {
			t.Run(port.name+" port, "+in.name, func(t *testing.T) {
				closes(t, w.dial(port.addr), in.text, in.name == cutShort)
			})
			t.Run(port.name+" port inside TLS, "+in.name, func(t *testing.T) {
				if port.name == "HTTPS" && in.name == "plain HTTP" || port.name == "AMQP" && in.name == plainAMQP {
					t.Skip("that is what belongs there")
				}
				// A line of HTTP may become very long before it is none.
				closes(t, w.dialTLS(port.addr), in.text, port.name == "HTTPS")
			})
		}
		t.Run(port.name+" port, TLS 1.1", func(t *testing.T) {
			cfg := w.tls.Clone()
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			c := tls.Client(w.dial(port.addr), cfg)
			_ = c.SetDeadline(time.Now().Add(patience))
			if err := c.HandshakeContext(t.Context()); err == nil {
				t.Error("a handshake of TLS 1.1 succeeded")
			}
		})
		t.Run(port.name+" port, TLS renegotiation", func(t *testing.T) { renegotiate(t, port.addr) })
	}
	w.unharmed(16 << 20)
}

// closes writes text, in which the server may stop reading, and, when it says
// so, ends its half of the connection; the server must end the other.
func closes(t *testing.T, c net.Conn, text string, end bool) {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // before any other deadline
	_, _ = io.WriteString(c, text)                     // may fail: closed in the middle
	if half, ok := c.(interface{ CloseWrite() error }); ok && end {
		_ = half.CloseWrite()
	}
	got, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of the connection itself
		t.Errorf("not closed; it answered %q", got)
	}
	if len(got) > 4<<10 {
		t.Errorf("garbage is answered by %d bytes", len(got))
	}
}

// renegotiate asks for a new handshake within a connection, which crypto/tls
// cannot, so OpenSSL does.
func renegotiate(t *testing.T, addr string) {
	openssl := process.Tool(t, "openssl")
	cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", addr, "-servername", "localhost", "-tls1_2", "-legacy_renegotiation")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	_, _ = io.WriteString(in, "R\n")
	// It ends by itself when the server refuses; else it waits for its input.
	_ = cmd.Wait()
	if !strings.Contains(out.String(), "RENEGOTIATING") {
		t.Skipf("this openssl does not renegotiate:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "error:") {
		t.Errorf("the server did not refuse:\n%s", out.String())
	}
}

// endless is a body without an end, which counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// TestHugeRequests sends more than anybody takes.
func TestHugeRequests(t *testing.T) {
	w := newWorld(t)
	auth := proof(w.key("attacker"))
	const path = "/devices/attacker/modules/m?api-version=2021-04-12"
	for _, c := range []struct {
		name    string
		request string
		status  string // "" for none: the connection is closed
	}{
		{"header of 1 MiB", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Huge: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		{"headers without end", "GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 200_000), "431"},
		{"request line of 1 MiB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "431"},
		{"body announced with 10 GB", "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + auth + "\r\nContent-Length: 10000000000\r\n\r\n{", "413"},
		{"body announced with more than there are numbers", "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
		{"two lengths", "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		{"chunk larger than any", "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + auth + "\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
		{"WebSocket frame of 2^63 bytes", "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", "101"},
		{"WebSocket frame of 2^63 bytes to AMQP", "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: AMQPWSB10\r\n\r\n\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmask", "101"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := w.dialTLS(w.https)
			_ = conn.SetDeadline(time.Now().Add(patience))
			go func() { _, _ = io.WriteString(conn, c.request) }() // answered before all is taken
			got := make([]byte, 1<<10)
			n, err := io.ReadAtLeast(conn, got, len("HTTP/1.1 000"))
			if err != nil || !strings.HasPrefix(string(got[:n]), "HTTP/1.1 "+c.status) {
				t.Fatalf("answered %q, %v, want %s", got[:n], err, c.status)
			}
			closes(t, conn, "", true)
		})
	}
	t.Run("body without end", func(t *testing.T) {
		tr := &http.Transport{TLSClientConfig: w.tls.Clone()}
		defer tr.CloseIdleConnections()
		body := &endless{}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+w.https+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost"
		req.Header.Set("Authorization", auth)
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("answered %s", res.Status)
		}
		if n := body.read.Load(); n > 16<<20 {
			t.Errorf("the server let %d bytes come", n)
		}
	})
	w.unharmed(16 << 20)
}
