package auth

import (
	"crypto/sha1" //nolint:gosec // thumbprints of the registry are SHA-1 as well as SHA-256
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// MaxChain bounds how many certificates of a presented chain are looked at.
const MaxChain = 8

// byCertificate decides about the chain of certificates presented in the TLS
// handshake, which has proved that the client holds the key of the first.
func byCertificate(now time.Time, chain []*x509.Certificate, s Subject, r Realm) (causeway.AuthMethod, error) {
	m := causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "x509"}
	if s.ID.IsModule() {
		m.Scope = causeway.ScopeModule
	}
	leaf := chain[0]
	switch s.Type {
	case SelfSigned:
		// Not its dates: the thumbprint pins the very certificate, and a device
		// in the field may have no way to get another.
		if !hasThumbprint(leaf, s.PrimaryThumb, s.SecondThumb) {
			return causeway.AuthMethod{}, fmt.Errorf("%w: its thumbprint is not registered", ErrCertificate)
		}
		return m, nil
	case CA:
		root, err := verifyChain(now, chain, r.Roots)
		if err != nil {
			return causeway.AuthMethod{}, err
		}
		if cn := leaf.Subject.CommonName; cn != s.ID.String() {
			return causeway.AuthMethod{}, fmt.Errorf("%w: its common name is %q", ErrCertificate, cn)
		}
		m.Expires, m.Grounds = leaf.NotAfter, groundsOfAuthority(root)
		return m, nil
	}
	return causeway.AuthMethod{}, fmt.Errorf("%w: a certificate, registered is %q", ErrMethod, s.Type)
}

// verifyChain checks that the chain leads to one of roots, which it returns, and
// is valid now.
func verifyChain(now time.Time, chain []*x509.Certificate, roots *x509.CertPool) (root *x509.Certificate, err error) {
	if roots == nil {
		return nil, fmt.Errorf("%w: the hub has no verified authority", ErrCertificate)
	}
	if len(chain) > MaxChain {
		return nil, fmt.Errorf("%w: %d certificates presented, at most %d are accepted", ErrCertificate, len(chain), MaxChain)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	found, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   now,
		// Device makers set any extended key usage, or none.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return found[0][len(found[0])-1], nil
}

// hasThumbprint reports whether one of the registered thumbprints, hexadecimal
// SHA-1 or SHA-256 in either case, is that of c.
func hasThumbprint(c *x509.Certificate, primary, secondary string) bool {
	short, long := sha1.Sum(c.Raw), sha256.Sum256(c.Raw) //nolint:gosec // see above
	found := 0
	for _, registered := range [...]string{primary, secondary} {
		want, err := hex.DecodeString(thumbprintText.Replace(registered))
		if err != nil {
			continue
		}
		// Lengths differ between the two, and an empty one matches neither.
		found |= subtle.ConstantTimeCompare(want, short[:]) | subtle.ConstantTimeCompare(want, long[:])
	}
	return found == 1
}

// thumbprintText removes what tools put between the bytes of a thumbprint.
var thumbprintText = strings.NewReplacer(":", "", " ", "")
