package mqtt_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
)

// fakeProvisioner admits who has the password "right", and answers as it is told.
type fakeProvisioner struct {
	mu      sync.Mutex
	asked   []causeway.Registration
	outcome causeway.Operation // of a question
	fail    error              // of every request
	stall   chan struct{}      // requests wait for it
}

func (f *fakeProvisioner) answer(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	op, err, stall := f.outcome, f.fail, f.stall
	f.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return op, ctx.Err()
		}
	}
	if err == nil && r.Credential.Token != "right" && r.Credential.Certificates == nil {
		err = causeway.Errorf(401002, "dps", "Unauthorized")
	}
	return op, err
}

func (f *fakeProvisioner) Register(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
	_, err := f.answer(ctx, r)
	return causeway.Operation{ID: "5.1." + r.ID, Registration: r.ID, Status: "assigning", RetryAfter: 2 * time.Second}, err
}

func (f *fakeProvisioner) Lookup(ctx context.Context, r causeway.Registration, id string) (causeway.Operation, error) {
	op, err := f.answer(ctx, r)
	if err == nil && id != "5.1."+r.ID {
		err = causeway.Errorf(404202, "dps", "no operation %s", id)
	}
	op.ID, op.Registration = id, r.ID
	return op, err
}

func (f *fakeProvisioner) Challenge(context.Context, causeway.Registration) (causeway.TPMChallenge, error) {
	return causeway.TPMChallenge{}, errors.New("not over MQTT")
}

func (f *fakeProvisioner) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// requests returns what was asked so far.
func (f *fakeProvisioner) requests() []causeway.Registration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func dpsPacket(id, password string) *wire.Connect {
	return &wire.Connect{
		Version: wire.V311, ClientID: id, KeepAlive: 60, CleanStart: true,
		HasUserName: true, UserName: dpstopic.Username{Scope: "0ne1", ID: id, APIVersion: dpsVersion, ClientVersion: "test/1"}.String(),
		HasPassword: password != "", Password: password,
	}
}

// provision connects a device to the provisioning service, and subscribes it to
// the answers.
func (w *world) provision(id, password string, change ...func(*wire.Connect)) *client {
	w.t.Helper()
	c := w.dial()
	p := dpsPacket(id, password)
	for _, f := range change {
		f(p)
	}
	c.send(p)
	if ack := expect[*wire.Connack](c); ack.Code != wire.Accepted || ack.SessionPresent {
		w.t.Fatalf("connect: %+v", ack)
	}
	c.subscribe(1, dpstopic.Filter)
	return c
}

// dpsVersion is a version of the API that knows certificate requests.
const dpsVersion = "2025-07-01-preview"

const (
	registerTopic = "$dps/registrations/PUT/iotdps-register/?$rid="
	lookupTopic   = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="
)

// answered expects an answer, and returns its topic and body.
func (c *client) answered() (name, body string) {
	c.t.Helper()
	p := expect[*wire.Publish](c)
	if p.QoS != 0 || p.Retain || p.Dup {
		c.t.Errorf("answer %+v", p)
	}
	return strings.Clone(p.Topic), string(p.Payload)
}

// wants expects an answer with this end of a topic, and with text in its body.
func (c *client) wants(what, end, text string) {
	c.t.Helper()
	name, body := c.answered()
	if name != "$dps/registrations/res/"+end || !strings.Contains(body, text) || !json.Valid([]byte(body)) {
		c.t.Errorf("%s: %s %s\nwant %s with %s", what, name, body, end, text)
	}
}

