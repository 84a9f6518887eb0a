package registry

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Delete removes an identity if its etag still is match ("" or "*" for any),
// and with a device its modules, twins, queues and what names it as a parent.
// Live connections of all of them are told of.
//
// Codes: DeviceNotFound, ModuleNotFound, PreconditionFailed,
// SystemModuleModifyUnauthorizedAccess (a system module of an edge device).
func (s *Service) Delete(ctx context.Context, id causeway.Identity, match string) error {
	const op = "registry.Delete"
	if id.IsModule() && (id.Module == EdgeAgent || id.Module == EdgeHub) {
		device, err := s.Get(ctx, id.Parent())
		if err != nil {
			return err
		}
		if device.Edge {
			return causeway.Errorf(causeway.SystemModuleModifyUnauthorizedAccess, op,
				"module %s belongs to edge device %q and cannot be deleted; delete the device, or set its capabilities.iotEdge to false", id.Module, id.Device)
		}
	}
	return s.remove(ctx, op, id, match)
}

// remove deletes an identity, whatever it is.
func (s *Service) remove(ctx context.Context, op string, id causeway.Identity, match string) error {
	var gone Record
	var modules []causeway.Identity
	var failed error // of the observers
	err := s.modify(ctx, op, id, func(l held, old *Record, fresh bool) (err error) {
		if err := matches(op, id.String(), match, old.ETag, fresh); err != nil {
			return err
		}
		// No module can come while the device is locked; those there are must
		// not be written, or a late write puts one back into memory.
		recs, err := s.moduleRecords(ctx, id)
		if err != nil {
			return err
		}
		modules = identifiers(recs)
		locks, err := s.lockAll(ctx, modules...)
		if err != nil {
			return err
		}
		defer locks.unlock()
		for i := range recs {
			if r := locks.of(recs[i].ID).rec.Load(); r != nil {
				recs[i] = *r // may be newer
			}
		}
		if match == "" {
			match = "*"
		}
		err = s.store.Delete(ctx, id, match)
		locks.forget()
		s.cache.set(l.entry, nil)
		if causeway.CodeOf(err) == causeway.PreconditionFailed {
			return errStale
		}
		if err != nil {
			return wrap(err, "delete", id)
		}
		gone = *old
		failed = s.removed(ctx, recs, old)
		return nil
	})
	if err != nil {
		return err
	}
	if !id.IsModule() {
		s.census.add(id.Hub, -1)
	}
	s.tell(ctx, Deleted, append([]causeway.Identity{id}, modules...)...)
	if gone.Edge {
		s.release(context.WithoutCancel(ctx), id.Hub, gone.DeviceScope)
	}
	if failed != nil {
		return wrap(failed, "tell of the deletion of", id)
	}
	return nil
}

// removed tells the observers that an identity is gone, and before it its
// modules.
func (s *Service) removed(ctx context.Context, modules []Record, old *Record) (first error) {
	now := time.Now()
	for i := range modules {
		m := &modules[i]
		m.Auth.Primary, m.Auth.Secondary = "", "" // sealed ones are of no use
		if err := s.observed(ctx, Event{Kind: Removed, At: now, Before: m}); err != nil && first == nil {
			first = err
		}
	}
	if err := s.observed(ctx, Event{Kind: Removed, At: now, Before: old}); err != nil && first == nil {
		first = err
	}
	return first
}
