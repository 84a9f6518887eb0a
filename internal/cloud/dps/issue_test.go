package dps_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// withCSR is a version of the API that knows certificate requests.
const withCSR = "2025-07-01-preview"

func csr(t *testing.T, id string, curve elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	ok(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id}}, key)
	ok(t, err)
	return der
}

func thumb(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// issuing makes a policy and a group "g" that has certificates issued, and returns
// what a device of it sends.
func issuing(w *world, p dps.CredentialPolicy) func(id string) causeway.Registration {
	w.t.Helper()
	_, err := w.PutCredentialPolicy(w.t.Context(), "dps", p, "")
	ok(w.t, err)
	g := keyEnrollment("g")
	g.Group, g.CredentialPolicy = true, p.Name
	g = w.put(g)
	return func(id string) causeway.Registration {
		r := w.request(id, w.derived(g.Attestation.Keys.Primary, id))
		r.CSR, r.Credential.APIVersion = csr(w.t, id, elliptic.P256()), withCSR
		return r
	}
}

// parsed returns a chain that was issued, which must lead to its root.
func parsed(t *testing.T, chain [][]byte) (out []*x509.Certificate) {
	t.Helper()
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		ok(t, err)
		out = append(out, c)
	}
	if len(out) != 3 {
		t.Fatalf("a chain of %d certificates", len(out))
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(out[2])
	between.AddCert(out[1])
	if _, err := out[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the chain is not valid: %v", err)
	}
	return out
}

func (w *world) hasThumbprints(hub, device, first, second string) {
	w.t.Helper()
	d, _ := w.hubs[hub].device(device)
	if d.Thumbprint != first || d.SecondThumbprint != second || (first != "") != (d.Keys.Primary == "") {
		w.t.Errorf("%s on %s has %q, %q and the key %q, want %q and %q", device, hub, d.Thumbprint, d.SecondThumbprint, d.Keys.Primary, first, second)
	}
}

// TestCSR has a certificate issued at registration.
func TestCSR(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 90 * 24 * time.Hour})
		r := request("dev-1")
		op := w.assigned(r, "", "dev-1", "initialAssignment")
		chain := parsed(t, op.Certificates)
		if chain[0].Subject.CommonName != "dev-1" || time.Until(chain[0].NotAfter).Round(time.Hour) != 90*24*time.Hour {
			t.Errorf("certificate of %s until %s", chain[0].Subject, chain[0].NotAfter)
		}
		w.hasThumbprints(op.Hub, "dev-1", thumb(op.Certificates[0]), "")
		w.stop()
		w.start()
		again, err := w.Lookup(ctx, r, op.ID)
		ok(t, err)
		if len(again.Certificates) != 3 || string(again.Certificates[0]) != string(op.Certificates[0]) {
			t.Error("after a restart it has another certificate")
		}
		list, err := w.IssuedTo(ctx, "dps", "DEV-1", "", 0)
		if err != nil || len(list) != 1 || list[0].Policy != "ops" || list[0].Group != "g" || list[0].Registration != "dev-1" || list[0].Thumbprint != thumb(op.Certificates[0]) {
			t.Errorf("issued %+v, %v", list, err)
		}

		// Another one: it has the old one besides until that ends.
		second := w.assigned(request("dev-1"), "", "dev-1", "initialAssignment")
		w.hasThumbprints(op.Hub, "dev-1", thumb(second.Certificates[0]), thumb(op.Certificates[0]))
		// Without a request it is as the enrollment says.
		r = request("dev-1")
		r.CSR = nil
		if op := w.assigned(r, "", "dev-1", "initialAssignment"); op.Certificates != nil {
			t.Error("a certificate that was not asked for")
		}
		w.hasThumbprints(op.Hub, "dev-1", "", "")
		// Versions that do not know it ignore it, right or wrong.
		r.CSR, r.Credential.APIVersion = []byte("x"), "2021-06-01"
		if op := w.assigned(r, "", "dev-1", "initialAssignment"); op.Certificates != nil {
			t.Error("a certificate in a version that does not know them")
		}
		if text := w.log.all(); strings.Contains(text, "PRIVATE") {
			t.Errorf("the log has a private key: %s", text)
		}
	})
}

func TestCSRRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 24 * time.Hour, KeyTypes: []string{"ec-p256"}})
		plain := w.put(keyEnrollment("plain"))
		forged := request("d").CSR
		forged[len(forged)-1] ^= 1
		for name, c := range map[string]struct {
			change func(*causeway.Registration)
			text   string
		}{
			"nonsense":        {func(r *causeway.Registration) { r.CSR = []byte("x") }, "PKCS #10"},
			"a forged one":    {func(r *causeway.Registration) { r.CSR = forged }, "own key"},
			"another's":       {func(r *causeway.Registration) { r.CSR = csr(t, "e", elliptic.P256()) }, `"e"`},
			"a key too large": {func(r *causeway.Registration) { r.CSR = csr(t, "d", elliptic.P384()) }, "ec-p384"},
			"no policy": {func(r *causeway.Registration) {
				*r = w.request("plain", plain.Attestation.Keys.Primary)
				r.CSR, r.Credential.APIVersion = csr(t, "plain", elliptic.P256()), withCSR
			}, "credentialPolicyName"},
		} {
			r := request("d")
			c.change(&r)
			_, err := w.Register(ctx, r)
			w.refused(name, err, dps.CodeInvalid, c.text)
		}
		if list, err := w.IssuedTo(ctx, "dps", "", "", 0); err != nil || len(list) != 0 {
			t.Errorf("issued %+v, %v", list, err)
		}
		w.assigned(request("d"), "", "d", "initialAssignment")
	})
}

func TestCredentialPolicies(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		good := dps.CredentialPolicy{Name: "Ops", Lifetime: 24 * time.Hour, RenewBefore: time.Hour, KeyTypes: []string{"ec-p256", "rsa-2048"}}
		p, err := w.PutCredentialPolicy(ctx, "dps", good, "")
		ok(t, err)
		for name, c := range map[string]struct {
			change func(*dps.CredentialPolicy)
			match  string
			code   causeway.Code
			text   string
		}{
			"again":             {func(*dps.CredentialPolicy) {}, "", dps.CodePrecondition, "If-Match"},
			"an old etag":       {func(*dps.CredentialPolicy) {}, "x", dps.CodePrecondition, "read it again"},
			"an etag of none":   {func(p *dps.CredentialPolicy) { p.Name = "other" }, "*", dps.CodePrecondition, "If-Match"},
			"no name":           {func(p *dps.CredentialPolicy) { p.Name = "" }, "", dps.CodeInvalid, "name"},
			"too short":         {func(p *dps.CredentialPolicy) { p.Lifetime = time.Minute }, "*", dps.CodeInvalid, "lifetime"},
			"too long":          {func(p *dps.CredentialPolicy) { p.Lifetime = dps.MaxLifetime + 1 }, "*", dps.CodeInvalid, "lifetime"},
			"a window too wide": {func(p *dps.CredentialPolicy) { p.RenewBefore = 25 * time.Hour }, "*", dps.CodeInvalid, "renewBefore"},
			"an unknown key":    {func(p *dps.CredentialPolicy) { p.KeyTypes = []string{"dsa"} }, "*", dps.CodeInvalid, "dsa"},
		} {
			q := good
			c.change(&q)
			_, err := w.PutCredentialPolicy(ctx, "dps", q, c.match)
			w.refused(name, err, c.code, c.text)
		}
		good.Lifetime = 48 * time.Hour
		q, err := w.PutCredentialPolicy(ctx, "dps", good, p.ETag)
		if err != nil || q.ETag == p.ETag || !q.Created.Equal(p.Created) {
			t.Errorf("replaced %+v, %v", q, err)
		}
		e := keyEnrollment("d")
		e.CredentialPolicy = "none"
		_, err = w.PutEnrollment(ctx, "dps", e, "")
		w.refused("an enrollment with another", err, dps.CodeInvalid, "none")
		e.CredentialPolicy = "ops"
		w.put(e)
		w.refused("delete", w.DeleteCredentialPolicy(ctx, "dps", "ops", "*"), dps.CodeConflict, "enrollment d")
		e.CredentialPolicy = ""
		w.put(e)
		w.refused("delete with an old etag", w.DeleteCredentialPolicy(ctx, "dps", "ops", p.ETag), dps.CodePrecondition, "read it again")
		ok(t, w.DeleteCredentialPolicy(ctx, "dps", "ops", q.ETag))
		w.refused("delete again", w.DeleteCredentialPolicy(ctx, "dps", "ops", "*"), dps.CodeNotFound, "ops")
	})
}

