package iothub_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/deploy/deploytest"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/cloud/transfer/transfertest"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/head/iothub"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

const (
	hubHost = "myhub.example.com"
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

// fakeHub is a running hub whose devices answer as told.
type fakeHub struct {
	roots   *x509.CertPool
	limiter *quota.Limiter
	answer  func(ctx context.Context, id causeway.Identity, c causeway.Call, connect, response time.Duration) (causeway.Result, error)

	mu     sync.Mutex
	states map[causeway.Identity]presence.State
}

func (*fakeHub) Name() string { return "myhub" }

func (h *fakeHub) Realm() auth.Realm {
	r := auth.Realm{Hosts: []string{hubHost, "localhost"}, Roots: h.roots}
	for name, rights := range map[string]auth.Rights{
		"iothubowner": auth.AllRights, "service": auth.ServiceConnect, "device": auth.DeviceConnect,
		"registryRead": auth.RegistryRead, "registryReadWrite": auth.RegistryRead | auth.RegistryWrite,
	} {
		r.Policies = append(r.Policies, auth.Policy{Name: name, Primary: key(name), Secondary: key("2" + name), Rights: rights})
	}
	return r
}

func (h *fakeHub) Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connect, response time.Duration) (causeway.Result, error) {
	return h.answer(ctx, id, c, connect, response)
}

func (h *fakeHub) Limiter() *quota.Limiter { return h.limiter }

func (h *fakeHub) State(id causeway.Identity) presence.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[id]
}

func (h *fakeHub) setState(id causeway.Identity, s presence.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.states == nil {
		h.states = map[causeway.Identity]presence.State{}
	}
	h.states[id] = s
}

func (h *fakeHub) Connected(modules bool, after causeway.Identity, limit int) (ids []causeway.Identity) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, s := range h.states {
		if s.Connected && id.IsModule() == modules && (id.Device > after.Device || id.Device == after.Device && id.Module > after.Module) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b causeway.Identity) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Module, b.Module))
	})
	return ids[:min(len(ids), limit)]
}

func (h *fakeHub) ConnectedCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, s := range h.states {
		if s.Connected {
			n++
		}
	}
	return n
}

// world is the head on real services in memory. Every answer it gives is held
// to the OpenAPI document.
type world struct {
	t              *testing.T
	hub            *fakeHub
	registry       *registry.Service
	commands       *c2d.Service
	outbox         *outbox.Service
	queries        *query.Service
	configurations *deploy.Service
	outcomes       *outboxtest.Memory
	jobs           *job.Service // started by runJobs
	transfers      *transfer.Service
	handler        http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, hub: &fakeHub{}}
	w.registry = registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}})
	w.commands = c2d.New(c2d.Options{Store: c2dtest.NewMemory()})
	w.outcomes = outboxtest.NewMemory("myhub")
	w.outbox = outbox.New(outbox.Options{Store: w.outcomes})
	w.queries = query.New(query.Options{Registry: w.registry, Live: func(string) (query.Live, bool) { return w.hub, true }, Depth: w.commands.Depth})
	configurations, err := deploy.Open(context.Background(), deploy.Options{ //nolint:usetesting // a fuzz target's T has no context
		Store:    deploytest.NewMemory(func(causeway.Identity) bool { return true }, "myhub"),
		Registry: w.registry, Query: w.queries,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.configurations = configurations
	w.jobs = job.New(job.Options{
		Store: jobtest.NewMemory("myhub"), Selector: selector{w}, Registry: w.registry,
		Hubs: func(string) (job.Hub, bool) { return w.hub, true },
	})
	w.transfers = transfer.New(transfer.Options{
		Store: transfertest.NewMemory("myhub"), Registry: w.registry, Containers: unreachable{transfer.HTTPS{}}, Sealer: plain{},
	})
	w.handler = (&iothub.Server{
		Hubs: w.hubs, Registry: w.registry, Commands: w.commands, Feedback: w.outbox, Queries: w.queries, Configurations: configurations, Jobs: w.jobs, Transfers: w.transfers,
	}).Handler()
	return w
}

func (w *world) hubs(host string) (iothub.Hub, bool) {
	if host != hubHost && host != "localhost" {
		return nil, false
	}
	return w.hub, true
}

// token signs a token of a policy for the whole hub.
func token(policy string) string { return tokenFor(policy, hubHost, time.Hour) }

func tokenFor(policy, resource string, ttl time.Duration) string {
	k, _ := base64.StdEncoding.DecodeString(string(key(policy)))
	return sas.Sign(resource, k, policy, time.Now().Add(ttl))
}

// request is what a test asks. A missing api-version is added, and so is a
// token of the owner unless there is an Authorization header, which may be "".
type request struct {
	method, path string
	body         string
	header       http.Header
	host         string
	tls          *tls.ConnectionState
	raw          bool // add nothing
}

// answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

func (w *world) do(q request) answer {
	w.t.Helper()
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
	r.TLS = q.tls
	for k, v := range q.header {
		if v[0] != "" {
			r.Header[http.CanonicalHeaderKey(k)] = v
		}
	}
	if _, ok := q.header["Authorization"]; !ok && !q.raw {
		r.Header.Set("Authorization", token("iothubowner"))
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{t: w.t, status: rec.Code, header: http.Header{}, body: rec.Body.Bytes()}
	for k, v := range rec.Header() { // some are spelled as the service does; a client would read them so
		a.header[http.CanonicalHeaderKey(k)] = v
	}
	checkAnswer(w.t, r, a)
	return a
}

func (w *world) get(path string) answer { return w.do(request{method: "GET", path: path}) }

func (w *world) put(path, body string, header ...string) answer {
	return w.do(request{method: "PUT", path: path, body: body, header: pairs(header)})
}

func (w *world) patch(path, body string, header ...string) answer {
	return w.do(request{method: "PATCH", path: path, body: body, header: pairs(header)})
}

func (w *world) post(path, body string, header ...string) answer {
	return w.do(request{method: "POST", path: path, body: body, header: pairs(header)})
}

func (w *world) delete(path string, header ...string) answer {
	return w.do(request{method: "DELETE", path: path, header: pairs(header)})
}

func pairs(kv []string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(kv); i += 2 {
		h[kv[i]] = []string{kv[i+1]}
	}
	return h
}

// want fails the test unless the answer has a status.
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

// json returns a member of the answer, by its path.
func (a answer) json(path ...string) any {
	a.t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		a.t.Fatalf("body is not JSON: %v\n%s", err, a.body)
	}
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			a.t.Fatalf("no member %q in %s", p, a.body)
		}
		v = m[p]
	}
	if n, ok := v.(json.Number); ok {
		return n.String()
	}
	return v
}

