package dps_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
)

func TestOwnKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := w.put(dps.Enrollment{
			ID: "Dev-1", DeviceID: "on-hub", Edge: true, Hubs: []string{"H2"}, Allocation: dps.Static,
			Attestation: dps.Attestation{Kind: dps.SymmetricKey},
			InitialTwin: dps.InitialTwin{Tags: raw(` {"a": 1}`), Desired: raw(`{"b":2,"$version":4}`)},
		})
		keys := e.Attestation.Keys
		w.assigned(w.request("Dev-1", keys.Primary), "h2", "on-hub", "initialAssignment")
		d, _ := w.hubs["h2"].device("on-hub")
		if d.Keys != keys || !d.Edge || string(d.Tags) != `{"a":1}` || string(d.Desired) != `{"b":2}` {
			t.Errorf("device %+v", d)
		}
		// Other spellings are the same device.
		op := w.assigned(w.request("DEV-1", keys.Secondary), "h2", "on-hub", "initialAssignment")
		if op.Registration != "Dev-1" || op.Attestation != "symmetricKey" || op.Group != "" || op.ETag == "" || op.Created.IsZero() {
			t.Errorf("operation %+v", op)
		}
		stored, err := w.store.Enrollment(t.Context(), "dps", false, "dev-1")
		ok(t, err)
		if !strings.HasPrefix(string(stored.Attestation.Keys.Primary), "sealed(dps/dps/enrollment/dev-1/primary)") {
			t.Errorf("stored key %s", string(stored.Attestation.Keys.Primary))
		}
	})
}

func TestGroupKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.put(dps.Enrollment{ID: "other", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		g := w.put(dps.Enrollment{ID: "Group", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		keys := g.Attestation.Keys
		for id, k := range map[string]causeway.Secret{"d-1": keys.Primary, "d-2": keys.Secondary} {
			op := w.assigned(w.request(id, w.derived(k, id)), "", id, "initialAssignment")
			if op.Group != "Group" {
				t.Errorf("%s came by %q", id, op.Group)
			}
			want := attestation.Keys{Primary: w.derived(keys.Primary, id), Secondary: w.derived(keys.Secondary, id)}
			if d, _ := w.hubs[op.Hub].device(id); d.Keys != want {
				t.Errorf("device %+v", d)
			}
		}
		// One device of the group is blocked by an enrollment of its own, whose
		// keys it need not know.
		blocked := keyEnrollment("d-1")
		blocked.Disabled = true
		w.put(blocked)
		if op := w.register(w.request("d-1", w.derived(keys.Primary, "d-1"))); op.Status != "disabled" {
			t.Errorf("a blocked device: %+v", op)
		}
		list, err := w.Registrations(t.Context(), "dps", "group", "", 0)
		if err != nil || len(list) != 2 {
			t.Errorf("registrations of the group: %+v, %v", list, err)
		}
		// A disabled group.
		g.Disabled = true
		_, err = w.PutEnrollment(t.Context(), "dps", g, g.ETag)
		ok(t, err)
		if op := w.register(w.request("d-2", w.derived(keys.Primary, "d-2"))); op.Status != "disabled" || op.Hub != "" || op.Message == "" {
			t.Errorf("a device of a disabled group: %+v", op)
		}
	})
}

func chainOf(t *testing.T, c tls.Certificate, err error) (chain []*x509.Certificate) {
	t.Helper()
	ok(t, err)
	for _, der := range c.Certificate {
		x, err := x509.ParseCertificate(der)
		ok(t, err)
		chain = append(chain, x)
	}
	return chain
}

func TestCertificates(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		root, err := pki.NewCA("root")
		ok(t, err)
		plant, err := root.IssueCA("plant", 48*time.Hour)
		ok(t, err)
		device := chainOf(t, must(plant.IssueClient("d-1", 24*time.Hour)), nil)
		own := chainOf(t, must(pki.SelfSigned("d-2", 24*time.Hour)), nil)
		x509Of := func(primary []byte) dps.Attestation {
			return dps.Attestation{Kind: dps.X509, Primary: primary}
		}
		w.put(dps.Enrollment{ID: "by-root", Group: true, Attestation: x509Of(root.Certificate().Raw), Allocation: dps.Static, Hubs: []string{"h1"}})
		w.put(dps.Enrollment{ID: "by-plant", Group: true, Attestation: x509Of(plant.Certificate().Raw), Allocation: dps.Static, Hubs: []string{"h2"}})
		request := func(id string, chain []*x509.Certificate) causeway.Registration {
			return causeway.Registration{Scope: w.scope, ID: id, Credential: causeway.Credential{Certificates: chain}}
		}
		op := w.assigned(request("d-1", device), "h2", "d-1", "initialAssignment")
		_, sum := pki.Thumbprints(device[0])
		if d, _ := w.hubs["h2"].device("d-1"); op.Group != "by-plant" || !strings.EqualFold(d.Thumbprint, sum) || d.Keys != (attestation.Keys{}) {
			t.Errorf("by %q: %+v", op.Group, d)
		}
		w.put(dps.Enrollment{ID: "d-2", Attestation: dps.Attestation{Kind: dps.X509, Primary: device[0].Raw, Secondary: own[0].Raw}})
		op = w.assigned(request("d-2", own), "", "d-2", "initialAssignment")
		if op.Attestation != "x509" || op.Group != "" {
			t.Errorf("operation %+v", op)
		}
		for what, r := range map[string]causeway.Registration{
			"another name":               request("d-3", device),
			"the certificate of another": request("d-2", device),
			"nothing":                    request("d-1", nil),
		} {
			_, err := w.Register(t.Context(), r)
			w.refused(what, err, dps.CodeUnauthorized, "Unauthorized")
		}
		// An authority of the service counts once it is verified.
		_, err = w.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "by-name", Group: true, Attestation: dps.Attestation{Kind: dps.X509, PrimaryAuthority: "ca"}}, "")
		w.refused("an authority that is not there", err, dps.CodeInvalid, `no verified certificate "ca"`)
		_, err = w.Change(t.Context(), "dps", func(i *dps.Instance) error {
			i.Authorities = []dps.Authority{{Name: "ca", DER: root.Certificate().Raw, Verified: true}}
			return nil
		})
		ok(t, err)
		for _, id := range []string{"by-plant", "by-root"} {
			ok(t, w.DeleteEnrollment(t.Context(), "dps", true, id, ""))
		}
		_, err = w.Register(t.Context(), request("d-1", device))
		w.refused("no group is left", err, dps.CodeUnauthorized, "Unauthorized")
		w.put(dps.Enrollment{ID: "by-name", Group: true, Attestation: dps.Attestation{Kind: dps.X509, PrimaryAuthority: "CA"}, Allocation: dps.Static, Hubs: []string{"h2"}})
		if op := w.assigned(request("d-1", device), "h2", "d-1", "initialAssignment"); op.Group != "by-name" {
			t.Errorf("by %q", op.Group)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTPM(t *testing.T) {
	mine, other := tpm2test.New(t), tpm2test.New(t)
	inWorld(t, func(t *testing.T, w *world) {
		w.put(dps.Enrollment{ID: "d", Attestation: dps.Attestation{Kind: dps.TPM, EndorsementKey: mine.EndorsementKey()[2:]}})
		w.put(keyEnrollment("keys"))
		request := func(id string, p *tpm2test.TPM, token causeway.Secret) causeway.Registration {
			return causeway.Registration{
				Scope: w.scope, ID: id, EndorsementKey: p.EndorsementKey(), StorageRootKey: p.StorageRootKey(),
				Credential: causeway.Credential{Token: token},
			}
		}
		challenge := func(p *tpm2test.TPM) []byte {
			t.Helper()
			c, err := w.Challenge(t.Context(), request("d", p, ""))
			ok(t, err)
			key, err := p.Activate(c.AuthenticationKey)
			ok(t, err)
			if c.KeyName != "registration" {
				t.Errorf("key name %q", c.KeyName)
			}
			return key
		}
		sign := func(key []byte) causeway.Secret {
			return w.token("d", causeway.Secret(base64.StdEncoding.EncodeToString(key)))
		}
		first, second := challenge(mine), challenge(mine)
		for _, nonce := range [][]byte{first, second} { // several may be outstanding
			op := w.assigned(request("d", mine, sign(nonce)), "", "d", "initialAssignment")
			key, err := mine.Activate(op.AuthenticationKey)
			ok(t, err)
			if d, _ := w.hubs[op.Hub].device("d"); string(d.Keys.Primary) != base64.StdEncoding.EncodeToString(key) || d.Keys.Secondary == "" {
				t.Errorf("the hub has other keys than the TPM")
			}
		}
		// A token that was used is good for questions about its registration alone,
		// however long it is valid.
		used := request("d", mine, sign(second))
		_, err := w.Register(t.Context(), used)
		w.refused("a token again", err, dps.CodeUnauthorized, "Unauthorized")
		if op, err := w.Status(t.Context(), used); err != nil || op.Status != "assigned" {
			t.Errorf("a question with it: %+v, %v", op, err)
		}
		_, err = w.Challenge(t.Context(), request("d", other, ""))
		w.refused("another TPM", err, dps.CodeUnauthorized, "Unauthorized")
		_, err = w.Register(t.Context(), request("d", other, sign(first)))
		w.refused("another TPM with a token", err, dps.CodeUnauthorized, "Unauthorized")
		_, err = w.Register(t.Context(), request("d", mine, sign([]byte("guess"))))
		w.refused("a key that nobody gave", err, dps.CodeUnauthorized, "Unauthorized")
		_, err = w.Register(t.Context(), request("d", mine, ""))
		w.refused("no token", err, dps.CodeUnauthorized, "Unauthorized")
		for _, id := range []string{"nobody", "keys"} {
			_, err = w.Challenge(t.Context(), request(id, mine, ""))
			w.refused("challenge of "+id, err, dps.CodeUnauthorized, "Unauthorized")
		}
		bad := request("d", mine, "")
		bad.StorageRootKey = []byte("x")
		_, err = w.Challenge(t.Context(), bad)
		w.refused("no key", err, dps.CodeInvalid, "tpm.storageRootKey")
		for _, id := range []string{"d", "nobody", "keys"} { // who asks learns nothing of who is there
			bad := request(id, mine, "")
			bad.EndorsementKey = []byte("x")
			_, err = w.Challenge(t.Context(), bad)
			w.refused("no endorsement key", err, dps.CodeInvalid, "tpm.endorsementKey")
		}

		// The TPM is cleared: it has another storage root key, and is the same device.
		cleared := mine.Reset(t)
		op := w.assigned(request("d", cleared, sign(challenge(cleared))), "", "d", "initialAssignment")
		if _, err := cleared.Activate(op.AuthenticationKey); err != nil {
			t.Error(err)
		}
		late := challenge(mine)
		time.Sleep(dps.NonceTTL) //nolint:forbidigo // simulated time
		_, err = w.Register(t.Context(), request("d", mine, sign(late)))
		w.refused("a challenge of long ago", err, dps.CodeUnauthorized, "Unauthorized")
	})
}

func TestRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		key := w.put(keyEnrollment("d")).Attestation.Keys.Primary
		good := w.request("d", key)
		change := func(f func(*causeway.Registration)) causeway.Registration {
			r := good
			f(&r)
			return r
		}
		for what, c := range map[string]struct {
			r    causeway.Registration
			code causeway.Code
			text string
		}{
			"a foreign scope":   {change(func(r *causeway.Registration) { r.Scope = "0ne00000000" }), dps.CodeScopeNotFound, "0ne00000000"},
			"an endless scope":  {change(func(r *causeway.Registration) { r.Scope = strings.Repeat("x", 1<<20) }), dps.CodeScopeNotFound, "xxx…"},
			"no id":             {change(func(r *causeway.Registration) { r.ID = "" }), dps.CodeInvalid, "registration id"},
			"a bad id":          {change(func(r *causeway.Registration) { r.ID = "a/b" }), dps.CodeInvalid, `"a/b"`},
			"an id with a dot":  {change(func(r *causeway.Registration) { r.ID = "ab." }), dps.CodeInvalid, "ends in"},
			"an endless id":     {change(func(r *causeway.Registration) { r.ID = strings.Repeat("x", 129) }), dps.CodeInvalid, "1 to 128"},
			"an unknown device": {w.request("e", key), dps.CodeUnauthorized, "Unauthorized"},
			"a wrong key":       {w.request("d", w.derived(key, "x")), dps.CodeUnauthorized, "Unauthorized"},
			"no proof":          {change(func(r *causeway.Registration) { r.Credential = causeway.Credential{} }), dps.CodeUnauthorized, "Unauthorized"},
			"no JSON":           {change(func(r *causeway.Registration) { r.Payload = []byte("{") }), dps.CodeInvalid, "payload is not JSON"},
			"a huge payload":    {change(func(r *causeway.Registration) { r.Payload = make([]byte, dps.MaxPayload+1) }), dps.CodeInvalid, "payload has"},
		} {
			_, err := w.Register(t.Context(), c.r)
			w.refused(what, err, c.code, c.text)
			if msg := causeway.MessageOf(err); c.code == dps.CodeUnauthorized && msg != "Unauthorized" {
				t.Errorf("%s: a device learns %q", what, msg)
			}
		}
		op := w.assigned(good, "", "d", "initialAssignment")
		for _, id := range []string{"", "x", op.ID + "x"} {
			_, err := w.Lookup(t.Context(), good, id)
			w.refused("operation "+id, err, dps.CodeNotFound, "no operation")
		}
		_, err := w.Lookup(t.Context(), w.request("e", key), op.ID)
		w.refused("another device's operation", err, dps.CodeUnauthorized, "")
		time.Sleep(2 * time.Hour) //nolint:forbidigo // simulated time
		_, err = w.Lookup(t.Context(), good, op.ID)
		w.refused("a token of hours ago", err, dps.CodeUnauthorized, "")
		if op, err := w.Status(t.Context(), w.request("d", key)); err != nil || op.Hub == "" {
			t.Errorf("status %+v, %v", op, err)
		}
	})
}

