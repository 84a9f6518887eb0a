package cloud_test

import (
	"crypto/tls"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// TestProvisioningOverMQTT takes a device of a group to its hub over the port that
// it then connects to, and shows what a device hears that is not let in.
func TestProvisioningOverMQTT(t *testing.T) {
	cfg := configFor(filepath.Join(t.TempDir(), "data"))
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	scope := r.Connection().DPSIDScope
	key, err := attestation.DeriveKey(causeway.Secret(r.Connection().DPSGroupKey), "press-1")
	if err != nil {
		t.Fatal(err)
	}
	d := register(t, r, scope, "press-1", key)
	a, body := d.ask(dpstopic.Request{Register: true, RID: "0"}, `{"registrationId":"press-1"}`)
	if a.Status != 202 || a.RetryAfter != 2*time.Second || !strings.Contains(body, `"status":"assigning"`) {
		t.Fatalf("register: %+v %s", a, body)
	}
	_, rest, _ := strings.Cut(body, `"operationId":"`)
	operation, _, _ := strings.Cut(rest, `"`)
	for end := time.Now().Add(patience); a.Status == 202; {
		a, body = d.ask(dpstopic.Request{RID: "1", Operation: operation}, " ")
		if time.Now().After(end) {
			t.Fatalf("the registration does not end: %s", body)
		}
	}
	if a.Status != 200 || a.RetryAfter != 0 || !strings.Contains(body, `"assignedHub":"localhost","deviceId":"press-1","status":"assigned"`) {
		t.Fatalf("outcome: %+v %s", a, body)
	}
	cs := client.ConnectionString("localhost", "press-1", "", &client.Authentication{Type: "sas", SymmetricKey: &client.SymmetricKey{PrimaryKey: string(key)}})
	if err := r.device(cs, client.DeviceOptions{}).Send(t.Context(), &causeway.Message{Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}

	for what, c := range map[string]struct {
		scope, id string
		status    int
		text      string
	}{
		"the key of another": {scope, "press-2", 401, `"errorCode":401002`},
		"an unknown scope":   {"0ne00000000", "press-1", 404, "0ne00000000"},
	} {
		d := register(t, r, c.scope, c.id, key)
		if a, body := d.ask(dpstopic.Request{Register: true, RID: "1"}, "{}"); a.Status != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s: %+v %s", what, a, body)
		}
	}
}

// registering is a device on a connection of the provisioning service.
type registering struct {
	t *testing.T
	c *tls.Conn
	r *mqtt.Reader
}

// register connects a device to the MQTT port with a token that key signs.
func register(t *testing.T, r *running, scope, id string, key causeway.Secret) *registering {
	t.Helper()
	return registerIn(t, r, "2019-03-31", scope, id, key)
}

// registerIn is register in a version of the API.
func registerIn(t *testing.T, r *running, version, scope, id string, key causeway.Secret) *registering {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: r.options().RootCAs, ServerName: "localhost"}} //nolint:gosec // the default version of Go
	nc, err := dialer.DialContext(t.Context(), "tcp", r.Addresses().MQTT.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	d := &registering{t, nc.(*tls.Conn), mqtt.NewReader(nc, mqtt.V311, 1<<20)}
	u := dpstopic.Username{Scope: scope, ID: id, APIVersion: version, ClientVersion: "test"}
	d.send(&mqtt.Connect{
		Version: mqtt.V311, ClientID: id, CleanStart: true, KeepAlive: 60, HasUserName: true, UserName: u.String(), HasPassword: true,
		Password: sas.Sign(scope+"/registrations/"+id, raw, "registration", time.Now().Add(time.Hour)),
	})
	if ack, ok := d.next().(*mqtt.Connack); !ok || ack.Code != mqtt.Accepted {
		t.Fatalf("CONNACK %+v", ack)
	}
	d.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: dpstopic.Filter, QoS: 1}}})
	if ack, ok := d.next().(*mqtt.Suback); !ok || ack.Codes[0] != 1 {
		t.Fatalf("SUBACK %+v", ack)
	}
	return d
}

func (d *registering) send(p mqtt.Packet) {
	d.t.Helper()
	b, err := p.Append(nil, mqtt.V311)
	if err == nil {
		_, err = d.c.Write(b)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *registering) next() mqtt.Packet {
	d.t.Helper()
	_ = d.c.SetReadDeadline(time.Now().Add(patience))
	p, err := d.r.Packet()
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// ask sends a request and returns the answer.
func (d *registering) ask(q dpstopic.Request, body string) (dpstopic.Answer, string) {
	d.t.Helper()
	d.send(&mqtt.Publish{Topic: string(dpstopic.AppendRequest(nil, q)), QoS: 1, ID: 9, Payload: []byte(body)})
	if ack, ok := d.next().(*mqtt.Ack); !ok || ack.ID != 9 {
		d.t.Fatalf("PUBACK %+v", ack)
	}
	p, ok := d.next().(*mqtt.Publish)
	if !ok {
		d.t.Fatal("no answer")
	}
	a, err := dpstopic.ParseAnswer(p.Topic)
	if err != nil || a.RID != q.RID {
		d.t.Fatalf("answer %s: %v", p.Topic, err)
	}
	return a, string(p.Payload)
}
