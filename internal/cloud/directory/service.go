package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/core/secret"
)

// CreateOptions are what may be chosen when a hub is created.
type CreateOptions struct {
	Partitions int // of the event log; 0 means causeway.DefaultPartitions
	Settings   Settings
}

// Service is the directory of hubs. It is safe for concurrent use. Reading
// takes no lock: every connection that is made reads.
type Service struct {
	store    Store
	sealer   secret.Sealer
	log      *slog.Logger
	current  atomic.Pointer[snapshot]
	mu       sync.Mutex // held by changes, from reading to telling the watchers
	watchers []func(h Hub, deleted bool)
	kinds    routing.Kinds
}

// snapshot is the state of the directory; it never changes.
type snapshot struct {
	hubs   []Hub // by name
	byName map[string]Hub
	byHost map[string]Hub
	// damaged is why hubs that are stored are not there, by name.
	damaged map[string]error
}

func newSnapshot(hubs []Hub, damaged map[string]error) *snapshot {
	s := &snapshot{hubs: slices.Clone(hubs), byName: map[string]Hub{}, byHost: map[string]Hub{}, damaged: damaged}
	slices.SortFunc(s.hubs, func(a, b Hub) int { return cmp.Compare(a.Name, b.Name) })
	for i := range s.hubs {
		h := &s.hubs[i]
		if h.roots == nil {
			h.roots = h.pool()
		}
		s.byName[h.Name] = *h
		for _, host := range h.Hosts {
			s.byHost[host] = *h
		}
	}
	return s
}

// without returns the hubs of s except the named one.
func (s *snapshot) without(name string) []Hub {
	return slices.DeleteFunc(slices.Clone(s.hubs), func(h Hub) bool { return h.Name == name })
}

// New returns a service of the hubs in store, whose keys it opens with sealer.
// It fails when the store cannot be read, or when keys do not open and there is
// no hub of which they do: the key of the sealer is another. A hub that cannot
// be read, or of which a key does not open, is set aside; the others are served.
func New(store Store, sealer secret.Sealer, log *slog.Logger) (*Service, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{store: store, sealer: sealer, log: log}
	hubs, err := store.Hubs(context.Background())
	if err != nil {
		return nil, fmt.Errorf("load hubs: %w", err)
	}
	var sound []Hub
	var sealed error // keys that do not open
	damaged := map[string]error{}
	for _, h := range hubs {
		err := h.Damaged
		if err == nil {
			if err = s.each(&h, sealer.Open); err != nil {
				err = fmt.Errorf("open keys of hub %s: %w", h.Name, err)
				sealed = errors.Join(sealed, err)
			}
		}
		if err == nil {
			sound = append(sound, h)
			continue
		}
		damaged[h.Name] = err
		log.Error("a hub is not served: what is stored of it cannot be read; restore it from a backup, or delete it", "hub", h.Name, "error", err)
	}
	if sealed != nil && len(sound) == 0 {
		return nil, sealed
	}
	s.current.Store(newSnapshot(sound, damaged))
	return s, nil
}

// Damaged returns the names of hubs that are stored and cannot be read, in their
// order. They are not served, but can be deleted.
func (s *Service) Damaged() []string { return slices.Sorted(maps.Keys(s.current.Load().damaged)) }

// SetEndpointKinds says which custom endpoints hubs may have. It must be called
// before the service is used; without it there are none.
func (s *Service) SetEndpointKinds(k routing.Kinds) { s.kinds = k }

// each replaces every key of h by what seal or open makes of it.
func (s *Service) each(h *Hub, turn func(text causeway.Secret, bind string) (causeway.Secret, error)) error {
	for i := range h.Policies {
		p := &h.Policies[i]
		for which, key := range map[string]*causeway.Secret{"primary": &p.Primary, "secondary": &p.Secondary} {
			turned, err := turn(*key, "hub/"+h.Name+"/policy/"+p.Name+"/"+which)
			if err != nil {
				return fmt.Errorf("%s key of policy %s: %w", which, p.Name, err)
			}
			*key = turned
		}
	}
	if r := h.Settings.Routing; r != nil {
		for _, e := range r.Endpoints {
			for name, key := range e.Secrets {
				turned, err := turn(key, "hub/"+h.Name+"/endpoint/"+e.Name+"/"+name)
				if err != nil {
					return fmt.Errorf("secret %s of endpoint %s: %w", name, e.Name, err)
				}
				e.Secrets[name] = turned
			}
		}
	}
	return nil
}

// Watch adds a function that hears of every hub that was created, changed or
// deleted, after the change is durable (a deletion: before), one after the
// other. It must not be called once the service is in use, and f must not
// change the directory.
func (s *Service) Watch(f func(h Hub, deleted bool)) { s.watchers = append(s.watchers, f) }

// Get returns the hub of that name.
func (s *Service) Get(name string) (Hub, bool) {
	h, ok := s.current.Load().byName[name]
	return h, ok
}

// ByHost returns the hub that answers to a host name, which may have a port;
// case does not matter.
func (s *Service) ByHost(host string) (Hub, bool) {
	byHost := s.current.Load().byHost
	h, ok := byHost[host]
	if !ok {
		h, ok = byHost[canonical(host)]
	}
	return h, ok
}

// List returns all hubs in the order of their names.
func (s *Service) List() []Hub { return slices.Clone(s.current.Load().hubs) }

// Create makes a hub with the five default policies, each with two new random
// keys. Without hosts the name is its only host. Codes: ArgumentInvalid,
// GenericConflict (the name or a host is taken).
func (s *Service) Create(ctx context.Context, name string, hosts []string, o CreateOptions) (Hub, error) {
	const op = "directory.Create"
	h := Hub{
		Name: name, Hosts: slices.Clone(hosts), Partitions: o.Partitions, Settings: o.Settings,
		Created: time.Now().UTC().Truncate(time.Microsecond), // what stores keep
	}
	if len(h.Hosts) == 0 {
		h.Hosts = []string{name}
	}
	if h.Partitions == 0 {
		h.Partitions = causeway.DefaultPartitions
	}
	for _, p := range []struct {
		name   string
		rights auth.Rights
	}{
		{"iothubowner", auth.AllRights},
		{"service", auth.ServiceConnect},
		{"device", auth.DeviceConnect},
		{"registryRead", auth.RegistryRead},
		{"registryReadWrite", auth.RegistryRead | auth.RegistryWrite},
	} {
		h.Policies = append(h.Policies, auth.Policy{Name: p.name, Primary: NewKey(), Secondary: NewKey(), Rights: p.rights})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	if _, ok := old.byName[name]; ok {
		return Hub{}, causeway.Errorf(causeway.GenericConflict, op, "hub %q exists already", name)
	}
	if old.damaged[name] != nil {
		return Hub{}, causeway.Errorf(causeway.GenericConflict, op, "hub %q exists, but what is stored of it cannot be read: restore it from a backup, or delete it first", name)
	}
	if len(old.hubs) >= MaxHubs {
		return Hub{}, causeway.Errorf(causeway.GenericConflict, op, "there are %d hubs, the most there may be: delete one first", len(old.hubs))
	}
	return s.put(ctx, op, old, h)
}

// NewKey returns a random key of 32 bytes in base64.
func NewKey() causeway.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return causeway.Secret(base64.StdEncoding.EncodeToString(b[:]))
}

// put validates h, stores it and shows it to readers and watchers. The caller
// holds mu.
func (s *Service) put(ctx context.Context, op string, old *snapshot, h Hub) (Hub, error) {
	if err := ctx.Err(); err != nil {
		return Hub{}, err
	}
	for i := range h.Hosts {
		h.Hosts[i] = canonical(h.Hosts[i])
	}
	if err := h.validate(op); err != nil {
		return Hub{}, err
	}
	if err := h.Settings.Routing.Validate(s.kinds, old.byName[h.Name].Settings.Routing); err != nil {
		return Hub{}, err
	}
	if h.Settings.Routing.IsDefault() {
		h.Settings.Routing = nil
	}
	for _, host := range h.Hosts {
		if other, ok := old.byHost[host]; ok && other.Name != h.Name {
			return Hub{}, causeway.Errorf(causeway.GenericConflict, op, "the host name %q belongs to hub %q", host, other.Name)
		}
	}
	sealed := h.clone()
	if err := s.each(&sealed, s.sealer.Seal); err != nil {
		return Hub{}, &causeway.Error{Code: causeway.ServerError, Op: op, Msg: "the keys of the hub could not be sealed; see the server's log", Err: err}
	}
	// A caller that leaves does not stop the change: what is stored and what is
	// served must be the same.
	if err := s.store.PutHub(context.WithoutCancel(ctx), sealed); err != nil {
		return Hub{}, fmt.Errorf("store hub %s: %w", h.Name, err)
	}
	h.roots = nil
	next := newSnapshot(append(old.without(h.Name), h), old.damaged)
	s.current.Store(next)
	h = next.byName[h.Name]
	s.tell(h, false)
	return h, nil
}

