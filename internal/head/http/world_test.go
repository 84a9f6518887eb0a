package http_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	devicehttp "github.com/causeway-iot/causeway/internal/head/http"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hubHost = "plant.example.com"
	version = "api-version=2021-04-12"
)

// plain is a sealer that seals nothing.
type plain struct{}

func (plain) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (plain) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// key returns a key of a policy, base64 text.
func key(policy string) causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(policy, 16)[:32])))
}

// world is the head on a hub with the real services, in memory. Every answer is
// held to the OpenAPI document.
type world struct {
	t        testing.TB
	hub      *cloudhub.Hub
	registry *registry.Service
	commands *c2d.Service
	log      *logtest.Memory
	metrics  *obs.Head
	counter  *counting
	uploads  *uploads
	handler  http.Handler
}

// counting is a hub that counts how often clients are let in or refused.
type counting struct {
	causeway.Hub
	connects int
}

func (c *counting) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	c.connects++
	return c.Hub.Connect(ctx, cred, dev)
}

func newWorld(t testing.TB) *world { return newWorldOf(t, directory.Hub{}) }

func newWorldOf(t testing.TB, d directory.Hub) *world {
	t.Helper()
	w := &world{
		t: t, registry: registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}}),
		commands: c2d.New(c2d.Options{Store: c2dtest.NewMemory()}), log: logtest.NewMemory(2),
		metrics: obs.NewHead(nil, "http"),
	}
	set := cloudhub.NewSet()
	w.registry.Watch(set)
	d.Name, d.Hosts = "plant", []string{hubHost, "localhost"}
	for name, rights := range map[string]auth.Rights{"iothubowner": auth.AllRights, "service": auth.ServiceConnect, "device": auth.DeviceConnect} {
		d.Policies = append(d.Policies, auth.Policy{Name: name, Primary: key(name), Secondary: key("2" + name), Rights: rights})
	}
	var err error
	w.hub, err = cloudhub.New(cloudhub.Options{Hub: d, Registry: w.registry, Commands: w.commands, Events: w.log})
	if err != nil {
		t.Fatal(err)
	}
	set.Add(w.hub)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.hub.Run(ctx); err != nil {
			t.Errorf("run the hub: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	w.counter, w.uploads = &counting{Hub: set}, &uploads{}
	w.handler = (&devicehttp.Server{Hub: w.counter, Commands: w.commands, Uploads: w.uploads, Metrics: w.metrics}).Handler()
	return w
}

// create makes a device or module and returns its record.
func (w *world) create(device, module string, change ...func(*registry.Record)) registry.Record {
	w.t.Helper()
	r := registry.Record{ID: causeway.Identity{Hub: "plant", Device: device, Module: module}, Enabled: true}
	for _, f := range change {
		f(&r)
	}
	r, err := w.registry.Create(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// tokenOf signs a token with the primary key of an identity.
func tokenOf(r registry.Record) string { return tokenFor(r, "", time.Hour) }

// tokenFor is tokenOf for a path below the identity's, and for a time.
func tokenFor(r registry.Record, tail string, ttl time.Duration) string {
	k, _ := base64.StdEncoding.DecodeString(string(r.Auth.Primary))
	return sas.Sign(sas.DeviceResource(hubHost, r.ID.Device, r.ID.Module)+tail, k, "", time.Now().Add(ttl))
}

func policyToken(policy string) string {
	k, _ := base64.StdEncoding.DecodeString(string(key(policy)))
	return sas.Sign(hubHost, k, policy, time.Now().Add(time.Hour))
}

// request is what a test asks. A missing api-version is added unless raw.
type request struct {
	method, path string
	body         string
	header       http.Header
	token        string
	host         string
	chain        []*x509.Certificate
	raw          bool
}

// answer is what came back.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

func (q request) build() *http.Request {
	target := q.path
	if !q.raw && !strings.Contains(target, "api-version=") {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + version
	}
	r := httptest.NewRequest(q.method, target, strings.NewReader(q.body))
	r.Host = hubHost
	if q.host != "" {
		r.Host = q.host
	}
	if q.chain != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: q.chain}
	}
	for k, v := range q.header {
		r.Header[http.CanonicalHeaderKey(k)] = v
	}
	if q.token != "" {
		r.Header.Set("Authorization", q.token)
	}
	return r
}

func (w *world) do(q request) answer {
	w.t.Helper()
	r := q.build()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{t: w.t, status: rec.Code, header: http.Header{}, body: rec.Body.Bytes()}
	for k, v := range rec.Header() { // some are spelled as the service does; a client would read them so
		a.header[http.CanonicalHeaderKey(k)] = v
	}
	checkAnswer(w.t, r, a)
	return a
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d\n%s", a.status, status, a.body)
	}
	return a
}

// refused fails the test unless the answer is an error of a code.
func (a answer) refused(code causeway.Code) answer {
	a.t.Helper()
	a.want(code.HTTPStatus())
	if got := a.header.Get("iothub-errorcode"); got != code.Name() {
		a.t.Fatalf("iothub-errorcode %q, want %q\n%s", got, code.Name(), a.body)
	}
	return a
}

// stored returns the messages of a device in the log.
func (w *world) stored(device string) []causeway.Message {
	w.t.Helper()
	p := cloudhub.Partition(device, w.log.Partitions())
	_, next, err := w.log.Bounds(w.t.Context(), p)
	if err != nil || next == 0 {
		return nil
	}
	recs, err := w.log.Read(w.t.Context(), p, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	var msgs []causeway.Message
	for _, r := range recs {
		m, err := envelope.Decode(r.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if m.From.Device == device {
			msgs = append(msgs, m)
		}
	}
	return msgs
}

// spec is the OpenAPI document of the API.
var spec = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../../api/openapi/device.yaml")
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// checkAnswer holds an answer to the document, and to what all answers have.
func checkAnswer(t testing.TB, r *http.Request, a answer) {
	t.Helper()
	if len(a.header.Get("x-ms-request-id")) != 32 {
		t.Errorf("%s %s: x-ms-request-id is %q", r.Method, r.URL, a.header.Get("x-ms-request-id"))
	}
	if a.status >= 400 {
		var body struct{ Message, ExceptionMessage string }
		if err := json.Unmarshal(a.body, &body); err != nil {
			t.Errorf("error body: %v\n%s", err, a.body)
		}
		if parts := strings.Split(body.Message, ";"); len(parts) != 2 || parts[0] != "ErrorCode:"+a.header.Get("iothub-errorcode") || parts[1] == "" {
			t.Errorf("message %q, the header says %s", body.Message, a.header.Get("iothub-errorcode"))
		}
	}
	route, ok := devicehttp.Match(r.Method, r.URL)
	if !ok {
		return
	}
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	item := doc.Paths.Value(route.Pattern)
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: doc, Path: route.Pattern, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		},
		Status: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		t.Errorf("%s %s answered %d against the OpenAPI document: %v\n%s", r.Method, route.Pattern, a.status, err, a.body)
	}
}

// TestEveryRouteIsDocumented: neither the route table nor the document has what
// the other has not.
func TestEveryRouteIsDocumented(t *testing.T) {
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented[method+" "+path] = op.OperationID
		}
	}
	for _, r := range devicehttp.Routes() {
		at := r.Method + " " + r.Pattern
		if documented[at] != r.Name {
			t.Errorf("%s is %q in api/openapi/device.yaml, served as %q", at, documented[at], r.Name)
		}
		delete(documented, at)
	}
	for at := range documented {
		t.Errorf("%s is in api/openapi/device.yaml but not served", at)
	}
}
