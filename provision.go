package causeway

import (
	"context"
	"time"
)

// Provisioner answers device registrations of the Device Provisioning Service.
// It is to DPS what [Hub] is to a hub: all that a head knows of it.
type Provisioner interface {
	// Register starts, or joins, the registration of one device.
	Register(ctx context.Context, r Registration) (Operation, error)
	// Lookup returns the state of a registration operation.
	Lookup(ctx context.Context, scope, registration, operation string) (Operation, error)
}

// Registration is a device's request to be assigned to a hub.
type Registration struct {
	Scope      string // id scope
	ID         string // registration id
	Credential Credential
	Payload    []byte // custom JSON given to a custom allocation, or nil
}

// Operation is the state of a registration.
type Operation struct {
	ID         string
	Status     string // unassigned, assigning, assigned, failed, disabled
	Hub        string // host name of the assigned hub
	Device     string
	RetryAfter time.Duration
	Payload    []byte
}
