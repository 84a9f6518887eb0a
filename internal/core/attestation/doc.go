// Package attestation decides whether a device that asks to be provisioned is who it
// says it is: by a token signed with a key of its enrollment or one derived from a
// group's key, or by a certificate.
//
// It is pure: enrollments are given to it, and which one counts is decided by its
// callers. Why a device is refused is for the log; the device learns only that it
// is.
package attestation

import "errors"

// Why a registration is refused; causes of the errors of this package.
var (
	ErrToken       = errors.New("token cannot be read")
	ErrExpired     = errors.New("token has expired")
	ErrScope       = errors.New("token is for another registration")
	ErrSignature   = errors.New("signature is of no key of the enrollment")
	ErrCertificate = errors.New("certificate is not accepted")
	ErrIssuer      = errors.New("certificate is of another issuer than those of the enrollment")
	ErrRevoked     = errors.New("certificate is revoked")
	ErrCommonName  = errors.New("the common name of the certificate is not the registration id")
)
