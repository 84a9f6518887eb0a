package dps

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// errNotIssued is a certificate that has the number of one of ours.
var errNotIssued = errors.New("the certificate was not issued to it by this service")

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// issue issues a certificate to the device with a registration id that e admits,
// and notes it durably. The chain is what the device gets.
func (s *Service) issue(ctx context.Context, t *tenant, e *Enrollment, id string, csr []byte, now time.Time) (chain [][]byte, err error) {
	if e.CredentialPolicy == "" {
		return nil, invalid("csr: the enrollment %q has no credentialPolicyName, so that no certificates are issued by it", e.ID)
	}
	p := t.credential(e.CredentialPolicy)
	if p == nil {
		return nil, invalid("csr: the credential policy %q of the enrollment %q does not exist", clip(e.CredentialPolicy), e.ID)
	}
	r, err := pki.ParseRequest(csr)
	if err != nil {
		return nil, invalid("csr: %v", err)
	}
	if !strings.EqualFold(r.Subject.CommonName, id) {
		return nil, invalid("csr: the common name of the certificate request is %q, it must be the registration id", clip(r.Subject.CommonName))
	}
	if len(p.KeyTypes) > 0 && !slices.Contains(p.KeyTypes, r.KeyType) {
		return nil, invalid("csr: the key is %s; the credential policy %q accepts %s", r.KeyType, p.Name, strings.Join(p.KeyTypes, ", "))
	}
	ca, issuer, err := s.issuer(ctx, t, p.Lifetime, now)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.SignClient(id, r.PublicKey, p.Lifetime)
	if err != nil {
		return nil, err
	}
	note := Issued{
		Serial: serialOf(leaf.SerialNumber), Issuer: issuerID(ca.Certificate()), Thumbprint: thumbprint(leaf), Registration: id,
		Policy: p.Name, Created: now, NotAfter: leaf.NotAfter.UTC(),
	}
	if e.Group {
		note.Group = e.ID
	}
	if err := s.dropOldest(ctx, t.Name, id); err != nil {
		return nil, err
	}
	if err := s.store.PutIssued(ctx, t.Name, note); err != nil {
		return nil, fmt.Errorf("note the certificate issued to %s: %w", id, err)
	}
	s.log.Info("certificate issued", "service", t.Name, "registration", id, "policy", p.Name, "serial", note.Serial, "ends", note.NotAfter)
	return append([][]byte{leaf.Raw}, issuer.Chain...), nil
}

// dropOldest makes room for one more certificate of a device: those that count are
// the last few.
func (s *Service) dropOldest(ctx context.Context, service, id string) error {
	list, err := s.store.IssuedTo(ctx, service, id, "", MaxPage)
	if err != nil {
		return fmt.Errorf("certificates issued to %s: %w", id, err)
	}
	if len(list) < MaxIssued {
		return nil
	}
	slices.SortFunc(list, func(a, b Issued) int { return a.Created.Compare(b.Created) })
	var serials []string
	for _, i := range list[:len(list)-MaxIssued+1] {
		serials = append(serials, i.Serial)
	}
	if err := s.store.DeleteIssued(ctx, service, serials...); err != nil {
		return fmt.Errorf("forget certificates issued to %s: %w", id, err)
	}
	return nil
}

// issueFor issues what a registration asks for: the device will connect to its hub
// with that, and with the one that it had from us as long as that lasts.
func (s *Service) issueFor(ctx context.Context, t *tenant, p *proof, r *causeway.Registration, reg *Registration, n *Pending, now time.Time) error {
	if err := t.mayRenew(p, now); err != nil {
		return err
	}
	chain, err := s.issue(ctx, t, p.Enrollment, reg.ID, r.CSR, now)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("read back what was issued: %w", err)
	}
	n.Issued, n.Thumbprint, n.SecondThumbprint = chain, thumbprint(leaf), s.previous(t.Name, p, reg, now)
	n.Keys = attestation.Keys{}
	return nil
}

