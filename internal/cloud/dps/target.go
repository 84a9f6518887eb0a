package dps

import (
	"context"
	"encoding/json"

	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// Targets finds linked hubs: those of this cloud and those elsewhere.
type Targets interface {
	// Target returns the hub of a link. The error says why it cannot be used.
	Target(l Link) (Target, error)
}

// UnusableError says why a hub cannot be used until somebody mends that, as it has a
// certificate that is not trusted.
type UnusableError struct {
	Msg string // may be told to devices
	Err error
}

// Error returns the text for logs.
func (e *UnusableError) Error() string { return e.Msg + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnusableError) Unwrap() error { return e.Err }

// Target is a hub that devices are assigned to. It is safe for concurrent use.
// Errors that wrap an *UnusableError, or a *causeway.Error of an HTTP status of 4xx
// (but 429), are final; others are tried again.
type Target interface {
	// Get returns a device with its twin, ok reports whether there is one.
	Get(ctx context.Context, id string) (d Device, ok bool, err error)
	// Put makes a device as d says. One that exists gets the credentials and
	// capabilities of d, and its twin only with reset.
	Put(ctx context.Context, d Device, reset bool) error
	// Delete removes a device; that there is none is no error.
	Delete(ctx context.Context, id string) error
}

// Device is an identity with its twin as they are put on a hub.
type Device struct {
	ID   string
	Edge bool
	// One of both: keys, or the SHA-256 thumbprint of a certificate, and of another
	// one that counts as well, if any.
	Keys                         attestation.Keys
	Thumbprint, SecondThumbprint string
	// Documents of the twin, JSON objects or nil.
	Tags, Desired, Reported json.RawMessage
}
