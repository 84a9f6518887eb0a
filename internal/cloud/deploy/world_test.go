package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/deploy/deploytest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

const hub = "plant"

func dev(id string) causeway.Identity { return causeway.Identity{Hub: hub, Device: id} }

func mod(device, id string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: id}
}

// row is what queries see of a record.
type row struct{ rec *registry.Record }

func (r row) Lookup(p *hubquery.Path) hubquery.Value {
	rec := r.rec
	switch p.Root {
	case hubquery.DeviceID:
		return hubquery.Text(rec.ID.Device)
	case hubquery.ModuleID:
		return hubquery.Text(rec.ID.Module)
	case hubquery.Tags:
		return hubquery.Descend(rec.Twin.Tags, p.Segments)
	case hubquery.Desired:
		return hubquery.Descend(rec.Twin.Desired.Properties, p.Segments)
	case hubquery.Reported:
		return hubquery.Descend(rec.Twin.Reported.Properties, p.Segments)
	case hubquery.ModelID:
		return hubquery.Text(rec.Twin.ModelID)
	case hubquery.ConnectionState:
		if rec.Connected {
			return hubquery.Text("Connected")
		}
		return hubquery.Text("Disconnected")
	case hubquery.Capabilities:
		b, _ := json.Marshal(map[string]bool{"iotEdge": rec.Edge})
		return hubquery.Descend(b, p.Segments)
	case hubquery.Configurations:
		all := map[string]any{}
		for id, status := range rec.Configurations {
			all[id] = map[string]string{"status": status}
		}
		b, _ := json.Marshal(all)
		return hubquery.Descend(b, p.Segments)
	}
	return hubquery.Undefined
}

// twins is a [deploy.Query] on a registry. It counts what it is asked.
type twins struct {
	registry *registry.Service
	rows     atomic.Int64 // views of records
	passes   atomic.Int64 // streams of all records
	counts   map[string]int
	mu       sync.Mutex
}

func (q *twins) Row(_ context.Context, r *registry.Record) hubquery.Row {
	q.rows.Add(1)
	return row{r}
}

func (q *twins) Each(ctx context.Context, hub string, c *hubquery.Condition, f func(registry.Record) error) error {
	q.passes.Add(1)
	for after := ""; ; {
		recs, err := q.registry.List(ctx, hub, after, 100)
		if err != nil {
			return err
		}
		for _, rec := range recs {
			after = rec.ID.Device
			if c.Collection() == hubquery.Devices {
				if c.Match(row{&rec}) {
					if err := f(rec); err != nil {
						return err
					}
				}
				continue
			}
			modules, err := q.registry.Modules(ctx, rec.ID)
			if err != nil && causeway.CodeOf(err) != causeway.DeviceNotFound {
				return err
			}
			for _, m := range modules {
				if c.Match(row{&m}) {
					if err := f(m); err != nil {
						return err
					}
				}
			}
		}
		if len(recs) < 100 {
			return nil
		}
	}
}

func (q *twins) Count(_ context.Context, _, text string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, ok := q.counts[text]
	if !ok {
		return 0, errors.New("not expected: " + text)
	}
	return n, nil
}

// flaky is a registry whose writes fail when told to, before they happen or
// after.
type flaky struct {
	deploy.Registry
	fail atomic.Pointer[func(call string) error]
}