// withCertificate is a device that shows a certificate which was issued to it.
func (w *world) withCertificate(id string, chain [][]byte) causeway.Registration {
	w.t.Helper()
	r := shows(parsed(w.t, chain), w, id)
	r.CSR, r.Credential.APIVersion = csr(w.t, id, elliptic.P256()), withCSR
	return r
}

// TestRenew renews certificates with themselves as the proof.
func TestRenew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 48 * time.Hour, RenewBefore: 24 * time.Hour})
		first := w.assigned(request("d"), "", "d", "initialAssignment")
		_, err := w.Enroll(ctx, w.withCertificate("d", first.Certificates), true)
		w.refused("too early", err, dps.CodeForbidden, "too early")
		_, err = w.Register(ctx, w.withCertificate("d", first.Certificates))
		w.refused("too early, by a registration", err, dps.CodeForbidden, "too early")
		_, err = w.Enroll(ctx, request("d"), true)
		w.refused("without a certificate", err, dps.CodeUnauthorized, "Unauthorized")
		time.Sleep(25 * time.Hour) //nolint:forbidigo // simulated time
		second, err := w.Enroll(ctx, w.withCertificate("d", first.Certificates), true)
		ok(t, err)
		parsed(t, second)
		w.hasThumbprints(first.Hub, "d", thumb(second[0]), thumb(first.Certificates[0]))
		st, err := w.Status(ctx, w.withCertificate("d", second))
		if err != nil || string(st.Certificates[0]) != string(second[0]) {
			t.Errorf("status %+v, %v", st, err)
		}
		// A certificate that has ended goes from the hub by itself.
		time.Sleep(26 * time.Hour) //nolint:forbidigo // simulated time
		wait()
		w.hasThumbprints(first.Hub, "d", thumb(second[0]), "")
		_, err = w.Enroll(ctx, w.withEnded("d", first.Certificates), true)
		w.refused("with one that has ended", err, dps.CodeUnauthorized, "Unauthorized")

		// A registration renews as well.
		time.Sleep(5 * time.Hour) //nolint:forbidigo // simulated time
		op := w.register(w.withCertificate("d", second))
		w.hasThumbprints(op.Hub, "d", thumb(op.Certificates[0]), thumb(second[0]))

		// The last one ends: the device is shut out until it registers anew.
		time.Sleep(100 * time.Hour) //nolint:forbidigo // simulated time
		wait()
		if d, there := w.hubs[first.Hub].device("d"); !there || d.Thumbprint != "" || d.Keys.Primary == "" || string(d.Tags) != "" {
			t.Errorf("device %+v", d)
		}
		if list, err := w.IssuedTo(ctx, "dps", "", "", 0); err != nil || len(list) != 0 {
			t.Errorf("certificates that have ended are kept: %+v, %v", list, err)
		}
		w.assigned(request("d"), "", "d", "initialAssignment")
	})
}

// withEnded is withCertificate for a chain that is no longer valid.
func (w *world) withEnded(id string, chain [][]byte) causeway.Registration {
	w.t.Helper()
	c, err := x509.ParseCertificate(chain[0])
	ok(w.t, err)
	r := shows([]*x509.Certificate{c}, w, id)
	r.CSR, r.Credential.APIVersion = csr(w.t, id, elliptic.P256()), withCSR
	return r
}

// TestEnroll has a device get its certificate first, and register with it.
func TestEnroll(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 48 * time.Hour})
		chain, err := w.Enroll(ctx, request("d"), false)
		ok(t, err)
		if _, err := w.Registration(ctx, "dps", "d"); causeway.CodeOf(err) != dps.CodeNotFound {
			t.Errorf("it is registered: %v", err)
		}
		r := w.withCertificate("d", chain)
		r.CSR = nil
		op := w.assigned(r, "", "d", "initialAssignment")
		w.hasThumbprints(op.Hub, "d", thumb(chain[0]), "")
		r.ID = "e"
		_, err = w.Register(ctx, r)
		w.refused("another's certificate", err, dps.CodeUnauthorized, "Unauthorized")

		plain := w.put(keyEnrollment("plain"))
		_, err = w.Enroll(ctx, w.request("plain", plain.Attestation.Keys.Primary), false)
		w.refused("no policy", err, dps.CodeForbidden, "credentialPolicyName")

		// An enrollment of its own that is disabled blocks it.
		block := keyEnrollment("d")
		block.CredentialPolicy, block.Disabled = "ops", true
		w.put(block)
		if op := w.register(w.withCertificate("d", chain)); op.Status != "disabled" {
			t.Errorf("blocked: %+v", op)
		}
		_, err = w.Enroll(ctx, w.withCertificate("d", chain), false)
		w.refused("blocked", err, dps.CodeForbidden, "disabled")
		block.Disabled, block.CredentialPolicy = false, ""
		w.put(block)
		_, err = w.Register(ctx, w.withCertificate("d", chain))
		w.refused("an enrollment without a policy", err, dps.CodeUnauthorized, "Unauthorized")
		ok(t, w.DeleteEnrollment(ctx, "dps", false, "d", ""))
		ok(t, w.DeleteEnrollment(ctx, "dps", true, "g", ""))
		_, err = w.Register(ctx, w.withCertificate("d", chain))
		w.refused("no enrollment", err, dps.CodeUnauthorized, "Unauthorized")
	})
}

