package cloud_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// TestProvisioning takes a device that knows an id scope and the key of a group to
// its hub, and has it send.
func TestProvisioning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	conn := r.Connection()
	if conn.DPSGlobalEndpoint != "localhost" || !strings.HasPrefix(conn.DPSIDScope, "0ne") || conn.DPSGroupKey == "" ||
		!strings.HasPrefix(conn.DPSServiceConnectionString, "HostName=localhost;SharedAccessKeyName=provisioningserviceowner;") {
		t.Fatalf("connection %+v", conn)
	}
	key, err := attestation.DeriveKey(causeway.Secret(conn.DPSGroupKey), "press-1")
	if err != nil {
		t.Fatal(err)
	}
	hub, device := provision(t, r, "press-1", key)
	if hub != "localhost" || device != "press-1" {
		t.Errorf("assigned to %q as %q", hub, device)
	}
	cs := client.ConnectionString(hub, device, "", &client.Authentication{Type: "sas", SymmetricKey: &client.SymmetricKey{PrimaryKey: string(key)}})
	d := r.device(cs, client.DeviceOptions{})
	if err := d.Send(t.Context(), &causeway.Message{Body: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if got := r.bodies("press-1", 1); got[0] != "hello" {
		t.Errorf("the hub has %q", got)
	}
	r.stop()

	// All of it is there after a restart, and made once.
	r = start(t, cfg, cloud.Options{Group: "devices"})
	again := r.Connection()
	if again.DPSIDScope != conn.DPSIDScope || again.DPSGroupKey != conn.DPSGroupKey || again.DPSServiceConnectionString != conn.DPSServiceConnectionString {
		t.Errorf("after a restart: %+v, before: %+v", again, conn)
	}
	if hub, device := provision(t, r, "press-1", key); hub != "localhost" || device != "press-1" {
		t.Errorf("again assigned to %q as %q", hub, device)
	}
	status, body := rest(t, r, "GET", "/registrations/press-1", serviceToken(t, again.DPSServiceConnectionString))
	if status != http.StatusOK || !strings.Contains(body, `"enrollmentGroupId":"devices"`) {
		t.Errorf("registration: %d %s", status, body)
	}
	// The hub's own API is not concerned.
	if status, body := rest(t, r, "GET", "/devices/press-1", serviceToken(t, again.OwnerConnectionString)); status != http.StatusOK {
		t.Errorf("device: %d %s", status, body)
	}
}

// TestProvisioningUnlinked names hubs that are not there.
func TestProvisioningUnlinked(t *testing.T) {
	cfg := configFor(filepath.Join(t.TempDir(), "data"))
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hubs: []string{"elsewhere"}}}
	c, err := cloud.New(t.Context(), cfg, cloud.Options{})
	if err == nil || !strings.Contains(err.Error(), `there is no hub "elsewhere"`) {
		t.Errorf("New: %v", err)
	}
	if c != nil {
		_ = c.Close()
	}
}

func rest(t *testing.T, r *running, method, path, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.Connection().AdminURL+path+"?api-version=2021-10-01", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func serviceToken(t *testing.T, connection string) string {
	t.Helper()
	cs, err := sas.ParseConnectionString(connection)
	if err != nil {
		t.Fatal(err)
	}
	token, err := cs.Token(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// provision registers a device over HTTPS.
func provision(t *testing.T, r *running, id string, key causeway.Secret) (hub, device string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	path := "/" + r.Connection().DPSIDScope + "/registrations/" + id
	token := sas.Sign(path[1:], raw, "registration", time.Now().Add(time.Hour))
	status, body := rest(t, r, "PUT", path+"/register", token)
	var op struct {
		ID    string                                         `json:"operationId"`
		State struct{ AssignedHub, DeviceID, Status string } `json:"registrationState"`
	}
	if err := json.Unmarshal([]byte(body), &op); err != nil || status != http.StatusAccepted {
		t.Fatalf("register: %d %s", status, body)
	}
	for end := time.Now().Add(patience); status == http.StatusAccepted; {
		status, body = rest(t, r, "GET", path+"/operations/"+op.ID, token)
		if time.Now().After(end) {
			t.Fatalf("the registration does not end: %s", body)
		}
	}
	if err := json.Unmarshal([]byte(body), &op); err != nil || op.State.Status != "assigned" {
		t.Fatalf("outcome: %d %s, %v", status, body, err)
	}
	return op.State.AssignedHub, op.State.DeviceID
}
