package dps

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // thumbprints of both kinds are in use
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// revocations is what is revoked, by services. All of it is in memory: each chain
// that a device presents is looked up.
type revocations struct {
	mu sync.RWMutex
	by map[string]map[string]bool // ids, by service; true for those of lists
}

// revocationID is what a certificate is found by: its issuer's key, since two
// authorities of the same name may give the same number, and its number.
func revocationID(issuer, serial string) string { return issuer + "-" + serial }

func issuerID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

func serialOf(n *big.Int) string { return strings.ToUpper(n.Text(16)) }

// has reports whether c is revoked.
func (r *revocations) has(service string, c, issuer *x509.Certificate) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ids := r.by[service]
	if len(ids) == 0 {
		return false
	}
	long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw) //nolint:gosec // see above
	for _, id := range [...]string{hex.EncodeToString(long[:]), hex.EncodeToString(short[:])} {
		if _, ok := ids[id]; ok {
			return true
		}
	}
	if issuer == nil {
		return false
	}
	_, ok := ids[revocationID(issuerID(issuer), serialOf(c.SerialNumber))]
	return ok
}

// count returns how many revocations a service has.
func (r *revocations) count(service string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.by[service])
}

// set replaces what is known of a service.
func (r *revocations) set(service string, ids map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]map[string]bool{}
	}
	r.by[service] = ids
}

// revoked returns the list that certificates of a service are looked up in. The
// issuer of one that counts for its own sake is looked for among the authorities.
func (s *Service) revoked(t *tenant) attestation.Revoked {
	return func(c, issuer *x509.Certificate) bool {
		if issuer == nil && s.revocations.count(t.Name) > 0 {
			issuer = t.issuerOf(c)
		}
		return s.revocations.has(t.Name, c, issuer)
	}
}