func TestProvisioning(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.provision("Dev-1", "right", func(p *wire.Connect) {
			p.Will = &wire.Will{Topic: "anything", Payload: []byte("x"), QoS: 2, Retain: true}
		})
		c.send(pub(registerTopic+"a-1", `{"registrationId":"dev-1","payload":{"a": 1},"csr":"AAE="}`, 7))
		if ack := expect[*wire.Ack](c); ack.Kind != wire.PUBACK || ack.ID != 7 {
			t.Errorf("acknowledged by %+v", ack)
		}
		c.wants("register", "202/?$rid=a-1&retry-after=2", `{"operationId":"5.1.Dev-1","status":"assigning","registrationState":{"registrationId":"Dev-1","status":"assigning"}}`)
		got := w.dps.requests()[0]
		if got.Scope != "0ne1" || got.ID != "Dev-1" || string(got.Payload) != `{"a": 1}` || string(got.CSR) != "\x00\x01" || got.Credential.Token != "right" ||
			got.Credential.APIVersion != dpsVersion || got.Credential.ClientType != "test/1" || got.Credential.Transport != causeway.MQTT ||
			got.Credential.RemoteAddr != "client-1" || got.Credential.Certificates != nil {
			t.Errorf("asked %+v", got)
		}
		for _, op := range []causeway.Operation{
			{Status: "assigning", RetryAfter: 1500 * time.Millisecond},
			{Status: "assigned", Hub: "hub", Device: "d"},
			{Status: "failed", Code: 400207, Message: "no"},
			{Status: "disabled"},
		} {
			w.dps.set(func() { w.dps.outcome = op })
			end := "200/?$rid=2"
			if op.Status == "assigning" {
				end = "202/?$rid=2&retry-after=2"
			}
			c.send(pub(lookupTopic+"2&operationId=5.1.Dev-1", " ", 8))
			c.acked(8)
			c.wants(op.Status, end, `"status":"`+op.Status+`"`)
		}
		c.send(&wire.Unsubscribe{ID: 9, Filters: []string{dpstopic.Filter}})
		expect[*wire.Unsuback](c)
		c.disconnect()
		synctest.Wait()
		if n := headkit.Value(w.metrics.Requests.WithLabelValues("getOperation", "200")); n != 3 {
			t.Errorf("%v questions with an end were counted", n)
		}
		if n := len(w.telemetry()); n != 0 {
			t.Errorf("the will has become %d messages", n)
		}
	})
}

// TestProvisioningAnswers has every answer that is none with an operation.
func TestProvisioningAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		bad := w.provision("dev-1", "wrong")
		bad.send(pub(registerTopic+"1", "{}", 1))
		bad.acked(1)
		bad.wants("a wrong key", "401/?$rid=1", `"errorCode":401002`)
		bad.ping() // and may go on
		none := w.provision("dev-1", "")
		none.send(pub(registerTopic+"1", "{}", 1))
		none.acked(1)
		none.wants("no proof", "401/?$rid=1", `"message":"Unauthorized"`)

		c := w.provision("dev-1", "right")
		ask := func(what, name, body, end, text string) {
			t.Helper()
			c.send(pub(name, body, 1))
			c.acked(1)
			c.wants(what, end, text)
		}
		ask("another operation", lookupTopic+"1&operationId=5.1.x", "", "404/?$rid=1", "404202")
		ask("no operation", lookupTopic+"1", "", "404/?$rid=1", "404202")
		ask("no JSON", registerTopic+"2", "{", "400/?$rid=2", "JSON object")
		ask("another id", registerTopic+"3", `{"registrationId":"dev-2"}`, "400/?$rid=3", "registrationId")
		ask("a TPM", registerTopic+"4", `{"tpm":{"endorsementKey":"AAE=","storageRootKey":"AAE="}}`, "400/?$rid=4", "HTTPS or AMQP")
		ask("a large one", registerTopic+"5", `{"payload":"`+strings.Repeat("x", dpsjson.MaxRequest)+`"}`, "400/?$rid=5", "at most")
		for _, f := range []struct {
			err       error
			end, text string
		}{
			{causeway.Errorf(429001, "", "slow down"), "429/?$rid=6&retry-after=5", `"errorCode":429001`},
			{retry{causeway.Errorf(429001, "", "slow down"), 17 * time.Second}, "429/?$rid=6&retry-after=17", "slow down"},
			{errors.New("disk on fire"), "500/?$rid=6&retry-after=5", `"message":`},
			{causeway.Errorf(404203, "", "no scope"), "404/?$rid=6", "no scope"},
		} {
			w.dps.set(func() { w.dps.fail = f.err })
			ask(f.err.Error(), registerTopic+"6", "{}", f.end, f.text)
		}
		if n := w.refused(mqtt.ReasonRegistration); n != 12 {
			t.Errorf("%d refusals were counted", n)
		}
	})
}

