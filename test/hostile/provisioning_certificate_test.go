package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// issuer is a certificate of an authority and its key.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue returns a certificate for a key; by nil signs it with itself. Change changes
// what is ordinary about it.
func issue(t *testing.T, by *issuer, key crypto.Signer, public any, cn string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ca(c *x509.Certificate) { c.IsCA = true }

// TestProvisioningCertificates has devices show certificates that are not theirs, or
// not good, or that take a lot of work. None is let in, and the one that is good is.
func TestProvisioningCertificates(t *testing.T) {
	w := newWorld(t)
	f := newFactory(t, w)
	key, rootKey := newKey(t), newKey(t)
	root := &issuer{issue(t, nil, rootKey, rootKey.Public(), "root", ca), rootKey}
	plantKey := newKey(t)
	plant := &issuer{issue(t, root, nil, plantKey.Public(), "plant", ca), plantKey}
	leaf := func(by *issuer, cn string, change func(*x509.Certificate)) *x509.Certificate {
		return issue(t, by, key, key.Public(), cn, change)
	}
	back := f.web()
	pem := func(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }
	f.enroll(back, "/enrollmentGroups/plant", `{"enrollmentGroupId":"plant","attestation":{"type":"x509","x509":{"signingCertificates":{"primary":{"certificate":"`+pem(root.cert)+`"}}}}}`)
	own, past := leaf(nil, "own", nil), leaf(nil, "past", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Minute) })
	for id, c := range map[string]*x509.Certificate{"own": own, "past": past, "misnamed": own} {
		f.enroll(back, "/enrollments/"+id, fmt.Sprintf(`{"registrationId":%q,"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":%q}}}}}`, id, pem(c)))
	}

	// A root that says it is the same, with another key.
	fakeKey := newKey(t)
	fake := &issuer{issue(t, nil, fakeKey, fakeKey.Public(), "root", func(c *x509.Certificate) { ca(c); c.SerialNumber = root.cert.SerialNumber }), fakeKey}
	many := leaf(plant, "d", func(c *x509.Certificate) {
		for i := range 5000 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("n%d.example", i))
		}
	})
	huge := new(big.Int).Lsh(big.NewInt(1), 60_000)
	hugeKey := issue(t, root, nil, &rsa.PublicKey{N: huge.SetBit(huge, 0, 1), E: 65537}, "plant", ca)
	long := []*x509.Certificate{}
	for by, n := plant, 0; n < 40; n++ {
		k := newKey(t)
		c := issue(t, by, nil, k.Public(), fmt.Sprint("level ", n), ca)
		long, by = append([]*x509.Certificate{c}, long...), &issuer{c, k}
		if n == 39 {
			long = append([]*x509.Certificate{leaf(by, "d", nil)}, long...)
		}
	}
	// Authorities of one name and of two keys that sign each other: the number of ways
	// up grows with every one.
	var tangle []*x509.Certificate
	a, b := newKey(t), newKey(t)
	for range 3 {
		tangle = append(tangle, issue(t, &issuer{issue(t, nil, a, a.Public(), "knot", ca), a}, nil, b.Public(), "knot", ca),
			issue(t, &issuer{issue(t, nil, b, b.Public(), "knot", ca), b}, nil, a.Public(), "knot", ca))
	}
	knot := &issuer{tangle[0], b}
	restricted := issue(t, root, nil, plantKey.Public(), "plant", func(c *x509.Certificate) {
		ca(c)
		for i := range 300 {
			c.PermittedDNSDomains = append(c.PermittedDNSDomains, fmt.Sprintf("p%d.example", i))
		}
	})
	names := leaf(plant, "d", func(c *x509.Certificate) {
		for i := range 600 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("n%d.example", i))
		}
	})

	type chain = []*x509.Certificate
	for _, r := range []struct {
		name  string
		id    string
		chain chain
	}{
		{"common name of another device", "d", chain{leaf(plant, "e", nil), plant.cert}},
		{"common name of another device, own certificate", "misnamed", chain{own}},
		{"registration id among the other names", "d", chain{leaf(plant, "e", func(c *x509.Certificate) { c.DNSNames = []string{"d"} }), plant.cert}},
		{"no common name", "d", chain{leaf(plant, "", nil), plant.cert}},
		{"expired certificate", "d", chain{leaf(plant, "d", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Minute) }), plant.cert}},
		{"expired certificate, own", "past", chain{past}},
		{"certificate of the future", "d", chain{leaf(plant, "d", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }), plant.cert}},
		{"self-signed certificate", "d", chain{leaf(nil, "d", nil)}},
		{"certificate of an authority of the same name", "d", chain{leaf(fake, "d", nil), fake.cert}},
		{"certificate below the right one, signed by another", "d", chain{leaf(fake, "d", nil), root.cert}},
		{"certificate signed by a device", "d", chain{leaf(&issuer{leaf(plant, "e", nil), key}, "d", nil), leaf(plant, "e", nil), plant.cert}},
		{"authority that may not sign", "d", chain{leaf(&issuer{issue(t, root, nil, plantKey.Public(), "plant", nil), plantKey}, "d", nil), issue(t, root, nil, plantKey.Public(), "plant", nil)}},
		{"certificate without what is between", "d", chain{leaf(plant, "d", nil)}},
		{"certificate of an enrollment, by another device", "d", chain{own}},
		{"chain of 42 certificates", "d", long},
		{"chain of 300 certificates", "d", append(chain{leaf(plant, "d", nil)}, repeat(plant.cert, 299)...)},
		{"certificates that sign each other", "d", append(chain{leaf(knot, "d", nil)}, tangle...)},
		{"certificate with thousands of names", "d", chain{many, plant.cert}},
		{"names times constraints", "d", chain{names, restricted}},
		{"authority with a key of 60,000 bits", "d", chain{leaf(plant, "d", nil), hugeKey}},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := tls.Certificate{PrivateKey: key}
			for _, x := range r.chain {
				c.Certificate = append(c.Certificate, x.Raw)
			}
			web := f.web(c)
			defer web.CloseIdleConnections()
			began := time.Now()
			s, err := f.call(web, "PUT", f.path(r.id)+"/register", "", "{}")
			if took := time.Since(began); took > patience {
				t.Errorf("it takes %v", took)
			}
			// What is no certificate at all for TLS is refused there.
			if err == nil && (s.status != 401 || s.field("message") != "Unauthorized") {
				t.Errorf("%d %.500s", s.status, s.body)
			}
			if err != nil {
				t.Logf("refused by TLS: %v", err)
			}
		})
	}
	good := tls.Certificate{PrivateKey: key, Certificate: [][]byte{leaf(plant, "d", nil).Raw, plant.cert.Raw}}
	for id, c := range map[string]tls.Certificate{"d": good, "own": {PrivateKey: key, Certificate: [][]byte{own.Raw}}} {
		web := f.web(c)
		if s := f.register(web, id, "", "{}"); s.field("status") != "assigned" {
			t.Errorf("%s with the right certificate: %d %s", id, s.status, s.body)
		}
		web.CloseIdleConnections()
	}

	// Enrollments with such certificates.
	doc := func(kind, text string) string {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return `{"enrollmentGroupId":"g","registrationId":"g","attestation":{"type":"x509","x509":{"` + kind + `":{"primary":{"certificate":` + string(b) + `}}}}}`
	}
	for name, r := range map[string]struct{ path, body string }{
		"a huge text":        {"/enrollmentGroups/g", doc("signingCertificates", string(make([]byte, 100_000)))},
		"a huge key":         {"/enrollmentGroups/g", doc("signingCertificates", pem(hugeKey))},
		"thousands of names": {"/enrollments/g", doc("clientCertificates", pem(many))},
		"a leaf as signer":   {"/enrollmentGroups/g", doc("signingCertificates", pem(own))},
		"no certificate":     {"/enrollments/g", doc("clientCertificates", "AAAA")},
	} {
		if s := f.must(back, "PUT", r.path, f.back, r.body); s.status != 400 || s.field("message") == "" {
			t.Errorf("an enrollment with %s: %d %.500s", name, s.status, s.body)
		}
	}
	back.CloseIdleConnections()
	w.unharmed(16 << 20)
}

func repeat(c *x509.Certificate, n int) (list []*x509.Certificate) {
	for range n {
		list = append(list, c)
	}
	return list
}
