package dps

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/causeway-iot/causeway"
)

// PutRevocationList takes over a revocation list (CRL) of an authority, PEM or
// DER, in place of the one before. It must be complete: one that says less than all that
// the authority has revoked would give back what it does not name. Codes: CodeNotFound,
// CodeInvalid, CodeConflict (it is older than the one there), CodeTooMany.
func (s *Service) PutRevocationList(ctx context.Context, service, authority string, crl []byte) (Authority, error) {
	if len(crl) > MaxRevocationList {
		return Authority{}, invalid("the revocation list has %d bytes, at most %d are accepted", len(crl), MaxRevocationList)
	}
	if b, _ := pem.Decode(crl); b != nil {
		if b.Type != "X509 CRL" {
			return Authority{}, invalid("the PEM block is a %q and no revocation list (X509 CRL)", clip(b.Type))
		}
		crl = b.Bytes
	}
	list, err := x509.ParseRevocationList(crl)
	if err != nil {
		return Authority{}, invalid("the revocation list cannot be read: %v", err)
	}
	if err := complete(list); err != nil {
		return Authority{}, err
	}
	t := s.current.Load().byName[service]
	if t == nil {
		return Authority{}, noService(service)
	}
	ca, err := t.authorityCertificate(authority)
	if err != nil {
		return Authority{}, err
	}
	if err := list.CheckSignatureFrom(ca); err != nil {
		return Authority{}, invalid("the revocation list is not signed by %q: %v", authority, err)
	}
	s.revoking.Lock()
	defer s.revoking.Unlock()
	ctx = context.WithoutCancel(ctx) // see Revoke
	now, issuer := time.Now().UTC(), issuerID(ca)
	revocations := make([]Revocation, 0, len(list.RevokedCertificateEntries))
	for i := range list.RevokedCertificateEntries {
		e := &list.RevokedCertificateEntries[i]
		if e.ReasonCode == removeFromCRL {
			continue
		}
		serial := serialOf(e.SerialNumber)
		revocations = append(revocations, Revocation{
			ID: revocationID(issuer, serial), Authority: t.find(authority).Name, Issuer: issuer, Serial: serial,
			Reason: reasonName(e.ReasonCode), Listed: true, At: e.RevocationTime.UTC(),
		})
	}
	if n := s.revocations.count(service) + len(revocations); n > MaxRevocations {
		return Authority{}, tooManyRevocations(n)
	}
	var a Authority
	err = s.changeAuthorities(ctx, service, func(i *Instance) error {
		old := i.find(authority)
		if old == nil || string(old.DER) != string(ca.Raw) {
			return causeway.Errorf(CodePrecondition, "dps", "the certificate %q has changed meanwhile; try again", clip(authority))
		}
		if err := old.List.precedes(list); err != nil {
			return err
		}
		// First what counts: interrupted here, the list may be given again.
		if err := s.store.PutRevocations(ctx, service, old.Name, revocations); err != nil {
			return fmt.Errorf("store revocation list: %w", err)
		}
		old.List = RevocationList{Issued: list.ThisUpdate.UTC(), Next: list.NextUpdate.UTC(), Number: numberOf(list), Entries: len(revocations)}
		old.ETag, old.Updated = newETag(), now
		a = *old
		return nil
	})
	if err != nil {
		return Authority{}, err
	}
	s.log.Info("revocation list taken over", "service", service, "authority", a.Name, "entries", a.List.Entries)
	return a, s.loadRevocations(ctx, service)
}

// The extensions that say that a list is not complete (RFC 5280 §5.2.4, §5.2.5, §5.3.3).
var (
	oidDelta  = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidScope  = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidIssuer = asn1.ObjectIdentifier{2, 5, 29, 29} // of an entry
	oidReason = asn1.ObjectIdentifier{2, 5, 29, 21}
)

// complete checks that a list names all that its issuer has revoked, and nothing of
// others.
func complete(list *x509.RevocationList) error {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return invalid("the revocation list is a delta, which has only what was changed since another one: give the complete one")
		case e.Id.Equal(oidScope):
			if !wholeScope(e.Value) {
				return invalid("the revocation list is one of several (issuingDistributionPoint), each for some certificates or reasons: give one for all")
			}
		case e.Critical:
			return invalid("the revocation list has the critical extension %s, which is not known here", e.Id)
		}
	}
	for k := range list.RevokedCertificateEntries {
		for _, e := range list.RevokedCertificateEntries[k].Extensions {
			if e.Id.Equal(oidIssuer) || e.Critical && !e.Id.Equal(oidReason) {
				return invalid("the revocation list has an entry with the extension %s, which is not known here: give the list of the one authority", e.Id)
			}
		}
	}
	return nil
}

// wholeScope reports whether an issuing distribution point only says where the list is
// had, and leaves out nothing.
func wholeScope(value []byte) bool {
	var all asn1.RawValue
	if rest, err := asn1.Unmarshal(value, &all); err != nil || len(rest) > 0 || all.Tag != asn1.TagSequence {
		return false
	}
	for left := all.Bytes; len(left) > 0; {
		var member asn1.RawValue
		var err error
		if left, err = asn1.Unmarshal(left, &member); err != nil {
			return false
		}
		no := len(member.Bytes) == 1 && member.Bytes[0] == 0 // a flag that is not set
		if member.Tag != 0 && !no {
			return false
		}
	}
	return true
}

// precedes checks that a list may follow the one that is there. Numbers only go up
// (RFC 5280 §5.2.3), whatever the clock of the authority does; where there are none, or
// the same, the dates tell.
func (l *RevocationList) precedes(list *x509.RevocationList) error {
	if was, ok := new(big.Int).SetString(l.Number, 10); ok && list.Number != nil {
		if d := list.Number.Cmp(was); d > 0 {
			return nil
		} else if d < 0 {
			return causeway.Errorf(CodeConflict, "dps", "the revocation list has the number %s, it is older than number %s that is there", clip(list.Number.String()), clip(l.Number))
		}
	}
	if l.Issued.After(list.ThisUpdate) {
		return causeway.Errorf(CodeConflict, "dps", "the revocation list of %s is older than the one of %s that is there",
			list.ThisUpdate.UTC().Format(time.RFC3339), l.Issued.Format(time.RFC3339))
	}
	return nil
}

// numberOf returns the number of a list in decimal, "" for none.
func numberOf(list *x509.RevocationList) string {
	if list.Number == nil {
		return ""
	}
	return list.Number.String()
}

// removeFromCRL is the reason of an entry that is no longer revoked.
const removeFromCRL = 8

// reasonName names a reason of a revocation list (RFC 5280 §5.3.1).
func reasonName(code int) string {
	names := [...]string{
		"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", "certificateHold", "",
		"removeFromCRL", "privilegeWithdrawn", "aACompromise",
	}
	if code < 0 || code >= len(names) {
		return ""
	}
	return names[code]
}
