package dps

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// PutEnrollment creates an enrollment or replaces the one of its id. Match is the
// etag of the one it replaces, "" or "*" for any, and with "*" it must exist. The
// enrollment that it returns has its keys.
//
// Codes: CodeNotFound (of the service), CodeInvalid, CodePrecondition,
// CodeTooMany.
func (s *Service) PutEnrollment(ctx context.Context, service string, e Enrollment, match string) (Enrollment, error) {
	return s.putEnrollment(ctx, service, e, match, false)
}

// CreateEnrollment creates an enrollment that does not exist yet. Codes:
// CodeConflict, and those of PutEnrollment.
func (s *Service) CreateEnrollment(ctx context.Context, service string, e Enrollment) (Enrollment, error) {
	return s.putEnrollment(ctx, service, e, "", true)
}

func (s *Service) putEnrollment(ctx context.Context, service string, e Enrollment, match string, create bool) (Enrollment, error) {
	if e.Group {
		s.mu.Lock()
		defer s.mu.Unlock()
		ctx = context.WithoutCancel(ctx) // see put
	} else {
		defer s.locks.Lock(service + "/enrollment/" + fold(e.ID))()
	}
	t := s.current.Load().byName[service]
	if t == nil {
		return Enrollment{}, noService(service)
	}
	old, err := s.enrollment(ctx, service, e.Group, e.ID)
	exists := err == nil
	if err != nil && causeway.CodeOf(err) != CodeEnrollmentNotFound {
		return Enrollment{}, err
	}
	switch {
	case exists && create:
		return Enrollment{}, causeway.Errorf(CodeConflict, "dps", "the enrollment %q exists already", clip(e.ID))
	case !exists && match != "":
		return Enrollment{}, causeway.Errorf(CodePrecondition, "dps", "the enrollment %q does not exist, and If-Match asks for one", clip(e.ID))
	case exists && match != "" && match != "*" && match != old.ETag:
		return Enrollment{}, causeway.Errorf(CodePrecondition, "dps", "the enrollment %q has changed since it was read; read it again", clip(e.ID))
	}
	now := time.Now().UTC()
	e.ETag, e.Created, e.Updated = newETag(), now, now
	before := ""
	if exists {
		e.ID, e.Created, before = old.ID, old.Created, old.ETag
		err = t.complete(&e, &old)
	} else if err = t.complete(&e, nil); err == nil {
		err = s.admit(ctx, t, e.Group)
	}
	if err != nil {
		return Enrollment{}, err
	}
	sealed, err := s.sealEnrollment(service, e)
	if err != nil {
		return Enrollment{}, err
	}
	if err := s.store.PutEnrollment(ctx, service, sealed, before); err != nil {
		return Enrollment{}, fmt.Errorf("store enrollment %s: %w", e.ID, err)
	}
	if e.Group {
		if err := s.reload(ctx); err != nil {
			return Enrollment{}, err
		}
	}
	return e, nil
}

// admit checks that there is room for one more enrollment.
func (s *Service) admit(ctx context.Context, t *tenant, group bool) error {
	most := MaxEnrollments
	if group {
		most = MaxGroups
	}
	n, err := s.store.CountEnrollments(ctx, t.Name, group)
	if err != nil {
		return fmt.Errorf("count enrollments: %w", err)
	}
	if n >= most {
		return causeway.Errorf(CodeTooMany, "dps", "the service has %d enrollments of this kind, which is the limit", n)
	}
	return nil
}

// Enrollment returns an enrollment with its keys. Codes: CodeNotFound (of the
// service), CodeEnrollmentNotFound.
func (s *Service) Enrollment(ctx context.Context, service string, group bool, id string) (Enrollment, error) {
	if s.current.Load().byName[service] == nil {
		return Enrollment{}, noService(service)
	}
	return s.enrollment(ctx, service, group, id)
}

