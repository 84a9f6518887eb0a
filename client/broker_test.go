package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// broker is the other end of a device's connections, played by a test step by
// step. Connections are pipes, so that everything runs in a synctest bubble:
// time is the bubble's, and a goroutine that is left behind fails the test.
type broker struct {
	t     *testing.T
	cfg   *tls.Config
	roots *x509.CertPool
	conns chan net.Conn
	fail  bool // refuse connections; only changed while nobody dials
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.ServerCertificate(t.TempDir(), []string{"hub.example"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	return &broker{
		t: t, roots: roots, conns: make(chan net.Conn),
		cfg: &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
			SessionTicketsDisabled: true,
		}, // a ticket is written while the client writes, too: more than a pipe can bear
	}
}

const deviceString = "HostName=hub.example;DeviceId=d1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="

func (b *broker) options() client.DeviceOptions {
	return client.DeviceOptions{
		ConnectionString: deviceString,
		Options: client.Options{RootCAs: b.roots, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if b.fail {
				return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
			}
			mine, theirs := net.Pipe()
			select {
			case b.conns <- theirs:
				return mine, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}},
	}
}

// peer is one connection as the broker sees it.
type peer struct {
	t       *testing.T
	conn    *tls.Conn
	packets chan mqtt.Packet // closed when the device has closed the connection
	connect *mqtt.Connect
}

// accept takes the next connection, reads CONNECT and answers with a code.
func (b *broker) accept(code mqtt.Reason) *peer {
	b.t.Helper()
	p := &peer{t: b.t, conn: tls.Server(<-b.conns, b.cfg), packets: make(chan mqtt.Packet, 1000)}
	go func() {
		defer close(p.packets)
		if err := p.conn.Handshake(); err != nil {
			b.t.Errorf("handshake: %v", err)
			return
		}
		r := mqtt.NewReader(p.conn, mqtt.V311, 1<<20)
		for {
			x, err := r.Packet()
			if err != nil {
				return
			}
			p.packets <- x
		}
	}()
	p.connect = next[*mqtt.Connect](p)
	p.send(&mqtt.Connack{Code: code})
	return p
}

// next returns the next packet, which must be of a type.
func next[P mqtt.Packet](p *peer) P {
	p.t.Helper()
	select {
	case x, ok := <-p.packets:
		if !ok {
			p.t.Fatal("the device closed the connection")
		}
		got, ok := x.(P)
		if !ok {
			p.t.Fatalf("got %v, want %T", x.Type(), got)
		}
		return got
	case <-time.After(time.Hour):
		var want P
		p.t.Fatalf("got nothing, want %T", want)
		return want
	}
}

// quiet fails when the device has sent something.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	select {
	case x, ok := <-p.packets:
		if ok {
			p.t.Errorf("got %v, want nothing", x.Type())
		}
	default:
	}
}

// closed waits for the device to close the connection.
func (p *peer) closed() {
	p.t.Helper()
	for {
		select {
		case _, ok := <-p.packets:
			if !ok {
				return
			}
		case <-time.After(time.Hour):
			p.t.Fatal("the device did not close the connection")
		}
	}
}

func (p *peer) send(x mqtt.Packet) {
	p.t.Helper()
	b, err := x.Append(nil, mqtt.V311)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// grant reads a SUBSCRIBE and answers it; it returns the filters.
func (p *peer) grant() []string {
	p.t.Helper()
	s := next[*mqtt.Subscribe](p)
	ack := &mqtt.Suback{ID: s.ID}
	var filters []string
	for _, f := range s.Subscriptions {
		filters = append(filters, f.Filter)
		ack.Codes = append(ack.Codes, mqtt.Reason(f.QoS))
	}
	p.send(ack)
	return filters
}

func (p *peer) ack(id uint16) { p.send(&mqtt.Ack{Kind: mqtt.PUBACK, ID: id}) }

// dial connects a device while the test plays the broker.
func (b *broker) dial(o client.DeviceOptions, play func()) *client.Device {
	b.t.Helper()
	type outcome struct {
		d   *client.Device
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		d, err := client.Connect(context.Background(), o)
		done <- outcome{d, err}
	}()
	play()
	out := <-done
	if out.err != nil {
		b.t.Fatal(out.err)
	}
	return out.d
}

// in runs a test in a bubble with a broker.
func in(t *testing.T, f func(t *testing.T, b *broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newBroker(t)) })
}
