package cloud_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// issuingCloud runs a cloud that issues certificates to the devices of a group.
func issuingCloud(t *testing.T) *running {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	if _, err := r.admin(dir).PutCredentialPolicy(t.Context(), "dps", client.CredentialPolicy{Name: "ops", LifetimeSeconds: 86400}, ""); err != nil {
		t.Fatal(err)
	}
	status, body := certifiedCall(t, r, "PUT", "/enrollmentGroups/devices?api-version=2025-07-01-preview", serviceToken(t, r.Connection().DPSServiceConnectionString), "application/json",
		`{"enrollmentGroupId":"devices","attestation":{"type":"symmetricKey"},"credentialPolicyName":"ops"}`, nil)
	if status != 200 {
		t.Fatalf("enrollment group: %d %s", status, body)
	}
	return r
}

func (r *running) groupKey(id string) causeway.Secret {
	r.t.Helper()
	key, err := attestation.DeriveKey(causeway.Secret(r.Connection().DPSGroupKey), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

// assignment is what a device reads of the answer to its registration.
type assignment struct {
	ID    string `json:"operationId"`
	State struct {
		AssignedHub, DeviceID, Status string
		Chain                         [][]byte `json:"issuedCertificateChain"`
	} `json:"registrationState"`
}

// issuedTo checks that a device was assigned with so many certificates, and sends to its
// hub by them, or by the key it registered with.
func (r *running) issuedTo(version, body, id string, own *ecdsa.PrivateKey, key causeway.Secret, certificates int) {
	r.t.Helper()
	var a assignment
	if err := json.Unmarshal([]byte(body), &a); err != nil || a.State.Status != "assigned" || a.State.DeviceID != id || len(a.State.Chain) != certificates {
		r.t.Fatalf("%s: %d certificates, want %d: %s, %v", version, len(a.State.Chain), certificates, body, err)
	}
	cs, o := "HostName="+a.State.AssignedHub+";DeviceId="+id+";x509=true", client.DeviceOptions{Certificate: &tls.Certificate{Certificate: a.State.Chain, PrivateKey: own}}
	if certificates == 0 {
		cs, o = "HostName="+a.State.AssignedHub+";DeviceId="+id+";SharedAccessKey="+string(key), client.DeviceOptions{}
	}
	if err := r.device(cs, o).Send(r.t.Context(), &causeway.Message{Body: []byte(version)}); err != nil {
		r.t.Fatalf("%s: %v", version, err)
	}
}

// TestIssuedOverMQTT has a certificate issued over MQTT, and sends with it. A version of
// the API that knows none ignores what was asked for.
func TestIssuedOverMQTT(t *testing.T) {
	r := issuingCloud(t)
	scope, key := r.Connection().DPSIDScope, r.groupKey("press-2")
	for _, c := range []struct {
		version      string
		certificates int
	}{{"2019-03-31", 0}, {"2025-07-01-preview", 3}} {
		own, csr := newRequest(t, "press-2")
		if c.certificates == 0 {
			csr = "no request at all"
		}
		d := registerIn(t, r, c.version, scope, "press-2", key)
		a, body := d.ask(dpstopic.Request{Register: true, RID: "0"}, `{"registrationId":"press-2","csr":"`+csr+`"}`)
		var begun assignment
		if err := json.Unmarshal([]byte(body), &begun); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for end := time.Now().Add(patience); a.Status == 202; {
			if a, body = d.ask(dpstopic.Request{RID: "1", Operation: begun.ID}, " "); time.Now().After(end) {
				t.Fatalf("the registration does not end: %s", body)
			}
		}
		r.issuedTo(c.version, body, "press-2", own, key, c.certificates)
	}
	if got := r.bodies("press-2", 2); len(got) != 2 {
		t.Errorf("the hub has %q", got)
	}
}

// amqpRegistrar is a device on a connection of the provisioning service.
type amqpRegistrar struct {
	t     *testing.T
	out   *amqp.Sender
	in    *amqp.Receiver
	inbox amqp.Inbox
	n     int
}

// registerOverAMQP connects a device to the AMQP port with a token that key signs.
func registerOverAMQP(t *testing.T, r *running, version, scope, id string, key causeway.Secret) *amqpRegistrar {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: r.options().RootCAs, ServerName: "localhost"}} //nolint:gosec // the default version of Go
	nc, err := dialer.DialContext(t.Context(), "tcp", r.Addresses().AMQP.String())
	if err != nil {
		t.Fatal(err)
	}
	address := scope + "/registrations/" + id
	token := sas.Sign(address, raw, "registration", time.Now().Add(time.Hour))
	c, err := amqp.Dial(t.Context(), nc, amqp.Prepare(amqp.Config{Hostname: "localhost", SASL: amqp.PlainSASL(address, token)}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(nil); <-c.Done() })
	s, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := &amqpRegistrar{t: t}
	if g.in, err = s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: address}, amqp.ReceiverOptions{Handler: &g.inbox, Credit: 10}); err != nil {
		t.Fatal(err)
	}
	p := hubamqp.LinkProperties{APIVersion: version, ClientVersion: "test"}
	if g.out, err = s.AttachSender(t.Context(), amqp.LinkConfig{Target: address}, amqp.SenderOptions{Handler: amqp.Outcomes{}, Properties: p.Map()}); err != nil {
		t.Fatal(err)
	}
	return g
}

// ask sends a request and returns the answer.
func (g *amqpRegistrar) ask(q dpsamqp.Request) dpsamqp.Reply {
	g.t.Helper()
	g.n++
	q.Correlation = codec.Ulong(uint64(g.n))
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	st, err := g.out.Deliver(ctx, amqp.Transfer{Payload: dpsamqp.AppendRequest(nil, q)})
	if err != nil || st.Kind != codec.CodeAccepted {
		g.t.Fatalf("request: %+v, %v", st, err)
	}
	d, err := g.inbox.Receive(ctx)
	if err != nil {
		g.t.Fatal(err)
	}
	g.in.Settle(d.ID, codec.Accepted()) // for its credit
	reply, err := dpsamqp.DecodeReply(d.Payload)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply
}

// TestIssuedOverAMQP is TestIssuedOverMQTT over AMQP.
func TestIssuedOverAMQP(t *testing.T) {
	r := issuingCloud(t)
	scope, key := r.Connection().DPSIDScope, r.groupKey("press-3")
	for _, c := range []struct {
		version      string
		certificates int
	}{{"2021-06-01", 0}, {"2025-07-01-preview", 3}} {
		own, csr := newRequest(t, "press-3")
		if c.certificates == 0 {
			csr = "no request at all"
		}
		g := registerOverAMQP(t, r, c.version, scope, "press-3", key)
		reply := g.ask(dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(`{"registrationId":"press-3","csr":"` + csr + `"}`)})
		var begun assignment
		if err := json.Unmarshal(reply.Body, &begun); err != nil {
			t.Fatalf("%s: %v", reply.Body, err)
		}
		for end := time.Now().Add(patience); reply.RetryAfter > 0; {
			if reply = g.ask(dpsamqp.Request{Op: dpsamqp.Lookup, Operation: begun.ID}); time.Now().After(end) {
				t.Fatalf("the registration does not end: %s", reply.Body)
			}
		}
		r.issuedTo(c.version, string(reply.Body), "press-3", own, key, c.certificates)
	}
	if got := r.bodies("press-3", 2); len(got) != 2 {
		t.Errorf("the hub has %q", got)
	}
}
