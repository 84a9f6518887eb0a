package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
)

// TestProvision takes devices of a group to their hub, and through it.
func TestProvision(t *testing.T) {
	w := newWorld(t)
	o := client.ProvisioningOptions{
		Options: w.o, Endpoint: w.conn.DPSGlobalEndpoint, IDScope: w.conn.DPSIDScope, RegistrationID: "press-1",
		GroupKey: causeway.Secret(w.conn.DPSGroupKey), Attempts: 1, Payload: json.RawMessage(`{"line":7}`),
	}
	a, err := client.Provision(w.ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if a.Hub != "localhost" || a.DeviceID != "press-1" || a.Substatus != "initialAssignment" || a.Group != "devices" || a.Waited == 0 || a.ETag == "" || a.Updated.Before(a.Created) {
		t.Errorf("%+v", a)
	}
	d := w.connect(a.Device)
	if err := d.Send(w.ctx, &causeway.Message{Body: []byte("hello")}); err != nil {
		t.Error(err)
	}
	// A device in the field has the derived key alone.
	field := o
	field.RegistrationID, field.GroupKey = "press-2", ""
	if field.Key, err = client.DeriveDeviceKey(o.GroupKey, "press-2"); err != nil {
		t.Fatal(err)
	}
	if a, err := client.Provision(w.ctx, field); err != nil || a.DeviceID != "press-2" {
		t.Errorf("%+v, %v", a, err)
	}
	// Refusals are final.
	other := field
	other.RegistrationID = "press-3"
	if _, err := client.Provision(w.ctx, other); causeway.CodeOf(err) != 401002 {
		t.Errorf("the key of another device: %v", err)
	}
	other = o
	other.IDScope = "0neNOWHERE"
	if _, err := client.Provision(w.ctx, other); causeway.CodeOf(err) != 404203 {
		t.Errorf("another scope: %v", err)
	}
	other = o
	other.RootCAs = x509.NewCertPool()
	other.Attempts = 0
	if _, err := client.Provision(w.ctx, other); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that is not trusted: %v", err)
	}
}

// transports are all that devices may ask by.
var transports = []causeway.Transport{causeway.HTTPS, causeway.MQTT, causeway.MQTTWS, causeway.AMQP, causeway.AMQPWS}

