package dps_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	head "github.com/causeway-iot/causeway/internal/head/dps"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type noSealer struct{}

func (noSealer) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (noSealer) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// anyHub takes every device.
type anyHub struct{}

func (anyHub) Target(dps.Link) (dps.Target, error)                          { return anyHub{}, nil }
func (anyHub) Get(context.Context, string) (d dps.Device, ok bool, _ error) { return d, false, nil }
func (anyHub) Put(context.Context, dps.Device, bool) error                  { return nil }
func (anyHub) Delete(context.Context, string) error                         { return nil }

// world is a service at 127.0.0.1, behind its head.
type world struct {
	t        *testing.T
	service  *dps.Service
	instance dps.Instance
	server   *httptest.Server
	client   *http.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := dps.New(t.Context(), dps.Options{Store: dpstest.NewMemory(), Sealer: noSealer{}, Targets: anyHub{}})
	ok(t, err)
	w := &world{t: t, service: s}
	_, err = s.Create(t.Context(), "dps", []string{"127.0.0.1"})
	ok(t, err)
	w.instance, err = s.Change(t.Context(), "dps", func(i *dps.Instance) error {
		i.Links = []dps.Link{{Host: "hub"}}
		i.Policies = append(i.Policies, dps.AccessPolicy{Name: "reader", Primary: i.Policies[0].Primary, Secondary: i.Policies[0].Secondary, Rights: dps.EnrollmentRead | dps.RegistrationStatusRead})
		return nil
	})
	ok(t, err)
	w.server = httptest.NewUnstartedServer((&head.Server{Service: s}).Handler())
	w.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert} //nolint:gosec // the default version of Go
	w.server.StartTLS()
	w.client = w.server.Client()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.server.Close()
		cancel()
		ok(t, <-done)
	})
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token returns a token of a policy.
func (w *world) token(policy string) string {
	w.t.Helper()
	p, _ := w.instance.Policy(policy)
	key, err := base64.StdEncoding.DecodeString(string(p.Primary))
	ok(w.t, err)
	return sas.Sign("127.0.0.1", key, policy, time.Now().Add(time.Hour))
}

func (w *world) deviceToken(id, key string) string {
	w.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	ok(w.t, err)
	return sas.Sign(w.instance.IDScope+"/registrations/"+id, raw, "registration", time.Now().Add(time.Hour))
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v
}

// do sends a request; headers are "name: value".
func (w *world) do(method, path, token, body string, headers ...string) answer {
	w.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?api-version=2021-10-01"
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, bytes.NewReader([]byte(body)))
	ok(w.t, err)
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header[name] = []string{value}
	}
	res, err := w.client.Do(r)
	ok(w.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	ok(w.t, err)
	a := answer{res.StatusCode, res.Header, string(b)}
	if err := against(loadSpec(w.t), r, a); err != nil {
		w.t.Errorf("%s %s answered %d against %s: %v\n%s", method, path, a.status, specFile, err, a.body)
	}
	return a
}

func (w *world) want(what string, a answer, status int, text string) {
	w.t.Helper()
	if a.status != status || !strings.Contains(a.body, text) {
		w.t.Errorf("%s: %d %s, want %d with %s", what, a.status, a.body, status, text)
	}
	if a.status >= 400 && !strings.Contains(a.body, "authenticationKey") {
		v := a.json(w.t)
		if fmt.Sprint(v["errorCode"]) == "" || a.header.Get("x-ms-error-code") != fmt.Sprintf("%.0f", v["errorCode"]) || v["trackingId"] != a.header.Get("x-ms-request-id") {
			w.t.Errorf("%s: error %v with headers %v", what, v, a.header)
		}
	}
}

// eventually asks for an operation until it is over.
func (w *world) eventually(path, token string) answer {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if a := w.do("GET", path, token, ""); a.status != 202 {
			return a
		}
	}
	w.t.Fatal("the operation does not end")
	return answer{}
}

// throttle limits the service.
func (w *world) throttle(limits map[string]int) {
	w.t.Helper()
	_, err := w.service.Change(w.t.Context(), "dps", func(i *dps.Instance) error {
		i.Throttle = dps.Throttle{Limits: limits}
		return nil
	})
	ok(w.t, err)
}
