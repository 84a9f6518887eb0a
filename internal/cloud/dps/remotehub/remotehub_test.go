package remotehub_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/cloud/dps/remotehub"
)

// elsewhere runs another cloud and returns how to reach its hub.
func elsewhere(t *testing.T) (cloud.Connection, client.Options) {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Listen = config.Listen{HTTPS: "127.0.0.1:0", MQTT: "127.0.0.1:0", AMQP: "127.0.0.1:0"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 1}}
	c, err := cloud.New(t.Context(), cfg, cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-c.Ready():
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	conn := c.Connection()
	pem, err := os.ReadFile(conn.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := client.LoadCA(pem)
	if err != nil {
		t.Fatal(err)
	}
	return conn, client.Options{RootCAs: roots, HTTPSPort: conn.HTTPSPort, Address: "127.0.0.1"}
}

// TestContract runs the contract of targets against the hub of another cloud.
func TestContract(t *testing.T) {
	conn, o := elsewhere(t)
	hubs := remotehub.New(o)
	defer hubs.Close()
	h, err := hubs.Target(dps.Link{Host: "localhost", ConnectionString: causeway.Secret(conn.OwnerConnectionString)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.NewService(conn.OwnerConnectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	device := func(t *testing.T, id string) client.DeviceIdentity {
		t.Helper()
		d, err := s.Device(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	dpstest.RunTarget(t, dpstest.TargetUnder{
		Target:  h,
		Version: func(t *testing.T, id string) string { return device(t, id).ETag },
		Enabled: func(t *testing.T, id string) bool { return device(t, id).Status == "enabled" },
		Disable: func(t *testing.T, id string) {
			d := device(t, id)
			d.Status, d.StatusReason = "disabled", "lost"
			if _, err := s.UpdateDevice(t.Context(), d, ""); err != nil {
				t.Fatal(err)
			}
		},
	})

	// Interrupted after the identity was made and before its twin was written, it
	// is taken up again.
	if _, err := s.CreateDevice(t.Context(), client.DeviceIdentity{DeviceID: "half"}); err != nil {
		t.Fatal(err)
	}
	d := dps.Device{ID: "half", Thumbprint: strings.Repeat("ab", 32), Tags: []byte(`{"line":7}`)}
	if err := h.Put(t.Context(), d, false); err != nil {
		t.Fatal(err)
	}
	if got, there, err := h.Get(t.Context(), "half"); err != nil || !there || string(got.Tags) != `{"line":7}` {
		t.Errorf("%+v, %v", got, err)
	}

	// What the hub refuses is final, with its code.
	other := strings.Replace(conn.OwnerConnectionString, "SharedAccessKey=", "SharedAccessKey=AAAA", 1)
	if h, err = hubs.Target(dps.Link{Host: "localhost", ConnectionString: causeway.Secret(other)}); err != nil {
		t.Fatal(err)
	}
	if err := h.Put(t.Context(), d, false); causeway.CodeOf(err).HTTPStatus() != http.StatusUnauthorized {
		t.Errorf("with the wrong key: %v", err)
	}
	if _, err := hubs.Target(dps.Link{Host: "h"}); err == nil {
		t.Error("a link without a connection string is taken")
	}
	if _, err := hubs.Target(dps.Link{Host: "h", ConnectionString: "HostName=h"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a connection string without a key: %v", err)
	}
}

// TestPasses: what passes has no code of a refusal, so that it is tried again.
func TestPasses(t *testing.T) {
	var status atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.Header.Get("If-Match") == "" {
			http.Error(w, `{"Message":"ErrorCode:DeviceAlreadyExists;x"}`, http.StatusConflict)
			return
		}
		if r.Method == http.MethodGet && status.Load() == http.StatusPreconditionFailed {
			_, _ = w.Write([]byte(`{"deviceId":"d","etag":"e","status":"enabled"}`))
			return
		}
		w.Header().Set("Retry-After", "30")
		http.Error(w, "no", int(status.Load()))
	}))
	defer srv.Close()
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	hubs := remotehub.New(client.Options{RootCAs: roots, Address: strings.Split(srv.Listener.Addr().String(), ":")[0]})
	defer hubs.Close()
	_, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	h, err := hubs.Target(dps.Link{Host: "example.com", ConnectionString: causeway.Secret("HostName=example.com:" + port + ";SharedAccessKeyName=p;SharedAccessKey=a2V5")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []int{http.StatusNotFound, http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusInternalServerError} {
		status.Store(int64(s))
		began := time.Now()
		err := h.Put(t.Context(), dps.Device{ID: "d", Thumbprint: "AB"}, false)
		refused, isCode := errors.AsType[*causeway.Error](err)
		if err == nil || isCode && refused.Code.HTTPStatus() < 500 && refused.Code.HTTPStatus() != 429 || time.Since(began) > remotehub.CallTimeout {
			t.Errorf("%d: %v", s, err)
		}
	}
	srv.Close()
	err = h.Put(t.Context(), dps.Device{ID: "d", Thumbprint: "AB"}, false)
	if _, isCode := errors.AsType[*causeway.Error](err); err == nil || isCode {
		t.Errorf("out of reach: %v", err)
	}
}