// TestProvisionTransports takes devices with keys and with certificates to their hub,
// by every transport, and through it by the same. Refusals are the same by each.
func TestProvisionTransports(t *testing.T) {
	w := newWorld(t)
	enrollments, err := client.NewEnrollments(w.conn.DPSServiceConnectionString, w.o)
	if err != nil {
		t.Fatal(err)
	}
	defer enrollments.Close()
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			o := client.ProvisioningOptions{
				Options: w.o, Endpoint: w.conn.DPSGlobalEndpoint, IDScope: w.conn.DPSIDScope, RegistrationID: "key:" + string(transport),
				GroupKey: causeway.Secret(w.conn.DPSGroupKey), Payload: json.RawMessage(`{"line":7}`), Transport: transport,
			}
			through := func(o client.ProvisioningOptions) {
				t.Helper()
				a, err := client.Provision(w.ctx, o)
				if err != nil {
					t.Fatal(err)
				}
				if a.Hub != "localhost" || a.DeviceID != o.RegistrationID || a.Substatus != "initialAssignment" || a.Waited == 0 || a.ETag == "" {
					t.Errorf("%+v", a)
				}
				if want := transport; a.Device.Transport != want && want != causeway.HTTPS {
					t.Errorf("it connects by %q, want %q", a.Device.Transport, want)
				}
				d, err := client.Connect(w.ctx, a.Device)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(d.Send(w.ctx, &causeway.Message{Body: []byte("hello")}), d.Close()); err != nil {
					t.Error(err)
				}
			}
			through(o)

			cert := selfSigned(t, "cert-"+string(transport))
			e := client.Enrollment{RegistrationID: "cert-" + string(transport), Attestation: client.EnrollmentAttestation{
				Type: "x509", X509: &client.X509Attestation{Client: &client.CertificatePair{Primary: &client.EnrollmentCertificate{
					Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})),
				}}},
			}}
			if _, err := enrollments.Put(w.ctx, e, ""); err != nil {
				t.Fatal(err)
			}
			with := o
			with.RegistrationID, with.GroupKey, with.Certificate = e.RegistrationID, "", cert
			through(with)

			for what, c := range map[string]struct {
				change func(*client.ProvisioningOptions)
				code   causeway.Code
			}{
				"the key of another device": {func(o *client.ProvisioningOptions) { o.Key, o.GroupKey = "c2VjcmV0LWtleS1zZWNyZXQ=", "" }, 401002},
				"another certificate":       {func(o *client.ProvisioningOptions) { o.GroupKey, o.Certificate = "", selfSigned(t, o.RegistrationID) }, 401002},
				"another scope":             {func(o *client.ProvisioningOptions) { o.IDScope = "0neNOWHERE" }, 404203},
			} {
				other := o
				c.change(&other)
				_, err := client.Provision(w.ctx, other)
				if e, ok := errors.AsType[*causeway.Error](err); !ok || e.Code != c.code || e.Op != "register" {
					t.Errorf("%s: %v", what, err)
				}
			}
			lost := o
			lost.Address, lost.HTTPSPort, lost.MQTTPort, lost.AMQPPort = "127.0.0.1", 1, 1, 1
			lost.Attempts = 1
			if _, err := client.Provision(w.ctx, lost); !strings.Contains(fmt.Sprint(err), "refused") || causeway.CodeOf(err) != causeway.ServerError {
				t.Errorf("nobody there: %v", err)
			}
			lost = o
			lost.RootCAs, lost.Attempts = x509.NewCertPool(), 0
			if _, err := client.Provision(w.ctx, lost); !strings.Contains(fmt.Sprint(err), "certificate") {
				t.Errorf("a server that is not trusted: %v", err)
			}
		})
	}
}

// TestProvisionSilence: a service that says nothing is given up in time, asked again,
// and not waited for once the caller has had enough.
func TestProvisionSilence(t *testing.T) {
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen("dps")
				var all sync.WaitGroup
				all.Go(func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						all.Go(func() {
							_, _ = io.Copy(io.Discard, c) // what comes is not answered
							c.Close()
						})
					}
				})
				defer all.Wait()
				defer l.Close()
				began, dials := time.Now(), new(atomic.Int32)
				o := client.ProvisioningOptions{
					Options: client.Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
						dials.Add(1)
						return l.Dial(ctx)
					}},
					Endpoint: "example.com", IDScope: "0ne1", RegistrationID: "d", Key: "a2V5", Transport: transport,
				}
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
				defer cancel()
				_, err := client.Provision(ctx, o)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 100*time.Second || dials.Load() < 3 {
					t.Errorf("after %v and %d attempts: %v", time.Since(began), dials.Load(), err)
				}
			})
		})
	}
}

// selfSigned makes a certificate of that name.
func selfSigned(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestProvisionIssued: a service issues the certificate that a device goes to its
// hub with.
func TestProvisionIssued(t *testing.T) {
	w := newWorld(t)
	token, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(w.conn.CAFile)), cloud.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.NewAdmin(w.conn.AdminURL, strings.TrimSpace(string(token)), w.o)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.PutCredentialPolicy(w.ctx, "dps", client.CredentialPolicy{Name: "short", LifetimeSeconds: 7200}, ""); err != nil {
		t.Fatal(err)
	}
	enrollments, err := client.NewEnrollments(w.conn.DPSServiceConnectionString, w.o)
	if err != nil {
		t.Fatal(err)
	}
	defer enrollments.Close()
	group, err := enrollments.Get(w.ctx, client.EnrollmentGroup, "devices")
	if err != nil {
		t.Fatal(err)
	}
	group.CredentialPolicy = "short"
	if _, err := enrollments.Put(w.ctx, group, ""); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Provision(w.ctx, client.ProvisioningOptions{
		Options: w.o, Endpoint: w.conn.DPSGlobalEndpoint, IDScope: w.conn.DPSIDScope, RegistrationID: "press-1",
		GroupKey: causeway.Secret(w.conn.DPSGroupKey), NewKey: key, Attempts: 1,
	})
	if err != nil || a.Certificate == nil || a.Device.Certificate != a.Certificate || !strings.HasSuffix(a.Device.ConnectionString, ";x509=true") {
		t.Fatalf("%+v, %v", a, err)
	}
	leaf, err := x509.ParseCertificate(a.Certificate.Certificate[0])
	if err != nil || leaf.Subject.CommonName != "press-1" || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("certificate %v, %v", leaf.Subject, err)
	}
	if err := w.connect(a.Device).Send(w.ctx, &causeway.Message{Body: []byte("hello")}); err != nil {
		t.Error(err)
	}
}

