package est_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func TestAuthorities(t *testing.T) {
	w := newWorld(t)
	w.want("before there is a policy", w.do(nil, "GET", "/.well-known/est/cacerts", "", nil), 404, "credential policy")
	w.issues()
	list := w.certificates("cacerts", w.do(nil, "GET", "/.well-known/est/cacerts", "", nil))
	if len(list) != 2 || !list[0].IsCA || list[0].CheckSignatureFrom(list[1]) != nil || list[1].CheckSignatureFrom(list[1]) != nil {
		t.Errorf("%d certificates", len(list))
	}
	labelled := w.certificates("by the id scope", w.do(nil, "GET", "/.well-known/est/"+strings.ToLower(w.instance.IDScope)+"/cacerts", "", nil))
	if len(labelled) != 2 || !labelled[0].Equal(list[0]) {
		t.Errorf("%d certificates by the id scope", len(labelled))
	}
	if a := w.do(nil, "GET", "/.well-known/est/csrattrs", "", nil); a.status != 204 || a.body != "" {
		t.Errorf("csrattrs: %d %q", a.status, a.body)
	}
	w.want("another service", w.do(nil, "GET", "/.well-known/est/0ne1/cacerts", "", nil), 404, "id scope")
	w.want("another host", w.do(nil, "GET", "/.well-known/est/cacerts", "", func(r *http.Request) { r.Host = "other" }), 404, "host name")
	w.want("another operation", w.do(nil, "POST", "/.well-known/est/serverkeygen", "x", nil), 404, "serverkeygen")
	w.want("another path", w.do(nil, "GET", "/.well-known/est/a/b/cacerts", "", nil), 404, "no operation")
	a := w.do(nil, "GET", "/.well-known/est/simpleenroll", "", nil)
	if w.want("another method", a, 405, "POST"); a.header.Get("Allow") != "POST" {
		t.Errorf("headers %v", a.header)
	}
}