// retry is an error that says when to come again.
type retry struct {
	error
	after time.Duration
}

func (r retry) RetryAfter() time.Duration { return r.after }
func (r retry) Unwrap() error             { return r.error }

// TestProvisioningOrder sends many requests in one piece: they are answered one by
// one, in their order, those of QoS 0 not at once, and stop while they are not
// heard.
func TestProvisioningOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		c := w.provision("dev-1", "right")
		began := time.Now()
		var all []wire.Packet
		for i := range 20 {
			all = append(all, pub(registerTopic+fmt.Sprint(i), "{}", uint16(i%2)))
		}
		c.send(all...)
		for i := range 20 {
			if i%2 == 1 {
				c.acked(1)
			}
			c.wants("register", fmt.Sprintf("202/?$rid=%d&retry-after=2", i), "assigning")
		}
		if d := time.Since(began); d < 2*time.Second || d > 2100*time.Millisecond {
			t.Errorf("ten requests of QoS 0 took %v", d)
		}
		asked := len(w.dps.requests())
		c.send(&wire.Unsubscribe{ID: 9, Filters: []string{"other", dpstopic.Filter}})
		expect[*wire.Unsuback](c)
		c.send(pub(registerTopic+"1", "{}", 3))
		c.acked(3)
		c.ping()
		if n := len(w.dps.requests()); n != asked {
			t.Error("a request nobody hears the answer of was made")
		}
	})
}

func TestProvisioningSubscribe(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.provision("dev-1", "right")
		c.send(&wire.Subscribe{ID: 5, Subscriptions: []wire.Subscription{
			{Filter: dpstopic.Filter, QoS: 2},
			{Filter: dpstopic.Filter, QoS: 0},
			{Filter: "$dps/#", QoS: 1},
			{Filter: "#"},
			{Filter: "$dps/registrations/res/", QoS: 1},
			{Filter: "devices/dev1/messages/devicebound/#"},
		}})
		ack := expect[*wire.Suback](c)
		if ack.ID != 5 || !slices.Equal(ack.Codes, []wire.Reason{1, 0, 0x80, 0x80, 0x80, 0x80}) {
			t.Errorf("SUBACK %+v", ack)
		}
		c.ping()
		if n := w.refused(mqtt.ReasonUnknownFilter); n != 4 {
			t.Errorf("%d filters were refused", n)
		}
	})
}

func TestProvisioningRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *wire.Connect)
		code   wire.Reason
		reason mqtt.Reason
	}{
		"no api-version":       {func(p *wire.Connect) { p.UserName = "0ne1/registrations/dev-1" }, 5, mqtt.ReasonUserName},
		"an odd api-version":   {func(p *wire.Connect) { p.UserName = "0ne1/registrations/dev-1/api-version=soon" }, 5, mqtt.ReasonUserName},
		"an old api-version":   {func(p *wire.Connect) { p.UserName = "0ne1/registrations/dev-1/api-version=2016-01-01" }, 5, mqtt.ReasonUserName},
		"a part too many":      {func(p *wire.Connect) { p.UserName = "0ne1/registrations/dev-1/x/api-version" }, 5, mqtt.ReasonUserName},
		"no id scope":          {func(p *wire.Connect) { p.UserName = "/registrations/dev-1/api-version=2019-03-31" }, 5, mqtt.ReasonUserName},
		"client id of another": {func(p *wire.Connect) { p.ClientID = "dev-2" }, 2, mqtt.ReasonClientID},
		"no client id":         {func(p *wire.Connect) { p.ClientID = "" }, 2, mqtt.ReasonClientID},
		"for a hub, after all": {func(p *wire.Connect) {
			p.UserName = "0ne1/registrations/?api-version=2019-03-31"
			p.ClientID = "registrations"
		}, 5, mqtt.ReasonUnauthorized},
		"a module of a hub device": {func(p *wire.Connect) { p.ClientID = "registrations/dev-1" }, 5, mqtt.ReasonUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				cl, p := w.dial(), dpsPacket("dev-1", "right")
				c.change(p)
				b, err := p.Append(nil, wire.V311)
				if err != nil {
					t.Fatal(err)
				}
				cl.write(b)
				if ack := expect[*wire.Connack](cl); ack.Code != c.code {
					t.Errorf("CONNACK %+v, want code %d", ack, c.code)
				}
				cl.closed()
				synctest.Wait()
				if n := w.refused(c.reason); n != 1 {
					t.Errorf("refused %d times for %s", n, c.reason)
				}
			})
		})
	}
}

