package registry

import (
	"bytes"
	"context"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// TwinUpdate is a service's change of a twin. Members are JSON objects; nil is
// absent and leaves the section as it is, "null" clears it.
type TwinUpdate struct {
	Tags, Desired []byte
	Replace       bool // replace given sections instead of merging into them

	// DesiredMetadata is a "$metadata" tree from elsewhere, such as an export,
	// that takes the place of what the hub would stamp; nil is none.
	DesiredMetadata []byte
}

// UpdateTwin changes tags and desired properties, and hands a change of desired
// to the watchers. Match is the text of the twin's etag that the caller saw, ""
// or "*" for any. It returns the record with the new twin.
//
// Codes: DeviceNotFound, ModuleNotFound, DeserializationError (not a JSON
// object), ArgumentInvalid (a limit; the message says where and which),
// PreconditionFailed.
func (s *Service) UpdateTwin(ctx context.Context, id causeway.Identity, u TwinUpdate, match string) (Record, error) {
	const op = "registry.UpdateTwin"
	var now Record
	err := s.modify(ctx, op, id, func(l held, old *Record, fresh bool) error {
		if err := matches(op, "the twin of "+id.String(), match, twin.ETagText(old.Twin.ETag), fresh); err != nil {
			return err
		}
		now = *old
		e := Event{Kind: TwinChanged, At: time.Now(), Before: old, After: &now, Replace: u.Replace}
		if u.Tags == nil && u.Desired == nil {
			if !fresh && match != "" && match != "*" {
				return errStale // no write will tell whether match still holds
			}
			return nil
		}
		t := &now.Twin
		t.Version++
		t.ETag++
		if u.Tags != nil {
			r, err := apply(twin.Doc{Properties: t.Tags}, u.Tags, u.Replace, twin.Change{Section: twin.Tags})
			if err != nil {
				return err
			}
			t.Tags, e.Tags = r.Properties, r.Delta
		}
		if u.Desired != nil {
			t.Desired.Version++
			r, err := apply(t.Desired.doc(), u.Desired, u.Replace, twin.Change{Section: twin.Desired, Version: t.Desired.Version, At: e.At})
			if err != nil {
				return err
			}
			t.Desired.Properties, t.Desired.Metadata = r.Properties, r.Metadata
			if t.Desired.Metadata, err = adopt(t.Desired, u.DesiredMetadata, twin.Desired); err != nil {
				return err
			}
			e.Desired = r.Delta
		}
		if err := s.putTwin(ctx, l, &now, old.Twin.Version); err != nil {
			return err
		}
		if u.Desired != nil && len(s.watchers) > 0 {
			p := causeway.Patch{Properties: twin.AppendVersioned(nil, e.Desired, t.Desired.Version), Version: t.Desired.Version}
			for _, w := range s.watchers {
				w.DesiredChanged(ctx, id, p)
			}
		}
		return s.observed(ctx, e)
	})
	if err != nil {
		return Record{}, err
	}
	return now, nil
}

// apply merges or replaces a section; null replaces it by nothing.
func apply(old twin.Doc, in []byte, replace bool, c twin.Change) (twin.Result, error) {
	if string(bytes.TrimSpace(in)) == "null" {
		return twin.Replace(old, []byte("{}"), c)
	}
	if replace {
		return twin.Replace(old, in, c)
	}
	return twin.Merge(old, in, c)
}

// adopt returns the metadata of a section with what given says of its values.
func adopt(sec Section, given []byte, which twin.Section) ([]byte, error) {
	if given == nil {
		return sec.Metadata, nil
	}
	return twin.Adopt(sec.doc(), given, which)
}

func (sec *Section) doc() twin.Doc {
	return twin.Doc{Properties: sec.Properties, Metadata: sec.Metadata}
}

// DeviceTwin returns the device's view of its twin. Codes: DeviceNotFound,
// ModuleNotFound.
func (s *Service) DeviceTwin(ctx context.Context, id causeway.Identity) (causeway.Twin, error) {
	r, err := s.Get(ctx, id)
	if err != nil {
		return causeway.Twin{}, err
	}
	t := &r.Twin
	return causeway.Twin{
		Desired:         twin.AppendVersioned(nil, t.Desired.Properties, t.Desired.Version),
		Reported:        twin.AppendVersioned(nil, t.Reported.Properties, t.Reported.Version),
		DesiredVersion:  t.Desired.Version,
		ReportedVersion: t.Reported.Version,
	}, nil
}

// Report merges what a device reports into its twin and returns the new version
// of the section. An empty patch is valid and counts as an update.
//
// Codes: DeviceNotFound, ModuleNotFound, DeserializationError, ArgumentInvalid,
// PreconditionFailed (p.Version is not 0 and not the current version).
func (s *Service) Report(ctx context.Context, id causeway.Identity, p causeway.Patch) (version int64, err error) {
	const op = "registry.Report"
	err = s.modify(ctx, op, id, func(l held, old *Record, fresh bool) error {
		if have := old.Twin.Reported.Version; p.Version != 0 && p.Version != have {
			if !fresh {
				return errStale
			}
			return causeway.Errorf(causeway.PreconditionFailed, op, "the reported properties are at version %d, not %d; read the twin again", have, p.Version)
		}
		now := *old
		e := Event{Kind: TwinChanged, At: time.Now(), Before: old, After: &now}
		sec := &now.Twin.Reported
		sec.Version++
		now.Twin.Version++
		r, err := twin.Merge(sec.doc(), p.Properties, twin.Change{Section: twin.Reported, Version: sec.Version, At: e.At})
		if err != nil {
			return err
		}
		sec.Properties, sec.Metadata = r.Properties, r.Metadata
		version, e.Reported = sec.Version, r.Delta
		if err := s.putTwin(ctx, l, &now, old.Twin.Version); err != nil {
			return err
		}
		return s.observed(ctx, e)
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// SetModel writes down the digital twin model that a client announced. Codes:
// DeviceNotFound, ModuleNotFound, ArgumentInvalid.
func (s *Service) SetModel(ctx context.Context, id causeway.Identity, modelID string) error {
	const op = "registry.SetModel"
	if err := checkModelID(op, modelID); err != nil {
		return err
	}
	return s.modify(ctx, op, id, func(l held, old *Record, _ bool) error {
		if old.Twin.ModelID == modelID {
			return nil
		}
		now := *old
		now.Twin.ModelID = modelID
		now.Twin.Version++
		if err := s.putTwin(ctx, l, &now, old.Twin.Version); err != nil {
			return err
		}
		return s.observed(ctx, Event{Kind: TwinChanged, At: time.Now(), Before: old, After: &now})
	})
}

func checkModelID(op, id string) error {
	if len(id) > MaxModelID {
		return invalid(op, "the model id has %d characters, at most %d are allowed", len(id), MaxModelID)
	}
	return nil
}