func (a answer) text(path ...string) string {
	a.t.Helper()
	s, ok := a.json(path...).(string)
	if !ok {
		a.t.Fatalf("member %v is not text in %s", path, a.body)
	}
	return s
}

// spec is the OpenAPI document of the API.
var spec = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../../api/openapi/iothub.yaml")
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	// What the document says of every operation.
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			if op.Responses.Value("429") == nil {
				op.Responses.Set("429", doc.Components.Responses["Throttled"])
			}
			if op.Responses.Value("403") == nil {
				op.Responses.Set("403", op.Responses.Value("401"))
			}
		}
	}
	return doc, nil
})

func loadSpec(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// checkAnswer holds an answer to the document, and to what all answers have.
func checkAnswer(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	if len(a.header.Get("x-ms-request-id")) != 32 {
		t.Errorf("%s %s: x-ms-request-id is %q", r.Method, r.URL, a.header.Get("x-ms-request-id"))
	}
	if a.status >= 400 {
		checkError(t, a)
	}
	_, pattern, _, _, _, _ := iothub.Match(r.Method, r.URL)
	if pattern == "" {
		return
	}
	doc := loadSpec(t)
	item := doc.Paths.Value(pattern)
	if item == nil || item.GetOperation(r.Method) == nil {
		t.Errorf("%s %s is not in the OpenAPI document", r.Method, pattern)
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: doc, Path: pattern, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		},
		Status: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		t.Errorf("%s %s answered %d against the OpenAPI document: %v\n%s", r.Method, pattern, a.status, err, a.body)
	}
}

// checkError holds an error to the way clients take it apart.
func checkError(t *testing.T, a answer) {
	t.Helper()
	var body struct{ Message, ExceptionMessage string }
	if err := json.Unmarshal(a.body, &body); err != nil {
		t.Errorf("error body: %v\n%s", err, a.body)
		return
	}
	name := a.header.Get("iothub-errorcode")
	if name == causeway.BulkRegistryOperationFailure.Name() {
		return // the body is the result, which the document describes
	}
	if name == "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("error without name or JSON content type: %v", a.header)
	}
	if strings.HasPrefix(body.Message, "{") {
		var inner struct {
			ErrorCode int `json:"errorCode"`
			Message   string
		}
		if err := json.Unmarshal([]byte(body.Message), &inner); err != nil {
			t.Errorf("form B: %v\n%s", err, body.Message)
		} else if causeway.Code(inner.ErrorCode).Name() != name || inner.Message == "" || inner.ErrorCode/1000 != a.status {
			t.Errorf("form B says %d (%s), the header %s, the status %d", inner.ErrorCode, inner.Message, name, a.status)
		}
	} else if parts := strings.Split(body.Message, ";"); len(parts) != 2 || parts[0] != "ErrorCode:"+name || parts[1] == "" {
		t.Errorf("form A: %q, the header says %s", body.Message, name)
	}
}

// pathOf builds a path from segments, each escaped.
func pathOf(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "/" + strings.Join(segments, "/")
}