// TestProvisioningSpelling: case does not matter in ids, and a session is never
// kept.
func TestProvisioningSpelling(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for range 2 {
			c := w.provision("dev-1", "right", func(p *wire.Connect) { p.ClientID, p.CleanStart = "DEV-1", false })
			c.disconnect()
		}
		c := w.provision("dev-1", "right", func(p *wire.Connect) {
			p.UserName = "0ne1/registrations/dev%2d1/?clientVersion=a%20b&api-version=2021-06-01"
		})
		c.send(pub(registerTopic+"1", "{}", 0))
		c.wants("register", "202/?$rid=1&retry-after=2", "dev-1")
		if got := w.dps.requests()[0]; got.ID != "dev-1" || got.Credential.ClientType != "a b" {
			t.Errorf("asked %+v", got)
		}
	})
}

func TestProvisioningLimit(t *testing.T) {
	withLimits(t, mqtt.Limits{Provisioning: 2}, func(t *testing.T, w *world) {
		one, two := w.provision("a", "right"), w.provision("b", "right")
		refused := w.dial()
		refused.send(dpsPacket("c", "right"))
		if ack := expect[*wire.Connack](refused); ack.Code != wire.RefusedUnavailable {
			t.Errorf("CONNACK %+v", ack)
		}
		refused.closed()
		synctest.Wait()
		if n := w.refused(mqtt.ReasonProvisioning); n != 1 {
			t.Errorf("refused %d times", n)
		}
		w.connect(w.dev1).ping() // hubs are not concerned
		one.disconnect()
		synctest.Wait()
		w.provision("c", "right").ping()
		two.ping()
	})
}

// TestProvisioningIdle: who asks for nothing is disconnected, however alive.
func TestProvisioningIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.provision("a", "right")
		register := func() {
			t.Helper()
			c.send(pub(registerTopic+"1", "{}", 1))
			c.acked(1)
			c.wants("register", "202/?$rid=1&retry-after=2", "assigning")
		}
		register()
		for range 18 {
			time.Sleep(30 * time.Second) //nolint:forbidigo // simulated time
			c.ping()
		}
		register()
		for range 19 {
			time.Sleep(30 * time.Second) //nolint:forbidigo // simulated time
			c.ping()
		}
		time.Sleep(40 * time.Second) //nolint:forbidigo // simulated time
		c.closed()
		silent := w.provision("b", "right")
		silent.send(pub(registerTopic+"1", "{}", 1))
		silent.acked(1)
		silent.answered()
		time.Sleep(92 * time.Second) //nolint:forbidigo // simulated time
		silent.closed()
		synctest.Wait()
		if w.refused(mqtt.ReasonProvisioningIdle) != 1 || w.refused(mqtt.ReasonKeepAlive) != 1 {
			t.Errorf("%d idle, %d silent", w.refused(mqtt.ReasonProvisioningIdle), w.refused(mqtt.ReasonKeepAlive))
		}
	})
}

