package admin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/internal/core/secret"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const adminToken = "correct horse battery staple"

// memoryStore keeps hubs.
type memoryStore struct {
	mu   sync.Mutex
	hubs map[string]directory.Hub
}

func (s *memoryStore) Hubs(context.Context) ([]directory.Hub, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []directory.Hub
	for _, h := range s.hubs {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b directory.Hub) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *memoryStore) PutHub(_ context.Context, h directory.Hub) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hubs[h.Name] = h
	return nil
}

func (s *memoryStore) DeleteHub(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hubs, name)
	return nil
}

type fixedCounts struct{}

func (fixedCounts) Count(context.Context, string) (registry.Counts, error) {
	return registry.Counts{Total: 3, Enabled: 2, Disabled: 1}, nil
}

// world is the head on a directory in memory with one hub, whose log has four
// partitions.
type world struct {
	t         *testing.T
	directory *directory.Service
	log       *logtest.Memory
	health    *obs.Health
	metrics   *prometheus.Registry
	server    *admin.Server
	handler   http.Handler
}

func newWorld(t *testing.T, change ...func(*admin.Server)) *world {
	t.Helper()
	sealer, err := secret.NewKeyring(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, log: logtest.NewMemory(4), health: &obs.Health{}, metrics: prometheus.NewRegistry()}
	w.directory, err = directory.New(&memoryStore{hubs: map[string]directory.Hub{}}, sealer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.directory.Create(t.Context(), "myhub", []string{"myhub.example.com", "localhost"}, directory.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.server = &admin.Server{
		Directory: w.directory, Registry: fixedCounts{}, Health: w.health, Gatherer: w.metrics, Token: adminToken,
		HubLog: func(name string) (eventlog.Log, bool) { return w.log, name == "myhub" },
		Info:   admin.Info{Version: "1.2.3", Commit: "abc", Started: time.Now().Add(-time.Minute)},
	}
	for _, f := range change {
		f(w.server)
	}
	w.handler = w.server.Handler()
	return w
}

// policyToken signs a token of a policy of the hub.
func (w *world) policyToken(policy, resource string, ttl time.Duration) string {
	h, _ := w.directory.Get("myhub")
	p, ok := h.Policy(policy)
	if !ok {
		w.t.Fatalf("no policy %s", policy)
	}
	k, err := base64.StdEncoding.DecodeString(string(p.Primary))
	if err != nil {
		w.t.Fatal(err)
	}
	return sas.Sign(resource, k, policy, time.Now().Add(ttl))
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// do asks as whoever authorization says; "" is nobody, "admin" the administrator.
func (w *world) do(method, path, body, authorization string) answer {
	w.t.Helper()
	return w.ask(method, path, body, authorization, "")
}

// doIf asks as the administrator, on a condition.
func (w *world) doIf(method, path, body, match string) answer {
	w.t.Helper()
	return w.ask(method, path, body, "admin", match)
}

func (w *world) ask(method, path, body, authorization, match string) answer {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if match != "" {
		r.Header.Set("If-Match", match)
	}
	switch authorization {
	case "":
	case "admin":
		r.Header.Set("Authorization", "Bearer "+adminToken)
	default:
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return answer{w.t, rec.Code, rec.Header(), rec.Body.Bytes()}
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d\n%s", a.status, status, a.body)
	}
	return a
}

// into decodes the body.
func (a answer) into(v any) answer {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%v\n%s", err, a.body)
	}
	return a
}

// send appends messages of a device to a partition of the hub's log.
func (w *world) send(p eventlog.Partition, msgs ...causeway.Message) {
	w.t.Helper()
	for i := range msgs {
		m := &msgs[i]
		if m.Enqueued.IsZero() {
			m.Enqueued = time.Now()
		}
		if _, err := w.log.Append(context.Background(), p, eventlog.Record{Time: m.Enqueued, Payload: envelope.Append(nil, m)}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func from(device, body string) causeway.Message {
	return causeway.Message{From: causeway.Identity{Device: device}, Body: []byte(body)}
}

// lines decodes a stream of JSON lines.
func lines(t *testing.T, r io.Reader) []map[string]any {
	t.Helper()
	var out []map[string]any
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for l := range bytes.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal(l, &m); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		out = append(out, m)
	}
	return out
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }
