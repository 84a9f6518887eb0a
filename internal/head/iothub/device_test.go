package iothub_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// TestDeviceManagesItsModules shows the routes that an edge device uses with its
// own key.
func TestDeviceManagesItsModules(t *testing.T) {
	w := newWorld(t)
	created := w.put("/devices/d", `{}`).want(200)
	k, err := base64.StdEncoding.DecodeString(created.text("authentication", "symmetricKey", "secondaryKey"))
	if err != nil {
		t.Fatal(err)
	}
	own := with("Authorization", sas.Sign(hubHost+"/devices/d", k, "", time.Now().Add(time.Hour)))
	const edgeVersion = "?api-version=2017-11-08-preview"
	ask := func(method, path, body string, header ...string) answer {
		h := with(header...)
		h["Authorization"] = own["Authorization"]
		return w.do(request{method: method, path: path + edgeVersion, body: body, header: h})
	}
	ask("PUT", "/devices/d/modules/m", `{"moduleId":"m","deviceId":"d","managedBy":"iotEdge"}`).want(200)
	ask("PUT", "/devices/d/modules/m", `{}`, "If-Match", "*").want(200)
	ask("GET", "/devices/d/modules/m", "").want(200)
	if a := ask("GET", "/devices/d/modules", "").want(200); len(a.json().([]any)) != 1 {
		t.Errorf("modules: %s", a.body)
	}
	ask("DELETE", "/devices/d/modules/m", "").want(204)

	// Nothing else is open to it.
	for _, r := range []struct{ method, path string }{
		{"GET", "/devices/d"}, {"PUT", "/devices/d"}, {"GET", "/devices"}, {"GET", "/twins/d"}, {"POST", "/twins/d/methods"}, {"POST", "/devices/d/messages/deviceBound"},
	} {
		ask(r.method, r.path, "").refused(causeway.IotHubUnauthorized)
	}
}

// TestEscapedIDs asks with ids that clients escape in the path, and that tokens
// name too.
func TestEscapedIDs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a:b", "a=b", "a@b", "a+b", "a%b", "a,b", "a#b", "a?b", "a'(b)!*"} {
		path := "/devices/" + url.QueryEscape(id)
		k, err := base64.StdEncoding.DecodeString(w.put(path, `{}`).want(200).text("authentication", "symmetricKey", "primaryKey"))
		if err != nil {
			t.Fatal(err)
		}
		resource := hubHost + "/devices/" + id
		for name, token := range map[string]string{
			"its own key":                  sas.Sign(resource, k, "", time.Now().Add(time.Hour)),
			"a policy, for it":             tokenFor("iothubowner", resource, time.Hour),
			"a policy, its id escaped too": tokenFor("iothubowner", hubHost+"/devices/"+url.QueryEscape(id), time.Hour),
		} {
			a := w.do(request{method: "GET", path: path + "/modules?api-version=2021-04-12", header: with("Authorization", token)})
			if a.status != http.StatusOK {
				t.Errorf("%s, %s: %d %s", id, name, a.status, a.body)
			}
			// Another's path is not covered by it, whatever it looks like.
			w.do(request{method: "GET", path: "/devices/other/modules?api-version=2021-04-12", header: with("Authorization", token)}).refused(causeway.IotHubUnauthorized)
		}
	}
}

// TestDeviceCertificate shows devices that prove themselves by the certificate
// of the TLS connection.
func TestDeviceCertificate(t *testing.T) {
	w := newWorld(t)
	self, err := pki.SelfSigned("whatever", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.LoadOrCreateCA(t.TempDir(), "Test CA")
	if err != nil {
		t.Fatal(err)
	}
	w.hub.roots = x509.NewCertPool()
	w.hub.roots.AddCert(ca.Certificate())
	issued, err := ca.IssueClient("signed", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, thumb := pki.Thumbprints(self.Leaf)
	w.put("/devices/pinned", `{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"`+thumb+`"}}}`).want(200)
	w.put("/devices/signed", `{"authentication":{"type":"certificateAuthority"}}`).want(200)
	w.put("/devices/keys", `{}`).want(200)
	for _, tc := range []struct {
		name, device string
		cert         tls.Certificate
		ok           bool
	}{
		{"its thumbprint", "pinned", self, true},
		{"its common name, by a registered authority", "signed", issued, true},
		{"the thumbprint of another", "pinned", issued, false},
		{"nobody vouches for it", "signed", self, false},
		{"registered with keys", "keys", self, false},
		{"unknown device", "ghost", issued, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			chain := make([]*x509.Certificate, len(tc.cert.Certificate))
			for i, der := range tc.cert.Certificate {
				if chain[i], err = x509.ParseCertificate(der); err != nil {
					t.Fatal(err)
				}
			}
			a := w.do(request{
				method: "GET", path: "/devices/" + tc.device + "/modules",
				header: http.Header{"Authorization": {""}}, tls: &tls.ConnectionState{PeerCertificates: chain},
			})
			if tc.ok {
				a.want(200)
			} else {
				a.refused(causeway.IotHubUnauthorized)
			}
		})
	}
	t.Run("service routes take no certificates", func(t *testing.T) {
		leaf := issued.Leaf
		w.do(request{
			method: "GET", path: "/devices/signed", header: http.Header{"Authorization": {""}},
			tls: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}},
		}).refused(causeway.IotHubUnauthorized)
	})
}
