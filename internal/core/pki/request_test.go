package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	return must(t, k, err)
}

// request makes a certificate request for d.
func request(t testing.TB, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "d"}}
	if change != nil {
		change(r)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	return must(t, der, err)
}

func extension(id []int, critical bool, value any) func(*x509.CertificateRequest) {
	return func(r *x509.CertificateRequest) {
		der, err := asn1.Marshal(value)
		if err != nil {
			panic(err)
		}
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: der})
	}
}

func TestParseRequest(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, rsaKey, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(t, edKey, err)
	type basic struct {
		CA bool `asn1:"optional"`
	}
	usage := func(b byte) asn1.BitString { return asn1.BitString{Bytes: []byte{b}, BitLength: 8} }
	for name, c := range map[string]struct {
		der  []byte
		kind string
	}{
		"elliptic": {request(t, key, nil), "ec-p256"}, "RSA": {request(t, rsaKey, nil), "rsa-2048"}, "Ed25519": {request(t, edKey, nil), "ed25519"},
		"its name again":       {request(t, key, func(r *x509.CertificateRequest) { r.DNSNames = []string{"D"} }), "ec-p256"},
		"more of the subject":  {request(t, key, func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"o"} }), "ec-p256"},
		"a usage":              {request(t, key, extension([]int{2, 5, 29, 15}, true, usage(0xA0))), "ec-p256"},
		"no authority":         {request(t, key, extension([]int{2, 5, 29, 19}, true, basic{})), "ec-p256"},
		"a usage as client":    {request(t, key, extension([]int{2, 5, 29, 37}, true, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})), "ec-p256"},
		"something unknown":    {request(t, key, extension([]int{1, 2, 3}, false, "x")), "ec-p256"},
		"a name of its own":    {request(t, key, func(r *x509.CertificateRequest) { r.Subject.CommonName = strings.Repeat("n", 128) }), "ec-p256"},
		"a curve with 521 bit": {request(t, ecKey(t, elliptic.P521()), nil), "ec-p521"},
	} {
		r, err := pki.ParseRequest(c.der)
		if err != nil || r.KeyType != c.kind {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	forged := request(t, key, nil)
	forged[len(forged)-1] ^= 1
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, short, err)
	address := must(t, &url.URL{Scheme: "spiffe", Host: "x"}, nil)
	for name, c := range map[string]struct {
		der  []byte
		want string
	}{
		"nothing":       {nil, "no PKCS #10"},
		"a certificate": {newCA(t).Certificate().Raw, "no PKCS #10"},
		"a tail":        {append(request(t, key, nil), 0), "no PKCS #10"},
		"a huge one": {request(t, key, func(r *x509.CertificateRequest) {
			r.Subject.Organization = []string{strings.Repeat("o", pki.MaxRequest)}
		}), "at most 8192"},
		"another's key":        {forged, "not signed with its own key"},
		"a short key":          {request(t, short, nil), "1024 bits"},
		"a curve that is weak": {request(t, ecKey(t, elliptic.P224()), nil), "P-224"},
		"no name":              {request(t, key, func(r *x509.CertificateRequest) { r.Subject.CommonName = "" }), "common name"},
		"another's name":       {request(t, key, func(r *x509.CertificateRequest) { r.DNSNames = []string{"other"} }), `"other"`},
		"an address":           {request(t, key, func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{{127, 0, 0, 1}} }), "subjectAltName"},
		"a URI":                {request(t, key, func(r *x509.CertificateRequest) { r.URIs = []*url.URL{address} }), "subjectAltName"},
		"an authority":         {request(t, key, extension([]int{2, 5, 29, 19}, true, basic{true})), "CA:TRUE"},
		"a usage to sign":      {request(t, key, extension([]int{2, 5, 29, 15}, true, usage(0x04))), "keyUsage"},
		"constraints":          {request(t, key, extension([]int{2, 5, 29, 30}, false, basic{})), "nameConstraints"},
		"something critical":   {request(t, key, extension([]int{1, 2, 3}, true, "x")), "1.2.3"},
		"a usage that is none": {request(t, key, extension([]int{2, 5, 29, 15}, true, "x")), "keyUsage"},
	} {
		if r, err := pki.ParseRequest(c.der); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want it to speak of %q", name, r, err, c.want)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(request(f, ecKey(f, elliptic.P256()), func(r *x509.CertificateRequest) { r.DNSNames = []string{"d"} }))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := pki.ParseRequest(der)
		if err == nil && (r.Subject.CommonName == "" || r.CheckSignature() != nil || r.KeyType == "") {
			t.Errorf("%x is taken: %+v", der, r)
		}
	})
}

// TestSignClient issues from what was kept of an authority below another.
func TestSignClient(t *testing.T) {
	root := newCA(t)
	made, err := root.IssueCA("issuing", 100*24*time.Hour)
	must(t, made, err)
	key, err := made.Export()
	must(t, key, err)
	chain := [][]byte{made.Certificate().Raw, root.Certificate().Raw}
	ca, err := pki.OpenCA(chain, key)
	must(t, ca, err)
	r, err := pki.ParseRequest(request(t, ecKey(t, elliptic.P256()), nil))
	must(t, r, err)
	leaf, err := ca.SignClient("d", r.PublicKey, time.Hour)
	must(t, leaf, err)
	between := x509.NewCertPool()
	between.AddCert(made.Certificate())
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: root.Pool(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if leaf.Subject.CommonName != "d" || leaf.IsCA || !r.SameKey(leaf) || r.SameKey(made.Certificate()) || bytes.Equal(leaf.RawIssuer, root.Certificate().RawSubject) {
		t.Errorf("certificate %+v", leaf)
	}
	long, err := ca.SignClient("d", r.PublicKey, 1000*24*time.Hour)
	if must(t, long, err); long.NotAfter.After(made.Certificate().NotAfter) {
		t.Errorf("it ends at %s, after its authority", long.NotAfter)
	}
	for name, c := range map[string]struct {
		chain [][]byte
		key   []byte
	}{
		"no certificate": {nil, key}, "no key": {chain, nil}, "another's key": {chain[1:], key}, "not a certificate": {[][]byte{{1}}, key},
	} {
		if _, err := pki.OpenCA(c.chain, c.key); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
