package dps

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// errNotRenewable is a proof other than a certificate of ours where one is to be
// renewed.
var errNotRenewable = errors.New("only a certificate that this service has issued can be renewed: show it to renew it")

// Enroll issues a certificate to a device that proves who it is, by its enrollment
// or by the certificate that it has of this service; with renew by the latter
// alone. One that is assigned connects to its hub with the new certificate from
// then on, and with the old one until that ends. It returns the chain, DER, the
// certificate of the device first. Codes: those of Register, CodeForbidden (its
// enrollment has no certificates issued, or it is too early to renew),
// CodeConflict (it is being assigned).
func (s *Service) Enroll(ctx context.Context, r causeway.Registration, renew bool) ([][]byte, error) {
	t, err := s.find(&r)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	p, err := s.prove(ctx, t, &r, now)
	switch {
	case err != nil:
		s.noteRefused(t, &r, err, now)
		return nil, err
	case renew && !p.issued:
		return nil, unauthorized(fmt.Errorf("%s: %w", r.ID, errNotRenewable))
	case p.blocked:
		return nil, causeway.Errorf(CodeForbidden, "dps", "the enrollment is disabled")
	case p.CredentialPolicy == "":
		return nil, causeway.Errorf(CodeForbidden, "dps", "the enrollment %q has no credentialPolicyName, so that no certificates are issued by it", p.Enrollment.ID)
	}
	if err := s.enter(t, LimitRegistrations, "", now); err != nil {
		return nil, err
	}
	if err := t.mayRenew(&p, now); err != nil {
		return nil, err
	}
	// Held while the hub is called: nobody but this device waits for it.
	defer s.locks.Lock(t.Name + "/" + fold(r.ID))()
	reg, err := s.registration(ctx, t.Name, r.ID)
	known := err == nil
	switch {
	case causeway.CodeOf(err) == CodeNotFound:
		reg.ID = r.ID
		if !p.Group {
			reg.ID = p.Enrollment.ID
		}
	case err != nil:
		return nil, err
	case reg.Status == Assigning:
		return nil, causeway.Errorf(CodeConflict, "dps", "the device %q is being assigned; try again when that is over", reg.ID)
	}
	chain, err := s.issue(ctx, t, p.Enrollment, reg.ID, r.CSR, now)
	if err != nil {
		return nil, err
	}
	if !known || reg.Status != Assigned {
		return chain, nil // it registers with the certificate
	}
	return chain, s.install(ctx, t, &p, &reg, chain, now)
}

// mayRenew checks that a device which proves itself by a certificate of ours may
// have the next one already.
func (t *tenant) mayRenew(p *proof, now time.Time) error {
	c := t.credential(p.CredentialPolicy)
	if c == nil || !p.issued || c.RenewBefore == 0 {
		return nil
	}
	if from := p.leaf.NotAfter.Add(-c.RenewBefore); now.Before(from) {
		return causeway.Errorf(CodeForbidden, "dps", "it is too early to renew the certificate: the credential policy %q allows it from %s on", c.Name, from.UTC().Format(time.RFC3339))
	}
	return nil
}

// install has the hub of a device take its new certificate.
func (s *Service) install(ctx context.Context, t *tenant, p *proof, reg *Registration, chain [][]byte, now time.Time) error {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("read back what was issued: %w", err)
	}
	to, err := s.oldTarget(t, reg.Hub)
	if err != nil {
		return &causeway.Error{Code: causeway.ServiceUnavailable, Op: "dps", Msg: "the hub of the device cannot be reached by this service; register again", Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, HubTimeout)
	defer cancel()
	d, there, err := to.Get(ctx, reg.DeviceID)
	if err == nil && there {
		d.Keys, d.Thumbprint, d.SecondThumbprint = attestation.Keys{}, thumbprint(leaf), s.previous(t.Name, p, reg, now)
		err = to.Put(ctx, d, false)
	}
	if err != nil {
		return &causeway.Error{Code: causeway.ServiceUnavailable, Op: "dps", Msg: "the hub of the device does not take the new certificate now; try again", Err: err}
	}
	match := reg.ETag
	reg.Issued = chain
	return s.putRegistration(ctx, t.Name, reg, match)
}