// TestRevokeIssued takes an issued certificate from service and hub.
func TestRevokeIssued(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 48 * time.Hour})
		first := w.assigned(request("d"), "", "d", "initialAssignment")
		second := w.assigned(request("d"), "", "d", "initialAssignment")
		serial := parsed(t, first.Certificates)[0].SerialNumber.Text(16)
		_, err := w.Revoke(ctx, "dps", dps.Revocation{Serial: serial, Reason: "lost"})
		ok(t, err)
		w.hasThumbprints(first.Hub, "d", thumb(second.Certificates[0]), "")
		_, err = w.Enroll(ctx, w.withCertificate("d", first.Certificates), true)
		w.refused("a revoked one", err, dps.CodeUnauthorized, "Unauthorized")
		if !strings.Contains(causeText(err), "revoked") || w.log.count("revoked certificate") == 0 {
			t.Errorf("the cause is not clear: %s", causeText(err))
		}
		list, err := w.IssuedTo(ctx, "dps", "d", "", 0)
		ok(t, err)
		for i := range list {
			if got, want := w.Revoked("dps", &list[i]), list[i].Thumbprint == thumb(first.Certificates[0]); got != want {
				t.Errorf("%s: revoked %v, want %v", list[i].Serial, got, want)
			}
		}
		// It is not carried on as the one before.
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Serial: parsed(t, second.Certificates)[0].SerialNumber.Text(16)})
		ok(t, err)
		if d, _ := w.hubs[first.Hub].device("d"); d.Thumbprint != "" || d.Keys.Primary == "" {
			t.Errorf("device %+v", d)
		}
		third := w.assigned(request("d"), "", "d", "initialAssignment")
		w.hasThumbprints(first.Hub, "d", thumb(third.Certificates[0]), "")

		// When the hub cannot be reached that is said, and may be tried again.
		h := w.hubs[first.Hub]
		h.set(func() { h.err = causeway.Errorf(causeway.ServiceUnavailable, "hub", "away") })
		r := dps.Revocation{Serial: parsed(t, third.Certificates)[0].SerialNumber.Text(16)}
		if _, err = w.Revoke(ctx, "dps", r); err == nil {
			t.Error("the hub is away, and nobody says so")
		}
		h.set(func() { h.err = nil })
		_, err = w.Revoke(ctx, "dps", r)
		ok(t, err)
		if d, _ := h.device("d"); d.Thumbprint != "" {
			t.Errorf("device %+v", d)
		}
	})
}

// TestIssuedAreBounded keeps the last certificates of a device that asks for many.
func TestIssuedAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 48 * time.Hour})
		var chains [][][]byte
		for range dps.MaxIssued + 5 {
			chain, err := w.Enroll(ctx, request("d"), false)
			ok(t, err)
			chains = append(chains, chain)
			time.Sleep(time.Second) //nolint:forbidigo // simulated time
		}
		list, err := w.IssuedTo(ctx, "dps", "d", "", 1000)
		if err != nil || len(list) != dps.MaxIssued {
			t.Errorf("%d are kept, %v", len(list), err)
		}
		_, err = w.Enroll(ctx, w.withCertificate("d", chains[0]), false)
		w.refused("one that made room", err, dps.CodeUnauthorized, "Unauthorized")
		_, err = w.Enroll(ctx, w.withCertificate("d", chains[len(chains)-1]), false)
		ok(t, err)
	})
}