// TestEnroll goes from the key of a device to a certificate, a registration and
// renewals.
func TestEnroll(t *testing.T) {
	w := newWorld(t)
	w.issues()
	d := newDevice(t, "d")
	w.enroll(d, "/.well-known/est/simpleenroll", basic("D", w.password("d")))
	// As the IoT Edge identity service does: again, with what it has.
	w.enroll(d, "/.well-known/est/"+w.instance.IDScope+"/simpleenroll", nil)
	w.enroll(d, "/.well-known/est/simplereenroll", nil)
	next := newDevice(t, "d") // with another key
	next.chain, next.key = d.chain, d.key
	fresh := newDevice(t, "d")
	list := w.certificates("another key", w.do(next, "POST", "/.well-known/est/simplereenroll", fresh.csr(t), nil))
	if !fresh.key.PublicKey.Equal(list[0].PublicKey) {
		t.Error("it is for another key")
	}
	raw, err := base64.StdEncoding.DecodeString(w.password("e"))
	ok(t, err)
	token := sas.Sign(w.instance.IDScope+"/registrations/e", raw, "registration", time.Now().Add(time.Hour))
	e := newDevice(t, "e")
	w.enroll(e, "/.well-known/est/simpleenroll", func(r *http.Request) { r.Header.Set("Authorization", token) })
	e.chain = nil
	w.enroll(e, "/.well-known/est/simpleenroll", basic("e", token))

	certs, err := w.service.IssuedTo(t.Context(), "dps", "d", "", 0)
	if err != nil || len(certs) != 4 {
		t.Errorf("%d certificates on record, %v", len(certs), err)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.issues()
	const enroll = "/.well-known/est/simpleenroll"
	d, other := newDevice(t, "d"), newDevice(t, "other")
	good := basic("d", w.password("d"))
	w.enroll(other, enroll, basic("other", w.password("other")))
	strayed := newDevice(t, "d")
	strayed.chain, strayed.key = other.chain, other.key
	for name, c := range map[string]struct {
		d      *device
		path   string
		body   string
		change func(*http.Request)
		status int
		text   string
	}{
		"no proof":                  {d, enroll, d.csr(t), nil, 401, "Unauthorized"},
		"a wrong password":          {d, enroll, d.csr(t), basic("d", "AAAA"), 401, "Unauthorized"},
		"no key":                    {d, enroll, d.csr(t), basic("d", "secret!"), 401, "Unauthorized"},
		"no password":               {d, enroll, d.csr(t), basic("d", ""), 401, "Unauthorized"},
		"another's name":            {d, enroll, d.csr(t), basic("other", w.password("other")), 401, "common name"},
		"another's certificate":     {strayed, enroll, d.csr(t), nil, 401, "Unauthorized"},
		"renewed with a password":   {d, "/.well-known/est/simplereenroll", d.csr(t), good, 401, "Unauthorized"},
		"no body":                   {d, enroll, "", func(r *http.Request) { r.Header.Set("Content-Type", "application/pkcs10"); good(r) }, 400, "empty"},
		"another type":              {d, enroll, d.csr(t), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "application/pkcs10"},
		"not base64":                {d, enroll, "%%%%", good, 400, "base64"},
		"not a request":             {d, enroll, "AAAA", good, 400, "PKCS #10"},
		"a certificate":             {d, enroll, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})), good, 400, "CERTIFICATE REQUEST"},
		"a huge body":               {d, enroll, strings.Repeat("A", 20<<10), good, 413, "larger than"},
		"a name that cannot be one": {newDevice(t, "a b"), enroll, newDevice(t, "a b").csr(t), basic("a b", "AAAA"), 400, "registration id"},
	} {
		a := w.do(c.d, "POST", c.path, c.body, c.change)
		w.want(name, a, c.status, c.text)
		if (a.header.Get("WWW-Authenticate") != "") != (c.status == 401) {
			t.Errorf("%s: headers %v", name, a.header)
		}
	}
	plain, err := w.service.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "plain", Attestation: dps.Attestation{Kind: dps.SymmetricKey}}, "")
	ok(t, err)
	a := w.do(nil, "POST", enroll, newDevice(t, "plain").csr(t), basic("plain", string(plain.Attestation.Keys.Primary)))
	w.want("an enrollment without certificates", a, 403, "credentialPolicyName")
}

// TestBodies has requests in the forms that clients send.
func TestBodies(t *testing.T) {
	w := newWorld(t)
	w.issues()
	d := newDevice(t, "d")
	text := d.csr(t)
	der, err := base64.StdEncoding.DecodeString(text)
	ok(t, err)
	p := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	body := strings.NewReplacer("-----BEGIN CERTIFICATE REQUEST-----\n", "", "-----END CERTIFICATE REQUEST-----\n", "").Replace(p)
	for name, b := range map[string]string{
		"one line": text, "lines": body, "lines of DOS": strings.ReplaceAll(body, "\n", "\r\n"), "PEM": p, "DER": string(der),
	} {
		a := w.do(nil, "POST", "/.well-known/est/simpleenroll", b, basic("d", w.password("d")))
		if got := w.certificates(name, a); len(got) != 1 {
			t.Errorf("%s: %d certificates", name, len(got))
		}
	}
}

