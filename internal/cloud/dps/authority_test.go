package dps_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// plant is an authority of a device maker, whose key a test has.
type plant struct {
	*pki.CA
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPlant(t *testing.T, name string, life time.Duration) *plant {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	ok(t, err)
	cert, err := x509.ParseCertificate(der)
	ok(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	ca, err := pki.OpenCA([][]byte{der}, pkcs8)
	ok(t, err)
	return &plant{ca, cert, key}
}

// client returns the chain of a device.
func (p *plant) client(t *testing.T, id string) []*x509.Certificate {
	t.Helper()
	c, err := p.IssueClient(id, 24*time.Hour)
	ok(t, err)
	return clientChain(t, c)
}

func clientChain(t *testing.T, c tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Certificate {
		x, err := x509.ParseCertificate(der)
		ok(t, err)
		chain = append(chain, x)
	}
	return chain
}

// list makes a revocation list.
func (p *plant) list(t *testing.T, number int64, at time.Time, entries ...x509.RevocationListEntry) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: at, NextUpdate: at.Add(time.Hour), RevokedCertificateEntries: entries,
	}, p.cert, p.key)
	ok(t, err)
	return der
}

func shows(chain []*x509.Certificate, w *world, id string) causeway.Registration {
	return causeway.Registration{Scope: w.scope, ID: id, Credential: causeway.Credential{Certificates: chain}}
}

func referring(id, primary, secondary string) dps.Enrollment {
	return dps.Enrollment{ID: id, Group: true, Attestation: dps.Attestation{Kind: dps.X509, PrimaryAuthority: primary, SecondaryAuthority: secondary}}
}

// TestPossession goes from the upload of a certificate to devices that come by it.
func TestPossession(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := newPlant(t, "plant", 1000*time.Hour)
		a, err := w.PutAuthority(ctx, "dps", "Plant", p.cert.Raw, false, "")
		ok(t, err)
		if a.Verified || a.ETag == "" || a.Code != "" {
			t.Errorf("uploaded: %+v", a)
		}
		_, err = w.PutEnrollment(ctx, "dps", referring("g", "plant", ""), "")
		w.refused("not verified", err, dps.CodeInvalid, "prove its possession")
		_, err = w.VerifyAuthority(ctx, "dps", "plant", p.client(t, "x")[0].Raw, "*")
		w.refused("no code", err, dps.CodeInvalid, "generate a verification code")

		was := a.ETag
		a, err = w.AuthorityCode(ctx, "dps", "plant", a.ETag)
		ok(t, err)
		if len(a.Code) != 48 || a.ETag == was {
			t.Errorf("code: %+v", a)
		}
		_, err = w.AuthorityCode(ctx, "dps", "plant", was)
		w.refused("an old etag", err, dps.CodePrecondition, "read it again")
		other := newPlant(t, "plant", 1000*time.Hour)
		for name, c := range map[string]struct {
			proof []byte
			text  string
		}{
			"another name":      {p.client(t, "x")[0].Raw, "verification code"},
			"another's key":     {other.client(t, a.Code)[0].Raw, "not signed by"},
			"not a certificate": {[]byte("x"), "cannot be read"},
		} {
			_, err := w.VerifyAuthority(ctx, "dps", "plant", c.proof, a.ETag)
			w.refused(name, err, dps.CodeInvalid, c.text)
		}
		code := a.Code
		was = a.ETag
		a, err = w.VerifyAuthority(ctx, "dps", "plant", p.client(t, strings.ToLower(code))[0].Raw, a.ETag)
		ok(t, err)
		if !a.Verified || a.Code != "" || a.ETag == was || a.Name != "Plant" {
			t.Errorf("verified: %+v", a)
		}
		w.put(referring("g", "plant", ""))
		w.assigned(shows(p.client(t, "d"), w, "d"), "", "d", "initialAssignment")

		w.refused("delete", w.DeleteAuthority(ctx, "dps", "plant", "*"), dps.CodeConflict, "enrollment group g")
		w.stop()
		w.start() // all of it is durable
		w.assigned(shows(p.client(t, "d2"), w, "d2"), "", "d2", "initialAssignment")
		ok(t, w.DeleteEnrollment(ctx, "dps", true, "g", ""))
		w.refused("delete with an old etag", w.DeleteAuthority(ctx, "dps", "plant", was), dps.CodePrecondition, "read it again")
		w.refused("delete without an etag", w.DeleteAuthority(ctx, "dps", "plant", ""), dps.CodePrecondition, "If-Match")
		ok(t, w.DeleteAuthority(ctx, "dps", "plant", a.ETag))
		w.refused("delete again", w.DeleteAuthority(ctx, "dps", "plant", "*"), dps.CodeNotFound, "plant")
	})
}

