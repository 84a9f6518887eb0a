package deploy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/keyed"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// Registry is what this package asks of registry.Service; see there.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
	Create(ctx context.Context, r registry.Record) (registry.Record, error)
	Delete(ctx context.Context, id causeway.Identity, match string) error
	Modules(ctx context.Context, device causeway.Identity) ([]registry.Record, error)
	UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error)
	SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error
}

// Query is what this package asks of the service that queries twins.
type Query interface {
	// Row returns the view that queries have of a record.
	Row(ctx context.Context, r *registry.Record) hubquery.Row
	// Each calls f for the records of a hub that a condition holds for, in the
	// order of their ids, until f returns an error.
	Each(ctx context.Context, hub string, c *hubquery.Condition, f func(registry.Record) error) error
	// Count returns how many rows a query has.
	Count(ctx context.Context, hub, text string) (int, error)
}

// Options are what a [Service] needs. Store, Registry and Query are required.
type Options struct {
	Store    Store
	Registry Registry
	Query    Query
	Log      *slog.Logger // nil discards

	MaxConfigurations int // of devices and modules, of one hub; 0 means DefaultMaxConfigurations
	MaxDeployments    int // of edge devices, of one hub; 0 means DefaultMaxDeployments
	Workers           int // 0 means DefaultWorkers
	Rate              int // twins written in a second; 0 means DefaultRate
	Queue             int // devices waiting; 0 means DefaultQueue
}

// Service is the configurations of all hubs. It is safe for concurrent use and
// expects to be the only one that changes its store. Configurations can be
// managed at once; only its Run carries them out.
type Service struct {
	o        Options
	log      *slog.Logger
	queue    *queue
	pace     *pace
	flaps    *flaps
	rollouts rollouts
	applying sync.Map   // identities that ApplyContent is at work on
	mu       sync.Mutex // held by changes of configurations
	fleets   atomic.Pointer[map[string]*fleet]
	locks    keyed.Locks[causeway.Identity] // one plan of a device is carried out at a time
	results  results
}

// fleet is the configurations of one hub.
type fleet struct {
	hub  string
	book atomic.Pointer[book]
	// stored are the configurations as they are in the store, leaving ones
	// included. Guarded by Service.mu.
	stored map[string]*Stored
}

// Open returns a service of the configurations in the store, and marks in the
// store that work has begun.
func Open(ctx context.Context, o Options) (*Service, error) {
	if o.Store == nil || o.Registry == nil || o.Query == nil {
		panic("deploy.Open: Store, Registry and Query are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct{ value, otherwise *int }{
		{&o.MaxConfigurations, new(DefaultMaxConfigurations)},
		{&o.MaxDeployments, new(DefaultMaxDeployments)},
		{&o.Workers, new(DefaultWorkers)},
		{&o.Rate, new(DefaultRate)},
		{&o.Queue, new(DefaultQueue)},
	} {
		if *d.value <= 0 {
			*d.value = *d.otherwise
		}
	}
	s := &Service{
		o: o, log: o.Log, queue: newQueue(o.Queue), pace: newPace(o.Rate), flaps: newFlaps(),
		rollouts: newRollouts(),
	}
	s.results.init(o.Query)
	all, err := o.Store.Configurations(ctx)
	if err != nil {
		return nil, fmt.Errorf("load configurations: %w", err)
	}
	fleets := map[string]*fleet{}
	s.fleets.Store(&fleets)
	for i := range all {
		c := &all[i]
		f := fleets[c.Hub]
		if f == nil {
			f = &fleet{hub: c.Hub, stored: map[string]*Stored{}}
			fleets[c.Hub] = f
		}
		f.stored[c.ID] = c
	}
	for _, f := range fleets {
		s.rebuild(f)
	}
	end, err := o.Store.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the devices that wait for configurations: %w", err)
	}
	if !end.Clean {
		for hub := range fleets {
			s.rollouts.look(hub)
		}
	}
	for _, id := range end.Waiting {
		s.queue.add(id, mark{all: true})
	}
	return s, nil
}

