package attestation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func chainOf(t *testing.T, c tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Certificate {
		chain = append(chain, must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	}
	return chain
}

func text(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func TestParseCertificate(t *testing.T) {
	c := must[*pki.CA](t)(pki.NewCA("root")).Certificate()
	p := text(c)
	body := strings.TrimSpace(strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(p))
	der := base64.StdEncoding.EncodeToString(c.Raw)
	for name, in := range map[string]string{
		"PEM": p, "PEM with text around": "subject=x\n" + p + "\n", "without the lines": body,
		"in one line": strings.ReplaceAll(body, "\n", ""), "CRLF": strings.ReplaceAll(p, "\n", "\r\n"),
		"base64 of DER": der, "base64 of PEM": base64.StdEncoding.EncodeToString([]byte(p)),
		"PEM in one line": strings.ReplaceAll(p, "\n", ""),
	} {
		if got, err := attestation.ParseCertificate(in); err != nil || !got.Equal(c) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ in, want string }{
		"nothing":     {"", "cannot be read"},
		"two":         {p + p, "more than one"},
		"a key":       {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})), `"PRIVATE KEY"`},
		"not base64":  {"certificate", "neither PEM nor base64"},
		"not a cert":  {base64.StdEncoding.EncodeToString([]byte("hello")), "cannot be read"},
		"cut":         {der[:len(der)/2/4*4], "cannot be read"},
		"far too big": {strings.Repeat("A", attestation.MaxCertificate+1), "more than 16384"},
	} {
		if _, err := attestation.ParseCertificate(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to speak of %q", name, err, c.want)
		}
	}
}

func TestInfo(t *testing.T) {
	c := chainOf(t, must[tls.Certificate](t)(pki.SelfSigned("d-1", time.Hour)))[0]
	i := attestation.InfoOf(c)
	short, long := pki.Thumbprints(c)
	if i.SubjectName != "CN=d-1" || i.IssuerName != "CN=d-1" || i.SHA1Thumbprint != short || i.SHA256Thumbprint != long ||
		i.Version != 3 || !i.NotAfterUTC.Equal(c.NotAfter) || len(i.SerialNumber)%2 != 0 || i.SerialNumber == "" {
		t.Errorf("info %+v", i)
	}
}

