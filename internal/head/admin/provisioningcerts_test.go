package admin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// maker is an authority of a device maker with its key.
type maker struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newMaker(t *testing.T, life time.Duration) *maker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	m := &maker{cert: c, key: key}
	m.cert = m.sign(t, c)
	return m
}

func (m *maker) sign(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, m.cert, m.key.Public(), m.key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (m *maker) leaf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	return m.sign(t, &x509.Certificate{SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)})
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type certificate struct {
	Name, ETag string
	Properties struct {
		Subject, Thumbprint, State, Certificate, VerificationCode string
		Expiry                                                    time.Time
		IsVerified                                                bool
		RevocationList                                            *struct{ Entries int }
	}
}

func upload(m *maker, verified bool) string {
	return toJSON(map[string]any{"properties": map[string]any{"certificate": pemText("CERTIFICATE", m.cert.Raw), "isVerified": verified}})
}

// TestProvisioningCertificates proves the possession of an authority.
func TestProvisioningCertificates(t *testing.T) {
	w, _ := provisioned(t)
	const path = "/api/v1/provisioning/dps/certificates"
	m := newMaker(t, 20*24*time.Hour)
	var c certificate
	w.do("PUT", path+"/Maker", upload(m, false), "admin").want(200).into(&c)
	if c.Name != "Maker" || c.Properties.IsVerified || c.Properties.State != "expiring" || c.Properties.Subject != "CN=maker" || len(c.Properties.Thumbprint) != 64 ||
		!c.Properties.Expiry.Equal(m.cert.NotAfter) || c.Properties.Certificate != base64.StdEncoding.EncodeToString(m.cert.Raw) {
		t.Errorf("uploaded: %+v", c)
	}
	w.do("PUT", path+"/maker", upload(m, false), "admin").want(412)
	w.do("PUT", path+"/other", upload(m, false), "admin").want(409)
	w.do("POST", path+"/maker/generateVerificationCode", "", "admin").want(412)
	was := c.ETag
	w.doIf("POST", path+"/maker/generateVerificationCode", "", `"`+c.ETag+`"`).want(200).into(&c)
	if len(c.Properties.VerificationCode) != 48 || c.ETag == was {
		t.Errorf("code: %+v", c)
	}
	proof := func(name string) string {
		return toJSON(map[string]string{"certificate": base64.StdEncoding.EncodeToString(m.leaf(t, name).Raw)})
	}
	w.doIf("POST", path+"/maker/verify", proof("wrong"), c.ETag).want(400)
	w.doIf("POST", path+"/maker/verify", proof(c.Properties.VerificationCode), was).want(412)
	w.doIf("POST", path+"/maker/verify", `{"certificate":"x"}`, "*").want(400)
	if got := w.doIf("POST", path+"/maker/verify", proof(c.Properties.VerificationCode), c.ETag).want(200).into(&c); got.header.Get("ETag") != `"`+c.ETag+`"` || !c.Properties.IsVerified {
		t.Errorf("verified: %+v, headers %v", c, got.header)
	}
	var list struct{ Value []certificate }
	w.do("GET", path, "", "admin").want(200).into(&list)
	if len(list.Value) != 1 || list.Value[0].ETag != c.ETag || list.Value[0].Properties.VerificationCode != "" {
		t.Errorf("list %+v", list)
	}
	w.do("GET", path+"/none", "", "admin").want(404)
	for what, body := range map[string]string{
		"nothing": `{"properties":{"certificate":""}}`, "no certificate": `{"properties":{"certificate":"aGVsbG8="}}`,
		"a leaf":           toJSON(map[string]any{"properties": map[string]any{"certificate": pemText("CERTIFICATE", m.leaf(t, "d").Raw)}}),
		"one that is over": upload(newMaker(t, -time.Minute), true),
	} {
		if a := w.do("PUT", path+"/bad", body, "admin"); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	w.doIf("DELETE", path+"/maker", "", was).want(412)
	w.doIf("DELETE", path+"/maker", "", c.ETag).want(204)
	w.doIf("DELETE", path+"/maker", "", "*").want(404)
}

func TestProvisioningRevocations(t *testing.T) {
	w, _ := provisioned(t)
	const path = "/api/v1/provisioning/dps/revocations"
	m := newMaker(t, 1000*time.Hour)
	w.do("PUT", "/api/v1/provisioning/dps/certificates/maker", upload(m, true), "admin").want(200)
	var r struct{ ID, Certificate, SerialNumber, Thumbprint, Reason string }
	w.do("POST", path, `{"certificate":"maker","serialNumber":"0x0a:fF","reason":"lost"}`, "admin").want(200).into(&r)
	if r.SerialNumber != "AFF" || r.Certificate != "maker" || r.Reason != "lost" || r.ID == "" {
		t.Errorf("revoked %+v", r)
	}
	w.do("POST", path, `{"thumbprint":"`+strings.Repeat("ab", 20)+`"}`, "admin").want(200).into(&r)
	w.do("POST", path, `{"thumbprint":"ab"}`, "admin").want(400)
	w.do("POST", path, `{}`, "admin").want(400)
	w.do("POST", path, `{"serialNumber":"1"}`, "admin").want(404)
	w.do("POST", path, `{"certificate":"none","serialNumber":"1"}`, "admin").want(404)
	var list struct {
		Revocations []struct {
			ID     string
			Listed bool
		}
		After string
	}
	w.do("GET", path+"?limit=1", "", "admin").want(200).into(&list)
	if len(list.Revocations) != 1 || list.After == "" {
		t.Errorf("page %+v", list)
	}
	w.do("GET", path+"?after="+list.After, "", "admin").want(200).into(&list)
	if len(list.Revocations) != 1 {
		t.Errorf("next page %+v", list)
	}
	w.do("DELETE", path+"/"+r.ID, "", "admin").want(204)
	w.do("DELETE", path+"/"+r.ID, "", "admin").want(404)

	crl := func(number int64, at time.Time) string {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(number), ThisUpdate: at, NextUpdate: at.Add(time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(77), RevocationTime: at}},
		}, m.cert, m.key)
		if err != nil {
			t.Fatal(err)
		}
		return pemText("X509 CRL", der)
	}
	var c certificate
	at := time.Now()
	w.do("PUT", "/api/v1/provisioning/dps/certificates/maker/revocationList", toJSON(map[string]string{"list": crl(2, at)}), "admin").want(200).into(&c)
	if c.Properties.RevocationList == nil || c.Properties.RevocationList.Entries != 1 {
		t.Errorf("with a list: %+v", c)
	}
	w.do("PUT", "/api/v1/provisioning/dps/certificates/maker/revocationList", toJSON(map[string]string{"list": crl(1, at.Add(-time.Hour))}), "admin").want(409)
	w.do("PUT", "/api/v1/provisioning/dps/certificates/maker/revocationList", `{"list":"%"}`, "admin").want(400)
	w.do("PUT", "/api/v1/provisioning/dps/certificates/none/revocationList", toJSON(map[string]string{"list": crl(1, at)}), "admin").want(404)
	w.do("GET", path, "", "admin").want(200).into(&list)
	if len(list.Revocations) != 2 || !list.Revocations[0].Listed && !list.Revocations[1].Listed {
		t.Errorf("revocations %+v", list)
	}
}

