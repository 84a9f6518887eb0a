package http_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

func TestTokens(t *testing.T) {
	w := newWorld(t)
	d, other := w.create("d", ""), w.create("other", "")
	m := w.create("d", "m")
	off := w.create("off", "", func(r *registry.Record) { r.Enabled = false })
	const moduleEvents = "/devices/d/modules/m/messages/events"
	for _, tc := range []struct {
		name, path, token string
		code              causeway.Code
	}{
		{"its own key", eventsOf, tokenOf(d), 0},
		{"for the path alone", eventsOf, tokenFor(d, "/messages/events", time.Hour), 0},
		{"for another path of its own", eventsOf, tokenFor(d, "/messages/deviceBound", time.Hour), causeway.IotHubUnauthorized},
		{"for the path of another device", "/devices/other/messages/events", tokenOf(d), causeway.IotHubUnauthorized},
		{"a name that begins like its own", "/devices/d2/messages/events", tokenOf(d), causeway.IotHubUnauthorized},
		{"another device's key", eventsOf, tokenOf(other), causeway.IotHubUnauthorized},
		{"expired", eventsOf, tokenFor(d, "", -time.Hour), causeway.IotHubUnauthorized},
		{"none", eventsOf, "", causeway.IotHubUnauthorized},
		{"another scheme", eventsOf, "Bearer x", causeway.IotHubUnauthorized},
		{"no token", eventsOf, "SharedAccessSignature x", causeway.IotHubUnauthorized},
		{"scheme in lower case", eventsOf, "sharedaccesssignature" + tokenOf(d)[len("SharedAccessSignature"):], 0},
		{"a policy of devices", eventsOf, policyToken("device"), 0},
		{"a policy of services", eventsOf, policyToken("service"), causeway.IotHubUnauthorized},
		{"unknown device by its own key", "/devices/ghost/messages/events", tokenOf(registry.Record{ID: causeway.Identity{Device: "ghost"}, Auth: d.Auth}), causeway.IotHubUnauthorized},
		{"unknown device by a policy", "/devices/ghost/messages/events", policyToken("device"), causeway.DeviceNotFound},
		{"unknown module by a policy", "/devices/d/modules/ghost/messages/events", policyToken("device"), causeway.ModuleNotFound},
		{"unknown device by a policy of services", "/devices/ghost/messages/events", policyToken("service"), causeway.IotHubUnauthorized},
		{"disabled device", "/devices/off/messages/events", tokenOf(off), causeway.IotHubUnauthorized},
		{"its module's path", moduleEvents, tokenOf(d), causeway.IotHubUnauthorized},
		{"module by its own key", moduleEvents, tokenOf(m), 0},
		{"device by its module's key", eventsOf, tokenOf(m), causeway.IotHubUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := w.do(request{method: "POST", path: tc.path, token: tc.token})
			if tc.code == 0 {
				a.want(204)
			} else {
				a.refused(tc.code)
			}
		})
	}
	w.do(request{method: "GET", path: "/devices/ghost/messages/deviceBound", token: policyToken("device")}).refused(causeway.DeviceNotFound)
	w.do(request{method: "GET", path: "/devices/d/messages/deviceBound", token: policyToken("service")}).refused(causeway.IotHubUnauthorized)
	w.do(request{method: "POST", path: eventsOf, token: tokenOf(d), host: "LOCALHOST:443"}).want(204)
	w.do(request{method: "POST", path: eventsOf, token: tokenOf(d), host: "elsewhere.example.com"}).refused(causeway.IotHubNotFound)
}

func TestCertificates(t *testing.T) {
	self, err := pki.SelfSigned("whatever", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewCA("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssueClient("signed", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, directory.Hub{Authority: []directory.Authority{{Name: "ca", DER: ca.Certificate().Raw, Verified: true}}})
	_, thumb := pki.Thumbprints(self.Leaf)
	w.create("pinned", "", func(r *registry.Record) { r.Auth.Type, r.Auth.PrimaryThumb = auth.SelfSigned, thumb })
	w.create("signed", "", func(r *registry.Record) { r.Auth.Type = auth.CA })
	keys := w.create("keys", "")
	for _, tc := range []struct {
		name, device string
		cert         tls.Certificate
		token        string
		ok           bool
	}{
		{"its thumbprint", "pinned", self, "", true},
		{"its common name, by a registered authority", "signed", issued, "", true},
		{"the thumbprint of another", "pinned", issued, "", false},
		{"nobody vouches for it", "signed", self, "", false},
		{"registered with keys", "keys", self, "", false},
		{"registered with keys, and a token", "keys", self, tokenOf(keys), true},
		{"unknown device", "ghost", issued, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			chain := make([]*x509.Certificate, len(tc.cert.Certificate))
			for i, der := range tc.cert.Certificate {
				if chain[i], err = x509.ParseCertificate(der); err != nil {
					t.Fatal(err)
				}
			}
			path := "/devices/" + tc.device + "/messages/"
			send := w.do(request{method: "POST", path: path + "events", chain: chain, token: tc.token})
			poll := w.do(request{method: "GET", path: path + "deviceBound", chain: chain, token: tc.token})
			if tc.ok {
				send.want(204)
				poll.want(204)
			} else {
				send.refused(causeway.IotHubUnauthorized)
				poll.refused(causeway.IotHubUnauthorized)
			}
		})
	}
}
