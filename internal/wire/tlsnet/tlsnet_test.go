package tlsnet_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t testing.TB, versions ...uint16) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if len(versions) > 0 {
		c.MinVersion, c.MaxVersion = versions[0], versions[0]
	}
	return c
}

// pair returns both ends of a connection over a socket, after the handshake.
func pair(t testing.TB, cfg *tls.Config) (client *tls.Conn, server *tlsnet.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := tlsnet.NewListener(inner, cfg)
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = accepted.(*tlsnet.Conn)
	t.Cleanup(func() { _, _ = client.NetConn().Close(), server.CloseNow() })
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// settle waits until what was written on this machine has arrived.
func settle(t *testing.T, server *tlsnet.Conn) {
	t.Helper()
	if err := server.Wait(); err != nil {
		t.Fatal(err)
	}
	// The records of one write may come in pieces; there is nothing to wait on
	// but the clock of the network stack.
	deadline := time.Now().Add(50 * time.Millisecond)
	for time.Now().Before(deadline) {
	}
}

func TestReadNow(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, config(t, version))
			buf := make([]byte, 64<<10)
			if n, err := server.ReadNow(buf); n != 0 || err != nil {
				t.Fatalf("nothing was sent: %d, %v", n, err)
			}
			// Many records, read together after the first byte.
			var want []byte
			for i := range 50 {
				rec := bytes.Repeat([]byte{byte(i)}, 10+7*i)
				want = append(want, rec...)
				if _, err := client.Write(rec); err != nil {
					t.Fatal(err)
				}
			}
			settle(t, server)
			n, err := server.Read(buf[:1])
			if n != 1 || err != nil {
				t.Fatal(n, err)
			}
			for {
				m, err := server.ReadNow(buf[n:])
				if err != nil {
					t.Fatal(err)
				}
				if n += m; m == 0 {
					break
				}
			}
			if !bytes.Equal(buf[:n], want) {
				t.Fatalf("read %d bytes, want %d", n, len(want))
			}
			// Nothing is left, and the connection goes on.
			if n, err := server.ReadNow(buf); n != 0 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			if _, err := client.Write([]byte("more")); err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadFull(server, buf[:4]); err != nil || string(buf[:n]) != "more" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			if _, err := server.Write([]byte("back")); err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadFull(client, buf[:4]); err != nil || string(buf[:n]) != "back" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
		})
	}
}

// TestStream mixes the ways to read, with a peer that writes pieces of all
// sizes: nothing is lost, doubled or turned around.
func TestStream(t *testing.T) {
	client, server := pair(t, config(t))
	want := make([]byte, 4<<20)
	if _, err := rand.Read(want); err != nil {
		t.Fatal(err)
	}
	go func() {
		for rest, i := want, 1; len(rest) > 0; i = i*7%9973 + 1 {
			n := min(len(rest), i*5)
			if _, err := client.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		_ = client.Close()
	}()
	var got []byte
	buf := make([]byte, 40<<10)
	for i := 0; ; i++ {
		n, err := server.Read(buf[:1+i%3])
		got = append(got, buf[:n]...)
		for err == nil {
			if n, err = server.ReadNow(buf[:1+i*31%len(buf)]); n == 0 {
				break
			}
			got = append(got, buf[:n]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, of %d", len(got), len(want))
	}
}

func TestEnd(t *testing.T) {
	client, server := pair(t, config(t))
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	buf := make([]byte, 10)
	if n, err := server.Read(buf); n != 1 || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	if err := server.Wait(); err != nil {
		t.Fatal(err)
	}
	for range 100 { // the alert may come behind the data
		if _, err := server.ReadNow(buf); err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return
		}
	}
	if _, err := server.Read(buf); err != io.EOF {
		t.Fatal(err)
	}
}

func TestWait(t *testing.T) {
	client, server := pair(t, config(t))
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := server.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wait beyond a deadline: %v", err)
	}
	_ = server.SetReadDeadline(time.Time{})
	waited := make(chan error, 1)
	go func() { waited <- server.Wait() }()
	select {
	case err := <-waited:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := client.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "data" {
		t.Fatalf("%q, %v", buf, err)
	}
	go func() { waited <- server.Wait() }()
	time.AfterFunc(10*time.Millisecond, func() { _ = server.CloseNow() })
	if err := <-waited; err == nil {
		t.Error("wait on a closed connection succeeded")
	}
}

// TestNotASocket uses the package where it cannot look ahead.
func TestNotASocket(t *testing.T) {
	a, b := memnet.Pipe("a", "b", 0)
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	server := tlsnet.Server(b, config(t))
	defer server.CloseNow()
	defer a.Close()
	if server.NetConn() != net.Conn(b) {
		t.Error("NetConn is another connection")
	}
	go func() { _, _ = client.Write([]byte("hello")) }()
	buf := make([]byte, 10)
	if n, err := io.ReadFull(server, buf[:2]); err != nil || n != 2 {
		t.Fatal(err)
	}
	if n, err := server.ReadNow(buf[2:]); err != nil || string(buf[:2+n]) != "hello" {
		t.Fatalf("%q, %v", buf[:2+n], err)
	}
	if n, err := server.ReadNow(buf); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}