func TestCredentialPolicies(t *testing.T) {
	w, s := provisioned(t)
	const path = "/api/v1/provisioning/dps/credentialPolicies"
	var issuer struct{ Certificates string }
	w.do("GET", "/api/v1/provisioning/dps/issuer", "", "admin").want(200).into(&issuer)
	if issuer.Certificates != "" {
		t.Errorf("before the first policy: %s", issuer.Certificates)
	}
	var p struct {
		Name, ETag                          string
		LifetimeSeconds, RenewBeforeSeconds int64
		KeyTypes                            []string
	}
	w.do("PUT", path+"/ops", `{"lifetimeSeconds":86400,"renewBeforeSeconds":3600,"keyTypes":["ec-p256"]}`, "admin").want(200).into(&p)
	if p.Name != "ops" || p.LifetimeSeconds != 86400 || p.RenewBeforeSeconds != 3600 || len(p.KeyTypes) != 1 || p.ETag == "" {
		t.Errorf("made %+v", p)
	}
	w.do("PUT", path+"/ops", `{"lifetimeSeconds":86400}`, "admin").want(412)
	w.doIf("PUT", path+"/ops", `{"lifetimeSeconds":7200}`, p.ETag).want(200).into(&p)
	w.do("PUT", path+"/bad", `{"lifetimeSeconds":60}`, "admin").want(422)
	w.do("PUT", path+"/bad", `{"lifetimeSeconds":7200,"keyTypes":["dsa"]}`, "admin").want(400)
	var list struct {
		CredentialPolicies []struct{ ETag string }
	}
	w.do("GET", path, "", "admin").want(200).into(&list)
	if len(list.CredentialPolicies) != 1 || list.CredentialPolicies[0].ETag != p.ETag {
		t.Errorf("list %+v", list)
	}
	w.do("GET", "/api/v1/provisioning/dps/issuer", "", "admin").want(200).into(&issuer)
	if strings.Count(issuer.Certificates, "BEGIN CERTIFICATE") != 2 || strings.Contains(issuer.Certificates, "PRIVATE") {
		t.Errorf("issuer %s", issuer.Certificates)
	}
	if _, err := s.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "d", Attestation: dps.Attestation{Kind: dps.SymmetricKey}, CredentialPolicy: "ops"}, ""); err != nil {
		t.Fatal(err)
	}
	if a := w.doIf("DELETE", path+"/ops", "", "*").want(409); !strings.Contains(string(a.body), "enrollment d") {
		t.Errorf("%s", a.body)
	}
	if err := s.DeleteEnrollment(t.Context(), "dps", false, "d", ""); err != nil {
		t.Fatal(err)
	}
	w.doIf("DELETE", path+"/ops", "", "x").want(412)
	w.doIf("DELETE", path+"/ops", "", p.ETag).want(204)
	w.doIf("DELETE", path+"/ops", "", "*").want(404)
	w.do("GET", "/api/v1/provisioning/dps/issuedCertificates?registrationId=d", "", "admin").want(200)
	for _, p := range []string{"/certificates", "/revocations", "/credentialPolicies", "/issuedCertificates", "/issuer"} {
		w.do("GET", "/api/v1/provisioning/none"+p, "", "admin").want(404)
	}
}
