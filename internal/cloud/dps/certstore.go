package dps

import (
	"context"
	"time"
)

// CertificateStore keeps what a [Store] has of certificates: those that are
// revoked, those that were issued, and who refers to an authority or a credential
// policy. It is as durable.
type CertificateStore interface {
	// Revocations returns up to limit revocations in the byte order of their ids,
	// from the first that is greater than after.
	Revocations(ctx context.Context, service, after string, limit int) ([]Revocation, error)
	// PutRevocations stores revocations, all or none; one that has the id of
	// another takes its place, but no listed one that of one that is not. With list, a name of an authority, those that came
	// with a list of that authority before are forgotten at the same time.
	PutRevocations(ctx context.Context, service, list string, r []Revocation) error
	// DeleteRevocation forgets a revocation. Code: CodeNotFound.
	DeleteRevocation(ctx context.Context, service, id string) error

	// PutIssued stores what is known of an issued certificate, by its serial number.
	PutIssued(ctx context.Context, service string, i Issued) error
	// Issued returns an issued certificate. Code: CodeNotFound.
	Issued(ctx context.Context, service, serial string) (Issued, error)
	// IssuedTo returns up to limit certificates issued to a registration, without
	// regard to case, or to all when it is "". They are in the byte order of their
	// serial numbers, from the first that is greater than after.
	IssuedTo(ctx context.Context, service, registration, after string, limit int) ([]Issued, error)
	// EndedIssued returns up to limit certificates that end at a time or later, and
	// before another, those that end first first.
	EndedIssued(ctx context.Context, service string, from, before time.Time, limit int) ([]Issued, error)
	// DeleteIssued forgets certificates; that there are none is no error.
	DeleteIssued(ctx context.Context, service string, serials ...string) error

	// UsersOf returns up to limit enrollments that refer to what has that name,
	// without regard to case.
	UsersOf(ctx context.Context, service string, what Reference, name string, limit int) ([]User, error)
}

// Reference is what an enrollment refers to by name.
type Reference string

// What enrollments refer to.
const (
	ToAuthority        Reference = "authority"
	ToCredentialPolicy Reference = "credential policy"
)

// User is an enrollment that refers to something.
type User struct {
	Group bool
	ID    string
}

// String names it in a message.
func (u User) String() string {
	if u.Group {
		return "enrollment group " + u.ID
	}
	return "enrollment " + u.ID
}

// Revocation is a certificate that no longer counts, by its thumbprint or by its
// issuer and serial number.
type Revocation struct {
	ID         string // the thumbprint, or issuer and serial number: see revocationID
	Authority  string // name of the issuer when it was revoked; "" by thumbprint
	Issuer     string // SHA-256 of the issuer's public key, hexadecimal, lower case
	Serial     string // hexadecimal, upper case
	Thumbprint string // SHA-1 or SHA-256, hexadecimal, lower case
	Reason     string
	Listed     bool // it came with a revocation list of the authority
	At         time.Time
}

// Issued is what is known of a certificate that a service issued.
type Issued struct {
	Serial       string // hexadecimal, upper case
	Issuer       string // SHA-256 of the issuer's public key, hexadecimal, lower case
	Thumbprint   string // SHA-256, hexadecimal, lower case
	Registration string // id
	Group        string // enrollment group that it came by, "" for its own enrollment
	Policy       string // name of the credential policy
	Created      time.Time
	NotAfter     time.Time
}
