package cloudhub

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Set is the hubs of one process. As a causeway.Hub it passes a client to the
// hub whose host name it asked for; as a watcher it passes changes to the hub
// they belong to. Lookups take no lock.
type Set struct {
	mu    sync.Mutex // of changes
	hubs  map[string]*Hub
	index atomic.Pointer[index]
}

// index is what lookups read. It is replaced, never changed.
type index struct {
	byName map[string]*Hub
	byHost map[string]*Hub // lower case
	all    []*Hub          // by name
}

var (
	_ causeway.Hub      = (*Set)(nil)
	_ registry.Watcher  = (*Set)(nil)
	_ registry.Observer = (*Set)(nil)
	_ routing.Publisher = (*Set)(nil)
)

// NewSet returns an empty set.
func NewSet() *Set {
	s := &Set{hubs: make(map[string]*Hub)}
	s.index.Store(&index{})
	return s
}

// Add puts h into the set, in place of a hub of the same name, which the
// caller closes.
func (s *Set) Add(h *Hub) {
	reindex := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rebuild()
	}
	h.onHosts.Store(&reindex)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hubs[h.name] = h
	s.rebuild()
}

// Remove takes a hub out of the set and hangs up its sessions.
func (s *Set) Remove(name string) {
	s.mu.Lock()
	h, ok := s.hubs[name]
	delete(s.hubs, name)
	s.rebuild()
	s.mu.Unlock()
	if ok {
		h.onHosts.Store(nil)
		h.Close()
	}
}

// rebuild makes a new index; s.mu is held. A host that two hubs claim belongs
// to the one whose name comes first.
func (s *Set) rebuild() {
	x := &index{byName: make(map[string]*Hub), byHost: make(map[string]*Hub)}
	for name, h := range s.hubs {
		x.byName[name] = h
		x.all = append(x.all, h)
	}
	slices.SortFunc(x.all, func(a, b *Hub) int { return strings.Compare(a.name, b.name) })
	for _, h := range x.all {
		for _, host := range h.Hosts() {
			host = strings.ToLower(sas.Host(host))
			if _, taken := x.byHost[host]; !taken {
				x.byHost[host] = h
			}
		}
	}
	s.index.Store(x)
}

// ByHost returns the hub that answers to a host name. Case and a port do not
// matter.
func (s *Set) ByHost(host string) (*Hub, bool) {
	h, ok := s.index.Load().byHost[strings.ToLower(sas.Host(host))]
	return h, ok
}

// Realm returns the name of the hub that answers to a host name, and what it
// contributes to decisions about access.
func (s *Set) Realm(host string) (hub string, realm auth.Realm, ok bool) {
	h, ok := s.ByHost(host)
	if !ok {
		return "", auth.Realm{}, false
	}
	return h.name, h.Realm(), true
}

// Limiter returns what holds the hub that answers to a host name to its quota;
// nil, which is no limit, for an unknown one.
func (s *Set) Limiter(host string) *quota.Limiter {
	h, ok := s.ByHost(host)
	if !ok {
		return nil
	}
	return h.limiter
}

// ByName returns the hub called name.
func (s *Set) ByName(name string) (*Hub, bool) {
	h, ok := s.index.Load().byName[name]
	return h, ok
}

// All returns the hubs in the order of their names.
func (s *Set) All() []*Hub { return slices.Clone(s.index.Load().all) }

// Connect opens a session at the hub that cred asks for.
func (s *Set) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	h, ok := s.ByHost(cred.Host)
	if !ok {
		return nil, unknownHost(cred.Host)
	}
	return h.Connect(ctx, cred, dev)
}

// DesiredChanged passes a twin change to its hub.
func (s *Set) DesiredChanged(ctx context.Context, id causeway.Identity, p causeway.Patch) {
	if h, ok := s.ByName(id.Hub); ok {
		h.DesiredChanged(ctx, id, p)
	}
}

// IdentityChanged passes a change of an identity to its hub.
func (s *Set) IdentityChanged(ctx context.Context, id causeway.Identity, c registry.Change) {
	if h, ok := s.ByName(id.Hub); ok {
		h.IdentityChanged(ctx, id, c)
	}
}

// Observe passes an event of the registry to its hub.
func (s *Set) Observe(ctx context.Context, e registry.Event) error {
	h, ok := s.ByName(e.Record().ID.Hub)
	if !ok {
		return nil
	}
	return h.Observe(ctx, e)
}

// Publish routes an event that a hub makes; see [routing.Publisher].
func (s *Set) Publish(ctx context.Context, hub string, m causeway.Message) error {
	h, ok := s.ByName(hub)
	if !ok {
		return unknownHub(hub)
	}
	return h.Publish(ctx, m)
}

// Wants reports whether a route of a hub takes events of a source.
func (s *Set) Wants(hub, source string) bool {
	h, ok := s.ByName(hub)
	if !ok {
		return false
	}
	r := h.current.Load().routes
	return r != nil && r.Wants(source)
}

func unknownHub(name string) *causeway.Error {
	return causeway.Errorf(causeway.IotHubNotFound, "cloudhub.Publish", "there is no hub %q", name)
}

// Queued tells its hub that a command became available.
func (s *Set) Queued(id causeway.Identity) {
	if h, ok := s.ByName(id.Hub); ok {
		h.Queued(id)
	}
}

// Close hangs up all sessions of all hubs with code ServiceUnavailable and
// lets no new ones in. It does not wait; each hub's Run does.
func (s *Set) Close() {
	for _, h := range s.All() {
		h.Close()
	}
}
