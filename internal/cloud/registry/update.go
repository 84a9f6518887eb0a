package registry

import (
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
)

// Update replaces what callers may change of an identity: of a device Enabled,
// StatusReason, Auth, Edge and the scopes, of a module Auth and ManagedBy
// (empty keeps it). Match is the etag the caller saw, "" or "*" for any. See
// [NewKey] for keys. A device that becomes an edge device gets its system
// modules, one that is no longer one loses them.
//
// Live connections are told of when the identity was disabled or its
// credentials changed.
//
// Codes: ArgumentInvalid, InvalidDeviceScope, DeviceNotFound, ModuleNotFound,
// PreconditionFailed.
func (s *Service) Update(ctx context.Context, r Record, match string) (Record, error) {
	const op = "registry.Update"
	if err := checkIdentity(op, r.ID); err != nil {
		return Record{}, err
	}
	if err := errors.Join(checkStatusReason(op, r.StatusReason), checkManagedBy(op, r.ManagedBy)); err != nil {
		return Record{}, err
	}
	var was, now *Record
	var ended []causeway.Identity // modules that share the device's fate
	err := s.modify(ctx, op, r.ID, func(l held, old *Record, fresh bool) (err error) {
		if err := matches(op, r.ID.String(), match, old.ETag, fresh); err != nil {
			return err
		}
		next, err := s.successor(ctx, op, r, old)
		if err != nil {
			return err
		}
		ended = nil
		if old.Enabled && !next.Enabled {
			if ended, err = s.moduleIDs(ctx, r.ID); err != nil {
				return err
			}
		}
		if next.Edge && !old.Edge {
			if err := s.addSystemModules(ctx, next); err != nil {
				return err
			}
		}
		if err := s.putIdentity(ctx, l, &next, old.ETag); err != nil {
			return err
		}
		was, now = old, &next
		return nil
	})
	if err != nil {
		return Record{}, err
	}
	switch {
	case was.Enabled && !now.Enabled:
		s.tell(ctx, Disabled, append([]causeway.Identity{r.ID}, ended...)...)
	case was.Auth != now.Auth:
		s.tell(ctx, CredentialsChanged, r.ID)
	}
	if was.Edge && !now.Edge {
		if err := s.dropEdge(context.WithoutCancel(ctx), was); err != nil {
			return Record{}, err
		}
	}
	return *now, nil
}

// successor returns the record that replaces old when a caller gives in.
func (s *Service) successor(ctx context.Context, op string, in Record, old *Record) (Record, error) {
	r := *old
	r.ETag = newETag()
	var err error
	if r.Auth, err = authentication(op, in.Auth, &old.Auth); err != nil {
		return Record{}, err
	}
	if r.ID.IsModule() {
		if in.ManagedBy != "" {
			r.ManagedBy = in.ManagedBy
		}
		return r, nil
	}
	if old.Enabled != in.Enabled || old.StatusReason != in.StatusReason {
		r.Enabled, r.StatusReason, r.StatusUpdated = in.Enabled, in.StatusReason, timestamp()
	}
	r.Edge, r.DeviceScope, r.ParentScopes = in.Edge, in.DeviceScope, in.ParentScopes
	return r, s.scopes(ctx, op, &r, old)
}

// addSystemModules creates the system modules of a device that becomes an edge
// device. It goes first: a failure in between leaves modules that the next try
// finds, not an edge device without them. The caller holds the device's lock.
func (s *Service) addSystemModules(ctx context.Context, device Record) error {
	for _, r := range s.systemModules(device) {
		l, err := s.cache.lock(ctx, r.ID)
		if err != nil {
			return err
		}
		err = func() error {
			defer l.unlock()
			sealed, err := s.keys.seal(r)
			if err != nil {
				return err
			}
			s.cache.set(l.entry, nil)
			if err := s.store.Create(ctx, sealed); err != nil {
				return err
			}
			return s.observed(ctx, Event{Kind: Created, At: r.Created, After: &r})
		}()
		if err != nil && causeway.CodeOf(err) != causeway.ModuleAlreadyExistsOnDevice {
			return wrap(err, "create", r.ID)
		}
	}
	return nil
}

// dropEdge removes what a device had as an edge device: its system modules and
// the devices below it.
func (s *Service) dropEdge(ctx context.Context, device *Record) error {
	for _, name := range []string{EdgeAgent, EdgeHub} {
		id := device.ID
		id.Module = name
		if err := s.remove(ctx, "registry.Update", id, "*"); err != nil && causeway.CodeOf(err) != causeway.ModuleNotFound {
			return err
		}
	}
	s.release(ctx, device.ID.Hub, device.DeviceScope)
	return nil
}

// moduleIDs returns the modules of a device, none for a module.
func (s *Service) moduleIDs(ctx context.Context, id causeway.Identity) ([]causeway.Identity, error) {
	recs, err := s.moduleRecords(ctx, id)
	return identifiers(recs), err
}

// moduleRecords returns the records of the modules of a device, with sealed
// keys; none for a module.
func (s *Service) moduleRecords(ctx context.Context, id causeway.Identity) ([]Record, error) {
	if id.IsModule() {
		return nil, nil
	}
	recs, err := s.store.Modules(ctx, id)
	if err != nil {
		return nil, wrap(err, "list modules of", id)
	}
	return recs, nil
}

func identifiers(recs []Record) []causeway.Identity {
	ids := make([]causeway.Identity, len(recs))
	for i := range recs {
		ids[i] = recs[i].ID
	}
	return ids
}
