package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

// TestPresented has clients that present too much refused in the handshake.
func TestPresented(t *testing.T) {
	ca, err := pki.NewCA("root")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := ca.IssueServer([]string{"localhost"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.IssueClient("d", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := &certificates{}
	s.current.Store(&shown)
	handshake := func(c tls.Certificate) error {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		served := make(chan error, 1)
		go func() { served <- tls.Server(far, s.config()).HandshakeContext(t.Context()) }()
		conn := tls.Client(near, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12})
		go func() { _, _ = conn.Read(make([]byte, 1)) }() // the answer comes after its own handshake
		return <-served
	}
	if err := handshake(client); err != nil {
		t.Errorf("one certificate: %v", err)
	}
	for range maxPresented {
		client.Certificate = append(client.Certificate, ca.Certificate().Raw)
	}
	if err := handshake(client); err == nil || !strings.Contains(err.Error(), "at most 16") {
		t.Errorf("many certificates: %v", err)
	}
	large := make([]byte, maxPresentedBytes)
	if err := bounded(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: large}, {Raw: large[:1]}}}); err == nil {
		t.Error("large certificates are taken")
	}
}
