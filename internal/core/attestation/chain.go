package attestation

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// Revoked reports whether a certificate is revoked. Issuer is the certificate that
// has signed it, or nil when that is not known.
type Revoked func(c, issuer *x509.Certificate) bool

// of reports whether c is revoked; without a list nothing is.
func (r Revoked) of(c, issuer *x509.Certificate) bool { return r != nil && r(c, issuer) }

// Leaf checks that a presented chain begins with one of the certificates that an
// enrollment pins, and that it is valid now, not revoked and for this registration
// id. Its issuer does not matter.
func Leaf(now time.Time, chain []*x509.Certificate, id string, revoked Revoked, pinned ...*x509.Certificate) error {
	if err := Bounded(chain); err != nil {
		return err
	}
	leaf := chain[0]
	found := false
	for _, p := range pinned {
		found = found || p != nil && bytes.Equal(p.Raw, leaf.Raw)
	}
	if !found {
		return fmt.Errorf("%w: it is not the one of the enrollment", ErrCertificate)
	}
	if revoked.of(leaf, nil) {
		return fmt.Errorf("%w: %s", ErrRevoked, named(leaf))
	}
	if err := inTime(now, leaf); err != nil {
		return err
	}
	return commonName(leaf, id)
}

// Issued checks that a presented chain leads to one of the certificates with which
// an enrollment signs, an intermediate or a root, and that all between are
// valid now, may sign and are not revoked. It returns how far above the leaf that
// certificate is: of several enrollments the nearest counts.
func Issued(now time.Time, chain []*x509.Certificate, id string, revoked Revoked, signing ...*x509.Certificate) (distance int, err error) {
	if err := Bounded(chain); err != nil {
		return 0, err
	}
	leaf := chain[0]
	if err := commonName(leaf, id); err != nil {
		return 0, err
	}
	if !mayLead(chain, signing) {
		return 0, fmt.Errorf("%w: %w", ErrCertificate, ErrIssuer)
	}
	roots, err := anchors(now, revoked, signing)
	if err != nil {
		return 0, err
	}
	if err := inTime(now, leaf); err != nil {
		return 0, err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	found, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: clamp(now, leaf),
		// Device makers set any extended key usage, or none.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	distance = -1
	var bad *x509.Certificate
	for _, f := range found {
		if c := revokedIn(f, revoked); c != nil {
			bad = c
		} else if distance < 0 || len(f)-1 < distance {
			distance = len(f) - 1
		}
	}
	switch distance {
	case -1:
		return 0, fmt.Errorf("%w: %s", ErrRevoked, named(bad))
	case 0:
		// A signing certificate that is itself presented as the leaf proves that
		// somebody has its key, but is no device.
		return 0, fmt.Errorf("%w: it is the signing certificate itself", ErrCertificate)
	}
	return distance, nil
}

// Bounded checks the size of what was presented, before it costs anything to judge
// it. Whoever may open a connection may present whatever it likes.
func Bounded(chain []*x509.Certificate) error {
	switch {
	case len(chain) == 0:
		return fmt.Errorf("%w: none was presented", ErrCertificate)
	case len(chain) > MaxChain:
		return fmt.Errorf("%w: %d certificates presented, at most %d are accepted", ErrCertificate, len(chain), MaxChain)
	}
	for k, c := range chain {
		if err := modest(c); err != nil {
			return fmt.Errorf("certificate %d of the chain: %w", k+1, err)
		}
	}
	return nil
}

// modest checks that it takes little to check a certificate.
func modest(c *x509.Certificate) error {
	if len(c.Raw) > MaxDER {
		return fmt.Errorf("%w: it has %d bytes, at most %d are accepted", ErrCertificate, len(c.Raw), MaxDER)
	}
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > MaxKeyBits {
		return fmt.Errorf("%w: its key has %d bits, at most %d are accepted", ErrCertificate, k.N.BitLen(), MaxKeyBits)
	}
	return nil
}

// anchors returns those of the signing certificates that count now.
func anchors(now time.Time, revoked Revoked, signing []*x509.Certificate) (*x509.CertPool, error) {
	roots, n := x509.NewCertPool(), 0
	cause := fmt.Errorf("%w: the enrollment has no signing certificate", ErrCertificate)
	for _, s := range signing {
		if s == nil {
			continue
		}
		if err := inTime(now, s); err != nil {
			cause = fmt.Errorf("signing certificate %q of the enrollment: %w", s.Subject, err)
			continue
		}
		if revoked.of(s, nil) {
			cause = fmt.Errorf("signing certificate of the enrollment: %w: %s", ErrRevoked, named(s))
			continue
		}
		roots.AddCert(s)
		n++
	}
	if n == 0 {
		return nil, cause
	}
	return roots, nil
}

// mayLead reports whether a certificate of the chain is, or says that it was issued
// by, one of those that sign. It is cheap, so that of many groups only few verify
// signatures.
func mayLead(chain, signing []*x509.Certificate) bool {
	if len(signing) == 0 {
		return true // which is another cause
	}
	for _, s := range signing {
		for _, c := range chain {
			if s != nil && bytes.Equal(c.RawIssuer, s.RawSubject) {
				return true
			}
		}
	}
	return false
}

// revokedIn returns the first revoked certificate of a verified chain, or nil.
func revokedIn(chain []*x509.Certificate, revoked Revoked) *x509.Certificate {
	for i, c := range chain {
		var issuer *x509.Certificate
		if i+1 < len(chain) {
			issuer = chain[i+1]
		}
		if revoked.of(c, issuer) {
			return c
		}
	}
	return nil
}

// named names a certificate for the log.
func named(c *x509.Certificate) string {
	return fmt.Sprintf("%q, serial number %X", c.Subject, c.SerialNumber)
}

// inTime checks the dates of a certificate, with some tolerance.
func inTime(now time.Time, c *x509.Certificate) error {
	switch {
	case now.Add(ClockSkew).Before(c.NotBefore):
		return fmt.Errorf("%w: it is not valid before %s", ErrCertificate, c.NotBefore.UTC().Format(time.RFC3339))
	case now.Add(-ClockSkew).After(c.NotAfter):
		return fmt.Errorf("%w: it is not valid after %s", ErrCertificate, c.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// clamp returns the time within the life of a certificate that is nearest to now:
// a leaf made a moment ago by a clock that is fast is accepted.
func clamp(now time.Time, c *x509.Certificate) time.Time {
	if now.Before(c.NotBefore) {
		return c.NotBefore
	}
	if now.After(c.NotAfter) {
		return c.NotAfter
	}
	return now
}

// commonName checks whom a certificate is for.
func commonName(c *x509.Certificate, id string) error {
	if cn := c.Subject.CommonName; !strings.EqualFold(cn, id) {
		return fmt.Errorf("%w: it is %q", ErrCommonName, cn)
	}
	return nil
}
