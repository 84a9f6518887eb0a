package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// firstTwinVersion is what the service's own new twins show (their creation
// counts).
const firstTwinVersion = 2

// Create registers a device or a module. Of r it takes the id, Enabled,
// StatusReason, Auth, Edge, the scopes, ManagedBy, and of the twin ModelID,
// Tags, Desired.Properties and Reported.Properties as first documents if there
// are any; everything else is filled in. Keys that are missing are generated.
// With an edge device its system modules are created.
//
// Codes: ArgumentInvalid, InvalidDeviceScope, DeviceAlreadyExists,
// ModuleAlreadyExistsOnDevice, DeviceNotFound (of a module's device),
// TooManyModulesOnDevice, TooManyDevices, SystemModuleModifyUnauthorizedAccess
// (a module id starting with "$").
func (s *Service) Create(ctx context.Context, r Record) (Record, error) {
	const op = "registry.Create"
	if err := checkIdentity(op, r.ID); err != nil {
		return Record{}, err
	}
	if r.ID.IsModule() && systemModule(r.ID.Module) {
		return Record{}, causeway.Errorf(causeway.SystemModuleModifyUnauthorizedAccess, op,
			"module ids that start with '$' are reserved; %s and %s are created with an edge device", EdgeAgent, EdgeHub)
	}
	if !r.ID.IsModule() {
		if err := s.census.admit(ctx, op, r.ID.Hub); err != nil {
			return Record{}, err
		}
	}
	rec, err := s.newRecord(ctx, op, r)
	if err != nil {
		return Record{}, err
	}
	recs := []Record{rec}
	if rec.Edge {
		recs = append(recs, s.systemModules(rec)...)
	}

	// The device's lock keeps its deletion away from the making of a module.
	locks, err := s.lockAll(ctx, identities(recs)...)
	if err != nil {
		return Record{}, err
	}
	defer locks.unlock()
	sealed := make([]Record, len(recs))
	for i := range recs {
		if sealed[i], err = s.keys.seal(recs[i]); err != nil {
			return Record{}, err
		}
	}
	if err := s.store.Create(ctx, sealed...); err != nil {
		locks.forget()
		return Record{}, wrap(err, "create", rec.ID)
	}
	for i := range recs {
		e := locks.of(recs[i].ID)
		s.cache.set(e, nil) // not a namesake's connection facts
		s.cache.set(e, &recs[i])
	}
	if !rec.ID.IsModule() {
		s.census.add(rec.ID.Hub, 1)
	}
	var failed error
	for i := range recs {
		if err := s.observed(ctx, Event{Kind: Created, At: recs[i].Created, After: &recs[i]}); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil {
		return Record{}, wrap(failed, "tell of the creation of", rec.ID)
	}
	return rec, nil
}

// newRecord completes and checks a record that does not exist yet.
func (s *Service) newRecord(ctx context.Context, op string, in Record) (Record, error) {
	now := timestamp()
	r := Record{
		ID:            in.ID,
		GenerationID:  s.newGeneration(now),
		ETag:          newETag(),
		Enabled:       in.Enabled || in.ID.IsModule(), // modules have no status of their own
		StatusReason:  in.StatusReason,
		StatusUpdated: now,
		Created:       now,
		Edge:          in.Edge && !in.ID.IsModule(),
		DeviceScope:   in.DeviceScope,
		ParentScopes:  in.ParentScopes,
	}
	if r.ID.IsModule() {
		r.StatusReason, r.ManagedBy = "", in.ManagedBy
	}
	if err := errors.Join(checkStatusReason(op, r.StatusReason), checkManagedBy(op, r.ManagedBy)); err != nil {
		return Record{}, err
	}
	var err error
	if r.Auth, err = authentication(op, in.Auth, nil); err != nil {
		return Record{}, err
	}
	if err := s.scopes(ctx, op, &r, nil); err != nil {
		return Record{}, err
	}
	if r.Twin, err = newTwin(op, in.Twin); err != nil {
		return Record{}, err
	}
	return r, nil
}

// newTwin returns the twin of a new identity with the documents of in.
func newTwin(op string, in Twin) (Twin, error) {
	if err := checkModelID(op, in.ModelID); err != nil {
		return Twin{}, err
	}
	now := time.Now()
	t := Twin{Version: firstTwinVersion, ETag: 1, ModelID: in.ModelID, Tags: []byte("{}")}
	if len(in.Tags) > 0 {
		tags, err := twin.Replace(twin.Doc{}, in.Tags, twin.Change{Section: twin.Tags})
		if err != nil {
			return Twin{}, err
		}
		t.Tags = tags.Properties
	}
	for _, sec := range []struct {
		which        twin.Section
		in, metadata []byte
		out          *Section
	}{
		{twin.Desired, in.Desired.Properties, in.Desired.Metadata, &t.Desired},
		{twin.Reported, in.Reported.Properties, in.Reported.Metadata, &t.Reported},
	} {
		*sec.out = Section{Properties: []byte("{}"), Metadata: twin.NewMetadata(now), Version: 1}
		if len(sec.in) == 0 {
			continue
		}
		doc, err := twin.Replace(twin.Doc{}, sec.in, twin.Change{Section: sec.which, Version: 1, At: now})
		if err != nil {
			return Twin{}, err
		}
		sec.out.Properties, sec.out.Metadata = doc.Properties, doc.Metadata
		if sec.out.Metadata, err = adopt(*sec.out, sec.metadata, sec.which); err != nil {
			return Twin{}, err
		}
	}
	return t, nil
}

// systemModules returns the modules that come with an edge device.
func (s *Service) systemModules(device Record) []Record {
	recs := make([]Record, 0, 2)
	for _, name := range []string{EdgeAgent, EdgeHub} {
		now := timestamp()
		t, err := newTwin("", Twin{})
		if err != nil {
			panic("an empty twin breaks a limit: " + err.Error()) // a programmer's error, not a client's
		}
		recs = append(recs, Record{
			ID:           causeway.Identity{Hub: device.ID.Hub, Device: device.ID.Device, Module: name},
			GenerationID: s.newGeneration(now),
			ETag:         newETag(),
			Enabled:      true, StatusUpdated: now, Created: now,
			Auth:      Authentication{Type: auth.SAS, Primary: newKey(), Secondary: newKey()},
			ManagedBy: ManagedByEdge,
			Twin:      t,
		})
	}
	return recs
}

// identities returns who must be locked to create recs, in locking order.
func identities(recs []Record) []causeway.Identity {
	ids := []causeway.Identity{recs[0].ID.Parent()}
	for _, r := range recs {
		if r.ID.IsModule() {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// lockSet is the write locks of a device and some of its modules.
type lockSet struct {
	s     *Service
	locks []held
}

// lockAll takes several locks in the order given: a device before its modules,
// modules by name. Everybody keeps that order, or two would wait for each other.
func (s *Service) lockAll(ctx context.Context, ids ...causeway.Identity) (lockSet, error) {
	set := lockSet{s: s}
	if err := set.add(ctx, ids...); err != nil {
		set.unlock()
		return lockSet{}, err
	}
	return set, nil
}

// add takes more locks.
func (set *lockSet) add(ctx context.Context, ids ...causeway.Identity) error {
	for _, id := range ids {
		l, err := set.s.cache.lock(ctx, id)
		if err != nil {
			return fmt.Errorf("lock %d identities: %w", len(ids), err)
		}
		set.locks = append(set.locks, l)
	}
	return nil
}

// of returns the locked entry of id.
func (set *lockSet) of(id causeway.Identity) *entry {
	i := slices.IndexFunc(set.locks, func(l held) bool { return l.id == id })
	return set.locks[i].entry
}

// forget drops the records of all from memory.
func (set *lockSet) forget() {
	for _, l := range set.locks {
		set.s.cache.set(l.entry, nil)
	}
}

// unlock gives all locks back.
func (set *lockSet) unlock() {
	for _, l := range slices.Backward(set.locks) {
		l.unlock()
	}
	set.locks = nil
}