// TestRotation replaces an authority by another while devices of both come.
func TestRotation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		old, next := newPlant(t, "plant", 1000*time.Hour), newPlant(t, "plant 2", 2000*time.Hour)
		first, err := w.PutAuthority(ctx, "dps", "old", old.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "old", ""))
		_, err = w.PutAuthority(ctx, "dps", "new", next.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "old", "new"))
		w.assigned(shows(old.client(t, "a"), w, "a"), "", "a", "initialAssignment")
		w.assigned(shows(next.client(t, "b"), w, "b"), "", "b", "initialAssignment")
		w.put(referring("g", "new", ""))
		_, err = w.Register(ctx, shows(old.client(t, "a"), w, "a"))
		w.refused("of the old one", err, dps.CodeUnauthorized, "Unauthorized")
		w.assigned(shows(next.client(t, "c"), w, "c"), "", "c", "initialAssignment")
		ok(t, w.DeleteAuthority(ctx, "dps", "old", first.ETag))

		// Another certificate under the same name is to be proved anew.
		i, _ := w.Instance("dps")
		a, err := i.Authority("NEW")
		ok(t, err)
		_, err = w.PutAuthority(ctx, "dps", "new", old.cert.Raw, false, "")
		w.refused("replace without an etag", err, dps.CodePrecondition, "If-Match")
		b, err := w.PutAuthority(ctx, "dps", "new", old.cert.Raw, false, a.ETag)
		ok(t, err)
		if b.Verified || b.ETag == a.ETag || !b.Created.Equal(a.Created) {
			t.Errorf("replaced: %+v after %+v", b, a)
		}
		_, err = w.Register(ctx, shows(old.client(t, "a"), w, "a"))
		w.refused("before it is verified", err, dps.CodeUnauthorized, "Unauthorized")
	})
}

func TestAuthorityChecks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p, ended := newPlant(t, "plant", 1000*time.Hour), newPlant(t, "old", -time.Minute)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		for name, c := range map[string]struct {
			service, id, match string
			der                []byte
			code               causeway.Code
			text               string
		}{
			"no service":        {"none", "x", "", p.cert.Raw, dps.CodeNotFound, "none"},
			"no name":           {"dps", "a/b", "", p.cert.Raw, dps.CodeInvalid, "no name"},
			"not a certificate": {"dps", "x", "", []byte("x"), dps.CodeInvalid, "cannot be read"},
			"a leaf":            {"dps", "x", "", p.client(t, "d")[0].Raw, dps.CodeInvalid, "basicConstraints"},
			"one that ended":    {"dps", "x", "", ended.cert.Raw, dps.CodeInvalid, "ended on"},
			"one that is there": {"dps", "x", "", p.cert.Raw, dps.CodeConflict, "plant"},
			"an etag of none":   {"dps", "x", "*", newPlant(t, "y", time.Hour).cert.Raw, dps.CodePrecondition, "If-Match"},
		} {
			_, err := w.PutAuthority(ctx, c.service, c.id, c.der, true, c.match)
			w.refused(name, err, c.code, c.text)
		}
		_, err = w.AuthorityCode(ctx, "dps", "none", "*")
		w.refused("a code of none", err, dps.CodeNotFound, "none")
	})
}

