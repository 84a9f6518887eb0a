package amqp_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const dpsHost = "dps.example"

type noSealer struct{}

func (noSealer) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (noSealer) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// anyHub takes every device.
type anyHub struct{}

func (anyHub) Target(dps.Link) (dps.Target, error)                          { return anyHub{}, nil }
func (anyHub) Get(context.Context, string) (d dps.Device, ok bool, _ error) { return d, false, nil }
func (anyHub) Put(context.Context, dps.Device, bool) error                  { return nil }
func (anyHub) Delete(context.Context, string) error                         { return nil }

// provisioned is a world with a provisioning service, at a host of its own.
type provisioned struct {
	*world
	service *dps.Service
	scope   string
}

// provisioning runs f in a bubble with a provisioning service behind the head.
func provisioning(t *testing.T, f func(t *testing.T, w *provisioned), before ...func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := dps.New(t.Context(), dps.Options{Store: dpstest.NewMemory(), Sealer: noSealer{}, Targets: anyHub{}})
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.Create(t.Context(), "dps", []string{dpsHost})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Change(t.Context(), "dps", func(i *dps.Instance) error {
			i.Links = []dps.Link{{Host: "hub.example"}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- s.Run(ctx) }()
		w := newWorld(t, amqp.Limits{})
		w.server.Provisioner = s
		w.server.Provisioning = func(host string) bool { return host == dpsHost }
		for _, b := range before {
			b(w)
		}
		w.start()
		defer func() {
			w.close()
			stop()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		}()
		f(t, &provisioned{world: w, service: s, scope: i.IDScope})
	})
}

func (w *provisioned) enroll(e dps.Enrollment) dps.Enrollment {
	w.t.Helper()
	e, err := w.service.PutEnrollment(w.t.Context(), "dps", e, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// token is that of a device for its registration.
func (w *provisioned) token(id string, key []byte) string {
	return sas.Sign(w.scope+"/registrations/"+id, key, "registration", inAnHour())
}

func rawKey(t testing.TB, key causeway.Secret) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dpsVersion is a version of the API that knows certificate requests.
const dpsVersion = "2025-07-01-preview"

// registrar is a device's links to the provisioning service.
type registrar struct {
	*client
	out *wire.Sender
	in  *receiver
	n   int
}

// attach attaches the links of a registration.
func (c *client) attachRegistration(address string) (*registrar, error) {
	g := &registrar{client: c}
	var err error
	if g.in, err = c.tryIn(address, wire.LinkConfig{}, 10); err != nil {
		return nil, err
	}
	g.out, err = c.tryOut(address, wire.LinkConfig{}, hubamqp.LinkProperties{APIVersion: dpsVersion, ClientVersion: "test"})
	return g, err
}

// ask sends a request and returns the answer, or the condition of the refusal.
func (g *registrar) ask(r dpsamqp.Request) (map[string]any, int, *codec.Condition) {
	g.t.Helper()
	g.n++
	r.Correlation = codec.String(fmt.Sprint("request ", g.n))
	ctx, cancel := g.waiting()
	defer cancel()
	st, err := g.out.Deliver(ctx, wire.Transfer{Payload: dpsamqp.AppendRequest(nil, r)})
	if err != nil {
		g.t.Fatalf("request: %v", err)
	}
	if st.Kind != codec.CodeAccepted {
		return nil, 0, st.Error
	}
	d := g.in.next()
	g.in.settle(d, codec.Accepted())
	reply, err := dpsamqp.DecodeReply(d.Payload)
	if err != nil {
		g.t.Fatal(err)
	}
	if !reply.Correlation.Equal(r.Correlation) {
		g.t.Errorf("the answer to %v is for %v", r.Correlation, reply.Correlation)
	}
	var v map[string]any
	if err := json.Unmarshal(reply.Body, &v); err != nil {
		g.t.Fatalf("%s: %v", reply.Body, err)
	}
	return v, reply.RetryAfter, nil
}

// register registers and asks until it is over; it returns the state.
func (g *registrar) register(body string) map[string]any {
	g.t.Helper()
	v, retry, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(body)})
	if refused != nil {
		g.t.Fatalf("register: %+v", refused)
	}
	if v["status"] != "assigning" || retry != 2 {
		g.t.Errorf("register: %v, again after %d s", v, retry)
	}
	operation, _ := v["operationId"].(string)
	for retry > 0 {
		time.Sleep(time.Duration(retry) * time.Second) //nolint:forbidigo // simulated time
		if v, retry, refused = g.ask(dpsamqp.Request{Op: dpsamqp.Lookup, Operation: operation}); refused != nil {
			g.t.Fatalf("lookup: %+v", refused)
		}
	}
	state, _ := v["registrationState"].(map[string]any)
	if v["operationId"] != operation || state == nil {
		g.t.Fatalf("outcome %v", v)
	}
	return state
}

