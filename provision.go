package causeway

import (
	"context"
	"time"
)

// Provisioner answers device registrations of the Device Provisioning Service.
// It is to DPS what [Hub] is to a hub: all that a head knows of it.
//
// Codes of all methods, beside those of [Operation]: 401002 (whoever cannot prove
// who it is, known or not), 404203 (no such id scope), 400000 (what is wrong is
// said), 429001.
type Provisioner interface {
	// Register starts, or joins, the registration of one device, and returns
	// once it is durable. The operation is not over yet.
	Register(ctx context.Context, r Registration) (Operation, error)
	// Lookup returns the state of a registration operation; r proves who asks.
	// Code: 404202 (not an operation of this registration).
	Lookup(ctx context.Context, r Registration, operation string) (Operation, error)
	// Challenge returns what the TPM of a device must activate to sign the
	// token of its registration.
	Challenge(ctx context.Context, r Registration) (TPMChallenge, error)
}

// Registration is a device's request to be assigned to a hub.
type Registration struct {
	Scope      string // id scope
	ID         string // registration id
	Credential Credential
	Payload    []byte // custom JSON given to a custom allocation, or nil

	// Of a device with a TPM: the public parts of its endorsement key and of its
	// storage root key, TPM2B_PUBLIC.
	EndorsementKey, StorageRootKey []byte

	// CSR asks for a certificate to be issued: PKCS #10, DER, or nil. It counts in
	// the versions of the API that know it, which Credential.APIVersion tells.
	CSR []byte
}

// TPMChallenge is an activation blob and the name of the key in it.
type TPMChallenge struct {
	AuthenticationKey []byte
	KeyName           string
}

// Operation is the state of a registration.
type Operation struct {
	ID           string
	Registration string // id, as the device spelled it first
	Status       string // assigning, assigned, failed, disabled
	Substatus    string // how an assigned device came to its hub
	Hub          string // host name of the assigned hub
	Device       string
	Attestation  string // symmetricKey, x509, tpm
	Group        string // enrollment group, or ""
	// AuthenticationKey is the activation blob of the key that an assigned device
	// with a TPM has on its hub.
	AuthenticationKey []byte
	Payload           []byte // JSON of a custom allocation, or nil
	// Certificates are what was issued to an assigned device that asked for it: DER,
	// its own first, then those of the authorities above it up to the root.
	Certificates [][]byte

	// Of a registration that failed or is disabled.
	Code    int
	Message string

	ETag             string
	Created, Updated time.Time
	RetryAfter       time.Duration // until the next question makes sense; 0 when it is over
}