// TestExpiry warns before an authority ends, and refuses its devices then.
func TestExpiry(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		const day = 24 * time.Hour
		p := newPlant(t, "plant", 40*day)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "plant", ""))
		w.put(dps.Enrollment{ID: "signing", Group: true, Attestation: dps.Attestation{Kind: dps.X509, Primary: newPlant(t, "x", 100*day).cert.Raw}})
		c, err := p.IssueClient("d", 1000*day)
		ok(t, err)
		r := shows(clientChain(t, c), w, "d")
		w.assigned(r, "", "d", "initialAssignment")
		reg := prometheus.NewPedanticRegistry()
		ok(t, reg.Register(dps.Expiry{Service: w.Service}))
		found, err := reg.Gather()
		ok(t, err)
		seconds := map[string]float64{}
		for _, f := range found {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				seconds[name] = m.GetGauge().GetValue()
			}
		}
		about := func(name string, want time.Duration) bool { return math.Abs(seconds[name]-want.Seconds()) < 60 }
		if len(seconds) != 2 || !about("causeway_dps_authority_expiry_seconds plant dps", 40*day) ||
			!about("causeway_dps_group_certificate_expiry_seconds primary signing dps", 100*day) {
			t.Errorf("metrics %v", seconds)
		}
		sleep := func(d time.Duration) {
			time.Sleep(d) //nolint:forbidigo // simulated time
			wait()
		}
		sleep(9 * day)
		if got := w.log.count("plant"); got != 0 {
			t.Errorf("%d warnings 31 days before", got)
		}
		sleep(23 * day) // 8 days are left
		soon := w.log.count("ends soon")
		sleep(6 * day)
		week := w.log.count("within a week")
		sleep(2*day - time.Hour)
		last := w.log.count("within a day")
		sleep(2 * day)
		over := w.log.count("has ended")
		if soon < 21 || soon > 24 || week < 5 || week > 7 || last < 1 || last > 2 || over < 1 || over > 3 {
			t.Errorf("warnings: %d soon, %d in the week, %d on the last day, %d after", soon, week, last, over)
		}
		_, err = w.Register(ctx, r)
		w.refused("after its end", err, dps.CodeUnauthorized, "Unauthorized")
		if !strings.Contains(causeText(err), "plant") || !strings.Contains(causeText(err), "not valid after") {
			t.Errorf("the cause is not clear: %s", causeText(err))
		}
		_, err = w.PutAuthority(ctx, "dps", "next", newPlant(t, "next", 40*day).cert.Raw, true, "")
		ok(t, err)
	})
}

// causeText is what stands in the log of a refused device.
func causeText(err error) string { return slog.AnyValue(err).String() }

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestRevoke(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p, twin := newPlant(t, "plant", 1000*time.Hour), newPlant(t, "plant", 1000*time.Hour)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		_, err = w.PutAuthority(ctx, "dps", "twin", twin.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "plant", "twin"))
		chains := map[string][]*x509.Certificate{}
		for _, id := range []string{"serial", "print", "short", "fine"} {
			chains[id] = p.client(t, id)
			w.assigned(shows(chains[id], w, id), "", id, "initialAssignment")
		}
		serial := chains["serial"][0].SerialNumber.Text(16)
		r, err := w.Revoke(ctx, "dps", dps.Revocation{Authority: "Plant", Serial: "0x" + serial, Reason: "lost"})
		ok(t, err)
		short, _ := pki.Thumbprints(chains["short"][0])
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Thumbprint: short})
		ok(t, err)
		_, long := pki.Thumbprints(chains["print"][0])
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Thumbprint: long[:2] + ":" + long[2:]})
		ok(t, err)
		check := func() {
			t.Helper()
			for _, id := range []string{"serial", "print", "short"} {
				_, err := w.Register(ctx, shows(chains[id], w, id))
				w.refused(id, err, dps.CodeUnauthorized, "Unauthorized")
				if !strings.Contains(causeText(err), "revoked") {
					t.Errorf("%s: the cause is not clear: %s", id, causeText(err))
				}
			}
			w.assigned(shows(chains["fine"], w, "fine"), "", "fine", "initialAssignment")
		}
		check()
		w.stop()
		w.start()
		check()
		list, err := w.Revocations(ctx, "dps", "", 0)
		if err != nil || len(list) != 3 {
			t.Errorf("revocations %+v, %v", list, err)
		}
		ok(t, w.Unrevoke(ctx, "dps", r.ID))
		w.assigned(shows(chains["serial"], w, "serial"), "", "serial", "initialAssignment")
		// The same number of another authority of the same name is another certificate.
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Authority: "twin", Serial: serial})
		ok(t, err)
		w.assigned(shows(chains["serial"], w, "serial"), "", "serial", "initialAssignment")

		// One that an enrollment pins is found by its issuer as well.
		pinned := p.client(t, "pinned")
		w.put(dps.Enrollment{ID: "pinned", Attestation: dps.Attestation{Kind: dps.X509, Primary: pinned[0].Raw}})
		w.assigned(shows(pinned, w, "pinned"), "", "pinned", "initialAssignment")
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Authority: "plant", Serial: pinned[0].SerialNumber.Text(16)})
		ok(t, err)
		_, err = w.Register(ctx, shows(pinned, w, "pinned"))
		w.refused("pinned", err, dps.CodeUnauthorized, "Unauthorized")

		for name, c := range map[string]struct {
			r    dps.Revocation
			code causeway.Code
			text string
		}{
			"nothing":           {dps.Revocation{}, dps.CodeInvalid, "thumbprint"},
			"both":              {dps.Revocation{Authority: "plant", Serial: "1", Thumbprint: short}, dps.CodeInvalid, "or its serial"},
			"a bad thumbprint":  {dps.Revocation{Thumbprint: "abcd"}, dps.CodeInvalid, "40"},
			"a bad serial":      {dps.Revocation{Authority: "plant", Serial: "xyz"}, dps.CodeInvalid, "hexadecimal"},
			"no authority":      {dps.Revocation{Serial: "1"}, dps.CodeNotFound, "name the authority"},
			"another authority": {dps.Revocation{Authority: "none", Serial: "1"}, dps.CodeNotFound, "none"},
			"a long reason":     {dps.Revocation{Thumbprint: short, Reason: strings.Repeat("r", dps.MaxReason+1)}, dps.CodeInvalid, "reason"},
		} {
			_, err := w.Revoke(ctx, "dps", c.r)
			w.refused(name, err, c.code, c.text)
		}
		w.refused("unrevoke", w.Unrevoke(ctx, "dps", "none"), dps.CodeNotFound, "none")
	})
}

