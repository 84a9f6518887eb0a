package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/connector/all"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/cloud/endpoint"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/plugin"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// hubLog is the log of an event hub.
type hubLog struct {
	*logtest.Memory
	retention time.Duration
}

func (l *hubLog) Configure(c endpoint.EventHubConfig) { l.retention = time.Duration(c.Retention) }

// files is a container in memory.
type files struct {
	mu sync.Mutex
	by map[string]string
}

func (f *files) Put(_ context.Context, name, _, _ string, r io.Reader) error {
	b, err := io.ReadAll(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by[name] = string(b)
	return err
}

func (f *files) all() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.by)
}

// world is the endpoints of a hub.
type world struct {
	*endpoint.Set
	t       *testing.T
	logs    map[string]*logtest.Memory
	hubs    map[string]*hubLog
	files   *files
	removed []string
	failed  error // of opening logs
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, logs: map[string]*logtest.Memory{}, hubs: map[string]*hubLog{}, files: &files{by: map[string]string{}}}
	w.Set = endpoint.New(endpoint.Options{
		Hub: "plant", Sinks: all.Sinks(),
		Env: func(name string) plugin.Env {
			return plugin.Env{Hub: "plant", Endpoint: name, Container: func(string) (plugin.Container, error) { return w.files, nil }}
		},
		Queue: func(name string) (delivery.Log, error) {
			if w.failed != nil {
				return nil, w.failed
			}
			w.logs[name] = logtest.NewMemory(2)
			return w.logs[name], nil
		},
		EventHub: func(name string, c endpoint.EventHubConfig) (endpoint.EventLog, error) {
			w.hubs[name] = &hubLog{Memory: logtest.NewMemory(max(c.Partitions, 1)), retention: time.Duration(c.Retention)}
			return w.hubs[name], w.failed
		},
		Remove:      func(name string) error { w.removed = append(w.removed, name); return nil },
		DeadLetters: func() (delivery.Log, error) { return logtest.NewMemory(1), nil },
	})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func settings(t *testing.T, list ...routing.EndpointSettings) *routing.Settings {
	t.Helper()
	s := &routing.Settings{Endpoints: list}
	if err := s.Validate(endpoint.Kinds(all.Sinks()), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func message(n int) causeway.Message {
	return causeway.Message{From: causeway.Identity{Hub: "plant", Device: "d"}, Body: fmt.Append(nil, n), Enqueued: time.Now()}
}

// A chunk of messages becomes a file when its time has come.
func TestStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Apply(t.Context(), settings(t, routing.EndpointSettings{Name: "lake", Kind: "storageContainer", Config: json.RawMessage(`{"containerName":"telemetry","encoding":"json","batchFrequencyInSeconds":60}`)}))
		e, ok := w.Endpoint("lake")
		if !ok {
			t.Fatal("it is not there")
		}
		for i := range 10 {
			if err := e.Append(t.Context(), message(i)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(59 * time.Second)
		synctest.Wait()
		if got := w.files.all(); len(got) != 0 {
			t.Errorf("files before their time: %v", got)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		got := w.files.all()
		if len(got) != 1 {
			t.Fatalf("files %v", got)
		}
		for name, text := range got {
			if !strings.HasPrefix(name, "plant/") || !strings.HasSuffix(name, ".json") || strings.Count(text, "\n") != 10 {
				t.Errorf("%s: %s", name, text)
			}
		}
	})
}

func TestEventHub(t *testing.T) {
	w := newWorld(t)
	w.Apply(t.Context(), settings(t, routing.EndpointSettings{Name: "Alarms", Kind: endpoint.EventHub, Config: json.RawMessage(`{"partitions":2,"retention":"2h"}`)}))
	e, _ := w.Endpoint("Alarms")
	if st := w.Status(); len(st) != 1 || st[0].Name != "Alarms" || st[0].Health != delivery.Unknown {
		t.Errorf("status %+v", st)
	}
	var batch []causeway.Message
	for i := range 100 {
		m := message(i)
		m.From.Device = fmt.Sprint("d", i%7)
		batch = append(batch, m)
	}
	if err := e.Append(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	log, ok := w.EventHub("alarms")
	if !ok || w.hubs["alarms"].retention != 2*time.Hour {
		t.Fatal("the log is not there, or other than it should be")
	}
	total := 0
	for p := range log.Partitions() {
		_, next, err := log.Bounds(t.Context(), eventlog.Partition(p))
		if err != nil {
			t.Fatal(err)
		}
		total += int(next)
	}
	if total != 100 {
		t.Errorf("%d messages", total)
	}
	if st := w.Status(); st[0].Health != delivery.Healthy || st[0].Sent != 100 {
		t.Errorf("status %+v", st)
	}
	w.hubs["alarms"].Fail(eventlog.ErrFull)
	if err := e.Append(t.Context(), message(1)); causeway.CodeOf(err) != causeway.ServiceUnavailable {
		t.Errorf("append to a full log: %v", err)
	}
	if st := w.Status(); st[0].Health != delivery.Unhealthy {
		t.Errorf("status %+v", st)
	}
	w.Apply(t.Context(), settings(t, routing.EndpointSettings{Name: "Alarms", Kind: endpoint.EventHub, Config: json.RawMessage(`{"retention":"3h"}`)}))
	if w.hubs["alarms"].retention != 3*time.Hour {
		t.Error("the retention was not changed")
	}
}

// Endpoints come, change their kind, and go.
func TestChanges(t *testing.T) {
	w := newWorld(t)
	queue := routing.EndpointSettings{Name: "out", Kind: "webhook", Config: json.RawMessage(`{"url":"http://127.0.0.1:1/"}`)}
	w.Apply(t.Context(), settings(t, queue))
	first, _ := w.Endpoint("out")
	if err := first.Append(t.Context(), message(1)); err != nil {
		t.Fatal(err)
	}
	// Other settings, the same queue with what waits in it.
	queue.Config = json.RawMessage(`{"url":"http://127.0.0.1:1/x","delivery":{"ttl":"1h"}}`)
	w.Apply(t.Context(), settings(t, queue))
	if e, _ := w.Endpoint("OUT"); e != first || w.Status()[0].Waiting != 1 {
		t.Errorf("another queue: %+v", w.Status())
	}
	// An event hub has nothing to do with what was a queue.
	hub := routing.EndpointSettings{Name: "out", Kind: endpoint.EventHub}
	w.Apply(t.Context(), settings(t, hub))
	if _, ok := w.EventHub("out"); !ok || len(w.removed) != 1 {
		t.Errorf("removed %v", w.removed)
	}
	w.Prune(settings(t))
	if _, ok := w.Endpoint("out"); ok || len(w.removed) != 2 || len(w.Status()) != 0 {
		t.Errorf("removed %v, status %+v", w.removed, w.Status())
	}
	// One that cannot be made is not there; the others are.
	w.failed = errors.New("no room")
	w.Apply(t.Context(), settings(t, queue))
	if _, ok := w.Endpoint("out"); ok {
		t.Error("an endpoint without a queue")
	}
	w.failed = nil
	w.Apply(t.Context(), settings(t, queue))
	if _, ok := w.Endpoint("out"); !ok {
		t.Error("it is not there when there is room again")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	w.Apply(t.Context(), settings(t, queue, routing.EndpointSettings{Name: "more", Kind: "webhook", Config: json.RawMessage(`{"url":"http://127.0.0.1:1/"}`)}))
	if _, ok := w.Endpoint("more"); ok {
		t.Error("an endpoint after Close")
	}
}

var badInput = []struct{ name, endpoint, says string }{
	{"endpoint of a kind that there is not", `{"name":"x","kind":"pigeon"}`, "none of amqp, eventHub"},
	{"endpoint whose name begins with a dot", `{"name":".x","kind":"eventHub"}`, "begins with a letter or a digit"},
	{"endpoint with a setting that there is not", `{"name":"x","kind":"webhook","config":{"url":"http://x","uri":"y"}}`, `"uri" is not known`},
	{"endpoint with a secret in its config", `{"name":"x","kind":"webhook","config":{"url":"http://x","token":"t"}}`, "must be among the secrets"},
	{"endpoint with a setting among its secrets", `{"name":"x","kind":"webhook","secrets":{"url":"http://x"}}`, "must be in the config"},
	{"endpoint with a queue that keeps for seconds", `{"name":"x","kind":"webhook","config":{"url":"http://x","delivery":{"ttl":"5s"}}}`, "it must be 1m0s to 168h"},
	{"endpoint with a setting of its queue that there is not", `{"name":"x","kind":"webhook","config":{"url":"http://x","delivery":{"tll":"1h"}}}`, `"tll" is not known`},
	{"endpoint with a queue that is text", `{"name":"x","kind":"webhook","config":{"url":"http://x","delivery":"fast"}}`, `"delivery": settings are no JSON object`},
	{"event hub with many partitions", `{"name":"x","kind":"eventHub","config":{"partitions":33}}`, "1 to 32"},
	{"event hub that keeps for a year", `{"name":"x","kind":"eventHub","config":{"retention":"8760h"}}`, "1m to 168h"},
	{"event hub with a negative bound", `{"name":"x","kind":"eventHub","config":{"retentionBytes":-1}}`, "negative"},
	{"event hub with a queue", `{"name":"x","kind":"eventHub","config":{"delivery":{}}}`, `"delivery" is not known`},
	{"event hub with a secret", `{"name":"x","kind":"eventHub","secrets":{"key":"k"}}`, "no secrets"},
}

func TestBadInput(t *testing.T) {
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			var e routing.EndpointSettings
			if err := json.Unmarshal([]byte(row.endpoint), &e); err != nil {
				t.Fatal(err)
			}
			s := &routing.Settings{Endpoints: []routing.EndpointSettings{e}}
			if err := s.Validate(endpoint.Kinds(all.Sinks()), nil); causeway.CodeOf(err) != causeway.ArgumentInvalid || !strings.Contains(causeway.MessageOf(err), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
	s := &routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "a", Kind: endpoint.EventHub}, {Name: "A", Kind: endpoint.EventHub}}}
	if err := s.Validate(endpoint.Kinds(all.Sinks()), nil); err == nil {
		t.Error("two names that differ in case only")
	}
}
