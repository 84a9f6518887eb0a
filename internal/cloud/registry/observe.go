package registry

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway/internal/core/twin"
)

// Event is one change of an identity or its twin. Records in it are shared and
// only read.
//
// A module that goes with its device comes without keys.
type Event struct {
	Kind EventKind
	At   time.Time
	// Before is nil for a creation, After for a deletion.
	Before, After *Record

	// Of TwinChanged: what changed as merge patches without "$" members, nil
	// for a section that was not written. With Replace the sections that are
	// given were replaced. All nil: only the model id changed.
	Tags, Desired, Reported []byte
	Replace                 bool
}

// EventKind says what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	Created         EventKind = iota + 1
	IdentityUpdated           // anything but the twin and connection facts
	TwinChanged
	Removed
)

// Record returns the record after the change, or the last one of a deletion.
func (e *Event) Record() *Record {
	if e.After != nil {
		return e.After
	}
	return e.Before
}

// SectionMetadata returns the $metadata of exactly the members that a patch of
// an event names; version is the section's new $version.
func (e *Event) SectionMetadata(s twin.Section, patch []byte, version int64) ([]byte, error) {
	r, err := twin.Merge(twin.Doc{}, patch, twin.Change{Section: s, Version: version, At: e.At})
	if err != nil {
		return nil, err
	}
	return r.Metadata, nil
}

// Observer hears of every change of identities and twins, after it is durable
// and before the call that made it returns.
//
// Events of one identity come in the order of the changes: Observe is called
// under the write lock of the identity. So it must not write to the registry,
// must not read identities of a Removed event, and whoever has much to do hands
// it to a goroutine of its own. An error is that of the call, although the
// change stands: the caller tries again, and the change is made once more.
type Observer interface {
	Observe(ctx context.Context, e Event) error
}

// Observe adds an observer. It must be called before the service is used.
func (s *Service) Observe(o Observer) { s.observers = append(s.observers, o) }

// observed tells the observers of an event. The first error counts; all hear.
func (s *Service) observed(ctx context.Context, e Event) (first error) {
	for _, o := range s.observers {
		if err := o.Observe(ctx, e); err != nil && first == nil {
			first = err
		}
	}
	return first
}
