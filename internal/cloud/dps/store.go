package dps

import "context"

// Store keeps provisioning services with their enrollments and registrations
// durably: when a writing method returns nil, the change is on stable storage.
// Secrets arrive sealed and are opaque to it. It is safe for concurrent use, and
// writes to different records should share the cost of durability. Drivers are
// held to the contract in dpstest.
//
// Services are found by name, byte by byte; ids of enrollments and registrations
// without regard to ASCII case, and come back as they were spelled first. Neither
// side keeps memory that the other may change. An etag that is given as match must
// be the stored one; "" is for a record that must not exist, "*" for any or none.
type Store interface {
	CertificateStore
	DecisionStore

	// Instances returns all services in the order of their names.
	Instances(ctx context.Context) ([]Instance, error)
	// PutInstance creates or replaces a service.
	PutInstance(ctx context.Context, i Instance) error
	// DeleteInstance forgets a service with all it has.
	DeleteInstance(ctx context.Context, name string) error

	// Enrollment returns the enrollment of a device, or with group that of a
	// group. Code: CodeEnrollmentNotFound.
	Enrollment(ctx context.Context, service string, group bool, id string) (Enrollment, error)
	// PutEnrollment creates or replaces an enrollment if its etag is match.
	// Codes: CodePrecondition, CodeConflict (match is "" and it exists).
	PutEnrollment(ctx context.Context, service string, e Enrollment, match string) error
	// DeleteEnrollment removes an enrollment if its etag is match. Registrations
	// stay. Codes: CodeEnrollmentNotFound, CodePrecondition.
	DeleteEnrollment(ctx context.Context, service string, group bool, id, match string) error
	// Enrollments returns up to limit enrollments in the byte order of their ids
	// in lower case, from the first that is greater than after.
	Enrollments(ctx context.Context, service string, group bool, after string, limit int) ([]Enrollment, error)
	// CountEnrollments returns how many enrollments there are.
	CountEnrollments(ctx context.Context, service string, group bool) (int, error)

	// Registration returns a registration. Code: CodeNotFound.
	Registration(ctx context.Context, service, id string) (Registration, error)
	// PutRegistration creates or replaces a registration if its etag is match.
	// Codes as PutEnrollment.
	// Decisions are put on record together with it.
	PutRegistration(ctx context.Context, service string, r Registration, match string, d ...Decision) error
	// DeleteRegistration forgets a registration if its etag is match. Codes:
	// CodeNotFound, CodePrecondition.
	DeleteRegistration(ctx context.Context, service, id, match string) error
	// Registrations returns up to limit registrations of a group, ordered as
	// Enrollments are.
	Registrations(ctx context.Context, service, group, after string, limit int) ([]Registration, error)
	// Pending returns up to limit registrations that are being assigned, ordered
	// as Enrollments are.
	Pending(ctx context.Context, service, after string, limit int) ([]Registration, error)
}
