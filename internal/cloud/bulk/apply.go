package bulk

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// apply applies one item that could be read.
func (s *Service) apply(ctx context.Context, hub string, it *Item) error {
	id := it.identity(hub)
	switch it.Mode {
	case Create:
		return s.create(ctx, id, it)
	case Update:
		return s.update(ctx, id, it, "*")
	case UpdateIfMatchETag:
		return s.update(ctx, id, it, it.ETag)
	case Delete:
		return s.Registry.Delete(ctx, id, "*")
	case DeleteIfMatchETag:
		return s.Registry.Delete(ctx, id, it.ETag)
	case UpdateTwin:
		// What is given is merged, as a patch of one twin is.
		_, err := s.Registry.UpdateTwin(ctx, id, it.update(false), "*")
		return err
	case UpdateTwinIfMatchETag:
		_, err := s.Registry.UpdateTwin(ctx, id, it.update(false), it.TwinETag)
		return err
	default:
		return s.createOrUpdate(ctx, id, it)
	}
}

func (s *Service) createOrUpdate(ctx context.Context, id causeway.Identity, it *Item) error {
	match := "*"
	if it.Mode == CreateOrUpdateIfMatchETag && it.ETag != "" {
		match = it.ETag
	}
	var err error
	for range updateAttempts {
		if _, err = s.Registry.Get(ctx, id); missing(id, err) {
			err = s.create(ctx, id, it)
			if code := causeway.CodeOf(err); code != causeway.DeviceAlreadyExists && code != causeway.ModuleAlreadyExistsOnDevice {
				return err
			}
			continue // somebody was faster
		}
		if err != nil {
			return err
		}
		if err = s.update(ctx, id, it, match); !missing(id, err) {
			return err
		}
	}
	return err
}

// missing reports whether err says that id itself does not exist.
func missing(id causeway.Identity, err error) bool {
	if id.IsModule() {
		return causeway.CodeOf(err) == causeway.ModuleNotFound
	}
	return causeway.CodeOf(err) == causeway.DeviceNotFound
}

// create registers an identity with its twin, all or nothing.
func (s *Service) create(ctx context.Context, id causeway.Identity, it *Item) error {
	if id.Module == registry.EdgeAgent || id.Module == registry.EdgeHub {
		// They came with their device; what the item knows of them is put there.
		return s.update(ctx, id, it, "*")
	}
	rec, err := it.Identity.Record(registry.Record{ID: id, Enabled: true})
	if err != nil {
		return err
	}
	if rec.Edge {
		rec.DeviceScope = "" // the hub gives it; an exported one names another generation
	}
	rec.Twin = registry.Twin{
		Tags:     it.Twin.Tags,
		Desired:  registry.Section{Properties: it.Twin.Desired, Metadata: it.Twin.DesiredMetadata},
		Reported: registry.Section{Properties: it.Twin.Reported, Metadata: it.Twin.ReportedMetadata},
	}
	_, err = s.Registry.Create(ctx, rec)
	return err
}

// update replaces what the item gives of an identity, then of its twin, whose
// etag is compared on its own. An update of whatever there is is tried again on
// what another writer made of it meanwhile, so that what is kept is never old.
func (s *Service) update(ctx context.Context, id causeway.Identity, it *Item, match string) error {
	var err error
	for range updateAttempts {
		var old, rec registry.Record
		if old, err = s.Registry.Get(ctx, id); err != nil {
			return err
		}
		if rec, err = it.Identity.Record(old); err != nil {
			return err
		}
		if old.Edge && rec.Edge {
			rec.DeviceScope = old.DeviceScope
		}
		want := match
		if match == "*" {
			want = old.ETag
		}
		_, err = s.Registry.Update(ctx, rec, want)
		if match != "*" || causeway.CodeOf(err) != causeway.PreconditionFailed {
			break
		}
	}
	if err != nil || !it.Twin.given() {
		return err
	}
	twinMatch := it.TwinETag
	if twinMatch == "" || it.Mode == Update || it.Mode == UpdateIfMatchETag || id.Module == registry.EdgeAgent || id.Module == registry.EdgeHub {
		twinMatch = "*"
	}
	_, err = s.Registry.UpdateTwin(ctx, id, it.update(true), twinMatch)
	return err
}

// update is the change of a twin that an item asks for. Sections that are not
// given stay.
func (it *Item) update(replace bool) registry.TwinUpdate {
	return registry.TwinUpdate{Tags: it.Twin.Tags, Desired: it.Twin.Desired, DesiredMetadata: it.Twin.DesiredMetadata, Replace: replace}
}