// TestJoin registers again while the first time is under way.
func TestJoin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Hubs, e.Allocation = []string{"h1"}, dps.Static
		r := w.request("d", w.put(e).Attestation.Keys.Primary)
		stall := make(chan struct{})
		w.hubs["h1"].set(func() { w.hubs["h1"].stall = stall })
		one, err := w.Register(t.Context(), r)
		ok(t, err)
		synctest.Wait()
		two, err := w.Register(t.Context(), r) // it waits for nobody
		ok(t, err)
		if two.ID != one.ID || two.Status != "assigning" {
			t.Errorf("%+v does not join %+v", two, one)
		}
		w.hubs["h1"].mu.Lock()
		w.hubs["h1"].stall = nil
		w.hubs["h1"].mu.Unlock()
		close(stall)
		op := w.wait(r, two.ID)
		if op.Status != "assigned" || w.hubs["h1"].times("d") != 1 {
			t.Errorf("%+v after %+v and %+v", op, one, two)
		}
	})
}

// TestRestart stops the service in the middle of many registrations, again and
// again: each device ends up assigned, on one hub.
func TestRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const devices = 200
		key := w.put(dps.Enrollment{ID: "g", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}}).Attestation.Keys.Primary
		operations := map[string]string{}
		for i := range devices {
			if i%20 == 10 {
				w.stop()
				w.start()
			}
			id := fmt.Sprint("d", i)
			op, err := w.Register(t.Context(), w.request(id, w.derived(key, id)))
			ok(t, err)
			operations[id] = op.ID
		}
		w.stop()
		w.start()
		for id, operation := range operations {
			op := w.wait(w.request(id, w.derived(key, id)), operation)
			if op.Status != "assigned" {
				t.Fatalf("%s: %+v", id, op)
			}
			n := 0
			for _, h := range w.hubs {
				if _, there := h.device(id); there {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s is on %d hubs", id, n)
			}
		}
	})
}

func TestHubFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e := keyEnrollment("d")
		e.Hubs, e.Allocation = []string{"h1"}, dps.Static
		r := w.request("d", w.put(e).Attestation.Keys.Primary)
		h := w.hubs["h1"]
		h.set(func() { h.err = causeway.Errorf(causeway.TooManyDevices, "hub", "the hub is full") })
		if op := w.register(r); op.Status != "failed" || op.Code != dps.FailedHub || !strings.Contains(op.Message, `"errorCode":413002`) || !strings.Contains(op.Message, "the hub is full") || op.Hub != "" {
			t.Errorf("a hub that refuses: %+v", op)
		}
		h.set(func() { h.err = causeway.Errorf(causeway.ServiceUnavailable, "hub", "later") })
		began := time.Now()
		if op := w.register(r); op.Status != "failed" || !strings.Contains(op.Message, "in time") || time.Since(began) < dps.AssignTimeout/2 {
			t.Errorf("a hub that does not answer: %+v", op)
		}
		op, err := w.Register(t.Context(), r)
		ok(t, err)
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		h.mu.Lock()
		h.err = nil // it comes back in time
		h.mu.Unlock()
		if op := w.wait(r, op.ID); op.Status != "assigned" {
			t.Errorf("a hub that comes back: %+v", op)
		}
		delete(w.hubs, "h1")
		if op := w.register(r); op.Status != "failed" || op.Code != dps.FailedHub {
			t.Errorf("a hub that is gone: %+v", op)
		}
	})
}

func TestOperationID(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		op := w.register(w.request("d", w.put(keyEnrollment("d")).Attestation.Keys.Primary))
		parts := strings.Split(op.ID, ".") // as the service writes them; clients put it into topics
		if len(parts) != 3 || parts[0] != "5" || len(parts[2]) != 36 {
			t.Errorf("operation id %q", op.ID)
		}
		if _, err := hex.DecodeString(parts[1]); err != nil {
			t.Error(err)
		}
	})
}