func (f *flaky) try(call string, do func() error) error {
	for _, when := range []string{"before ", "after "} {
		if fail := f.fail.Load(); fail != nil {
			if err := (*fail)(when + call); err != nil {
				return err
			}
		}
		if when == "before " {
			if err := do(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *flaky) Create(ctx context.Context, r registry.Record) (rec registry.Record, err error) {
	err = f.try("Create", func() error { rec, err = f.Registry.Create(ctx, r); return err })
	return rec, err
}

func (f *flaky) Delete(ctx context.Context, id causeway.Identity, match string) error {
	return f.try("Delete", func() error { return f.Registry.Delete(ctx, id, match) })
}

func (f *flaky) UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (rec registry.Record, err error) {
	err = f.try("UpdateTwin", func() error { rec, err = f.Registry.UpdateTwin(ctx, id, u, match); return err })
	return rec, err
}

func (f *flaky) SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error {
	return f.try("SetConfigurations", func() error { return f.Registry.SetConfigurations(ctx, changes...) })
}

// world is configurations on a registry in memory. Its time is that of a
// synctest bubble.
type world struct {
	t        testing.TB
	store    *deploytest.Memory
	registry *registry.Service
	flaky    *flaky
	query    *twins
	options  deploy.Options
	service  *deploy.Service
	current  atomic.Pointer[deploy.Service] // the one that hears
	stop     func()
}

// Observe passes what happens on to the service that is there now.
func (w *world) Observe(ctx context.Context, e registry.Event) error {
	if e.Kind == registry.Removed {
		w.store.Forget(e.Before.ID)
	}
	if s := w.current.Load(); s != nil {
		return s.Observe(ctx, e)
	}
	return nil
}

func newWorld(t testing.TB, o deploy.Options) *world {
	t.Helper()
	w := &world{t: t, options: o}
	mem := storetest.NewMemory()
	w.registry = registry.New(registry.Options{Store: mem, Sealer: storetest.Sealer{}})
	w.registry.Observe(w)
	w.flaky = &flaky{Registry: w.registry}
	w.query = &twins{registry: w.registry, counts: map[string]int{}}
	w.store = deploytest.NewMemory(func(id causeway.Identity) bool {
		_, err := mem.Get(context.Background(), id)
		return err == nil
	}, hub)
	w.open()
	return w
}

// open starts the service anew on what is stored, as a restart does.
func (w *world) open() {
	w.t.Helper()
	o := w.options
	o.Store, o.Registry, o.Query = w.store, w.flaky, w.query
	s, err := deploy.Open(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.service = s
	w.current.Store(s)
}

// start lets the service run until halt.
func (w *world) start() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	s := w.service
	go func() { done <- s.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		w.stop = nil
	}
}

func (w *world) halt() {
	if w.stop != nil {
		w.stop()
	}
}

// settle waits until everything is as the configurations say.
func (w *world) settle() {
	w.t.Helper()
	if w.stop == nil {
		w.start()
	}
	pass(30 * time.Second)
	synctest.Wait()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(id causeway.Identity, edge bool, tags string) {
	w.t.Helper()
	r := registry.Record{ID: id, Enabled: true, Edge: edge}
	if tags != "" {
		r.Twin.Tags = []byte(tags)
	}
	_, err := w.registry.Create(w.t.Context(), r)
	w.must(err)
}

func (w *world) patch(id causeway.Identity, u registry.TwinUpdate) {
	w.t.Helper()
	_, err := w.registry.UpdateTwin(w.t.Context(), id, u, "*")
	w.must(err)
}

func (w *world) tag(id causeway.Identity, tags string) {
	w.t.Helper()
	w.patch(id, registry.TwinUpdate{Tags: []byte(tags)})
}

func (w *world) desire(id causeway.Identity, desired string) {
	w.t.Helper()
	w.patch(id, registry.TwinUpdate{Desired: []byte(desired)})
}

// put creates a configuration. Time passes: none is as old as another.
func (w *world) put(id string, priority int, condition, content string) deploy.Configuration {
	w.t.Helper()
	pass(time.Millisecond)
	c, err := w.service.Put(w.t.Context(), hub, deploy.Configuration{
		ID: id, Priority: priority, TargetCondition: condition, Content: json.RawMessage(content),
	}, "")
	w.must(err)
	return c
}

func (w *world) change(id string, f func(*deploy.Configuration)) {
	w.t.Helper()
	c, err := w.service.Get(hub, id)
	w.must(err)
	f(&c)
	_, err = w.service.Put(w.t.Context(), hub, c, c.ETag)
	w.must(err)
}

func (w *world) remove(id string) {
	w.t.Helper()
	w.must(w.service.Delete(w.t.Context(), hub, id, ""))
}

func (w *world) get(id causeway.Identity) registry.Record {
	w.t.Helper()
	r, err := w.registry.Get(w.t.Context(), id)
	w.must(err)
	return r
}

// check compares the desired properties of a twin, and the configurations on it.
func (w *world) check(id causeway.Identity, desired string, is map[string]string) {
	w.t.Helper()
	r := w.get(id)
	equalJSON(w.t, id.String(), r.Twin.Desired.Properties, desired)
	if d := cmp.Diff(is, r.Configurations, cmpopts.EquateEmpty()); d != "" {
		w.t.Errorf("configurations of %s: -want +got:\n%s", id, d)
	}
}

func equalJSON(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := errors.Join(json.Unmarshal(got, &g), json.Unmarshal([]byte(want), &w)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("%s: -want +got:\n%s", what, d)
	}
}

// modules returns the names of the modules of a device.
func (w *world) modules(device string) map[string]bool {
	w.t.Helper()
	recs, err := w.registry.Modules(w.t.Context(), dev(device))
	w.must(err)
	names := map[string]bool{}
	for _, r := range recs {
		names[r.ID.Module] = true
	}
	return names
}

func (w *world) checkModules(device string, want ...string) {
	w.t.Helper()
	all := map[string]bool{registry.EdgeAgent: true, registry.EdgeHub: true}
	for _, name := range want {
		all[name] = true
	}
	if got := w.modules(device); !maps.Equal(got, all) {
		w.t.Errorf("modules of %s: %v, want %v", device, got, all)
	}
}

// bubble runs a test in a bubble of time.
func bubble(t *testing.T, o deploy.Options, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		defer w.halt()
		f(t, w)
	})
}

const (
	targeted = registry.ConfigurationTargeted
	applied  = registry.ConfigurationApplied
)

type on = map[string]string

// module is the specification of a module in a manifest.
func module(image string) string {
	return fmt.Sprintf(`{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":%q,"createOptions":""}}`, image)
}

// base is the content of an edge deployment that stands by itself.
func base(modules, more string) string {
	return fmt.Sprintf(`{"modulesContent":{"$edgeAgent":{"properties.desired":%s},"$edgeHub":{"properties.desired":%s}%s}}`, agent(modules), hubDesired(`"up":"FROM /* INTO $upstream"`), more)
}

func agent(modules string) string {
	return fmt.Sprintf(`{"schemaVersion":"1.1","runtime":{"type":"docker","settings":{"minDockerVersion":"v1.25"}},
		"systemModules":{"edgeAgent":{"type":"docker","settings":{"image":"agent:1.5"}},"edgeHub":{"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"hub:1.5"}}},
		"modules":{%s}}`, modules)
}

func hubDesired(routes string) string {
	return fmt.Sprintf(`{"schemaVersion":"1.1","routes":{%s},"storeAndForwardConfiguration":{"timeToLiveSecs":7200}}`, routes)
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }
