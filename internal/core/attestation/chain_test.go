package attestation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

func TestRevoked(t *testing.T) {
	now := time.Now()
	root := must[*pki.CA](t)(pki.NewCA("root"))
	plant := must[*pki.CA](t)(root.IssueCA("plant", time.Hour))
	chain := chainOf(t, must[tls.Certificate](t)(plant.IssueClient("d", time.Hour)))
	alone := chainOf(t, must[tls.Certificate](t)(pki.SelfSigned("d", time.Hour)))
	for name, c := range map[string]struct {
		revoked *x509.Certificate
		signing *x509.Certificate
		want    error
	}{
		"none":                     {nil, root.Certificate(), nil},
		"another":                  {alone[0], root.Certificate(), nil},
		"the leaf":                 {chain[0], root.Certificate(), attestation.ErrRevoked},
		"the one between":          {plant.Certificate(), root.Certificate(), attestation.ErrRevoked},
		"the signing one":          {root.Certificate(), root.Certificate(), attestation.ErrRevoked},
		"one above the signing":    {root.Certificate(), plant.Certificate(), nil},
		"the leaf, one step below": {chain[0], plant.Certificate(), attestation.ErrRevoked},
	} {
		issuers := map[string]string{}
		list := func(x, issuer *x509.Certificate) bool {
			if issuer != nil {
				issuers[x.Subject.CommonName] = issuer.Subject.CommonName
			}
			return c.revoked != nil && x.Equal(c.revoked)
		}
		_, err := attestation.Issued(now, chain, "d", list, c.signing)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want == nil && issuers["d"] != "plant" {
			t.Errorf("%s: issuers %v", name, issuers)
		}
	}
	revoked := func(x, _ *x509.Certificate) bool { return x.Equal(alone[0]) }
	if err := attestation.Leaf(now, alone, "d", revoked, alone...); !errors.Is(err, attestation.ErrRevoked) {
		t.Errorf("a pinned leaf: %v", err)
	}
}

// TestExpiredAuthority says which signing certificate has ended and when.
func TestExpiredAuthority(t *testing.T) {
	root := must[*pki.CA](t)(pki.NewCA("root"))
	plant := must[*pki.CA](t)(root.IssueCA("plant-7", time.Hour))
	chain := chainOf(t, must[tls.Certificate](t)(plant.IssueClient("d", time.Hour)))
	_, err := attestation.Issued(time.Now().Add(2*time.Hour), chain, "d", nil, plant.Certificate())
	if !errors.Is(err, attestation.ErrCertificate) || !strings.Contains(err.Error(), "plant-7") || !strings.Contains(err.Error(), "not valid after") {
		t.Errorf("an expired authority: %v", err)
	}
}

// bomb returns a self-signed certificate that is as large as the extension says.
func bomb(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "d"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(c)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
	return must[*x509.Certificate](t)(x509.ParseCertificate(der))
}

// TestBombsPinned has certificates, of groups or pinned, that cost much to judge refused before that.
func TestBombsPinned(t *testing.T) {
	root := must[*pki.CA](t)(pki.NewCA("root"))
	good := chainOf(t, must[tls.Certificate](t)(root.IssueClient("d", time.Hour)))
	long := good
	for range attestation.MaxChain {
		long = append(long, root.Certificate())
	}
	fat := bomb(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, attestation.MaxDER)}}
	})
	names := bomb(t, func(c *x509.Certificate) {
		for range 2000 {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, "a.example")
			c.DNSNames = append(c.DNSNames, "b.example")
		}
	})
	heavy := *good[0]
	heavy.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), attestation.MaxKeyBits), E: 65537}
	revoked := func(*x509.Certificate, *x509.Certificate) bool { t.Error("it was judged"); return false }
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		want  string
	}{
		"nothing":                   {nil, "none was presented"},
		"a long chain":              {long, "at most 8"},
		"a huge extension":          {[]*x509.Certificate{good[0], fat}, "certificate 2 of the chain"},
		"thousands of constraints":  {[]*x509.Certificate{names}, "certificate 1 of the chain"},
		"a key that costs too much": {[]*x509.Certificate{&heavy}, "8193 bits"},
	} {
		_, err := attestation.Issued(time.Now(), c.chain, "d", revoked, root.Certificate())
		if !errors.Is(err, attestation.ErrCertificate) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to speak of %q", name, err, c.want)
		}
		if err := attestation.Leaf(time.Now(), c.chain, "d", revoked, root.Certificate()); !errors.Is(err, attestation.ErrCertificate) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, pinned: %v, want it to speak of %q", name, err, c.want)
		}
	}
	// Within the limit, name constraints that do not fit refuse and cost little.
	constrained := bomb(t, func(c *x509.Certificate) {
		for range 200 {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, "a.example")
			c.DNSNames = append(c.DNSNames, "b.example")
		}
	})
	if _, err := attestation.Issued(time.Now(), []*x509.Certificate{good[0], constrained, constrained}, "d", nil, root.Certificate()); err != nil {
		t.Errorf("certificates that are of no use to the chain: %v", err)
	}
}

func TestCheckAuthority(t *testing.T) {
	if err := attestation.CheckAuthority(must[*pki.CA](t)(pki.NewCA("root")).Certificate()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		want   string
	}{
		"no authority":  {func(c *x509.Certificate) { c.IsCA = false }, "basicConstraints"},
		"another usage": {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, "keyCertSign"},
		"a critical extension": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true}}
		}, "1.2.3"},
		"a huge one": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, attestation.MaxDER)}}
		}, "at most"},
	} {
		if err := attestation.CheckAuthority(bomb(t, c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to speak of %q", name, err, c.want)
		}
	}
}