func TestLeaf(t *testing.T) {
	now := time.Now()
	one := chainOf(t, must[tls.Certificate](t)(pki.SelfSigned("d-1", time.Hour)))
	two := chainOf(t, must[tls.Certificate](t)(pki.SelfSigned("d-1", time.Hour)))
	for name, c := range map[string]struct {
		at     time.Time
		chain  []*x509.Certificate
		id     string
		pinned []*x509.Certificate
		want   error
	}{
		"primary":        {now, one, "d-1", []*x509.Certificate{one[0], nil}, nil},
		"secondary":      {now, one, "D-1", []*x509.Certificate{two[0], one[0]}, nil},
		"another":        {now, two, "d-1", []*x509.Certificate{one[0], nil}, attestation.ErrCertificate},
		"none pinned":    {now, one, "d-1", nil, attestation.ErrCertificate},
		"none presented": {now, nil, "d-1", []*x509.Certificate{one[0]}, attestation.ErrCertificate},
		"not first":      {now, []*x509.Certificate{two[0], one[0]}, "d-1", []*x509.Certificate{one[0]}, attestation.ErrCertificate},
		"another name":   {now, one, "d-2", []*x509.Certificate{one[0]}, attestation.ErrCommonName},
		"expired":        {now.Add(time.Hour + attestation.ClockSkew + time.Minute), one, "d-1", []*x509.Certificate{one[0]}, attestation.ErrCertificate},
		"just expired":   {now.Add(time.Hour + attestation.ClockSkew/2), one, "d-1", []*x509.Certificate{one[0]}, nil},
		"not yet":        {one[0].NotBefore.Add(-attestation.ClockSkew - time.Minute), one, "d-1", []*x509.Certificate{one[0]}, attestation.ErrCertificate},
		"almost":         {one[0].NotBefore.Add(-attestation.ClockSkew / 2), one, "d-1", []*x509.Certificate{one[0]}, nil},
	} {
		if err := attestation.Leaf(c.at, c.chain, c.id, nil, c.pinned...); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestIssued(t *testing.T) {
	now := time.Now()
	root := must[*pki.CA](t)(pki.NewCA("root"))
	plant := must[*pki.CA](t)(root.IssueCA("plant", 24*time.Hour))
	other := must[*pki.CA](t)(pki.NewCA("other"))
	namesake := must[*pki.CA](t)(pki.NewCA("plant")) // not the same key
	device := chainOf(t, must[tls.Certificate](t)(plant.IssueClient("d-1", time.Hour)))
	if len(device) < 2 {
		t.Fatalf("the chain has %d certificates", len(device))
	}
	direct := chainOf(t, must[tls.Certificate](t)(root.IssueClient("d-1", time.Hour)))
	expired := chainOf(t, must[tls.Certificate](t)(plant.IssueClient("d-1", -time.Hour)))
	long := append([]*x509.Certificate{}, device...)
	for len(long) <= attestation.MaxChain {
		long = append(long, device[1])
	}
	self := chainOf(t, must[tls.Certificate](t)(pki.SelfSigned("d-1", time.Hour)))
	type certs = []*x509.Certificate
	for name, c := range map[string]struct {
		chain   certs
		id      string
		signing certs
		want    int
		err     error
	}{
		"the intermediate":             {device, "d-1", certs{plant.Certificate()}, 1, nil},
		"the root":                     {device, "d-1", certs{root.Certificate()}, 2, nil},
		"both, the nearest counts":     {device, "d-1", certs{root.Certificate(), plant.Certificate()}, 1, nil},
		"secondary":                    {direct, "d-1", certs{nil, root.Certificate()}, 1, nil},
		"leaf alone, the intermediate": {device[:1], "d-1", certs{plant.Certificate()}, 1, nil},
		"leaf alone, the root":         {device[:1], "d-1", certs{root.Certificate()}, 0, attestation.ErrCertificate},
		"another authority":            {device, "d-1", certs{other.Certificate()}, 0, attestation.ErrCertificate},
		"a namesake":                   {device, "d-1", certs{namesake.Certificate()}, 0, attestation.ErrCertificate},
		"no authority":                 {device, "d-1", nil, 0, attestation.ErrCertificate},
		"self-signed":                  {self, "d-1", certs{root.Certificate()}, 0, attestation.ErrCertificate},
		"self-signed and trusted":      {self, "d-1", certs{self[0]}, 0, attestation.ErrCertificate},
		"another name":                 {device, "d-2", certs{root.Certificate()}, 0, attestation.ErrCommonName},
		"expired":                      {expired, "d-1", certs{root.Certificate()}, 0, attestation.ErrCertificate},
		"too long":                     {long, "d-1", certs{root.Certificate()}, 0, attestation.ErrCertificate},
		"nothing":                      {nil, "d-1", certs{root.Certificate()}, 0, attestation.ErrCertificate},
	} {
		got, err := attestation.Issued(now, c.chain, c.id, nil, c.signing...)
		if !errors.Is(err, c.err) || c.err == nil && (err != nil || got != c.want) {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, err, c.want, c.err)
		}
	}
	if _, err := attestation.Issued(now.Add(48*time.Hour), device, "d-1", nil, plant.Certificate()); !errors.Is(err, attestation.ErrCertificate) {
		t.Errorf("after the end of the authority: %v", err)
	}
	if d, err := attestation.Issued(device[0].NotBefore.Add(-attestation.ClockSkew/2), device, "d-1", nil, root.Certificate()); err != nil || d != 2 {
		t.Errorf("a clock that is slow: %d, %v", d, err)
	}
}

func FuzzParseCertificate(f *testing.F) {
	ca, err := pki.NewCA("root")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text(ca.Certificate()))
	f.Add(base64.StdEncoding.EncodeToString(ca.Certificate().Raw))
	f.Fuzz(func(t *testing.T, in string) {
		c, err := attestation.ParseCertificate(in)
		if err != nil {
			return
		}
		attestation.InfoOf(c)
		_, _ = attestation.Issued(time.Now(), []*x509.Certificate{c, c}, c.Subject.CommonName, nil, c)
		_ = attestation.Leaf(time.Now(), []*x509.Certificate{c}, c.Subject.CommonName, nil, c)
	})
}

// TestBombs presents certificates that would take a lot of work.
func TestBombs(t *testing.T) {
	now := time.Now()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := must[*pki.CA](t)(pki.NewCA("root"))
	device := chainOf(t, must[tls.Certificate](t)(root.IssueClient("d-1", time.Hour)))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "between"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	bomb := func(public any, names int) *x509.Certificate {
		c := *template
		for i := range names {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("n%d.example", i))
		}
		der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, &c, template, public, key))
		return must[*x509.Certificate](t)(x509.ParseCertificate(der))
	}
	modulus := new(big.Int).Lsh(big.NewInt(1), 1<<16)
	for name, c := range map[string]struct {
		bomb *x509.Certificate
		want string
	}{
		"thousands of names": {bomb(key.Public(), 5000), "bytes, at most 16384"},
		"a huge key":         {bomb(&rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537}, 1), "65537 bits, at most 8192"},
	} {
		if _, err := attestation.ParseCertificate(text(c.bomb)); err == nil {
			t.Errorf("%s can be enrolled", name)
		}
		for where, chain := range map[string][]*x509.Certificate{"leaf": {c.bomb}, "above it": {device[0], c.bomb}} {
			_, err := attestation.Issued(now, chain, "d-1", nil, root.Certificate())
			if !errors.Is(err, attestation.ErrCertificate) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("%s, %s: %v", name, where, err)
			}
		}
	}
}
