package registry_test

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

const hub = "hub"

func dev(id string) causeway.Identity { return causeway.Identity{Hub: hub, Device: id} }

func mod(device, id string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: id}
}

// key is a valid symmetric key that says which one it is.
func key(name string) causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString([]byte((name + strings.Repeat(".", 32))[:32])))
}

// spy is a store that tests can look into and trip up.
type spy struct {
	registry.Store
	mu    sync.Mutex
	calls map[string]int
	// before runs before a call reaches the store, after when it returned; an
	// error of either is the call's.
	before, after func(ctx context.Context, call string, id causeway.Identity) error
}

func newSpy() *spy { return &spy{Store: storetest.NewMemory(), calls: map[string]int{}} }

func (s *spy) around(ctx context.Context, call string, id causeway.Identity, f func() error) error {
	s.mu.Lock()
	s.calls[call]++
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, call, id); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	if after != nil {
		return after(ctx, call, id)
	}
	return nil
}

func (s *spy) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

func (s *spy) trip(before, after func(context.Context, string, causeway.Identity) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *spy) Get(ctx context.Context, id causeway.Identity) (r registry.Record, err error) {
	err = s.around(ctx, "Get", id, func() error { r, err = s.Store.Get(ctx, id); return err })
	return r, err
}

func (s *spy) Create(ctx context.Context, recs ...registry.Record) error {
	return s.around(ctx, "Create", recs[0].ID, func() error { return s.Store.Create(ctx, recs...) })
}

func (s *spy) List(ctx context.Context, hub, after string, limit int) (recs []registry.Record, err error) {
	err = s.around(ctx, "List", causeway.Identity{Hub: hub}, func() error { recs, err = s.Store.List(ctx, hub, after, limit); return err })
	return recs, err
}

func (s *spy) Delete(ctx context.Context, id causeway.Identity, match string) error {
	return s.around(ctx, "Delete", id, func() error { return s.Store.Delete(ctx, id, match) })
}

func (s *spy) PutIdentity(ctx context.Context, r registry.Record, match string) error {
	return s.around(ctx, "PutIdentity", r.ID, func() error { return s.Store.PutIdentity(ctx, r, match) })
}

func (s *spy) PutTwin(ctx context.Context, id causeway.Identity, t registry.Twin, match int64) error {
	return s.around(ctx, "PutTwin", id, func() error { return s.Store.PutTwin(ctx, id, t, match) })
}

func (s *spy) Count(ctx context.Context, hub string) (c registry.Counts, err error) {
	err = s.around(ctx, "Count", causeway.Identity{Hub: hub}, func() error { c, err = s.Store.Count(ctx, hub); return err })
	return c, err
}

func (s *spy) SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error {
	return s.around(ctx, "SetConfigurations", changes[0].ID, func() error { return s.Store.SetConfigurations(ctx, changes...) })
}

// ear is a watcher that writes down what it hears.
type ear struct {
	mu      sync.Mutex
	desired map[causeway.Identity][]causeway.Patch
	changes []string // "device: change"
}

func (e *ear) DesiredChanged(_ context.Context, id causeway.Identity, p causeway.Patch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.desired == nil {
		e.desired = map[causeway.Identity][]causeway.Patch{}
	}
	e.desired[id] = append(e.desired[id], p)
}

func (e *ear) IdentityChanged(_ context.Context, id causeway.Identity, c registry.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes = append(e.changes, id.String()+": "+c.String())
}

// heard returns the changes of identities since the last call, sorted.
func (e *ear) heard() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := slices.Sorted(slices.Values(e.changes))
	e.changes = nil
	return out
}

// patches returns the changes of desired since the last call.
func (e *ear) patches(id causeway.Identity) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.desired[id] {
		out = append(out, string(p.Properties))
	}
	delete(e.desired, id)
	return out
}

// world is a service on a fresh store.
type world struct {
	*registry.Service
	t     *testing.T
	store *spy
	ear   *ear
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store := newSpy()
	return (&world{t: t, store: store, ear: new(ear)}).start(registry.Options{})
}

// start gives w a service, or another node on the same store.
func (w *world) start(o registry.Options) *world {
	o.Store, o.Sealer = w.store, storetest.Sealer{}
	next := *w
	next.Service = registry.New(o)
	next.ear = new(ear)
	next.Watch(next.ear)
	return &next
}

func (w *world) create(r registry.Record) registry.Record {
	w.t.Helper()
	got, err := w.Create(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("create %s: %v", r.ID, err)
	}
	return got
}

func (w *world) device(id string) registry.Record {
	w.t.Helper()
	return w.create(registry.Record{ID: dev(id), Enabled: true})
}

func (w *world) edge(id string, parents ...string) registry.Record {
	w.t.Helper()
	return w.create(registry.Record{ID: dev(id), Enabled: true, Edge: true, ParentScopes: parents})
}

func (w *world) get(id causeway.Identity) registry.Record {
	w.t.Helper()
	got, err := w.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("get %s: %v", id, err)
	}
	return got
}

func (w *world) update(r registry.Record) registry.Record {
	w.t.Helper()
	got, err := w.Update(w.t.Context(), r, "*")
	if err != nil {
		w.t.Fatalf("update %s: %v", r.ID, err)
	}
	return got
}

func (w *world) modules(id causeway.Identity) (names []string) {
	w.t.Helper()
	recs, err := w.Modules(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("modules of %s: %v", id, err)
	}
	for _, r := range recs {
		names = append(names, r.ID.Module)
	}
	return names
}

func (w *world) wantCode(err error, want causeway.Code, msg string) {
	w.t.Helper()
	if got := causeway.CodeOf(err); got != want || !strings.Contains(causeway.MessageOf(err), msg) {
		w.t.Errorf("error %v has code %s, want %s with %q", err, got, want, msg)
	}
}

func (w *world) same(what string, got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