// provider is a provisioning service that answers as a test wants.
type provider struct {
	client.ProvisioningOptions
	t       *testing.T
	answers []answer
	asked   []string // method and path
	at      []time.Duration
	began   time.Time
	peer    string // common name of the certificate of the last request
}

// answer is what the service says; a status of 0 ends the connection instead.
type answer struct {
	status int
	after  string
	body   string
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.asked = append(p.asked, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
	p.at = append(p.at, time.Since(p.began))
	if len(r.TLS.PeerCertificates) > 0 {
		p.peer = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	if len(p.answers) == 0 {
		p.t.Errorf("asked too often: %s", p.asked)
		panic(http.ErrAbortHandler)
	}
	a := p.answers[0]
	p.answers = p.answers[1:]
	if a.status == 0 {
		panic(http.ErrAbortHandler)
	}
	if a.after != "" {
		w.Header().Set("Retry-After", a.after)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// newProvider returns a service in memory, and what asks it.
func newProvider(t *testing.T, answers ...answer) *provider {
	l := memnet.Listen("dps")
	p := &provider{t: t, answers: answers, began: time.Now()}
	s := httptest.NewUnstartedServer(p)
	s.Listener.Close()
	s.Listener = l
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	p.ProvisioningOptions = client.ProvisioningOptions{
		Options:  client.Options{RootCAs: pool, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }},
		Endpoint: "example.com", IDScope: "0ne1", RegistrationID: "Dev:1", Key: "c2VjcmV0LWtleS1zZWNyZXQ=", Attempts: 3,
	}
	return p
}

const (
	assigning = `{"operationId":"5.a.b","status":"assigning","registrationState":{"registrationId":"Dev:1","status":"assigning"}}`
	assigned  = `{"operationId":"5.a.b","status":"assigned","registrationState":{"assignedHub":"hub.example","deviceId":"dev","status":"assigned","substatus":"initialAssignment","payload":{"a":1},"x509":{"enrollmentGroupId":"g"}}}`
)

// TestProvisionPatience: a device waits as it is told to, through all that passes.
func TestProvisionPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t,
			answer{429, "7", `{"errorCode":429001,"message":"later"}`}, answer{}, answer{202, "3", assigning},
			answer{503, "", "busy"}, answer{202, "", assigning}, answer{404, "", `{"errorCode":404202,"message":"no operation"}`},
			answer{202, "4", assigning}, answer{200, "", assigned})
		a, err := client.Provision(t.Context(), p.ProvisioningOptions)
		if err != nil {
			t.Fatal(err)
		}
		if a.Hub != "hub.example" || a.DeviceID != "dev" || a.Group != "g" || string(a.Payload) != `{"a":1}` ||
			a.Device.ConnectionString != "HostName=hub.example;DeviceId=dev;SharedAccessKey=c2VjcmV0LWtleS1zZWNyZXQ=" {
			t.Errorf("%+v", a)
		}
		const register, ask = `PUT /0ne1/registrations/Dev:1/register {"registrationId":"Dev:1"}`, "GET /0ne1/registrations/Dev:1/operations/5.a.b "
		want := []string{register, register, register, ask, ask, ask, register, ask}
		if got := strings.Join(p.asked, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("asked\n%s", got)
		}
		// Pauses are as told, or the client's own, and up to a tenth longer.
		pauses := []time.Duration{7 * time.Second, time.Second, 3 * time.Second, 500 * time.Millisecond, 2 * time.Second, 2 * time.Second, 4 * time.Second}
		for i, least := range pauses {
			if got := p.at[i+1] - p.at[i]; got < least || got > least+least/10+50*time.Millisecond {
				t.Errorf("pause %d is %v, want %v", i, got, least)
			}
		}
	})
}