// TestOpenSSL makes the request and checks the chain with OpenSSL, as a device
// maker does.
func TestOpenSSL(t *testing.T) {
	tool := process.Tool(t, "openssl")
	w := newWorld(t)
	w.issues()
	dir := t.TempDir()
	openssl := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "d.key", "-subj", "/O=Maker/CN=d-1", "-addext", "extendedKeyUsage=clientAuth",
		"-addext", "keyUsage=critical,digitalSignature", "-outform", "DER", "-out", "d.csr")
	csr, err := os.ReadFile(filepath.Join(dir, "d.csr"))
	ok(t, err)
	save := func(name string, a answer) {
		t.Helper()
		w.certificates(name, a)
		ok(t, os.WriteFile(filepath.Join(dir, name+".p7"), []byte("-----BEGIN PKCS7-----\n"+a.body+"-----END PKCS7-----\n"), 0o600))
		openssl("pkcs7", "-in", name+".p7", "-print_certs", "-out", name+".pem")
	}
	save("leaf", w.do(nil, "POST", "/.well-known/est/simpleenroll", base64.StdEncoding.EncodeToString(csr), basic("d-1", w.password("d-1"))))
	save("ca", w.do(nil, "GET", "/.well-known/est/cacerts", "", nil))
	if out := openssl("verify", "-purpose", "sslclient", "-CAfile", "ca.pem", "leaf.pem"); !strings.Contains(out, "OK") {
		t.Error(out)
	}
	text := openssl("x509", "-in", "leaf.pem", "-noout", "-text")
	for _, want := range []string{"Subject: CN = d-1", "TLS Web Client Authentication", "CA:FALSE"} {
		if !strings.Contains(text, want) && !strings.Contains(strings.ReplaceAll(text, "CN=", "CN = "), want) {
			t.Errorf("the certificate has no %q:\n%s", want, text)
		}
	}
}

// TestHub has the hub of a device take the certificate that it renews.
func TestHub(t *testing.T) {
	w := newWorld(t)
	w.issues()
	d := newDevice(t, "d")
	w.enroll(d, "/.well-known/est/simpleenroll", basic("d", w.password("d")))
	first := d.chain[0]
	w.register(d)
	if got, _, _ := w.hub.Get(t.Context(), "d"); got.Thumbprint != thumb(first) {
		t.Errorf("on the hub: %+v", got)
	}
	w.enroll(d, "/.well-known/est/simplereenroll", nil)
	got, _, _ := w.hub.Get(t.Context(), "d")
	if got.Thumbprint != thumb(d.chain[0]) || got.SecondThumbprint != thumb(first) || got.Keys != (attestation.Keys{}) {
		t.Errorf("on the hub: %+v", got)
	}
	w.hub.fail(http.ErrHandlerTimeout)
	a := w.do(d, "POST", "/.well-known/est/simplereenroll", d.csr(t), nil)
	if w.want("the hub is away", a, 503, "try again"); a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
}

// TestBootstrap has a device come with the certificate that its maker gave it, get
// one of the service, and register with that.
func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	w.issues()
	maker, err := pki.NewCA("maker")
	ok(t, err)
	_, err = w.service.PutAuthority(t.Context(), "dps", "maker", maker.Certificate().Raw, true, "")
	ok(t, err)
	_, err = w.service.PutEnrollment(t.Context(), "dps", dps.Enrollment{
		ID: "makers", Group: true, Attestation: dps.Attestation{Kind: dps.X509, PrimaryAuthority: "maker"}, CredentialPolicy: "ops",
	}, "")
	ok(t, err)
	d := newDevice(t, "gateway")
	made, err := maker.SignClient("gateway", d.key.Public(), time.Hour)
	ok(t, err)
	d.chain = [][]byte{made.Raw}
	w.enroll(d, "/.well-known/est/"+w.instance.IDScope+"/simpleenroll", nil)
	w.register(d)
	if got, _, _ := w.hub.Get(t.Context(), "gateway"); got.Thumbprint != thumb(d.chain[0]) || got.Thumbprint == thumb(made.Raw) {
		t.Errorf("on the hub: %+v", got)
	}
	w.enroll(d, "/.well-known/est/simpleenroll", nil)
	stranger, err := pki.SelfSigned("gateway", time.Hour)
	ok(t, err)
	s := &device{id: "gateway", key: stranger.PrivateKey.(*ecdsa.PrivateKey), chain: stranger.Certificate}
	w.want("a stranger", w.do(s, "POST", "/.well-known/est/simpleenroll", s.csr(t), nil), 401, "Unauthorized")
}
