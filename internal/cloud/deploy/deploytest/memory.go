package deploytest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
)

// Memory is a store in memory. Traces are of identities that are registered.
type Memory struct {
	mu         sync.Mutex
	hubs       map[string]bool
	configs    map[[2]string]deploy.Stored
	traces     map[causeway.Identity]deploy.Trace
	registered func(id causeway.Identity) bool
	end        deploy.Ending
	fail       func(call string) error
}

var _ deploy.Store = (*Memory)(nil)

// NewMemory returns a store of some hubs. Registered says which identities there
// are.
func NewMemory(registered func(id causeway.Identity) bool, hubs ...string) *Memory {
	m := &Memory{
		hubs: map[string]bool{}, configs: map[[2]string]deploy.Stored{}, traces: map[causeway.Identity]deploy.Trace{},
		registered: registered, end: deploy.Ending{Clean: true},
	}
	for _, h := range hubs {
		m.hubs[h] = true
	}
	return m
}

// Fail lets calls that change something fail with what f returns, unless that is
// nil.
func (m *Memory) Fail(f func(call string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// begin is what every call begins with.
func (m *Memory) begin(ctx context.Context, call string) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.fail != nil {
		if err := m.fail(call); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func copyConfiguration(c deploy.Stored) deploy.Stored {
	c.Labels, c.Metrics = maps.Clone(c.Labels), maps.Clone(c.Metrics)
	c.Content = append(json.RawMessage(nil), c.Content...)
	return c
}

// Configurations implements [deploy.Store].
func (m *Memory) Configurations(ctx context.Context) ([]deploy.Stored, error) {
	end, err := m.begin(ctx, "Configurations")
	if err != nil {
		return nil, err
	}
	defer end()
	var all []deploy.Stored
	for _, c := range m.configs {
		all = append(all, copyConfiguration(c))
	}
	slices.SortFunc(all, func(a, b deploy.Stored) int { return cmp.Or(cmp.Compare(a.Hub, b.Hub), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// PutConfiguration implements [deploy.Store].
func (m *Memory) PutConfiguration(ctx context.Context, c deploy.Stored) error {
	end, err := m.begin(ctx, "PutConfiguration")
	if err != nil {
		return err
	}
	defer end()
	if !m.hubs[c.Hub] {
		return causeway.Errorf(causeway.GenericNotFound, "deploytest.PutConfiguration", "hub %q does not exist", c.Hub)
	}
	m.configs[[2]string{c.Hub, c.ID}] = copyConfiguration(c)
	return nil
}

// Settled implements [deploy.Store].
func (m *Memory) Settled(ctx context.Context, hub, id, etag string) error {
	end, err := m.begin(ctx, "Settled")
	if err != nil {
		return err
	}
	defer end()
	key := [2]string{hub, id}
	c, ok := m.configs[key]
	switch {
	case !ok || c.ETag != etag:
	case c.Leaving:
		delete(m.configs, key)
	default:
		c.Pending = false
		m.configs[key] = c
	}
	return nil
}

func copyTrace(t deploy.Trace) deploy.Trace {
	t.Edge, t.Own = slices.Clone(t.Edge), slices.Clone(t.Own)
	return t
}

// Trace implements [deploy.Store].
func (m *Memory) Trace(ctx context.Context, id causeway.Identity) (deploy.Trace, error) {
	end, err := m.begin(ctx, "Trace")
	if err != nil {
		return deploy.Trace{}, err
	}
	defer end()
	t := copyTrace(m.traces[id])
	t.ID = id
	return t, nil
}

// PutTrace implements [deploy.Store].
func (m *Memory) PutTrace(ctx context.Context, t deploy.Trace) error {
	end, err := m.begin(ctx, "PutTrace")
	if err != nil {
		return err
	}
	defer end()
	switch {
	case t.Empty():
		delete(m.traces, t.ID)
	case m.registered(t.ID):
		m.traces[t.ID] = copyTrace(t)
	}
	return nil
}

// Forget drops the traces of an identity that is deleted, and of its modules.
func (m *Memory) Forget(id causeway.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.traces, func(t causeway.Identity, _ deploy.Trace) bool { return t == id || t.Parent() == id })
}

// DeleteHub forgets what a hub has.
func (m *Memory) DeleteHub(hub string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.traces, func(t causeway.Identity, _ deploy.Trace) bool { return t.Hub == hub })
	maps.DeleteFunc(m.configs, func(k [2]string, _ deploy.Stored) bool { return k[0] == hub })
}

// Traced implements [deploy.Store].
func (m *Memory) Traced(ctx context.Context, hub string, after causeway.Identity, limit int) ([]causeway.Identity, error) {
	end, err := m.begin(ctx, "Traced")
	if err != nil {
		return nil, err
	}
	defer end()
	after.Hub = hub
	var ids []causeway.Identity
	for id := range m.traces {
		if id.Hub == hub && compare(id, after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compare)
	return ids[:min(limit, len(ids))], nil
}

func compare(a, b causeway.Identity) int {
	return cmp.Or(cmp.Compare(a.Hub, b.Hub), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Module, b.Module))
}

// Begin implements [deploy.Store].
func (m *Memory) Begin(ctx context.Context) (deploy.Ending, error) {
	end, err := m.begin(ctx, "Begin")
	if err != nil {
		return deploy.Ending{}, err
	}
	defer end()
	e := m.end
	m.end = deploy.Ending{}
	return e, nil
}

// End implements [deploy.Store].
func (m *Memory) End(ctx context.Context, e deploy.Ending) error {
	end, err := m.begin(ctx, "End")
	if err != nil {
		return err
	}
	defer end()
	m.end = deploy.Ending{Clean: e.Clean, Waiting: slices.Clone(e.Waiting)}
	return nil
}