// TestProvisionEnds: what there is no use in asking for again.
func TestProvisionEnds(t *testing.T) {
	failed := func(status, state string) answer {
		return answer{200, "", `{"operationId":"5","status":"` + status + `","registrationState":{"status":"` + status + `"` + state + `}}`}
	}
	for name, c := range map[string]struct {
		answers []answer
		code    causeway.Code
		want    string
	}{
		"failed":            {[]answer{failed("failed", `,"errorCode":400208,"errorMessage":"no hub takes it"`)}, 400208, "no hub takes it"},
		"disabled":          {[]answer{failed("disabled", "")}, causeway.GenericForbidden, "disabled"},
		"refused":           {[]answer{{401, "", `{"errorCode":401002,"message":"Unauthorized"}`}}, 401002, "Unauthorized"},
		"out of reach":      {[]answer{{}, {}, {}}, causeway.ServerError, "register"},
		"busy":              {[]answer{{429, "1", ""}, {500, "", ""}, {429, "1", ""}}, 429000, "429"},
		"another server":    {[]answer{{200, "", `{"hello":1}`}}, causeway.ServerError, "not one of a provisioning service"},
		"no JSON":           {[]answer{{200, "", `<html>`}}, causeway.ServerError, "read reply"},
		"assigned, nowhere": {[]answer{failed("assigned", "")}, causeway.ServerError, "not where to"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider(t, c.answers...)
				_, err := client.Provision(t.Context(), p.ProvisioningOptions)
				if causeway.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) || len(p.answers) != 0 {
					t.Errorf("%v (%d), left %v", err, causeway.CodeOf(err), p.answers)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // while it waits, it can be called off
		p := newProvider(t, answer{202, "60", assigning})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := client.Provision(ctx, p.ProvisioningOptions); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestProvisionCertificate: the name is in the certificate.
func TestProvisionCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cert-1"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, answer{202, "1", assigning}, answer{200, "", assigned})
		p.RegistrationID, p.Key = "", ""
		p.Certificate = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		a, err := client.Provision(t.Context(), p.ProvisioningOptions)
		if err != nil || a.RegistrationID != "cert-1" || a.Device.Certificate == nil || a.Device.ConnectionString != "HostName=hub.example;DeviceId=dev;x509=true" {
			t.Errorf("%+v, %v", a, err)
		}
		if p.peer != "cert-1" || !strings.HasPrefix(p.asked[0], "PUT /0ne1/registrations/cert-1/register ") {
			t.Errorf("%s asked %s", p.peer, p.asked[0])
		}
	})
}

// TestProvisionOptions: what is missing is said before anything is sent.
func TestProvisionOptions(t *testing.T) {
	good := client.ProvisioningOptions{IDScope: "s", RegistrationID: "r", Key: "a2V5"}
	for want, change := range map[string]func(o *client.ProvisioningOptions){
		"IDScope":        func(o *client.ProvisioningOptions) { o.IDScope = "" },
		"RegistrationID": func(o *client.ProvisioningOptions) { o.RegistrationID = "" },
		"give Key":       func(o *client.ProvisioningOptions) { o.Key = "" },
		"Key is not":     func(o *client.ProvisioningOptions) { o.Key = "?" },
		"key of the":     func(o *client.ProvisioningOptions) { o.Key, o.GroupKey = "", "?" },
		"Payload":        func(o *client.ProvisioningOptions) { o.Payload = []byte("{") },
		"no certificate": func(o *client.ProvisioningOptions) { o.RegistrationID, o.Certificate = "", &tls.Certificate{} },
	} {
		o := good
		change(&o)
		if _, err := client.Provision(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to speak of %q", err, want)
		}
	}
}