func (s *Service) enrollment(ctx context.Context, service string, group bool, id string) (Enrollment, error) {
	e, err := s.store.Enrollment(ctx, service, group, id)
	if err != nil {
		return Enrollment{}, err
	}
	return e, s.openEnrollment(service, &e)
}

// DeleteEnrollment removes an enrollment; match as with PutEnrollment. What its
// devices were assigned to stays. Codes: CodeNotFound (of the service),
// CodeEnrollmentNotFound, CodePrecondition.
func (s *Service) DeleteEnrollment(ctx context.Context, service string, group bool, id, match string) error {
	if group {
		s.mu.Lock()
		defer s.mu.Unlock()
		ctx = context.WithoutCancel(ctx) // see put
	} else {
		defer s.locks.Lock(service + "/enrollment/" + fold(id))()
	}
	if s.current.Load().byName[service] == nil {
		return noService(service)
	}
	if match == "" {
		match = "*"
	}
	if err := s.store.DeleteEnrollment(ctx, service, group, id, match); err != nil {
		return fmt.Errorf("delete enrollment %s: %w", clip(id), err)
	}
	if group {
		return s.reload(ctx)
	}
	return nil
}

// Enrollments returns up to limit enrollments without their keys, in the order of
// their ids in lower case, from the first that is greater than after. Limit is 1
// to MaxPage; anything else means DefaultPage. Code: CodeNotFound.
func (s *Service) Enrollments(ctx context.Context, service string, group bool, after string, limit int) ([]Enrollment, error) {
	if s.current.Load().byName[service] == nil {
		return nil, noService(service)
	}
	list, err := s.store.Enrollments(ctx, service, group, fold(after), page(limit))
	if err != nil {
		return nil, fmt.Errorf("list enrollments: %w", err)
	}
	for i := range list {
		list[i].Attestation.Keys.Primary, list[i].Attestation.Keys.Secondary = "", ""
	}
	return list, nil
}

func page(limit int) int {
	if limit < 1 || limit > MaxPage {
		return DefaultPage
	}
	return limit
}

// Registration returns what the service remembers of a device. Codes:
// CodeNotFound.
func (s *Service) Registration(ctx context.Context, service, id string) (Registration, error) {
	if s.current.Load().byName[service] == nil {
		return Registration{}, noService(service)
	}
	return s.registration(ctx, service, id)
}

func (s *Service) registration(ctx context.Context, service, id string) (Registration, error) {
	r, err := s.store.Registration(ctx, service, id)
	if err != nil {
		return Registration{}, err
	}
	return r, r.turn(s.sealer.Open, service)
}

// Registrations returns up to limit registrations of a group, as Enrollments
// does. Codes: CodeNotFound (of the service), CodeEnrollmentNotFound.
func (s *Service) Registrations(ctx context.Context, service, group, after string, limit int) ([]Registration, error) {
	e, err := s.Enrollment(ctx, service, true, group)
	if err != nil {
		return nil, err
	}
	return s.store.Registrations(ctx, service, e.ID, fold(after), page(limit))
}

// DeleteRegistration forgets a registration: the device begins anew. Its identity
// on the hub stays. Match as with PutEnrollment. Codes: CodeNotFound,
// CodePrecondition.
func (s *Service) DeleteRegistration(ctx context.Context, service, id, match string) error {
	if s.current.Load().byName[service] == nil {
		return noService(service)
	}
	defer s.locks.Lock(service + "/" + fold(id))()
	if match == "" {
		match = "*"
	}
	return s.store.DeleteRegistration(ctx, service, id, match)
}

// maySign checks a certificate that is to vouch for those of devices.
func maySign(der []byte) error {
	if len(der) == 0 {
		return nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return invalid("attestation.x509.signingCertificates: %v", err)
	}
	if err := attestation.CheckAuthority(c); err != nil {
		return invalid("attestation.x509.signingCertificates: the certificate %q: %v", clip(c.Subject.String()), err)
	}
	return nil
}