func TestRevocationList(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := newPlant(t, "plant", 1000*time.Hour)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "plant", ""))
		a, b := p.client(t, "a"), p.client(t, "b")
		entry := func(c []*x509.Certificate, reason int) x509.RevocationListEntry {
			return x509.RevocationListEntry{SerialNumber: c[0].SerialNumber, RevocationTime: time.Now(), ReasonCode: reason}
		}
		now := time.Now()
		got, err := w.PutRevocationList(ctx, "dps", "PLANT", pemOf("X509 CRL", p.list(t, 2, now, entry(a, 1), entry(b, 8))))
		ok(t, err)
		if got.List.Entries != 1 || !got.List.Issued.Equal(now.Truncate(time.Second).UTC()) {
			t.Errorf("list %+v", got.List)
		}
		_, err = w.Register(ctx, shows(a, w, "a"))
		w.refused("on the list", err, dps.CodeUnauthorized, "Unauthorized")
		w.assigned(shows(b, w, "b"), "", "b", "initialAssignment")
		list, err := w.Revocations(ctx, "dps", "", 10)
		if err != nil || len(list) != 1 || list[0].Reason != "keyCompromise" || !list[0].Listed || list[0].Authority != "plant" {
			t.Errorf("revocations %+v, %v", list, err)
		}
		w.stop()
		w.start()
		_, err = w.Register(ctx, shows(a, w, "a"))
		w.refused("after a restart", err, dps.CodeUnauthorized, "Unauthorized")

		forged := p.list(t, 3, now)
		forged[len(forged)-1] ^= 1
		for name, c := range map[string]struct {
			authority string
			crl       []byte
			code      causeway.Code
			text      string
		}{
			"an older one":        {"plant", p.list(t, 1, now.Add(-time.Hour)), dps.CodeConflict, "older"},
			"a forged one":        {"plant", forged, dps.CodeInvalid, "not signed"},
			"another's":           {"plant", newPlant(t, "plant", time.Hour).list(t, 3, now), dps.CodeInvalid, "not signed"},
			"a certificate":       {"plant", pemOf("CERTIFICATE", p.cert.Raw), dps.CodeInvalid, "X509 CRL"},
			"nonsense":            {"plant", []byte("x"), dps.CodeInvalid, "cannot be read"},
			"a huge one":          {"plant", make([]byte, dps.MaxRevocationList+1), dps.CodeInvalid, "at most"},
			"of another":          {"none", p.list(t, 3, now), dps.CodeNotFound, "none"},
			"of no service's own": {"plant", nil, dps.CodeInvalid, "cannot be read"},
		} {
			_, err := w.PutRevocationList(ctx, "dps", c.authority, c.crl)
			w.refused(name, err, c.code, c.text)
		}
		_, err = w.PutRevocationList(ctx, "dps", "plant", p.list(t, 3, now.Add(time.Hour), entry(b, 4)))
		ok(t, err)
		w.assigned(shows(a, w, "a"), "", "a", "initialAssignment")
		_, err = w.Register(ctx, shows(b, w, "b"))
		w.refused("on the next list", err, dps.CodeUnauthorized, "Unauthorized")
	})
}
