package deploy

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Trace is what configurations have set on a twin, so that it can be taken away
// again. Paths are segments of the desired properties joined by dots; "" is all
// of them.
type Trace struct {
	ID   causeway.Identity
	Edge []string // set by an edge deployment
	Own  []string // set by configurations of devices or modules
	// Manual is set on an edge device that somebody deployed to by hand: the
	// plan that was in force then and must change before one is carried out.
	Manual string
}

// Empty reports whether there is nothing to remember.
func (t *Trace) Empty() bool {
	return len(t.Edge) == 0 && len(t.Own) == 0 && t.Manual == ""
}

// Store keeps configurations and traces durably: when a writing method returns
// nil, the change is on stable storage. It is safe for concurrent use and shares
// no memory with its callers. Times keep at least microseconds. Drivers are held
// to the contract in deploytest.
type Store interface {
	// Configurations returns those of all hubs, leaving ones and damaged ones
	// included, by hub and id.
	Configurations(ctx context.Context) ([]Stored, error)

	// PutConfiguration creates or replaces a configuration of a hub. Code:
	// GenericNotFound (the hub does not exist).
	PutConfiguration(ctx context.Context, c Stored) error

	// Settled takes Pending from a configuration whose etag still is etag, and
	// forgets it if it is leaving. Anything else is no error and does nothing.
	Settled(ctx context.Context, hub, id, etag string) error

	// Trace returns the trace of an identity, one without paths when there is
	// none.
	Trace(ctx context.Context, id causeway.Identity) (Trace, error)

	// PutTrace replaces the trace of an identity; one without anything is
	// forgotten. A trace goes with its identity, and that of an identity that
	// is gone is skipped.
	PutTrace(ctx context.Context, t Trace) error

	// Traced returns up to limit identities of a hub that have a trace, in the
	// order of device and module, from the first one greater than after.
	Traced(ctx context.Context, hub string, after causeway.Identity, limit int) ([]causeway.Identity, error)

	// Begin marks that somebody is at work, and returns how the last one ended.
	Begin(ctx context.Context) (Ending, error)

	// End writes down how work ended.
	End(ctx context.Context, e Ending) error
}

// Ending is how the work on the devices of all hubs ended.
type Ending struct {
	// Clean says that no change of a device went unnoticed but those of
	// Waiting. After a crash it is false.
	Clean   bool
	Waiting []causeway.Identity // devices that were not looked at yet
}