// fleet returns the configurations of a hub, nil when it never had any.
func (s *Service) fleet(hub string) *fleet { return (*s.fleets.Load())[hub] }

// rebuild makes the book of a hub from its stored configurations. They made sense
// when they were stored, maybe to another version of the program: one that no
// longer does is set aside, and keeps nobody from working. The caller holds mu,
// or is alone.
func (s *Service) rebuild(f *fleet) {
	var configs []*compiled
	for _, c := range f.stored {
		if c.Leaving {
			continue
		}
		one, err := compile(&c.Configuration)
		if one == nil {
			one = &compiled{Configuration: c.Configuration, opaque: true, damaged: c.Damaged != nil}
		}
		if c.Damaged != nil {
			err = fmt.Errorf("what is stored of it cannot be read: %w", c.Damaged)
		}
		if err != nil {
			one.broken, one.Problem = err, causeway.MessageOf(err)
			if c.Damaged != nil {
				one.Problem = err.Error()
			}
			s.log.Error("a configuration targets nothing new until it is mended or deleted: it makes no sense to this version of the program",
				"hub", f.hub, "configuration", c.ID, "content", one.opaque, "error", err)
		}
		configs = append(configs, one)
	}
	f.book.Store(newBook(configs))
}

// compile makes a configuration ready that was checked before. With an error of
// its condition, which then is none, it returns the configuration too.
func compile(c *Configuration) (*compiled, error) {
	parsed, err := parseContent(c.Content)
	if err != nil {
		return nil, err
	}
	kind, ok := parsed.kind()
	if !ok {
		return nil, badContent("content", "a configuration has one of deviceContent, moduleContent and modulesContent, this has several")
	}
	one := &compiled{Configuration: *c, kind: kind, content: parsed, base: kind == Edge && parsed.base()}
	one.cond, err = condition(kind, c.TargetCondition)
	return one, err
}

// Broken returns how many configurations of a hub make no sense to this version
// of the program.
func (s *Service) Broken(hub string) (n int) {
	f := s.fleet(hub)
	if f == nil {
		return 0
	}
	for _, c := range f.book.Load().all {
		if c.broken != nil {
			n++
		}
	}
	return n
}

// Get returns a configuration. Code: ConfigurationNotFound.
func (s *Service) Get(hub, id string) (Configuration, error) {
	if f := s.fleet(hub); f != nil {
		if c := f.book.Load().byID[id]; c != nil {
			return c.Configuration, nil
		}
	}
	return Configuration{}, missing("deploy.Get", id)
}

// List returns up to top configurations of a hub in the order of their ids; 0
// means all.
func (s *Service) List(hub string, top int) []Configuration {
	f := s.fleet(hub)
	if f == nil {
		return nil
	}
	var list []Configuration
	for _, c := range f.book.Load().all {
		list = append(list, c.Configuration)
	}
	slices.SortFunc(list, func(a, b Configuration) int { return cmp.Compare(a.ID, b.ID) })
	if top > 0 && len(list) > top {
		list = list[:top]
	}
	return list
}

func missing(op, id string) error {
	return causeway.Errorf(causeway.ConfigurationNotFound, op, "configuration %q does not exist", id)
}

// Forget drops what is known of a hub. It is called once the hub is deleted.
func (s *Service) Forget(hub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swap(hub, nil)
	s.queue.forget(hub)
	s.rollouts.forget(hub)
	s.results.forget(hub)
}

// swap replaces the configurations of a hub. The caller holds mu.
func (s *Service) swap(hub string, f *fleet) {
	next := map[string]*fleet{}
	for name, have := range *s.fleets.Load() {
		next[name] = have
	}
	if f == nil {
		delete(next, hub)
	} else {
		next[hub] = f
	}
	s.fleets.Store(&next)
}
