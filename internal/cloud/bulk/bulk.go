// Package bulk changes many identities at once: it reads the items of bulk
// operations and import files, applies each to the registry independently of the
// others, says of each that failed why, rotates keys, and writes identities in
// the form in which they are imported again.
//
// Items of one device keep their order; those of different devices run side by
// side, so that they share the commits of the store. It knows the JSON of the
// items and no protocol; what an identity may be, the registry decides.
package bulk

import (
	"context"
	"slices"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// Limits of this package.
const (
	MaxItems = 100     // of one bulk request, as in IoT Hub
	MaxItem  = 1 << 20 // bytes of one item: a twin with its metadata

	parallel       = 128 // devices changed at the same time, enough for one commit to hold a request
	updateAttempts = 8   // of an unconditional change that others get in the way of
)

// Registry is what this package asks of registry.Service; see there.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
	Create(ctx context.Context, r registry.Record) (registry.Record, error)
	Update(ctx context.Context, r registry.Record, match string) (registry.Record, error)
	UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error)
	Delete(ctx context.Context, id causeway.Identity, match string) error
}

// Service applies bulk operations. Its fields are set before use.
type Service struct {
	Registry Registry
}

// Failure says why an item was not applied. Err has a code of the catalogue.
type Failure struct {
	Index          int // of the item
	Device, Module string
	Operation      string // what was tried: register, update, updateTwin, delete
	Err            error
}

// Apply applies items to a hub and returns the failures in the order of the
// items. An item whose Err is set fails with it. An identity may be named once:
// every item that names one again fails with DeviceDefinedMultipleTimes, and so
// does the first of them, since none can be meant more than the others. The
// error is that of a context that ended; then some items may not have been
// applied.
func (s *Service) Apply(ctx context.Context, hub string, items []Item) ([]Failure, error) {
	count := make(map[causeway.Identity]int, len(items))
	for i := range items {
		if items[i].Err == nil {
			count[items[i].identity(hub)]++
		}
	}
	var failed failures
	groups := map[string][]int{} // by device, in order
	var order []string
	for i := range items {
		it := &items[i]
		id := it.identity(hub)
		switch {
		case it.Err != nil:
			failed.add(i, it, it.Err)
		case count[id] > 1:
			failed.add(i, it, causeway.Errorf(causeway.DeviceDefinedMultipleTimes, "bulk.Apply",
				"%s is named by %d items, an identity may be named once", id, count[id]))
		default:
			if groups[id.Device] == nil {
				order = append(order, id.Device)
			}
			groups[id.Device] = append(groups[id.Device], i)
		}
	}
	each(order, func(device string) {
		for _, i := range groups[device] {
			if ctx.Err() != nil {
				return
			}
			if err := s.apply(ctx, hub, &items[i]); err != nil {
				failed.add(i, &items[i], err)
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(failed.all, func(a, b Failure) int { return a.Index - b.Index })
	return failed.all, nil
}

// each calls f for all keys, up to parallel at a time, and waits.
func each[K any](keys []K, f func(K)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, k := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(k)
		})
	}
	wg.Wait()
}

// failures gathers failures from several goroutines.
type failures struct {
	mu  sync.Mutex
	all []Failure
}

func (f *failures) add(index int, it *Item, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, Failure{Index: index, Device: it.Device, Module: it.Module, Operation: it.operation(), Err: err})
}
