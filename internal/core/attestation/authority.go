package attestation

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

// CheckAuthority checks a certificate that is to vouch for those of devices: that
// it may sign, and that its key is worth something. It says nothing of dates. How it
// is signed itself does not matter: it is trusted for its own sake.
func CheckAuthority(c *x509.Certificate) error {
	switch {
	case len(c.Raw) > MaxDER:
		return fmt.Errorf("it has %d bytes, at most %d are accepted", len(c.Raw), MaxDER)
	case !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("it may not sign others (basicConstraints is not CA:TRUE); give that of the authority")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("it may not sign others (keyUsage lacks keyCertSign); give that of the authority")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("it has the critical extension %s, which cannot be honoured here", c.UnhandledCriticalExtensions[0])
	}
	if _, err := pki.KeyType(c.PublicKey); err != nil {
		return fmt.Errorf("it has %w", err)
	}
	return nil
}
