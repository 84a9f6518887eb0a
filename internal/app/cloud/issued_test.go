package cloud_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// certifiedCall sends a request that shows a certificate, if there is one.
func certifiedCall(t *testing.T, r *running, method, path, authorization, contentType, body string, shown *tls.Certificate) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.Connection().AdminURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Content-Type", contentType)
	config := &tls.Config{RootCAs: r.options().RootCAs, MinVersion: tls.VersionTLS12}
	if shown != nil {
		config.Certificates = []tls.Certificate{*shown}
	}
	tr := &http.Transport{TLSClientConfig: config}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// newRequest makes a key and a certificate request for it.
func newRequest(t *testing.T, id string) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, base64.StdEncoding.EncodeToString(der)
}

// TestIssued has a device get a certificate when it registers, send with that,
// renew it, send with the new one, and lose it when it is revoked.
func TestIssued(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	conn := r.Connection()
	admin := r.admin(dir)
	if _, err := admin.PutCredentialPolicy(t.Context(), "dps", client.CredentialPolicy{Name: "ops", LifetimeSeconds: 86400}, ""); err != nil {
		t.Fatal(err)
	}
	service := serviceToken(t, conn.DPSServiceConnectionString)
	status, body := certifiedCall(t, r, "PUT", "/enrollmentGroups/devices?api-version=2025-07-01-preview", service, "application/json",
		`{"enrollmentGroupId":"devices","attestation":{"type":"symmetricKey"},"credentialPolicyName":"ops"}`, nil)
	if status != 200 || !strings.Contains(body, `"credentialPolicyName":"ops"`) {
		t.Fatalf("enrollment group: %d %s", status, body)
	}

	derived, err := attestation.DeriveKey(causeway.Secret(conn.DPSGroupKey), "press-1")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(string(derived))
	if err != nil {
		t.Fatal(err)
	}
	path := "/" + conn.DPSIDScope + "/registrations/press-1"
	token := sas.Sign(path[1:], raw, "registration", time.Now().Add(time.Hour))
	key, csr := newRequest(t, "press-1")
	const version = "?api-version=2025-07-01-preview"
	status, body = certifiedCall(t, r, "PUT", path+"/register"+version, token, "application/json", `{"registrationId":"press-1","csr":"`+csr+`"}`, nil)
	var op struct {
		ID    string `json:"operationId"`
		State struct {
			AssignedHub, Status string
			Chain               [][]byte `json:"issuedCertificateChain"`
		} `json:"registrationState"`
	}
	if err := json.Unmarshal([]byte(body), &op); err != nil || status != http.StatusAccepted {
		t.Fatalf("register: %d %s", status, body)
	}
	for end := time.Now().Add(patience); status == http.StatusAccepted; {
		if status, body = certifiedCall(t, r, "GET", path+"/operations/"+op.ID+version, token, "application/json", "{}", nil); time.Now().After(end) {
			t.Fatalf("the registration does not end: %s", body)
		}
	}
	if err := json.Unmarshal([]byte(body), &op); err != nil || op.State.Status != "assigned" || len(op.State.Chain) != 3 {
		t.Fatalf("outcome: %d %s, %v", status, body, err)
	}
	first := tls.Certificate{Certificate: op.State.Chain, PrivateKey: key}
	send := func(what string, c *tls.Certificate) {
		t.Helper()
		d := r.device("HostName="+op.State.AssignedHub+";DeviceId=press-1;x509=true", client.DeviceOptions{Certificate: c})
		if err := d.Send(t.Context(), &causeway.Message{Body: []byte(what)}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	send("issued", &first)

	key, csr = newRequest(t, "press-1")
	status, body = certifiedCall(t, r, "POST", "/.well-known/est/simplereenroll", "", "application/pkcs10", csr, &first)
	bag, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	if status != 200 || err != nil {
		t.Fatalf("renew: %d %s, %v", status, body, err)
	}
	var message struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version               int
			Digests, Encapsulated asn1.RawValue
			Certificates, Signers asn1.RawValue
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(bag, &message); err != nil {
		t.Fatal(err)
	}
	renewed := tls.Certificate{Certificate: [][]byte{message.Content.Certificates.Bytes}, PrivateKey: key}
	leaf, err := x509.ParseCertificate(renewed.Certificate[0])
	if err != nil || leaf.Subject.CommonName != "press-1" {
		t.Fatalf("renewed: %v", err)
	}
	send("renewed", &renewed)
	send("the old one, until it ends", &first)
	if got := r.bodies("press-1", 3); len(got) != 3 {
		t.Errorf("the hub has %q", got)
	}

	list, _, err := admin.IssuedCertificates(t.Context(), "dps", "press-1", "", 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("issued %+v, %v", list, err)
	}
	for _, c := range list {
		if _, err := admin.RevokeCertificate(t.Context(), "dps", client.Revoke{SerialNumber: c.SerialNumber, Reason: "lost"}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := client.Connect(t.Context(), client.DeviceOptions{
		ConnectionString: "HostName=" + op.State.AssignedHub + ";DeviceId=press-1;x509=true", Certificate: &renewed, Options: r.options(),
	})
	if err == nil {
		d.Close()
		t.Error("the hub takes a revoked certificate")
	}
	if status, body = certifiedCall(t, r, "POST", "/.well-known/est/simplereenroll", "", "application/pkcs10", csr, &renewed); status != 401 {
		t.Errorf("renewed with a revoked certificate: %d %s", status, body)
	}
	r.stop()
	r = start(t, cfg, cloud.Options{Group: "devices"})
	if status, body = certifiedCall(t, r, "POST", "/.well-known/est/simplereenroll", "", "application/pkcs10", csr, &renewed); status != 401 {
		t.Errorf("after a restart, renewed with a revoked certificate: %d %s", status, body)
	}
	if got := r.metrics(dir); !strings.Contains(got, `causeway_dps_authority_expiry_seconds{authority="(issuing)",service="dps"}`) {
		t.Error("no metric of when the authority ends")
	}
}
