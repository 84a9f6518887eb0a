package cloud_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// TestProvisioningWithoutHub deletes the hub that a device was assigned to: the
// device finds its way to another one, also after a restart.
func TestProvisioningWithoutHub(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := configFor(dir)
	cfg.Hubs = []config.Hub{{Name: "localhost"}, {Name: "doomed", Hosts: []string{"doomed.localhost"}}}
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}, Hubs: []string{"doomed"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	key, err := attestation.DeriveKey(causeway.Secret(r.Connection().DPSGroupKey), "press-1")
	if err != nil {
		t.Fatal(err)
	}
	if hub, _ := provision(t, r, "press-1", key); hub != "doomed.localhost" {
		t.Fatalf("assigned to %q", hub)
	}
	a := r.admin(dir)
	if _, err := a.LinkHub(t.Context(), "dps", "localhost", client.HubLink{}, ""); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteHub(t.Context(), "doomed"); err != nil {
		t.Fatal(err)
	}
	s, err := a.ProvisioningService(t.Context(), "dps")
	if err != nil || len(s.Hubs) != 1 || s.Hubs[0].Hub != "localhost" {
		t.Fatalf("%v: linked hubs %+v", err, s.Hubs)
	}
	if hub, _ := provision(t, r, "press-1", key); hub != "localhost" {
		t.Errorf("assigned to %q", hub)
	}
	// The names of a service that is made while it runs are in the certificate.
	made, err := a.CreateProvisioningService(t.Context(), client.NewProvisioningService{Name: "late", Hosts: []string{"late.localhost"}, Hubs: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.ProvisioningKeys(t.Context(), "late", made.Policies[0].Name)
	if err != nil || !strings.HasPrefix(p.ConnectionString, "HostName=late.localhost;") {
		t.Fatalf("%v: %+v", err, p)
	}
	if err := r.certified("late.localhost"); err != nil {
		t.Error(err)
	}
	if err := r.certified("never.localhost"); err == nil {
		t.Error("a check that cannot fail")
	}
	r.stop()
	cfg.Hubs, cfg.Provisioning = cfg.Hubs[:1], nil
	r = start(t, cfg, cloud.Options{Group: "devices"})
	s, err = r.admin(dir).ProvisioningService(t.Context(), "dps")
	if err != nil || len(s.Hubs) != 1 {
		t.Errorf("after a restart %v: %+v", err, s.Hubs)
	}
	if err := r.certified("late.localhost"); err != nil {
		t.Error(errors.Join(errors.New("after a restart"), err))
	}
}

// certified reports whether the server has a certificate for a name.
func (r *running) certified(host string) error {
	d := tls.Dialer{Config: &tls.Config{ServerName: host, RootCAs: r.options().RootCAs}}
	c, err := d.DialContext(r.t.Context(), "tcp", r.Addresses().HTTPS.String())
	if err != nil {
		return fmt.Errorf("connect to %s: %w", host, err)
	}
	return c.Close()
}