// TestIssuerRotates has the authority of a service replaced in time, and takes what
// the one before has issued as long as that lasts.
func TestIssuerRotates(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const year = 365 * 24 * time.Hour
		if chain, err := w.IssuerChain("dps"); err != nil || chain != nil {
			t.Errorf("before there is a policy: %d, %v", len(chain), err)
		}
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: year})
		issuers := func() [][]byte {
			chain, err := w.IssuerChain("dps")
			ok(t, err)
			return chain
		}
		first := issuers()
		w.assigned(request("d"), "", "d", "initialAssignment")
		w.later(4*year - 24*time.Hour)
		old := w.assigned(request("d"), "", "d", "initialAssignment")
		if len(issuers()) != 2 {
			t.Errorf("%d authorities", len(issuers()))
		}
		w.later(24 * 24 * time.Hour)
		next := w.assigned(request("d"), "", "d", "initialAssignment")
		now := issuers()
		if len(now) != 3 || string(now[0]) == string(first[0]) || string(now[1]) != string(first[1]) {
			t.Errorf("%d authorities after the first has become too old", len(now))
		}
		if string(next.Certificates[1]) == string(old.Certificates[1]) {
			t.Error("the old authority still issues")
		}
		w.stop()
		w.start() // with the keys of both, as they were sealed
		_, err := w.Enroll(ctx, w.withCertificate("d", old.Certificates), true)
		ok(t, err)
		w.later(6 * year)
		parsed(t, w.assigned(request("d"), "", "d", "initialAssignment").Certificates)
		if now = issuers(); len(now) != 2 || string(now[1]) == string(first[1]) {
			t.Errorf("%d authorities after the root has become too old", len(now))
		}
	})
}

// TestIssuerIsSealed looks at what is stored of the keys of authorities.
func TestIssuerIsSealed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: time.Hour})
		list, err := w.store.Instances(t.Context())
		ok(t, err)
		i := list[0].Issuers
		if len(i) != 1 || !strings.HasPrefix(string(i[0].Key), "sealed(dps/dps/issuer/") || !strings.HasPrefix(string(i[0].RootKey), "sealed(dps/dps/issuer/") {
			t.Errorf("stored: %d issuers", len(i))
		}
		if _, err := pki.OpenCA(i[0].Chain, []byte(i[0].Key)); err == nil {
			t.Error("the key opens without its seal")
		}
	})
}

// TestEndedWhileHubIsAway takes certificates that have ended from a hub once it
// answers, asks it once each time, and does not wait for one that is unlinked.
func TestEndedWhileHubIsAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		request := issuing(w, dps.CredentialPolicy{Name: "ops", Lifetime: 2 * time.Hour})
		onHub := map[string][]string{}
		for i := range 20 {
			id := fmt.Sprint("d", i)
			op := w.register(request(id))
			onHub[op.Hub] = append(onHub[op.Hub], id)
		}
		if len(onHub["h1"]) < 2 || len(onHub["h2"]) == 0 {
			t.Fatalf("devices %v", onHub)
		}
		for _, h := range []string{"h1", "h2"} {
			w.hubs[h].set(func() { w.hubs[h].err = causeway.Errorf(causeway.ServiceUnavailable, "hub", "away") })
		}
		time.Sleep(4 * time.Hour) //nolint:forbidigo // simulated time
		wait()
		for host, ids := range onHub {
			for _, id := range ids {
				if d, _ := w.hubs[host].device(id); (d.Thumbprint == "") != (host == "h3") {
					t.Errorf("%s on %s has %q", id, host, d.Thumbprint)
				}
			}
		}
		if n := w.log.count("cannot be taken from its hub"); n < 2 || n > 8 {
			t.Errorf("%d complaints of two hubs in two or three hours", n)
		}
		w.hubs["h1"].set(func() { w.hubs["h1"].err = nil })
		_, err := w.Change(ctx, "dps", func(i *dps.Instance) error { return i.RemoveLink("h2") })
		ok(t, err)
		time.Sleep(time.Hour) //nolint:forbidigo // simulated time
		wait()
		for _, id := range onHub["h1"] {
			if d, _ := w.hubs["h1"].device(id); d.Thumbprint != "" {
				t.Errorf("%s still has %q", id, d.Thumbprint)
			}
		}
		if list, err := w.IssuedTo(ctx, "dps", "", "", 0); err != nil || len(list) != 0 {
			t.Errorf("%d certificates are kept, %v", len(list), err)
		}
	})
}
