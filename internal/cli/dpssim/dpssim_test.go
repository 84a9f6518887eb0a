package dpssim_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/cli/dpssim"
)

// TestReasons: a thousand ways to fail are told apart up to a bound.
func TestReasons(t *testing.T) {
	var steps atomic.Int64
	r, err := dpssim.Run(t.Context(), dpssim.Options{
		Devices: 1000, AtOnce: 7, Step: func() { steps.Add(1) },
		Device: func(i int) (client.ProvisioningOptions, error) {
			return client.ProvisioningOptions{}, fmt.Errorf("device: %w", fmt.Errorf("reason %d", i%200))
		},
	})
	if err != nil || r.Failed != 1000 || r.Assigned != 0 || steps.Load() != 1000 || len(r.Reasons) != dpssim.MaxReasons+1 || r.Reasons["other"] < 800 || r.AtOnce != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dpssim.Run(ctx, dpssim.Options{Devices: 5, AtOnce: 1, Device: func(int) (client.ProvisioningOptions, error) {
		return client.ProvisioningOptions{}, nil
	}}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if _, err := dpssim.Run(t.Context(), dpssim.Options{Devices: dpssim.MaxDevices + 1, AtOnce: 1}); err == nil {
		t.Error("too many devices are taken")
	}
}

// authority returns a certificate and its key as PEM.
func authority(t *testing.T, ca bool) (cert, key []byte, parsed *x509.Certificate) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "line 7"}, NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), parsed
}

func TestSigner(t *testing.T) {
	cert, key, ca := authority(t, true)
	s, err := dpssim.NewSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Certificate("press-1")
	if err != nil || len(c.Certificate) != 2 {
		t.Fatalf("%v", err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil || leaf.Subject.CommonName != "press-1" {
		t.Fatalf("%v, %v", leaf, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := dpssim.NewSigner(key, cert); err == nil {
		t.Error("key and certificate are taken for each other")
	}
	if cert, key, _ = authority(t, false); cert != nil {
		if _, err := dpssim.NewSigner(cert, key); err == nil {
			t.Error("a certificate that may not sign is taken")
		}
	}
}