// previous returns the thumbprint of the certificate of ours that a device had, ""
// when it has ended or is revoked.
func (s *Service) previous(service string, p *proof, reg *Registration, now time.Time) string {
	old := p.leaf
	if !p.issued {
		if old = nil; len(reg.Issued) > 0 {
			old, _ = x509.ParseCertificate(reg.Issued[0]) // what cannot be read is not carried on
		}
	}
	if old == nil || !now.Before(old.NotAfter) {
		return ""
	}
	var issuer *x509.Certificate
	if len(reg.Issued) > 1 {
		issuer, _ = x509.ParseCertificate(reg.Issued[1])
	}
	if s.revocations.has(service, old, issuer) {
		return ""
	}
	return thumbprint(old)
}

// proveIssued admits a device, which was refused otherwise for a cause, by a
// certificate that this service has issued to it, as long as the enrollment that it
// came by has certificates issued. Own is the enrollment of the device alone, if it
// has one.
func (s *Service) proveIssued(ctx context.Context, t *tenant, own *Enrollment, r *causeway.Registration, now time.Time, cause error) (proof, error) {
	chain := r.Credential.Certificates
	if len(chain) == 0 || r.Credential.Token != "" || len(t.anchors) == 0 || attestation.Bounded(chain) != nil {
		return proof{}, s.refuse(t, r, cause)
	}
	note, err := s.store.Issued(ctx, t.Name, serialOf(chain[0].SerialNumber))
	switch {
	case causeway.CodeOf(err) == CodeNotFound:
		return proof{}, s.refuse(t, r, cause)
	case err != nil:
		return proof{}, fmt.Errorf("look for a certificate that was issued: %w", err)
	case note.Thumbprint != thumbprint(chain[0]) || fold(note.Registration) != fold(r.ID):
		return proof{}, s.refuse(t, r, errors.Join(cause, errNotIssued))
	}
	if _, err := attestation.Issued(now, chain, r.ID, s.revoked(t), t.anchors...); err != nil {
		return proof{}, s.refuse(t, r, errors.Join(cause, err))
	}
	e := own
	if e == nil {
		e = t.group(note.Group)
	}
	if e == nil || e.CredentialPolicy == "" {
		return proof{}, s.refuse(t, r, cause)
	}
	return proof{Enrollment: e, leaf: chain[0], blocked: e.Disabled, issued: true}, nil
}

// group returns the enrollment group of that id, or nil.
func (t *tenant) group(id string) *Enrollment {
	for k := range t.groups {
		if strings.EqualFold(t.groups[k].ID, id) {
			return &t.groups[k].Enrollment
		}
	}
	return nil
}

// errAway is a hub that is known not to answer.
var errAway = errors.New("the hub does not answer")

// retire takes a certificate that was issued from the hub of its device, unless the
// hub is one of those away. A device that has no other left gets keys that nobody
// knows: it is to register anew. A hub that is no longer linked is nobody's business.
func (s *Service) retire(ctx context.Context, t *tenant, i *Issued, away map[string]bool) (hub string, err error) {
	defer s.locks.Lock(t.Name + "/" + fold(i.Registration))()
	reg, err := s.registration(ctx, t.Name, i.Registration)
	if causeway.CodeOf(err) == CodeNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	link, linked := t.Link(reg.Hub)
	switch {
	case reg.DeviceID == "" || !linked:
		return "", nil
	case away[reg.Hub]:
		return reg.Hub, errAway
	}
	to, err := s.targets.Target(link)
	if err != nil {
		return reg.Hub, err
	}
	ctx, cancel := context.WithTimeout(ctx, HubTimeout)
	defer cancel()
	d, there, err := to.Get(ctx, reg.DeviceID)
	if err != nil || !there {
		return reg.Hub, err
	}
	switch {
	case strings.EqualFold(d.SecondThumbprint, i.Thumbprint):
		d.SecondThumbprint = ""
	case strings.EqualFold(d.Thumbprint, i.Thumbprint):
		d.Thumbprint, d.SecondThumbprint = d.SecondThumbprint, ""
	default:
		return reg.Hub, nil
	}
	if d.Keys = (attestation.Keys{}); d.Thumbprint == "" {
		d.Keys = attestation.Keys{Primary: newKey(), Secondary: newKey()}
	}
	return reg.Hub, to.Put(ctx, d, false)
}