// issuerOf returns the authority that has issued a certificate, or nil.
func (i *Instance) issuerOf(c *x509.Certificate) *x509.Certificate {
	for k := range i.Authorities {
		a, err := i.Authorities[k].Certificate()
		if err == nil && bytes.Equal(a.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(a) == nil {
			return a
		}
	}
	return nil
}

// loadRevocations reads what is revoked of a service.
func (s *Service) loadRevocations(ctx context.Context, service string) error {
	ids := map[string]bool{}
	for after := ""; ; {
		list, err := s.store.Revocations(ctx, service, after, MaxPage)
		if err != nil {
			return fmt.Errorf("revocations of service %s: %w", service, err)
		}
		for i := range list {
			ids[list[i].ID] = list[i].Listed
			after = list[i].ID
		}
		if len(list) < MaxPage {
			s.revocations.set(service, ids)
			return nil
		}
	}
}

// Revocations returns up to limit revocations in the order of their ids, from the
// first that is greater than after. Limit is as with Enrollments. Code:
// CodeNotFound.
func (s *Service) Revocations(ctx context.Context, service, after string, limit int) ([]Revocation, error) {
	if s.current.Load().byName[service] == nil {
		return nil, noService(service)
	}
	return s.store.Revocations(ctx, service, after, page(limit))
}

// Revoke revokes the certificate with a thumbprint, or with a serial number of an
// authority; without an authority it is one that this service issued, which its
// device then loses on its hub too. What it was revoked for may be said. Codes:
// CodeNotFound, CodeInvalid, CodeTooMany.
func (s *Service) Revoke(ctx context.Context, service string, r Revocation) (Revocation, error) {
	t := s.current.Load().byName[service]
	if t == nil {
		return Revocation{}, noService(service)
	}
	out := Revocation{Reason: r.Reason, At: time.Now().UTC()}
	var issued *Issued
	switch {
	case len(r.Reason) > MaxReason:
		return Revocation{}, invalid("reason has %d bytes, at most %d are accepted", len(r.Reason), MaxReason)
	case (r.Thumbprint == "") == (r.Serial == ""):
		return Revocation{}, invalid("give the thumbprint of the certificate, or its serial number with the authority that issued it")
	case r.Thumbprint != "":
		b, err := hexOf(r.Thumbprint)
		if err != nil || len(b) != sha1.Size && len(b) != sha256.Size {
			return Revocation{}, invalid("thumbprint %q is not one: it has 40 (SHA-1) or 64 (SHA-256) hexadecimal digits", clip(r.Thumbprint))
		}
		out.Thumbprint = hex.EncodeToString(b)
		out.ID = out.Thumbprint
	default:
		serial, err := readSerial(r.Serial)
		if err != nil {
			return Revocation{}, err
		}
		out.Serial = serial
		if r.Authority == "" {
			i, err := s.store.Issued(ctx, service, serial)
			if causeway.CodeOf(err) == CodeNotFound {
				return Revocation{}, causeway.Errorf(CodeNotFound, "dps", "this service has not issued a certificate with the serial number %s; name the authority that has", serial)
			}
			if err != nil {
				return Revocation{}, err
			}
			issued, out.Issuer = &i, i.Issuer
		} else {
			ca, err := t.authorityCertificate(r.Authority)
			if err != nil {
				return Revocation{}, err
			}
			out.Authority, out.Issuer = r.Authority, issuerID(ca)
		}
		out.ID = revocationID(out.Issuer, out.Serial)
	}
	s.revoking.Lock()
	defer s.revoking.Unlock()
	ctx = context.WithoutCancel(ctx) // what is stored must count here, whoever waits for it
	if s.revocations.count(service) >= MaxRevocations {
		return Revocation{}, tooManyRevocations(MaxRevocations + 1)
	}
	if err := s.store.PutRevocations(ctx, service, "", []Revocation{out}); err != nil {
		return Revocation{}, fmt.Errorf("store revocation: %w", err)
	}
	if err := s.loadRevocations(ctx, service); err != nil {
		return Revocation{}, err
	}
	s.log.Info("certificate revoked", "service", service, "id", out.ID, "authority", out.Authority, "reason", out.Reason)
	if issued != nil {
		// It is refused here already; its hub must not take it either.
		if _, err := s.retire(ctx, t, issued, nil); err != nil {
			return out, fmt.Errorf("take the revoked certificate from its hub: %w", err)
		}
	}
	return out, nil
}

// Unrevoke forgets a revocation. Code: CodeNotFound.
func (s *Service) Unrevoke(ctx context.Context, service, id string) error {
	if s.current.Load().byName[service] == nil {
		return noService(service)
	}
	s.revoking.Lock()
	defer s.revoking.Unlock()
	ctx = context.WithoutCancel(ctx) // see Revoke
	if err := s.store.DeleteRevocation(ctx, service, strings.TrimSpace(id)); err != nil {
		return fmt.Errorf("delete revocation %s: %w", clip(id), err)
	}
	return s.loadRevocations(ctx, service)
}

// authorityCertificate returns the certificate of that name, verified or not.
func (i *Instance) authorityCertificate(name string) (*x509.Certificate, error) {
	a := i.find(name)
	if a == nil {
		return nil, noAuthority(name)
	}
	return a.Certificate()
}

func tooManyRevocations(n int) error {
	return causeway.Errorf(CodeTooMany, "dps", "the service would have %d revocations, at most %d are kept; replace the issuing authority instead", n, MaxRevocations)
}

// hexOf reads hexadecimal digits as tools write them: with colons, spaces, 0x.
func hexOf(s string) ([]byte, error) {
	if len(s) > 256 {
		return nil, fmt.Errorf("too long")
	}
	return hex.DecodeString(strings.TrimPrefix(strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(s)), "0x"))
}

// readSerial returns a serial number in the form it is stored in.
func readSerial(s string) (string, error) {
	text := strings.TrimPrefix(strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(clip(s))), "0x")
	n, ok := new(big.Int).SetString(text, 16)
	if !ok || n.Sign() < 0 || len(text) > 80 {
		return "", invalid("serialNumber %q is not one: it has up to 80 hexadecimal digits", clip(s))
	}
	return serialOf(n), nil
}
