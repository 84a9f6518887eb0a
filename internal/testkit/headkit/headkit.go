// Package headkit is what the tests of protocol heads share that accept
// connections: a server on a port of the machine, certificates, what metrics
// count, and what an idle connection costs.
//
// It knows no protocol and no hub.
package headkit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"runtime/debug"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Listen runs serve on a port of the machine until the test ends, and returns
// the address. A nil wrap leaves the listener as it is.
func Listen(t testing.TB, wrap func(net.Listener) net.Listener, serve func(context.Context, net.Listener) error) string {
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
	go func() { served <- serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return addr
}

// Certificate returns a self-signed certificate for a host name or a device.
func Certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// ServerTLS is the side of TLS of a server that devices prove themselves to.
func ServerTLS(t testing.TB, host string) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{Certificate(t, host)}, ClientAuth: tls.RequestClientCert}
}

// Value reads a counter or gauge.
func Value(m prometheus.Metric) float64 {
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		return -1
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// Watchdog ends the program, with all stacks, when an input takes too long: a
// fuzzer would wait for ever.
func Watchdog(b []byte) (stop func() bool) {
	return time.AfterFunc(20*time.Second, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("input %q hangs", b))
	}).Stop
}