// TestProvisioningStranger: who does not prove who it is is disconnected soon,
// however often it tries; who is told to come again may do so.
func TestProvisioningStranger(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stranger := w.provision("a", "wrong")
		for range 5 {
			stranger.send(pub(registerTopic+"1", "{}", 1))
			stranger.acked(1)
			stranger.wants("a wrong key", "401/?$rid=1", "401002")
			time.Sleep(11 * time.Second) //nolint:forbidigo // simulated time
		}
		time.Sleep(7 * time.Second) //nolint:forbidigo // simulated time
		stranger.closed()
		w.dps.set(func() { w.dps.fail = causeway.Errorf(429001, "", "slow down") })
		c := w.provision("b", "right")
		c.send(pub(registerTopic+"1", "{}", 1))
		c.acked(1)
		c.wants("throttled", "429/?$rid=1&retry-after=5", "429001")
		for range 4 {
			time.Sleep(45 * time.Second) //nolint:forbidigo // simulated time
			c.ping()
		}
		if n := w.refused(mqtt.ReasonProvisioningIdle); n != 1 {
			t.Errorf("%d were disconnected", n)
		}
	})
}

// TestProvisioningStop: what was asked is answered, and who asks for nothing is
// disconnected at once.
func TestProvisioningStop(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.dps.set(func() { w.dps.stall = release })
		idle, busy, slow := w.provision("a", "right"), w.provision("b", "right"), w.provision("c", "right")
		busy.send(pub(registerTopic+"1", "{}", 1))
		slow.send(pub(registerTopic+"1", "{}", 0))
		synctest.Wait()
		w.stop()
		idle.closed()
		time.AfterFunc(3*time.Second, func() { close(release) })
		busy.acked(1)
		busy.wants("register", "202/?$rid=1&retry-after=2", "assigning")
		busy.closed()
		slow.wants("register", "202/?$rid=1&retry-after=2", "assigning")
		slow.closed()
	})
}

func TestProvisioningStopDoesNotWaitForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.dps.set(func() { w.dps.stall = make(chan struct{}) })
		c := w.provision("b", "right")
		c.send(pub(registerTopic+"1", "{}", 1))
		synctest.Wait()
		began := time.Now()
		w.restart()
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("stopped after %v", d)
		}
		c.closed()
	})
}

// TestProvisioningCertificate: the chain of the TLS connection is the proof.
func TestProvisioningCertificate(t *testing.T) {
	w := newWorld(t, mqtt.Limits{}, false)
	t.Cleanup(w.close)
	config := &tls.Config{Certificates: []tls.Certificate{headkit.Certificate(t, "dps")}, ClientAuth: tls.RequestClientCert} //nolint:gosec // the default version of Go
	addr := headkit.Listen(t, func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }, w.server.Serve)
	own := headkit.Certificate(t, "dev-1")
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}} //nolint:gosec // its certificate is not what is tested
	nc, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := newClient(t, nc)
	c.send(dpsPacket("dev-1", ""))
	expect[*wire.Connack](c)
	c.subscribe(1, dpstopic.Filter)
	c.send(pub(registerTopic+"1", "{}", 1))
	c.acked(1)
	c.wants("register", "202/?$rid=1&retry-after=2", "assigning")
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := w.dps.requests()[0].Credential; len(got.Certificates) != 1 || !got.Certificates[0].Equal(leaf) || got.Token != "" {
		t.Errorf("credential %+v", got)
	}
}

// TestNoProvisioning: without a provisioning service its devices are strangers.
func TestNoProvisioning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqtt.Limits{}, false)
		defer w.close()
		synctest.Wait() // the first run has read it
		w.server.Provisioner = nil
		w.restart()
		c := w.dial()
		c.send(dpsPacket("dev-1", "right"))
		if ack := expect[*wire.Connack](c); ack.Code != wire.RefusedClientID {
			t.Errorf("CONNACK %+v", ack)
		}
		c.closed()
	})
}
