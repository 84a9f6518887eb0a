package cloud_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// TestRemoteHub provisions a device to the hub of another cloud, moves it to one of
// its own and back. Its twin goes along.
func TestRemoteHub(t *testing.T) {
	away := configFor(filepath.Join(t.TempDir(), "away"))
	away.Hubs = []config.Hub{{Name: "away", Hosts: []string{"127.0.0.1"}, Partitions: 1}}
	far := start(t, away, cloud.Options{})

	home := configFor(filepath.Join(t.TempDir(), "home"))
	home.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	home.LinkedHubsCA = far.Connection().CAFile
	near := start(t, home, cloud.Options{Group: "devices"})
	conn := near.Connection()

	token, err := state.ReadSecret(filepath.Join(home.Data, cloud.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.NewAdmin(conn.AdminURL, token, near.options())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	cs := strings.Replace(far.Connection().OwnerConnectionString, "HostName=127.0.0.1", fmt.Sprintf("HostName=127.0.0.1:%d", far.Connection().HTTPSPort), 1)
	if _, err := admin.LinkHub(t.Context(), "dps", "127.0.0.1", client.HubLink{ConnectionString: cs}, ""); err != nil {
		t.Fatal(err)
	}

	provision := func(hub string) client.Assignment {
		t.Helper()
		group := fmt.Sprintf(`{"enrollmentGroupId":"devices","attestation":{"type":"symmetricKey"},"allocationPolicy":"static","iotHubs":[%q],"initialTwin":{"tags":{"line":7},"properties":{"desired":{"speed":1}}}}`, hub)
		if status, body := near.put("/enrollmentGroups/devices", serviceToken(t, conn.DPSServiceConnectionString), group); status != http.StatusOK {
			t.Fatalf("enrollment: %d %s", status, body)
		}
		o := near.options()
		a, err := client.Provision(t.Context(), client.ProvisioningOptions{
			Options: o, Endpoint: conn.DPSGlobalEndpoint, IDScope: conn.DPSIDScope, RegistrationID: "press-1", GroupKey: causeway.Secret(conn.DPSGroupKey), Attempts: 1,
		})
		if err != nil || a.Hub != hub || a.DeviceID != "press-1" {
			t.Fatalf("assigned %+v, %v", a, err)
		}
		return a
	}
	// device connects to the hub it was given.
	device := func(r *running, a client.Assignment) *client.Device {
		t.Helper()
		a.Device.Options = r.options()
		a.Device.Address = "127.0.0.1"
		d, err := client.Connect(t.Context(), a.Device)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	back := func(r *running) *client.Service {
		t.Helper()
		o := r.options()
		s, err := client.NewService(r.Connection().OwnerConnectionString, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	has := func(s *client.Service, section func(t *client.Twin) json.RawMessage, want string) {
		t.Helper()
		twin, err := s.Twin(t.Context(), "press-1", "")
		if err != nil || !strings.Contains(string(section(&twin)), want) {
			t.Errorf("twin %s, %v, want %s", twin.Raw, err, want)
		}
	}
	all := func(t *client.Twin) json.RawMessage { return t.Raw }

	a := provision("127.0.0.1")
	d := device(far, a)
	if err := d.Send(t.Context(), &causeway.Message{Body: []byte("hello")}); err != nil {
		t.Error(err)
	}
	if _, err := d.Report(t.Context(), []byte(`{"heat":80}`)); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	there, here := back(far), back(near)
	has(there, all, `"line":7`)
	has(there, all, `"speed":1`)
	if _, err := there.UpdateTwin(t.Context(), "press-1", "", client.TwinPatch{Tags: []byte(`{"shift":"late"}`)}, ""); err != nil {
		t.Fatal(err)
	}

	if a = provision("localhost"); a.Substatus != "deviceDataMigrated" {
		t.Errorf("moved home: %+v", a)
	}
	has(here, all, `"shift":"late"`)
	has(here, all, `"heat":80`)
	if _, err := there.Device(t.Context(), "press-1"); causeway.CodeOf(err) != causeway.DeviceNotFound {
		t.Errorf("it is still away: %v", err)
	}
	if err := device(near, a).Close(); err != nil {
		t.Error(err)
	}
	if a = provision("127.0.0.1"); a.Substatus != "deviceDataMigrated" {
		t.Errorf("moved away: %+v", a)
	}
	has(there, all, `"shift":"late"`)
	if _, err := here.Device(t.Context(), "press-1"); causeway.CodeOf(err) != causeway.DeviceNotFound {
		t.Errorf("it is still at home: %v", err)
	}
	if err := device(far, a).Close(); err != nil {
		t.Error(err)
	}
}

// put sends JSON to the service API of provisioning.
func (r *running) put(path, token, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, r.Connection().AdminURL+path+"?api-version=2021-10-01", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestLinkedHubsCA: what cannot be used as authorities is said at the start.
func TestLinkedHubsCA(t *testing.T) {
	for file, want := range map[string]string{"nowhere.pem": "no such file", "causeway.pem": "no certificate"} {
		cfg := configFor(filepath.Join(t.TempDir(), "data"))
		cfg.LinkedHubsCA = filepath.Join(t.TempDir(), file)
		if want == "no certificate" {
			if err := state.WriteFile(cfg.LinkedHubsCA, []byte("text"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := cloud.New(context.Background(), cfg, cloud.Options{})
		if err == nil || !strings.Contains(err.Error(), "linkedHubsCA") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to speak of %q", err, want)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}
