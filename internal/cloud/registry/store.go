package registry

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Store keeps records durably: when a writing method returns nil, the change
// is on stable storage. Writes are optimistic: they name what they replace.
// Keys in Authentication are opaque (sealed) text to it. It is safe for
// concurrent use, and writes to different records should share the cost of
// durability. Drivers are held to the contract in storetest.
//
// Identities are compared byte by byte: case matters, no normalisation, and a
// hub never sees the records of another. Twin documents are opaque and come
// back byte for byte. Times come back in UTC with at least microseconds, and
// the zero time comes back as the zero time. Neither side keeps memory that the
// other may change: what was handed in may be reused, what was handed out is
// the caller's.
type Store interface {
	// Get returns a record. Codes: DeviceNotFound, ModuleNotFound (the device
	// exists but not the module; DeviceNotFound when neither does).
	Get(ctx context.Context, id causeway.Identity) (Record, error)

	// Create stores new records, all or none. The order of recs does not
	// matter: a module may precede its device. System modules ("$…") do not
	// count against the limit of causeway.MaxModulesPerDevice.
	// Codes: DeviceAlreadyExists, ModuleAlreadyExistsOnDevice (stored already,
	// or twice among recs), DeviceNotFound (a module whose device is neither
	// stored nor among recs), TooManyModulesOnDevice, TooManyDevices (a store
	// with a bound of its own).
	Create(ctx context.Context, recs ...Record) error

	// PutIdentity replaces the identity part of a record (everything but Twin,
	// Configurations and the connection facts) if its etag still is match; "*" means any.
	// Codes: as Get, PreconditionFailed.
	PutIdentity(ctx context.Context, r Record, match string) error

	// PutTwin replaces the twin of id if its Version still is match. Codes: as
	// Get, PreconditionFailed.
	PutTwin(ctx context.Context, id causeway.Identity, t Twin, match int64) error

	// Delete removes a record if its etag still is match ("*" means any), and
	// with a device its modules, queues and client sessions. Codes: as Get,
	// PreconditionFailed.
	Delete(ctx context.Context, id causeway.Identity, match string) error

	// List returns up to limit (> 0) devices (not modules) of a hub in the byte
	// order of their ids, from the first id greater than after. An unknown hub
	// has none.
	List(ctx context.Context, hub, after string, limit int) ([]Record, error)

	// Modules returns the modules of a device, system modules included, in the
	// byte order of their ids. Code: DeviceNotFound.
	Modules(ctx context.Context, device causeway.Identity) ([]Record, error)

	// Query calls each with the records of a selection, in order and from one
	// moment, until it returns an error, which Query returns as it is. See
	// [Selection]. Records have at least the parts that are needed, and no keys.
	// It must not use up what other calls need to make progress: Keep and each
	// may be slow, and may read from the same store.
	Query(ctx context.Context, sel Selection, each func(r *Record) error) error

	// Count returns the statistics of a hub's devices. Modules do not count.
	Count(ctx context.Context, hub string) (Counts, error)

	// SetConfigurations makes changes of what Configurations are on identities,
	// in their order. Unknown identities are skipped; nothing else of a record
	// changes.
	SetConfigurations(ctx context.Context, changes ...ConfigurationChange) error

	// Disconnect writes down that nobody is connected to a hub. It says so after
	// a crash, which leaves the last facts as they were.
	Disconnect(ctx context.Context, hub string) error

	// Touch writes connection facts down. Unknown identities are skipped; of
	// several facts of one identity the last wins. A zero time leaves the
	// stored one as it is. It need not be durable at once: a crash may lose
	// the last ones.
	Touch(ctx context.Context, facts ...Activity) error
}
