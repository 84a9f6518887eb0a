package storetest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// Memory is a [registry.Store] that forgets everything at the end of the
// process. It is for tests; it keeps the contract of [Run].
type Memory struct {
	mu   sync.Mutex
	hubs map[string]map[string]*device
}

var _ registry.Store = (*Memory)(nil)

type device struct {
	rec     registry.Record
	modules map[string]*registry.Record
}

// userModules counts the modules that are not the system's.
func (d *device) userModules() (n int) {
	for name := range d.modules {
		if !strings.HasPrefix(name, "$") {
			n++
		}
	}
	return n
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{hubs: map[string]map[string]*device{}} }

// find returns the stored record of id. The caller holds the lock.
func (m *Memory) find(op string, id causeway.Identity) (*registry.Record, error) {
	d := m.hubs[id.Hub][id.Device]
	if d == nil {
		return nil, causeway.Errorf(causeway.DeviceNotFound, op, "device %q does not exist", id.Device)
	}
	if !id.IsModule() {
		return &d.rec, nil
	}
	r := d.modules[id.Module]
	if r == nil {
		return nil, causeway.Errorf(causeway.ModuleNotFound, op, "module %q does not exist on device %q", id.Module, id.Device)
	}
	return r, nil
}

// Get implements [registry.Store].
func (m *Memory) Get(ctx context.Context, id causeway.Identity) (registry.Record, error) {
	if err := ctx.Err(); err != nil {
		return registry.Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.find("memory.Get", id)
	if err != nil {
		return registry.Record{}, err
	}
	return clone(*r), nil
}

// Create implements [registry.Store].
func (m *Memory) Create(ctx context.Context, recs ...registry.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.admit(recs); err != nil {
		return err
	}
	for _, modules := range []bool{false, true} { // devices first
		for _, r := range recs {
			if r.ID.IsModule() != modules {
				continue
			}
			c := clone(r)
			if modules {
				m.hubs[c.ID.Hub][c.ID.Device].modules[c.ID.Module] = &c
				continue
			}
			if m.hubs[c.ID.Hub] == nil {
				m.hubs[c.ID.Hub] = map[string]*device{}
			}
			m.hubs[c.ID.Hub][c.ID.Device] = &device{rec: c, modules: map[string]*registry.Record{}}
		}
	}
	return nil
}

// admit reports why recs cannot be created, before anything is changed.
func (m *Memory) admit(recs []registry.Record) error {
	const op = "memory.Create"
	fresh := make(map[causeway.Identity]bool, len(recs))
	for _, r := range recs {
		_, err := m.find(op, r.ID)
		if fresh[r.ID] || err == nil {
			if r.ID.IsModule() {
				return causeway.Errorf(causeway.ModuleAlreadyExistsOnDevice, op, "module %q exists already on device %q", r.ID.Module, r.ID.Device)
			}
			return causeway.Errorf(causeway.DeviceAlreadyExists, op, "device %q exists already", r.ID.Device)
		}
		fresh[r.ID] = true
	}
	count := map[causeway.Identity]int{}
	for _, r := range recs {
		if !r.ID.IsModule() {
			continue
		}
		p := r.ID.Parent()
		d := m.hubs[p.Hub][p.Device]
		if d == nil && !fresh[p] {
			return causeway.Errorf(causeway.DeviceNotFound, op, "device %q does not exist", p.Device)
		}
		if strings.HasPrefix(r.ID.Module, "$") {
			continue
		}
		if count[p] == 0 && d != nil {
			count[p] = d.userModules()
		}
		if count[p]++; count[p] > causeway.MaxModulesPerDevice {
			return causeway.Errorf(causeway.TooManyModulesOnDevice, op, "device %q has %d modules, the most it may have", p.Device, causeway.MaxModulesPerDevice)
		}
	}
	return nil
}

// PutIdentity implements [registry.Store].
func (m *Memory) PutIdentity(ctx context.Context, r registry.Record, match string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := m.find("memory.PutIdentity", r.ID)
	if err != nil {
		return err
	}
	if match != "*" && match != old.ETag {
		return causeway.Errorf(causeway.PreconditionFailed, "memory.PutIdentity", "the etag of %q is no longer %q", r.ID, match)
	}
	c := clone(r)
	c.Twin, c.Configurations = old.Twin, old.Configurations
	c.Connected, c.ConnectionStateUpdated, c.LastActivity = old.Connected, old.ConnectionStateUpdated, old.LastActivity
	*old = c
	return nil
}

// PutTwin implements [registry.Store].
func (m *Memory) PutTwin(ctx context.Context, id causeway.Identity, t registry.Twin, match int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t = cloneTwin(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := m.find("memory.PutTwin", id)
	if err != nil {
		return err
	}
	if old.Twin.Version != match {
		return causeway.Errorf(causeway.PreconditionFailed, "memory.PutTwin", "the twin of %q is at version %d, not %d", id, old.Twin.Version, match)
	}
	old.Twin = t
	return nil
}

// Delete implements [registry.Store].
func (m *Memory) Delete(ctx context.Context, id causeway.Identity, match string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, err := m.find("memory.Delete", id)
	if err != nil {
		return err
	}
	if match != "*" && match != old.ETag {
		return causeway.Errorf(causeway.PreconditionFailed, "memory.Delete", "the etag of %q is no longer %q", id, match)
	}
	if id.IsModule() {
		delete(m.hubs[id.Hub][id.Device].modules, id.Module)
	} else {
		delete(m.hubs[id.Hub], id.Device)
	}
	return nil
}

// List implements [registry.Store].
func (m *Memory) List(ctx context.Context, hub, after string, limit int) ([]registry.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id := range m.hubs[hub] {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = ids[:min(len(ids), max(limit, 0))]
	recs := make([]registry.Record, 0, len(ids))
	for _, id := range ids {
		recs = append(recs, clone(m.hubs[hub][id].rec))
	}
	return recs, nil
}

// Modules implements [registry.Store].
func (m *Memory) Modules(ctx context.Context, id causeway.Identity) ([]registry.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find("memory.Modules", id.Parent()); err != nil {
		return nil, err
	}
	modules := m.hubs[id.Hub][id.Device].modules
	recs := make([]registry.Record, 0, len(modules))
	for _, r := range modules {
		recs = append(recs, clone(*r))
	}
	slices.SortFunc(recs, func(a, b registry.Record) int { return strings.Compare(a.ID.Module, b.ID.Module) })
	return recs, nil
}

// Count implements [registry.Store].
func (m *Memory) Count(ctx context.Context, hub string) (registry.Counts, error) {
	if err := ctx.Err(); err != nil {
		return registry.Counts{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var c registry.Counts
	for _, d := range m.hubs[hub] {
		c.Total++
		if d.rec.Enabled {
			c.Enabled++
		} else {
			c.Disabled++
		}
	}
	return c, nil
}

// Query implements [registry.Store]. It finds what it is asked for by looking at
// everything.
func (m *Memory) Query(ctx context.Context, sel registry.Selection, each func(r *registry.Record) error) error {
	for _, r := range m.collection(sel.Hub, sel.Modules) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if sel.IDs != nil && !slices.Contains(sel.IDs, r.ID) {
			continue
		}
		if cmp.Or(cmp.Compare(r.ID.Device, sel.After.Device), cmp.Compare(r.ID.Module, sel.After.Module)) <= 0 {
			continue
		}
		r.Auth.Primary, r.Auth.Secondary = "", ""
		if sel.Keep != nil && !sel.Keep(&r) {
			continue
		}
		if err := each(&r); err != nil {
			return err
		}
	}
	return nil
}

// collection returns copies of all devices or modules of a hub in order.
func (m *Memory) collection(hub string, modules bool) []registry.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var recs []registry.Record
	for _, d := range m.hubs[hub] {
		if !modules {
			recs = append(recs, clone(d.rec))
			continue
		}
		for _, r := range d.modules {
			recs = append(recs, clone(*r))
		}
	}
	slices.SortFunc(recs, func(a, b registry.Record) int {
		return cmp.Or(cmp.Compare(a.ID.Device, b.ID.Device), cmp.Compare(a.ID.Module, b.ID.Module))
	})
	return recs
}

// Disconnect implements [registry.Store].
func (m *Memory) Disconnect(ctx context.Context, hub string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.hubs[hub] {
		d.rec.Connected = false
		for _, r := range d.modules {
			r.Connected = false
		}
	}
	return nil
}

// SetConfigurations implements [registry.Store].
func (m *Memory) SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		r, err := m.find("memory.SetConfigurations", c.ID)
		if err != nil {
			continue // gone in the meantime
		}
		r.Configure(c)
	}
	return nil
}

// Touch implements [registry.Store].
func (m *Memory) Touch(ctx context.Context, facts ...registry.Activity) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range facts {
		r, err := m.find("memory.Touch", f.ID)
		if err != nil {
			continue // gone in the meantime
		}
		r.Touch(f)
	}
	return nil
}

func clone(r registry.Record) registry.Record {
	r.ParentScopes = slices.Clone(r.ParentScopes)
	r.Configurations = maps.Clone(r.Configurations)
	r.Twin = cloneTwin(r.Twin)
	return r
}

func cloneTwin(t registry.Twin) registry.Twin {
	t.Tags = bytes.Clone(t.Tags)
	t.Desired.Properties, t.Desired.Metadata = bytes.Clone(t.Desired.Properties), bytes.Clone(t.Desired.Metadata)
	t.Reported.Properties, t.Reported.Metadata = bytes.Clone(t.Reported.Properties), bytes.Clone(t.Reported.Metadata)
	return t
}
