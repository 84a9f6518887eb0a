package dps

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/tpm2"
)

// Why a device is refused, beside what package attestation says.
var (
	errNoEnrollment = errors.New("no enrollment admits it")
	errNoProof      = errors.New("neither a token nor a certificate was given")
	errOtherProof   = errors.New("proof is of another kind than the enrollment asks for")
	errOtherTPM     = errors.New("endorsement key is not the one of the enrollment")
	errUsedNonce    = errors.New("the challenge of its TPM was used for another registration")
)

// unauthorized is all that a refused device is told; the cause is for the log.
func unauthorized(cause error) error {
	return &causeway.Error{Code: CodeUnauthorized, Op: "dps", Msg: "Unauthorized", Err: cause}
}

// proof is what a device has proved.
type proof struct {
	*Enrollment                   // that admits it
	keys        attestation.Keys  // that it has, and will have on its hub
	leaf        *x509.Certificate // its certificate, or nil
	nonce       []byte            // that its TPM signed with, or nil
	srk         []byte            // that the nonce was made for
	blocked     bool              // its own enrollment is disabled, whatever its group says
	issued      bool              // leaf is one that this service has issued to it
}

// find returns the service of a registration, when its ids make sense.
func (s *Service) find(r *causeway.Registration) (*tenant, error) {
	if len(r.Scope) > MaxScope {
		return nil, causeway.Errorf(CodeScopeNotFound, "dps", "there is no id scope %q", clip(r.Scope))
	}
	t := s.current.Load().byScope[fold(r.Scope)]
	if t == nil {
		return nil, causeway.Errorf(CodeScopeNotFound, "dps", "there is no id scope %q; see the overview of the provisioning service for the right one", r.Scope)
	}
	if !ValidID(r.ID) {
		return nil, invalid("the registration id %q is not one: it has 1 to %d letters, digits and characters of . _ - :, and ends in a letter, a digit or '-'", clip(r.ID), MaxID)
	}
	return t, nil
}

// prove finds the enrollment that admits a device, by what it proves.
func (s *Service) prove(ctx context.Context, t *tenant, r *causeway.Registration, now time.Time) (proof, error) {
	own, err := s.enrollment(ctx, t.Name, false, r.ID)
	switch {
	case causeway.CodeOf(err) == CodeEnrollmentNotFound:
		own = s.decoy
	case err != nil:
		return proof{}, err
	}
	p, err := s.proveOwn(t, &own, r, now)
	if err == nil {
		return p, nil
	}
	// The groups are tried for whoever is refused: how long that takes would tell
	// who has an enrollment.
	group, gerr := s.proveGroup(t, r, now)
	switch {
	case own.ID == "":
		if gerr == nil {
			return group, nil
		}
		return s.proveIssued(ctx, t, nil, r, now, gerr)
	case own.Disabled && gerr == nil:
		// An enrollment that is there to block one device of a group need not
		// know its keys.
		group.blocked = true
		return group, nil
	}
	return s.proveIssued(ctx, t, &own, r, now, err)
}

// refuse answers a device that has not proved who it is. That somebody uses a
// certificate that was revoked is for an operator to know.
func (s *Service) refuse(t *tenant, r *causeway.Registration, cause error) error {
	if errors.Is(cause, attestation.ErrRevoked) {
		s.log.Warn("a device was refused that has a revoked certificate", "service", t.Name, "registration", r.ID, "remote", r.Credential.RemoteAddr, "error", cause)
	}
	return unauthorized(fmt.Errorf("%s: %w", r.ID, cause))
}

// proveOwn checks what a device that has an enrollment of its own gives.
func (s *Service) proveOwn(t *tenant, e *Enrollment, r *causeway.Registration, now time.Time) (proof, error) {
	p := proof{Enrollment: e, blocked: e.Disabled}
	chain := r.Credential.Certificates
	if e.Attestation.Kind == X509 {
		if len(chain) == 0 {
			return p, errOtherProof
		}
		p.leaf = chain[0]
		certs := t.signing(e)
		if e.Attestation.PrimaryAuthority != "" {
			_, err := attestation.Issued(now, chain, r.ID, s.revoked(t), certs...)
			return p, err
		}
		return p, attestation.Leaf(now, chain, r.ID, s.revoked(t), certs...)
	}
	token, err := readToken(t, r, now)
	if err != nil {
		return p, err
	}
	if e.Attestation.Kind == SymmetricKey {
		p.keys = e.Attestation.Keys
		_, err = token.SignedBy(p.keys)
		return p, err
	}
	for _, c := range s.nonces.of(t.Name+"/"+fold(r.ID), now) {
		if token.SignedByRaw(c.key) == nil {
			p.nonce, p.srk = c.key, c.srk
			return p, nil
		}
	}
	return p, attestation.ErrSignature
}

// proveGroup tries the groups: of those that a key is derived from any, of those
// that have signed a certificate the nearest.
func (s *Service) proveGroup(t *tenant, r *causeway.Registration, now time.Time) (proof, error) {
	if chain := r.Credential.Certificates; len(chain) > 0 && r.Credential.Token == "" {
		var best proof
		nearest, last := attestation.MaxChain+1, errNoEnrollment
		for k := range t.groups {
			g := &t.groups[k]
			if g.Attestation.Kind != X509 {
				continue
			}
			distance, err := attestation.Issued(now, chain, r.ID, s.revoked(t), g.signing...)
			if err != nil {
				if !errors.Is(err, attestation.ErrIssuer) || errors.Is(last, errNoEnrollment) {
					last = err
				}
			} else if distance < nearest {
				nearest, best = distance, proof{Enrollment: &g.Enrollment, leaf: chain[0], blocked: g.Disabled}
			}
		}
		if best.Enrollment == nil {
			return proof{}, last
		}
		return best, nil
	}
	token, err := readToken(t, r, now)
	if err != nil {
		return proof{}, err
	}
	err = errNoEnrollment
	for k := range t.groups {
		g := &t.groups[k]
		if g.Attestation.Kind != SymmetricKey {
			continue
		}
		keys, e := token.SignedByGroup(g.Attestation.Keys, r.ID)
		if e == nil {
			return proof{Enrollment: &g.Enrollment, keys: keys, blocked: g.Disabled}, nil
		}
		err = e
	}
	return proof{}, err
}

func readToken(t *tenant, r *causeway.Registration, now time.Time) (attestation.Token, error) {
	if r.Credential.Token == "" {
		if len(r.Credential.Certificates) > 0 {
			return attestation.Token{}, errOtherProof
		}
		return attestation.Token{}, errNoProof
	}
	return attestation.ParseToken(now, r.Credential.Token, t.IDScope, r.ID)
}

// newDecoy returns an enrollment that admits nobody. It is checked in the place of
// one that is not there, so that both take as long.
func newDecoy() Enrollment {
	return Enrollment{Attestation: Attestation{Kind: SymmetricKey, Keys: attestation.Keys{Primary: newKey(), Secondary: newKey()}}}
}

// Challenge implements [causeway.Provisioner]. A device whose enrollment is of
// another kind, or that has none, is refused as any other.
func (s *Service) Challenge(ctx context.Context, r causeway.Registration) (causeway.TPMChallenge, error) {
	t, err := s.find(&r)
	if err != nil {
		return causeway.TPMChallenge{}, err
	}
	// What is no key is told before anybody is looked for: who asks with one must
	// not learn who has an enrollment.
	given, srk, err := givenKeys(&r)
	if err != nil {
		return causeway.TPMChallenge{}, err
	}
	e, err := s.enrollment(ctx, t.Name, false, r.ID)
	switch {
	case causeway.CodeOf(err) == CodeEnrollmentNotFound:
		return causeway.TPMChallenge{}, unauthorized(fmt.Errorf("%s: %w", r.ID, errNoEnrollment))
	case err != nil:
		return causeway.TPMChallenge{}, err
	case e.Attestation.Kind != TPM:
		return causeway.TPMChallenge{}, unauthorized(fmt.Errorf("%s: %w", r.ID, errOtherProof))
	}
	ek, err := enrolled(&e, &r, given)
	if err != nil {
		return causeway.TPMChallenge{}, err
	}
	key := random(nonceBytes)
	blob, err := tpm2.Activation(ek, srk, key, []byte(t.IDScope+"/registrations/"+r.ID))
	if err != nil {
		return causeway.TPMChallenge{}, invalid("tpm: %v", err)
	}
	if !s.nonces.add(t.Name+"/"+fold(r.ID), key, srk.Bytes(), time.Now()) {
		return causeway.TPMChallenge{}, busy(busyPause, "too many TPMs are being challenged; try again in a while")
	}
	return causeway.TPMChallenge{AuthenticationKey: blob, KeyName: "registration"}, nil
}

// nonceBytes is the size of the keys that TPMs are given.
const nonceBytes = 32

// tpmKeys returns the public keys of a device's TPM. The endorsement key must be
// the one of the enrollment; the storage root key is the device's business. Some
// clients give them with their first request alone, for the challenge.
func tpmKeys(p *proof, r *causeway.Registration) (ek, srk *tpm2.Public, err error) {
	if len(r.EndorsementKey)+len(r.StorageRootKey) == 0 {
		again := *r
		again.EndorsementKey, again.StorageRootKey = p.Attestation.EndorsementKey, p.srk
		r = &again
	}
	given, srk, err := givenKeys(r)
	if err != nil {
		return nil, nil, err
	}
	ek, err = enrolled(p.Enrollment, r, given)
	return ek, srk, err
}

// givenKeys reads the keys that a device gives.
func givenKeys(r *causeway.Registration) (ek, srk *tpm2.Public, err error) {
	if ek, err = tpm2.ParsePublic(r.EndorsementKey); err != nil {
		return nil, nil, invalid("tpm.endorsementKey: %v", err)
	}
	if srk, err = tpm2.ParsePublic(r.StorageRootKey); err != nil {
		return nil, nil, invalid("tpm.storageRootKey: %v", err)
	}
	return ek, srk, nil
}

// enrolled returns the endorsement key of an enrollment, when it is the given one.
func enrolled(e *Enrollment, r *causeway.Registration, given *tpm2.Public) (*tpm2.Public, error) {
	ek, err := tpm2.ParsePublic(e.Attestation.EndorsementKey)
	if err != nil {
		return nil, fmt.Errorf("endorsement key of enrollment %s: %w", e.ID, err)
	}
	if !ek.Equal(given) {
		return nil, unauthorized(fmt.Errorf("%s: %w", r.ID, errOtherTPM))
	}
	return ek, nil
}
