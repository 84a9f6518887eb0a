package registry

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Store keeps records durably: when a writing method returns nil, the change
// is on stable storage. Writes are optimistic: they name what they replace.
// Keys in Authentication are opaque (sealed) text to it. It is safe for
// concurrent use. Drivers are held to the contract in storetest.
type Store interface {
	// Get returns a record. Codes: DeviceNotFound, ModuleNotFound (the device
	// exists but not the module; DeviceNotFound when neither does).
	Get(ctx context.Context, id causeway.Identity) (Record, error)

	// Create stores new records, all or none. Codes: DeviceAlreadyExists,
	// ModuleAlreadyExistsOnDevice, DeviceNotFound (a module whose device is
	// neither stored nor among recs), TooManyModulesOnDevice, TooManyDevices.
	Create(ctx context.Context, recs ...Record) error

	// PutIdentity replaces the identity part of a record (everything but Twin
	// and the connection facts) if its etag still is match; "*" means any.
	// Codes: as Get, PreconditionFailed.
	PutIdentity(ctx context.Context, r Record, match string) error

	// PutTwin replaces the twin of id if its Version still is match. Codes: as
	// Get, PreconditionFailed.
	PutTwin(ctx context.Context, id causeway.Identity, t Twin, match int64) error

	// Delete removes a record if its etag still is match ("*" means any), and
	// with a device its modules, queues and client sessions. Codes: as Get,
	// PreconditionFailed.
	Delete(ctx context.Context, id causeway.Identity, match string) error

	// List returns up to limit devices (not modules) of a hub in the order of
	// their ids, from the first id greater than after.
	List(ctx context.Context, hub, after string, limit int) ([]Record, error)

	// Modules returns the modules of a device in the order of their ids. Code:
	// DeviceNotFound.
	Modules(ctx context.Context, device causeway.Identity) ([]Record, error)

	// Count returns the statistics of a hub's devices.
	Count(ctx context.Context, hub string) (Counts, error)

	// Touch writes connection facts down. Unknown identities are skipped. It
	// need not be durable at once: a crash may lose the last ones.
	Touch(ctx context.Context, facts ...Activity) error
}
