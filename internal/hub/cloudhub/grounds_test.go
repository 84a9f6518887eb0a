package cloudhub_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// byPolicy returns cred with a token of a policy in place of its own.
func byPolicy(t testing.TB, cred causeway.Credential, key causeway.Secret) causeway.Credential {
	t.Helper()
	k, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	cred.Token = causeway.Secret(sas.Sign(hubHost, k, policies[0].Name, time.Now().Add(1000*time.Hour)))
	return cred
}

func newKey() causeway.Secret {
	k := make([]byte, 32)
	rand.Read(k) // never fails
	return causeway.Secret(base64.StdEncoding.EncodeToString(k))
}

// TestPolicyKeyIsChanged shows who is hung up when a key of a policy is changed,
// and when the policy goes: those whom that very key let in.
func TestPolicyKeyIsChanged(t *testing.T) {
	c := newCloud(t)
	open := func(cred causeway.Credential) *hubtest.Recorder {
		r := hubtest.NewRecorder()
		connect(t, c, cred, r, 0)
		return r
	}
	own := open(c.Add(t, "own", ""))
	first := byPolicy(t, c.Add(t, "first", ""), policies[0].Primary)
	second := byPolicy(t, c.Add(t, "second", ""), policies[0].Secondary)
	byFirst, bySecond := open(first), open(second)
	sendOnly, err := c.set.Connect(t.Context(), first, nil)
	if err != nil {
		t.Fatal(err)
	}
	renewed := c.Add(t, "renewed", "")
	byRenewal := hubtest.NewRecorder()
	if err := connect(t, c, byPolicy(t, renewed, policies[0].Primary), byRenewal, 0).Renew(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}

	d := directory.Hub{Name: hubName, Hosts: []string{hubHost}, Policies: slices.Clone(policies)}
	d.Settings.CommandTTL = time.Hour
	c.hub.SetHub(d) // changes nothing that anybody rests on
	if err := sendOnly.Send(t.Context(), causeway.Message{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*hubtest.Recorder{own, byFirst, bySecond, byRenewal} {
		r.Alive(t)
	}

	d.Policies = slices.Clone(d.Policies)
	d.Policies[0].Primary = newKey()
	c.hub.SetHub(d)
	hubtest.WantCode(t, byFirst.HungUpWithin(t, hubtest.Patience), causeway.IotHubUnauthorized)
	hubtest.WantCode(t, sendOnly.Send(t.Context(), causeway.Message{}), causeway.IotHubUnauthorized)
	_, err = c.set.Connect(t.Context(), first, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
	byFirst = open(byPolicy(t, first, d.Policies[0].Primary))
	for _, r := range []*hubtest.Recorder{own, bySecond, byRenewal} {
		r.Alive(t)
	}

	d.Policies = slices.Clone(d.Policies)
	d.Policies[0].Rights &^= auth.DeviceConnect
	c.hub.SetHub(d)
	for _, r := range []*hubtest.Recorder{byFirst, bySecond} {
		hubtest.WantCode(t, r.HungUpWithin(t, hubtest.Patience), causeway.IotHubUnauthorized)
	}
	for _, r := range []*hubtest.Recorder{own, byRenewal} {
		r.Alive(t)
	}
}

// TestAuthorityIsRemoved shows the same of those whom an authority vouches for.
func TestAuthorityIsRemoved(t *testing.T) {
	c := newCloud(t)
	d := directory.Hub{Name: hubName, Hosts: []string{hubHost}, Policies: policies}
	recorders := map[string]*hubtest.Recorder{}
	var creds []causeway.Credential
	for _, name := range []string{"a", "b"} {
		ca, err := pki.LoadOrCreateCA(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		d.Authority = append(d.Authority, directory.Authority{Name: name, DER: ca.Certificate().Raw, Verified: true})
		leaf, err := ca.IssueClient(name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		id := causeway.Identity{Hub: hubName, Device: name}
		if _, err := c.registry.Create(t.Context(), registry.Record{ID: id, Enabled: true, Auth: registry.Authentication{Type: auth.CA}}); err != nil {
			t.Fatal(err)
		}
		creds = append(creds, causeway.Credential{Host: hubHost, Identity: id, Certificates: []*x509.Certificate{leaf.Leaf}})
	}
	c.hub.SetHub(d)
	for _, cred := range creds {
		r := hubtest.NewRecorder()
		connect(t, c, cred, r, 0)
		recorders[cred.Identity.Device] = r
	}
	d.Authority = d.Authority[1:]
	c.hub.SetHub(d)
	hubtest.WantCode(t, recorders["a"].HungUpWithin(t, hubtest.Patience), causeway.IotHubUnauthorized)
	recorders["b"].Alive(t)
	_, err := c.set.Connect(t.Context(), creds[0], hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
}

// TestPolicyKeyIsChangedWhileConnecting changes keys while clients come in by
// them: nobody stays whom a former key let in.
func TestPolicyKeyIsChangedWhileConnecting(t *testing.T) {
	c := newCloud(t)
	id := c.Add(t, "d1", "")
	d := directory.Hub{Name: hubName, Hosts: []string{hubHost}, Policies: slices.Clone(policies)}
	for range 200 {
		former := byPolicy(t, id, d.Policies[0].Primary)
		r := hubtest.NewRecorder()
		connected := make(chan error, 1)
		go func() {
			_, err := c.set.Connect(t.Context(), former, r)
			connected <- err
		}()
		d.Policies = slices.Clone(d.Policies)
		d.Policies[0].Primary = newKey()
		c.hub.SetHub(d)
		if err := <-connected; err == nil {
			hubtest.WantCode(t, r.HungUpWithin(t, hubtest.Patience), causeway.IotHubUnauthorized)
		} else {
			hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
		}
		if c.hub.State(id.Identity).Connected {
			t.Fatal("a client stays that came by a key which is gone")
		}
	}
}
