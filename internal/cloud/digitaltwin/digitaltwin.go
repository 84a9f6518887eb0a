// Package digitaltwin makes events of changes of digital twins: a JSON Patch of
// what a back end sees, for every change of a twin whose device has announced a
// model.
//
// It hears of changes from the registry and hands events to a publisher. Where
// they go is not known here, nor how a digital twin looks: that is package pnp.
package digitaltwin

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/event"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/pnp"
)

// Publisher takes the events; see routing.Publisher.
type Publisher interface {
	Publish(ctx context.Context, hub string, m causeway.Message) error
}

// Wanter is a Publisher that knows whether anybody wants events of a source: if
// nobody does, none are made.
type Wanter interface {
	Wants(hub, source string) bool
}

// Events is an observer of the registry. Its Publisher is set before use.
type Events struct{ Publisher Publisher }

var _ registry.Observer = (*Events)(nil)

// publishTimeout bounds how long a change waits for its event to be durable.
const publishTimeout = 10 * time.Second

// The words of the events. The service does not document them for this source;
// they follow those of the others.
const (
	schema      = "digitalTwinChangeNotification"
	operation   = "updateDigitalTwin"
	contentType = "application/json-patch+json"
)

// Observe publishes the event of a change, and returns when it is durable.
func (v *Events) Observe(ctx context.Context, e registry.Event) error {
	if e.Kind != registry.TwinChanged || e.After == nil || e.After.Twin.ModelID == "" {
		return nil
	}
	if w, ok := v.Publisher.(Wanter); ok && !w.Wants(e.After.ID.Hub, causeway.SourceDigitalTwin) {
		return nil
	}
	m, ok, err := message(&e)
	if err != nil {
		return fmt.Errorf("make the digital twin event of %s: %w", e.After.ID, err)
	}
	if !ok {
		return nil
	}
	// The change is made: that its caller leaves is no reason to lose its event.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	return v.Publisher.Publish(ctx, m.From.Hub, m)
}

// message makes the event of a change; ok is false when nothing of the digital
// twin changed.
func message(e *registry.Event) (m causeway.Message, ok bool, err error) {
	id, at := e.After.ID, e.At.UTC().Truncate(100*time.Nanosecond)
	patch, err := pnp.Changes(pnp.Change{
		Desired: e.Desired, Reported: e.Reported, DesiredVersion: e.After.Twin.Desired.Version, At: at,
	})
	if err != nil || patch == nil {
		return m, false, err
	}
	m = event.New(id.Hub, id, causeway.SourceDigitalTwin, operation, schema, at)
	m.Body, m.ContentType, m.ModelID = patch, contentType, e.After.Twin.ModelID
	return m, true, nil
}
