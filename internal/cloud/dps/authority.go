package dps

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// PutAuthority uploads a certificate under a name, or replaces the one there; then
// match must be its etag or "*". With verified its possession need not be proved:
// who calls answers for it. Another certificate than the one there is to be proved
// anew. Codes: CodeNotFound (of the service), CodeInvalid, CodeConflict (another
// name has it), CodePrecondition.
func (s *Service) PutAuthority(ctx context.Context, service, name string, der []byte, verified bool, match string) (Authority, error) {
	if !ValidID(name) {
		return Authority{}, invalid("%q is no name of a certificate: it has 1 to %d letters, digits and characters of . _ - :", clip(name), MaxID)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Authority{}, invalid("certificate: it cannot be read: %v", err)
	}
	if err := attestation.CheckAuthority(c); err != nil {
		return Authority{}, invalid("certificate %q: %v", clip(c.Subject.String()), err)
	}
	now := time.Now().UTC()
	if !now.Before(c.NotAfter) {
		return Authority{}, invalid("certificate %q: it ended on %s; give one that is valid", clip(c.Subject.String()), c.NotAfter.UTC().Format(time.RFC3339))
	}
	a := Authority{Name: name, DER: c.Raw, Verified: verified, ETag: newETag(), Created: now, Updated: now}
	return a, s.changeAuthorities(ctx, service, func(i *Instance) error {
		old := i.find(name)
		if err := mayChange(old, name, match, true); err != nil {
			return err
		}
		for k := range i.Authorities {
			if o := &i.Authorities[k]; o != old && string(o.DER) == string(a.DER) {
				return causeway.Errorf(CodeConflict, "dps", "the service has this certificate already, under the name %q", o.Name)
			}
		}
		if old == nil {
			i.Authorities = append(i.Authorities, a)
			return nil
		}
		a.Name, a.Created = old.Name, old.Created
		if string(old.DER) == string(a.DER) {
			a.Verified = a.Verified || old.Verified
			a.List = old.List
		}
		*old = a
		return nil
	})
}

// DeleteAuthority removes a certificate that no enrollment refers to; match must
// be its etag or "*". Codes: CodeNotFound, CodePrecondition, CodeConflict (which
// enrollment refers to it is said).
func (s *Service) DeleteAuthority(ctx context.Context, service, name, match string) error {
	return s.changeAuthorities(ctx, service, func(i *Instance) error {
		old := i.find(name)
		if err := mayChange(old, name, match, false); err != nil {
			return err
		}
		if err := s.unused(ctx, service, ToAuthority, old.Name); err != nil {
			return err
		}
		kept := i.Authorities[:0]
		for k := range i.Authorities {
			if a := i.Authorities[k]; a.Name != old.Name {
				kept = append(kept, a)
			}
		}
		i.Authorities = kept
		return nil
	})
}

// unused reports an error when an enrollment refers to what has a name.
func (s *Service) unused(ctx context.Context, service string, what Reference, name string) error {
	users, err := s.store.UsersOf(ctx, service, what, name, 3)
	if err != nil {
		return fmt.Errorf("look for enrollments that refer to %s %s: %w", what, name, err)
	}
	if len(users) == 0 {
		return nil
	}
	var names []string
	for _, u := range users {
		names = append(names, u.String())
	}
	return causeway.Errorf(CodeConflict, "dps", "the %s %q is referred to by %s; change or delete it first", what, name, strings.Join(names, ", "))
}

// AuthorityCode begins the proof that who uploaded a certificate has its key: the
// code it returns is to be the common name of a certificate signed with that key.
// Codes: CodeNotFound, CodePrecondition.
func (s *Service) AuthorityCode(ctx context.Context, service, name, match string) (a Authority, err error) {
	err = s.changeAuthorities(ctx, service, func(i *Instance) error {
		old := i.find(name)
		if err := mayChange(old, name, match, false); err != nil {
			return err
		}
		old.Code = strings.ToUpper(hex.EncodeToString(random(verificationLength)))
		old.ETag, old.Updated = newETag(), time.Now().UTC()
		a = *old
		return nil
	})
	return a, err
}

// VerifyAuthority ends the proof with the certificate that was asked for, DER.
// Codes: CodeNotFound, CodePrecondition, CodeInvalid (what is wrong is said).
func (s *Service) VerifyAuthority(ctx context.Context, service, name string, proof []byte, match string) (a Authority, err error) {
	leaf, err := x509.ParseCertificate(proof)
	if err != nil {
		return a, invalid("certificate: it cannot be read: %v", err)
	}
	err = s.changeAuthorities(ctx, service, func(i *Instance) error {
		old := i.find(name)
		if err := mayChange(old, name, match, false); err != nil {
			return err
		}
		if err := old.proves(leaf, time.Now()); err != nil {
			return err
		}
		old.Verified, old.Code = true, ""
		old.ETag, old.Updated = newETag(), time.Now().UTC()
		a = *old
		return nil
	})
	return a, err
}

// proves checks that leaf has the code as its common name and is signed by a.
func (a *Authority) proves(leaf *x509.Certificate, now time.Time) error {
	ca, err := a.Certificate()
	if err != nil {
		return fmt.Errorf("certificate %s: %w", a.Name, err)
	}
	switch {
	case a.Code == "":
		return invalid("no proof of the certificate %q is under way: generate a verification code first", a.Name)
	case attestation.Bounded([]*x509.Certificate{leaf}) != nil:
		return invalid("certificate: it is too large to be the one that was asked for")
	case !strings.EqualFold(leaf.Subject.CommonName, a.Code):
		return invalid("certificate: its common name is %q, it must be the verification code", clip(leaf.Subject.CommonName))
	case now.Add(-attestation.ClockSkew).After(leaf.NotAfter):
		return invalid("certificate: it ended on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return invalid("certificate: it is not signed by %q: %v", a.Name, err)
	}
	return nil
}

// changeAuthorities changes the authorities of a service and keeps the rest.
func (s *Service) changeAuthorities(ctx context.Context, service string, change func(*Instance) error) error {
	_, err := s.Change(ctx, service, change)
	return err
}

// find returns the authority of that name, or nil.
func (i *Instance) find(name string) *Authority {
	for k := range i.Authorities {
		if strings.EqualFold(i.Authorities[k].Name, name) {
			return &i.Authorities[k]
		}
	}
	return nil
}

// Authority returns the certificate of that name. Code: CodeNotFound.
func (i *Instance) Authority(name string) (Authority, error) {
	if a := i.find(name); a != nil {
		return *a, nil
	}
	return Authority{}, noAuthority(name)
}

func noAuthority(name string) error {
	return causeway.Errorf(CodeNotFound, "dps", "the service has no certificate %q", clip(name))
}

// mayChange checks the etag of what is to be changed. One that is there is changed
// by who has seen it, or says that it does not matter.
func mayChange(a *Authority, name, match string, create bool) error {
	switch {
	case a == nil && create && match == "":
		return nil
	case a == nil && create:
		return causeway.Errorf(CodePrecondition, "dps", "the service has no certificate %q, and If-Match asks for one", clip(name))
	case a == nil:
		return noAuthority(name)
	case match == "":
		return causeway.Errorf(CodePrecondition, "dps", "the certificate %q is there: send If-Match with its etag, or * to change it in any case", a.Name)
	case match != "*" && match != a.ETag:
		return causeway.Errorf(CodePrecondition, "dps", "the certificate %q has changed since it was read; read it again", a.Name)
	}
	return nil
}