func (s *Service) tell(h Hub, deleted bool) {
	for _, w := range s.watchers {
		w(h, deleted)
	}
}

// Update changes a hub: change gets a copy and edits it. Name, Partitions and
// Created stay as they are. Codes: GenericNotFound, ArgumentInvalid,
// GenericConflict (a host is taken); errors of change pass through.
func (s *Service) Update(ctx context.Context, name string, change func(*Hub) error) (Hub, error) {
	return s.update(ctx, "directory.Update", name, change)
}

func (s *Service) update(ctx context.Context, op, name string, change func(*Hub) error) (Hub, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	was, ok := old.byName[name]
	if !ok {
		return Hub{}, unknown(op, name)
	}
	lent := was.clone()
	if err := change(&lent); err != nil {
		return Hub{}, err
	}
	h := lent.clone() // change may keep what it was given
	h.Name, h.Partitions, h.Created = was.Name, was.Partitions, was.Created
	return s.put(ctx, op, old, h)
}

func unknown(op, name string) error {
	return causeway.Errorf(causeway.GenericNotFound, op, "hub %q does not exist", name)
}

// Delete forgets a hub and everything it holds. It stops being found before
// that, so that nothing new comes in; should the store refuse, it is found
// again. Code: GenericNotFound.
func (s *Service) Delete(ctx context.Context, name string) error {
	const op = "directory.Delete"
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	h, ok := old.byName[name]
	damaged := maps.Clone(old.damaged)
	if delete(damaged, name); len(damaged) < len(old.damaged) {
		h, ok = Hub{Name: name}, true
	}
	if !ok {
		return unknown(op, name)
	}
	s.current.Store(newSnapshot(old.without(name), damaged))
	s.tell(h, true)
	if err := s.store.DeleteHub(context.WithoutCancel(ctx), name); err != nil {
		s.current.Store(old)
		if old.damaged[name] == nil {
			s.tell(h, false)
		}
		return fmt.Errorf("delete hub %s: %w", name, err)
	}
	s.log.Info("hub deleted", "hub", name)
	return nil
}

// RegenerateKey gives a policy a new random key: which is "primary" or
// "secondary", or "swap" to exchange the two. Codes: GenericNotFound,
// ArgumentInvalid.
func (s *Service) RegenerateKey(ctx context.Context, hub, policy, which string) (Hub, error) {
	const op = "directory.RegenerateKey"
	return s.update(ctx, op, hub, func(h *Hub) error {
		i := slices.IndexFunc(h.Policies, func(p auth.Policy) bool { return p.Name == policy })
		if i < 0 {
			return causeway.Errorf(causeway.GenericNotFound, op, "hub %q has no policy %q", hub, policy)
		}
		p := &h.Policies[i]
		switch which {
		case "primary":
			p.Primary = NewKey()
		case "secondary":
			p.Secondary = NewKey()
		case "swap":
			p.Primary, p.Secondary = p.Secondary, p.Primary
		default:
			return invalid(op, "%q is no key of a policy: use primary, secondary or swap", which)
		}
		return nil
	})
}

// AddAuthority registers a certificate authority on a hub. Created is set when
// zero. Codes: GenericNotFound, ArgumentInvalid, GenericConflict (the name is
// taken).
func (s *Service) AddAuthority(ctx context.Context, hub string, a Authority) (Hub, error) {
	const op = "directory.AddAuthority"
	if a.Created.IsZero() {
		a.Created = time.Now().UTC().Truncate(time.Microsecond)
	}
	return s.update(ctx, op, hub, func(h *Hub) error {
		if slices.ContainsFunc(h.Authority, func(x Authority) bool { return x.Name == a.Name }) {
			return causeway.Errorf(causeway.GenericConflict, op, "hub %q has an authority %q already: choose another name, or remove it first", hub, a.Name)
		}
		h.Authority = append(h.Authority, a)
		return nil
	})
}

// RemoveAuthority removes a certificate authority from a hub. Devices it
// vouched for can no longer connect. Code: GenericNotFound.
func (s *Service) RemoveAuthority(ctx context.Context, hub, name string) (Hub, error) {
	const op = "directory.RemoveAuthority"
	return s.update(ctx, op, hub, func(h *Hub) error {
		i := slices.IndexFunc(h.Authority, func(x Authority) bool { return x.Name == name })
		if i < 0 {
			return causeway.Errorf(causeway.GenericNotFound, op, "hub %q has no authority %q", hub, name)
		}
		h.Authority = slices.Delete(h.Authority, i, i+1)
		return nil
	})
}
