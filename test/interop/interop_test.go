//go:build interop

// Package interop runs unmodified Azure SDKs against a server of this build:
// it starts the server, hands its addresses to the Go, Node, Python and Java
// suites, and kills and restarts it when they ask. Where there are network
// namespaces each suite has a server of its own. Run it through test/interop/run.
package interop

import (
	"bytes"
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/process"
)

func TestSDKs(t *testing.T) {
	bin := os.Getenv("CAUSEWAY_BIN")
	if bin == "" {
		t.Fatal("CAUSEWAY_BIN is not set: run test/interop/run")
	}
	if only := os.Getenv("INTEROP_ONLY"); only != "" && !slices.Contains(names(), only) {
		t.Fatalf("INTEROP_ONLY is %q, want one of %q", only, names())
	}
	if unshare := strings.Fields(os.Getenv("INTEROP_UNSHARE")); len(unshare) > 0 {
		sideBySide(t, unshare)
		return
	}
	if os.Getenv("INTEROP_NAMESPACE") != "" {
		if err := loopbackUp(); err != nil {
			t.Fatalf("bring the loopback interface up: %v", err)
		}
	}
	for _, port := range []string{"443", "8883", "5671"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil && os.Getenv("CI") != "" {
			t.Fatalf("port %s: %v", port, err)
		}
		if err != nil {
			t.Skipf("the SDKs need port %s, which cannot be bound here: %v", port, err)
		}
		l.Close()
	}

	dir := t.TempDir()
	s := &process.Server{Binary: bin, Data: filepath.Join(dir, "data"), Env: []string{"CAUSEWAY_FAULTINJECTION=true"}}
	logFile := os.Getenv("INTEROP_LOG")
	if logFile == "" {
		logFile = filepath.Join(dir, "server.log")
	} else {
		s.Args = append(s.Args, "--log-level", "debug")
	}
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.Output = log
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the server: %v", err)
		}
		if b, _ := os.ReadFile(log.Name()); t.Failed() || bytes.Contains(b, []byte("DATA RACE")) {
			t.Errorf("the server's log:\n%s", tail(b, 20000))
		}
	})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}

	ca, err := pki.NewCA("Interop device CA")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{s: s, ca: ca}
	t.Cleanup(func() {
		if err := c.tpms.close(); err != nil {
			t.Errorf("end the TPMs: %v", err)
		}
	})
	token, err := os.ReadFile(filepath.Join(s.Data, cloud.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := trust(s.Ready().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.NewAdmin(s.Ready().AdminURL, strings.TrimSpace(string(token)), client.Options{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	c.admin = admin
	for name, host := range map[string]string{javaHubName: javaHostName, secondHubName: secondHostName} {
		if _, err := admin.CreateHub(ctx, client.Hub{Name: name, Hosts: []string{host}}); err != nil {
			t.Fatal(err)
		}
		// Devices are provisioned to it when their enrollment says so.
		excluded := true
		if _, err := admin.LinkHub(ctx, provisioningName, name, client.HubLink{Excluded: &excluded}, ""); err != nil {
			t.Fatal(err)
		}
	}
	throttled, err := throttle(ctx, admin)
	if err != nil {
		t.Fatal(err)
	}
	second, err := admin.ConnectionString(ctx, secondHubName, "iothubowner")
	if err != nil {
		t.Fatal(err)
	}
	for _, hub := range []string{hubName, javaHubName} {
		if _, err := admin.PutAuthority(ctx, hub, "interop", string(ca.PEM())); err != nil {
			t.Fatalf("register the device CA: %v", err)
		}
	}
	if err := prove(ctx, admin, ca); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: c}
	go func() { _ = web.Serve(l) }()
	defer web.Close()

	env := append(os.Environ(),
		"HUB_NAME="+hubName,
		"HUB_HOST="+s.Ready().Hub,
		"OWNER_CONNECTION_STRING="+s.Ready().OwnerConnectionString,
		"SERVICE_CONNECTION_STRING="+s.Ready().ServiceConnectionString,
		"SECOND_HUB_NAME="+secondHubName,
		"SECOND_HUB_HOST="+secondHostName,
		"SECOND_CONNECTION_STRING="+second,
		"EVENTS_CONNECTION_STRING="+s.Ready().EventHubsConnectionString,
		"DPS_HOST="+s.Ready().DPSGlobalEndpoint,
		"DPS_ID_SCOPE="+s.Ready().DPSIDScope,
		"DPS_CONNECTION_STRING="+s.Ready().DPSServiceConnectionString,
		"DPS_GROUP_KEY="+s.Ready().DPSGroupKey,
		"THROTTLED_ID_SCOPE="+throttled.scope,
		"THROTTLED_CONNECTION_STRING="+throttled.connectionString,
		"ADMIN_URL="+s.Ready().AdminURL+"/api/v1",
		"CA_FILE="+s.Ready().CAFile,
		"CONTROL_URL=http://"+l.Addr().String(),
		"NODE_EXTRA_CA_CERTS="+s.Ready().CAFile,
		"REQUESTS_CA_BUNDLE="+s.Ready().CAFile,
		"NO_PROXY=*", "no_proxy=*",
	)
	for _, suite := range suites {
		t.Run(suite.name, func(t *testing.T) {
			if only := os.Getenv("INTEROP_ONLY"); only != "" && only != suite.name {
				t.Skip("INTEROP_ONLY says otherwise")
			}
			suite.run(t, world{ready: s.Ready(), admin: admin, dir: dir, env: env})
		})
	}
}

// throttled is the provisioning service that takes one question of a device in ten
// seconds.
type throttled struct{ scope, connectionString string }

func throttle(ctx context.Context, admin *client.Admin) (throttled, error) {
	dps, err := admin.CreateProvisioningService(ctx, client.NewProvisioningService{Name: throttledName, Hosts: []string{throttledHost}, Hubs: []string{hubName}})
	if err != nil {
		return throttled{}, err
	}
	if _, err := admin.SetProvisioningThrottle(ctx, throttledName, client.ProvisioningThrottle{Limits: map[string]int{"polls": 1}}); err != nil {
		return throttled{}, err
	}
	p, err := admin.ProvisioningKeys(ctx, throttledName, "provisioningserviceowner")
	return throttled{dps.IDScope, p.ConnectionString}, err
}

// prove registers the authority of devices with the provisioning service, and proves
// that its key is ours.
func prove(ctx context.Context, admin *client.Admin, ca *pki.CA) error {
	c, err := admin.PutProvisioningCertificate(ctx, provisioningName, "interop", string(ca.PEM()), false, "")
	if err != nil {
		return err
	}
	if c, err = admin.GenerateVerificationCode(ctx, provisioningName, "interop", c.ETag); err != nil {
		return err
	}
	proof, err := ca.IssueClient(c.Properties.VerificationCode, time.Hour)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proof.Certificate[0]})
	_, err = admin.VerifyProvisioningCertificate(ctx, provisioningName, "interop", string(text), c.ETag)
	return err
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
