package auth_test

import (
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// TestGrounds shows that a proof names the key or the authority that it rests on,
// and nothing else: another key of the policy, the same key under another name,
// and another authority are other grounds.
func TestGrounds(t *testing.T) {
	key := func(c string) causeway.Secret {
		return causeway.Secret(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(c, 32))))
	}
	root, other := newCA(t), newCA(t)
	below, err := root.IssueCA("Factory", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := below.IssueClient("d", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	policies := []auth.Policy{
		{Name: "p", Primary: key("1"), Secondary: key("2"), Rights: auth.AllRights},
		{Name: "q", Primary: key("1"), Secondary: key("3"), Rights: auth.AllRights},
		{Name: "service", Primary: key("1"), Rights: auth.ServiceConnect},
		{Name: "no key", Rights: auth.AllRights},
	}
	realm := auth.Realm{Hosts: []string{"hub"}, Policies: policies, Roots: pki.Pool(root.Certificate(), other.Certificate())}
	id := causeway.Identity{Device: "d"}
	token := func(policy, k string) causeway.Secret {
		return causeway.Secret(sas.Sign("hub/devices/d", []byte(strings.Repeat(k, 32)), policy, now.Add(time.Hour)))
	}
	prove := func(cred causeway.Credential, typ auth.Type) string {
		t.Helper()
		cred.Host, cred.Identity = "hub", id
		m, err := auth.Device(now, cred, auth.Subject{ID: id, Type: typ, Primary: key("9")}, realm)
		if err != nil {
			t.Fatal(err)
		}
		return m.Grounds
	}
	if g := prove(causeway.Credential{Token: token("", "9")}, auth.SAS); g != "" {
		t.Errorf("grounds of a device's own key: %q", g)
	}
	authorities := []*x509.Certificate{root.Certificate(), other.Certificate()}
	got := []string{
		prove(causeway.Credential{Token: token("p", "1")}, auth.SAS),
		prove(causeway.Credential{Token: token("p", "2")}, auth.SAS),
		prove(causeway.Credential{Token: token("q", "1")}, auth.SAS),
		prove(causeway.Credential{Token: token("q", "3")}, auth.CA),
		prove(causeway.Credential{Certificates: chainOf(t, leaf)}, auth.CA),
	}
	all := auth.Grounds(policies, authorities)
	for i, g := range got {
		if !all[g] || slices.Index(got, g) != i {
			t.Errorf("grounds %d are %q; all: %v", i, g, all)
		}
	}
	if len(all) != len(got)+1 { // the other authority
		t.Errorf("%d grounds: %v", len(all), all)
	}
	left := auth.Grounds([]auth.Policy{{Name: "p", Primary: key("4"), Secondary: key("2"), Rights: auth.DeviceConnect}}, authorities[1:])
	for i, want := range []bool{false, true, false, false, false} {
		if left[got[i]] != want {
			t.Errorf("after the change grounds %d hold: %v", i, left[got[i]])
		}
	}
}
