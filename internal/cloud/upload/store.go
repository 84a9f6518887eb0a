package upload

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Ticket is the right of a device to upload one file.
type Ticket struct {
	Device      causeway.Identity // never a module
	Correlation string            // unique within the hub
	Host        string            // of the storage, with its port unless that is 443
	Container   string
	Blob        string
	Expires     time.Time
}

// Store keeps tickets durably: when a writing method returns nil, the change is
// on stable storage. It is safe for concurrent use. Tickets go with their
// devices. Times keep at least microseconds. Drivers are held to the contract in
// uploadtest.
type Store interface {
	// Add keeps a ticket, unless its device has most of them that have not
	// expired at now; then it returns false. Code DeviceNotFound.
	Add(ctx context.Context, t Ticket, now time.Time, most int) (bool, error)

	// Get returns a ticket of a device; ok is false when there is none.
	Get(ctx context.Context, device causeway.Identity, correlation string) (t Ticket, ok bool, err error)

	// Remove ends a ticket. It is no error when it is gone.
	Remove(ctx context.Context, device causeway.Identity, correlation string) error

	// Forget ends up to limit tickets that expired before a time, and returns
	// how many.
	Forget(ctx context.Context, before time.Time, limit int) (int, error)
}
