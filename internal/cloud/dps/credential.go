package dps

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// CredentialPolicy says which certificates a service issues to the devices of the
// enrollments that name it.
type CredentialPolicy struct {
	Name string
	// Lifetime of a certificate, MinLifetime to MaxLifetime.
	Lifetime time.Duration
	// RenewBefore is how long before its end a certificate may be renewed with
	// itself as the proof; 0 is at any time.
	RenewBefore time.Duration
	// KeyTypes are those of the keys that are accepted, as pki.KeyType names them;
	// none means all.
	KeyTypes         []string
	ETag             string
	Created, Updated time.Time
}

// keyTypes are the keys that a policy may name.
var keyTypes = [...]string{"ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"}

// PutCredentialPolicy makes a policy or replaces the one of its name; then match
// must be its etag or "*". It counts for certificates that are issued from now on.
// With the first one the service gets an authority of its own. Codes: CodeNotFound
// (of the service), CodeInvalid, CodePrecondition.
func (s *Service) PutCredentialPolicy(ctx context.Context, service string, p CredentialPolicy, match string) (CredentialPolicy, error) {
	if err := p.check(); err != nil {
		return CredentialPolicy{}, err
	}
	now := time.Now().UTC()
	p.KeyTypes, p.ETag, p.Created, p.Updated = slices.Clone(p.KeyTypes), newETag(), now, now
	_, err := s.Change(ctx, service, func(i *Instance) error {
		old := i.credential(p.Name)
		switch {
		case old == nil && match != "":
			return causeway.Errorf(CodePrecondition, "dps", "there is no credential policy %q, and If-Match asks for one", clip(p.Name))
		case old == nil && len(i.Credentials) >= MaxCredentialPolicies:
			return causeway.Errorf(CodeTooMany, "dps", "the service has %d credential policies, which is the limit", MaxCredentialPolicies)
		case old == nil:
			i.Credentials = append(i.Credentials, p)
		default:
			if err := mayReplace("credential policy", old.Name, old.ETag, match); err != nil {
				return err
			}
			p.Name, p.Created = old.Name, old.Created
			*old = p
		}
		return i.issuerFor(p.Lifetime, now)
	})
	return p, err
}

// mayReplace checks the etag that stands for having seen what is there.
func mayReplace(what, name, etag, match string) error {
	switch match {
	case "*", etag:
		return nil
	case "":
		return causeway.Errorf(CodePrecondition, "dps", "the %s %q is there: send If-Match with its etag, or * to change it in any case", what, name)
	}
	return causeway.Errorf(CodePrecondition, "dps", "the %s %q has changed since it was read; read it again", what, name)
}

// DeleteCredentialPolicy removes a policy that no enrollment refers to; match is
// its etag, or "*". Certificates that were issued by it stay valid. Codes:
// CodeNotFound, CodePrecondition, CodeConflict (which enrollment refers to it is
// said).
func (s *Service) DeleteCredentialPolicy(ctx context.Context, service, name, match string) error {
	_, err := s.Change(ctx, service, func(i *Instance) error {
		old := i.credential(name)
		if old == nil {
			return causeway.Errorf(CodeNotFound, "dps", "there is no credential policy %q", clip(name))
		}
		if err := mayReplace("credential policy", old.Name, old.ETag, match); err != nil {
			return err
		}
		if err := s.unused(ctx, service, ToCredentialPolicy, old.Name); err != nil {
			return err
		}
		i.Credentials = slices.DeleteFunc(i.Credentials, func(p CredentialPolicy) bool { return strings.EqualFold(p.Name, name) })
		return nil
	})
	return err
}

func (p *CredentialPolicy) check() error {
	switch {
	case !ValidID(p.Name):
		return invalid("%q is no name of a credential policy: it has 1 to %d letters, digits and characters of . _ - :", clip(p.Name), MaxID)
	case p.Lifetime < MinLifetime || p.Lifetime > MaxLifetime:
		return invalid("lifetime %s is not within %s and %s", p.Lifetime, MinLifetime, MaxLifetime)
	case p.RenewBefore < 0 || p.RenewBefore > p.Lifetime:
		return invalid("renewBeforeSeconds %d is not within 0 and the lifetime of %d seconds", int64(p.RenewBefore.Seconds()), int64(p.Lifetime.Seconds()))
	}
	for _, k := range p.KeyTypes {
		if !slices.Contains(keyTypes[:], k) {
			return invalid("keyTypes: %q is none of %s", clip(k), strings.Join(keyTypes[:], ", "))
		}
	}
	return nil
}

// credential returns the policy of that name, or nil.
func (i *Instance) credential(name string) *CredentialPolicy {
	for k := range i.Credentials {
		if strings.EqualFold(i.Credentials[k].Name, name) {
			return &i.Credentials[k]
		}
	}
	return nil
}
