package est_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/head/est"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type noSealer struct{}

func (noSealer) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (noSealer) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// hub takes every device, and knows those it has.
type hub struct {
	mu      sync.Mutex
	devices map[string]dps.Device
	err     error
}

func (h *hub) Target(dps.Link) (dps.Target, error) { return h, nil }

func (h *hub) Get(_ context.Context, id string) (dps.Device, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, ok := h.devices[id]
	return d, ok, h.err
}

func (h *hub) Put(_ context.Context, d dps.Device, _ bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.devices[d.ID] = d
	return h.err
}

func (h *hub) Delete(_ context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.devices, id)
	return h.err
}

// fail has every call fail from now on.
func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// world is a service at 127.0.0.1 behind its head, with the group "g" that has
// certificates issued.
type world struct {
	t        *testing.T
	service  *dps.Service
	instance dps.Instance
	group    dps.Enrollment
	hub      *hub
	server   *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, hub: &hub{devices: map[string]dps.Device{}}}
	var err error
	w.service, err = dps.New(t.Context(), dps.Options{Store: dpstest.NewMemory(), Sealer: noSealer{}, Targets: w.hub})
	ok(t, err)
	_, err = w.service.Create(t.Context(), "dps", []string{"127.0.0.1"})
	ok(t, err)
	w.instance, err = w.service.Change(t.Context(), "dps", func(i *dps.Instance) error {
		i.Links = []dps.Link{{Host: "hub"}}
		return nil
	})
	ok(t, err)
	w.server = httptest.NewUnstartedServer((&est.Server{Service: w.service}).Handler())
	w.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} //nolint:gosec // the default version of Go
	w.server.StartTLS()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- w.service.Run(ctx) }()
	t.Cleanup(func() {
		w.server.Close()
		cancel()
		ok(t, <-done)
	})
	return w
}

// issues makes the policy and the group.
func (w *world) issues() {
	w.t.Helper()
	_, err := w.service.PutCredentialPolicy(w.t.Context(), "dps", dps.CredentialPolicy{Name: "ops", Lifetime: 24 * time.Hour}, "")
	ok(w.t, err)
	w.group, err = w.service.PutEnrollment(w.t.Context(), "dps", dps.Enrollment{
		ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}, CredentialPolicy: "ops",
	}, "")
	ok(w.t, err)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// password returns the key of a device of the group.
func (w *world) password(id string) string {
	w.t.Helper()
	k, err := attestation.DeriveKey(w.group.Attestation.Keys.Primary, id)
	ok(w.t, err)
	return string(k)
}

// device has a key, and the certificate that goes with it.
type device struct {
	id    string
	key   *ecdsa.PrivateKey
	chain [][]byte
}

func newDevice(t testing.TB, id string) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	return &device{id: id, key: key}
}

func (d *device) csr(t testing.TB) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.id}}, d.key)
	ok(t, err)
	return base64.StdEncoding.EncodeToString(der)
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request by a client that shows the certificate of d, if it has one.
func (w *world) do(d *device, method, path, body string, change func(*http.Request)) answer {
	w.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AddCert(w.server.Certificate())
	if d != nil && d.chain != nil {
		config.Certificates = []tls.Certificate{{Certificate: d.chain, PrivateKey: d.key}}
	}
	tr := &http.Transport{TLSClientConfig: config}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	ok(w.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/pkcs10")
		r.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if change != nil {
		change(r)
	}
	res, err := (&http.Client{Transport: tr}).Do(r)
	ok(w.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ok(w.t, err)
	return answer{res.StatusCode, res.Header, string(b)}
}

func (w *world) want(what string, a answer, status int, text string) {
	w.t.Helper()
	if a.status != status || !strings.Contains(a.body, text) {
		w.t.Errorf("%s: %d %q, want %d with %q", what, a.status, a.body, status, text)
	}
	if a.status >= 400 && a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		w.t.Errorf("%s: an error as %s", what, a.header.Get("Content-Type"))
	}
}

// certificates reads the certificates of an answer as a client does.
func (w *world) certificates(what string, a answer) (list []*x509.Certificate) {
	w.t.Helper()
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/pkcs7-mime") || a.header.Get("Content-Transfer-Encoding") != "base64" ||
		!strings.HasSuffix(a.body, "\n") {
		w.t.Fatalf("%s: %d %v %q", what, a.status, a.header, a.body)
	}
	for line := range strings.Lines(a.body) {
		if len(line) > 65 {
			w.t.Errorf("%s: a line of %d characters", what, len(line))
		}
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(a.body, "\n", ""))
	ok(w.t, err)
	var message struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Encapsulated asn1.RawValue
			Certificates asn1.RawValue
			Signers      asn1.RawValue
		} `asn1:"explicit,tag:0"`
	}
	_, err = asn1.Unmarshal(der, &message)
	ok(w.t, err)
	list, err = x509.ParseCertificates(message.Content.Certificates.Bytes)
	ok(w.t, err)
	return list
}

// enroll gets a certificate for d, with what is above it.
func (w *world) enroll(d *device, path string, change func(*http.Request)) {
	w.t.Helper()
	list := w.certificates(path, w.do(d, "POST", path, d.csr(w.t), change))
	if len(list) != 1 || list[0].Subject.CommonName != d.id {
		w.t.Fatalf("%d certificates, of %s", len(list), list[0].Subject)
	}
	d.chain = [][]byte{list[0].Raw}
	for _, c := range w.certificates("cacerts", w.do(nil, "GET", "/.well-known/est/cacerts", "", nil)) {
		d.chain = append(d.chain, c.Raw)
	}
}

func thumb(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// register has d registered with its certificate.
func (w *world) register(d *device) {
	w.t.Helper()
	r := causeway.Registration{Scope: w.instance.IDScope, ID: d.id}
	for _, der := range d.chain {
		c, err := x509.ParseCertificate(der)
		ok(w.t, err)
		r.Credential.Certificates = append(r.Credential.Certificates, c)
	}
	op, err := w.service.Register(w.t.Context(), r)
	ok(w.t, err)
	for end := time.Now().Add(30 * time.Second); op.Status == "assigning"; {
		if op, err = w.service.Lookup(w.t.Context(), r, op.ID); err != nil || time.Now().After(end) {
			w.t.Fatalf("%+v, %v", op, err)
		}
		runtime.Gosched()
	}
	if op.Status != "assigned" {
		w.t.Fatalf("%+v", op)
	}
}