func (g *registrar) assigned(body, device string) map[string]any {
	g.t.Helper()
	state := g.register(body)
	if state["status"] != "assigned" || state["assignedHub"] != "hub.example" || state["deviceId"] != device {
		g.t.Errorf("%v, want %s assigned", state, device)
	}
	return state
}

// TestRegister takes devices with keys to their hub, by every spelling of the
// address and host that clients have.
func TestRegister(t *testing.T) {
	provisioning(t, func(t *testing.T, w *provisioned) {
		own := w.enroll(dps.Enrollment{ID: "Own", Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		group := w.enroll(dps.Enrollment{ID: "group", Group: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		derived, err := attestation.DeriveKey(group.Attestation.Keys.Secondary, "press-1")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name, host, format, id string
			key                    causeway.Secret
		}{
			{"as Node and C# do", dpsHost, "%s/registrations/%s", "Own", own.Attestation.Keys.Primary},
			{"as Java does", dpsHost + ":5671", "/%s/registrations/%s", "own", own.Attestation.Keys.Secondary},
			{"as C does", dpsHost, "amqps://" + dpsHost + "/%s/registrations/%s", "Own", own.Attestation.Keys.Primary},
			{"by the host of a hub", host, "%s/registrations/%s", "press-1", derived},
			{"by a name that nobody knows", "global.elsewhere.example", "%s/registrations/%s", "press-1", derived},
			{"without a host", "", "%s/registrations/%s", "press-1", derived},
		} {
			cl, err := w.tryDial(wire.Config{
				Hostname: c.host, SASL: wire.PlainSASL(w.scope+"/registrations/"+c.id, w.token(c.id, rawKey(t, c.key))),
			})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			g, err := cl.attachRegistration(fmt.Sprintf(c.format, strings.ToLower(w.scope), c.id))
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			want := c.id
			if c.id == "own" {
				want = "Own" // as it is enrolled
			}
			g.assigned(`{"registrationId":"`+c.id+`","payload":{"a":1}}`, want)
			g.close()
		}
	})
}

// TestRegisterByCertificate: who has one needs no SASL, and may use it.
func TestRegisterByCertificate(t *testing.T) {
	cert := headkit.Certificate(t, "cert-1")
	for name, login := range map[string]*wire.ClientSASL{"no SASL layer": nil, "EXTERNAL": wire.ExternalSASL(), "ANONYMOUS": wire.AnonymousSASL(), "PLAIN without a password": wire.PlainSASL("", "")} {
		t.Run(name, func(t *testing.T) {
			provisioning(t, func(t *testing.T, w *provisioned) {
				leaf, err := x509.ParseCertificate(cert.Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				w.enroll(dps.Enrollment{ID: "cert-1", Attestation: dps.Attestation{Kind: dps.X509, Primary: leaf.Raw}})
				address := w.scope + "/registrations/cert-1"
				if login != nil && login.Mechanism == "PLAIN" {
					login = wire.PlainSASL(address, "")
				}
				cl, err := w.tryDial(wire.Config{SASL: login})
				if err != nil {
					t.Fatal(err)
				}
				g, err := cl.attachRegistration(address)
				if err != nil {
					t.Fatal(err)
				}
				g.assigned(`{"registrationId":"cert-1"}`, "cert-1")
				// The connection is for one registration, and this host for no hub.
				if _, err := cl.attachRegistration(w.scope + "/registrations/cert-2"); conditionOf(err) != hubamqp.Unauthorized {
					t.Errorf("another registration: %v", err)
				}
				for _, kind := range []string{"/devices/dev1/messages/events", "$cbs", "/messages/devicebound"} {
					if _, err := cl.tryOut(kind, wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.NotFound {
						t.Errorf("%s: %v", kind, err)
					}
				}
				cl.close()
				// Nor is it good for another id.
				cl, err = w.tryDial(wire.Config{})
				if err != nil {
					t.Fatal(err)
				}
				if g, err = cl.attachRegistration(w.scope + "/registrations/cert-2"); err != nil {
					t.Fatal(err)
				}
				if _, _, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Register}); refused == nil || refused.Name != hubamqp.Unauthorized {
					t.Errorf("the certificate of another device: %+v", refused)
				}
				cl.close()
			}, func(w *world) { w.withTLS(dpsHost, cert) })
		})
	}
}

// tpmLogin is the client's part of the dialogue of a TPM.
type tpmLogin struct {
	scope, id string
	tpm       *tpm2test.TPM
	ek        []byte // in place of the TPM's, if set
	key       []byte // in place of the one that was activated, if set

	blob []byte
}

func (l *tpmLogin) sasl() *wire.ClientSASL {
	ek := l.tpm.EndorsementKey()
	if l.ek != nil {
		ek = l.ek
	}
	return &wire.ClientSASL{
		Mechanism: "TPM", Initial: fmt.Appendf(nil, "\x00%s\x00%s\x00%s", l.scope, l.id, ek),
		Respond: func(challenge []byte) ([]byte, error) {
			if len(challenge) == 0 || len(challenge) > 471 {
				return nil, fmt.Errorf("a challenge of %d bytes", len(challenge))
			}
			l.blob = append(l.blob, challenge[1:]...)
			switch challenge[0] {
			case 0:
				return append([]byte{0}, l.tpm.StorageRootKey()...), nil
			case 0x80:
				return []byte{0}, nil
			case 0xC1:
				key, err := l.tpm.Activate(l.blob)
				if err != nil {
					return nil, err
				}
				if l.key != nil {
					key = l.key
				}
				l.key = key
				token := sas.Sign(l.scope+"/registrations/"+l.id, key, "registration", inAnHour())
				return append([]byte{0}, token...), nil
			}
			return nil, fmt.Errorf("control byte %#x", challenge[0])
		},
	}
}

// TestRegisterByTPM takes a device with a TPM through both activations.
func TestRegisterByTPM(t *testing.T) {
	tpm := tpm2test.New(t)
	other := tpm2test.New(t)
	provisioning(t, func(t *testing.T, w *provisioned) {
		w.enroll(dps.Enrollment{ID: "tpm-1", Attestation: dps.Attestation{Kind: dps.TPM, EndorsementKey: tpm.EndorsementKey()}})
		login := &tpmLogin{scope: w.scope, id: "tpm-1", tpm: tpm}
		cl, err := w.tryDial(wire.Config{Hostname: dpsHost, SASL: login.sasl()})
		if err != nil {
			t.Fatal(err)
		}
		g, err := cl.attachRegistration(w.scope + "/registrations/tpm-1")
		if err != nil {
			t.Fatal(err)
		}
		// As Java does: the keys are in the dialogue alone.
		state := g.assigned(`{"registrationId":"tpm-1"}`, "tpm-1")
		blob, err := base64.StdEncoding.DecodeString(state["tpm"].(map[string]any)["authenticationKey"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if key, err := tpm.Activate(blob); err != nil || len(key) == 0 || string(key) == string(login.key) {
			t.Errorf("the key for the hub: %d bytes, %v", len(key), err)
		}
		g.close()
		// As Node and C do: they are in the request as well.
		login = &tpmLogin{scope: strings.ToLower(w.scope), id: "TPM-1", tpm: tpm.Reset(t)}
		if cl, err = w.tryDial(wire.Config{Hostname: dpsHost, SASL: login.sasl()}); err != nil {
			t.Fatal(err)
		}
		if g, err = cl.attachRegistration(w.scope + "/registrations/tpm-1"); err != nil {
			t.Fatal(err)
		}
		b64 := base64.StdEncoding.EncodeToString
		g.assigned(`{"registrationId":"tpm-1","tpm":{"endorsementKey":"`+b64(tpm.EndorsementKey())+`","storageRootKey":"`+b64(login.tpm.StorageRootKey())+`"}}`, "tpm-1")
		g.close()
		for name, l := range map[string]*tpmLogin{
			"another TPM":            {scope: w.scope, id: "tpm-1", tpm: other},
			"another's key":          {scope: w.scope, id: "tpm-1", tpm: other, ek: tpm.EndorsementKey()},
			"an old token":           {scope: w.scope, id: "tpm-1", tpm: tpm, key: []byte("the key of an earlier challenge")},
			"no enrollment":          {scope: w.scope, id: "tpm-2", tpm: tpm},
			"no scope":               {scope: "0ne9", id: "tpm-1", tpm: tpm},
			"an endorsement of none": {scope: w.scope, id: "tpm-1", tpm: tpm, ek: []byte("key")},
		} {
			if _, err := w.tryDial(wire.Config{Hostname: dpsHost, SASL: l.sasl()}); !errors.Is(err, wire.ErrSASL) && name != "another's key" {
				t.Errorf("%s: %v", name, err)
			} else if err == nil {
				t.Errorf("%s is let in", name)
			}
		}
	})
}

// TestRefusedRegistrations: what is said to whom that has no right, or asks for what
// there is not.
func TestRefusedRegistrations(t *testing.T) {
	provisioning(t, func(t *testing.T, w *provisioned) {
		own := w.enroll(dps.Enrollment{ID: "own", Attestation: dps.Attestation{Kind: dps.SymmetricKey}})
		key := rawKey(t, own.Attestation.Keys.Primary)
		address := w.scope + "/registrations/own"
		for name, password := range map[string]string{
			"wrong key": w.token("own", []byte("wrong")), "token of another device": w.token("other", key), "no token": "", "the key itself": string(own.Attestation.Keys.Primary),
			"expired token": sas.Sign(address, key, "registration", time.Now().Add(-time.Hour)),
		} {
			cl, err := w.tryDial(wire.Config{Hostname: dpsHost, SASL: wire.PlainSASL(address, password)})
			if err != nil {
				t.Fatal(err)
			}
			g, err := cl.attachRegistration(address)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []dpsamqp.Request{{Op: dpsamqp.Register, Body: []byte("{}")}, {Op: dpsamqp.Lookup, Operation: "5.a"}} {
				if _, _, refused := g.ask(r); refused == nil || refused.Name != hubamqp.Unauthorized || !strings.Contains(refused.Description, `"errorCode":401002`) {
					t.Errorf("%s: %+v", name, refused)
				}
			}
			cl.close()
		}
		if n := w.refused(amqp.ReasonUnauthorized); n != 10 {
			t.Errorf("%d refusals are counted", n)
		}
		// Who has no proof has no link, at the host of the service or of a hub.
		for _, h := range []string{dpsHost, host} {
			cl, err := w.tryDial(wire.Config{Hostname: h, SASL: wire.AnonymousSASL()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cl.attachRegistration(address); conditionOf(err) != hubamqp.Unauthorized {
				t.Errorf("without a proof: %v", err)
			}
			cl.close()
		}
		// An unknown scope, and an id that cannot be one, are said when there are words
		// for it.
		for _, c := range []struct {
			address, name string
			code          float64
		}{
			{"0ne9/registrations/own", hubamqp.NotFound, 404203},
			{w.scope + "/registrations/%25", hubamqp.ArgumentError, 400000},
		} {
			cl, err := w.tryDial(wire.Config{Hostname: dpsHost, SASL: wire.PlainSASL(c.address, w.token("own", key))})
			if err != nil {
				t.Fatal(err)
			}
			g, err := cl.attachRegistration(c.address)
			if err != nil {
				t.Fatal(err)
			}
			_, _, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Register})
			var v map[string]any
			if refused == nil || refused.Name != c.name || json.Unmarshal([]byte(refused.Description), &v) != nil || v["errorCode"] != c.code {
				t.Errorf("%s: %+v", c.address, refused)
			}
			cl.close()
		}
		// What is wrong with a request leaves the link open.
		cl, err := w.tryDial(wire.Config{Hostname: dpsHost, SASL: wire.PlainSASL(address, w.token("own", key))})
		if err != nil {
			t.Fatal(err)
		}
		g, err := cl.attachRegistration(address)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			request dpsamqp.Request
			want    string
		}{
			"no JSON":               {dpsamqp.Request{Op: dpsamqp.Register, Body: []byte("{")}, hubamqp.ArgumentError},
			"another id":            {dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(`{"registrationId":"x"}`)}, hubamqp.ArgumentError},
			"no operation":          {dpsamqp.Request{Op: dpsamqp.Lookup}, hubamqp.ArgumentError},
			"foreign operation":     {dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.ab.c"}, hubamqp.NotFound},
			"a payload of 64 KiB":   {dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(`{"payload":"` + strings.Repeat("x", 64<<10) + `"}`)}, hubamqp.ArgumentError},
			"a request of 128 KiB+": {dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(`{"x":"` + strings.Repeat("x", 128<<10) + `"}`)}, hubamqp.ArgumentError},
		} {
			if _, _, refused := g.ask(c.request); refused == nil || refused.Name != c.want {
				t.Errorf("%s: %+v", name, refused)
			}
		}
		if got := g.deliver(g.out, wire.Transfer{Payload: []byte("no message")}); got != "rejected "+codec.DecodeError {
			t.Errorf("no message: %s", got)
		}
		g.assigned("{}", "own")
		if got := g.deliver(g.out, wire.Transfer{Payload: make([]byte, 140<<10)}); got != "error "+hubamqp.MessageSize {
			t.Errorf("a message that is too large: %s", got)
		}
		g.close()
	})
}
