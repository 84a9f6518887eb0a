package attestation

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // enrollments show thumbprints of both kinds
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

const (
	// MaxChain bounds how many certificates of a presented chain are looked at.
	MaxChain = 8
	// MaxCertificate bounds the text of a certificate in an enrollment, in bytes.
	MaxCertificate = 16 << 10
	// MaxDER and MaxKeyBits bound the certificates of a presented chain, in bytes and
	// in bits of an RSA key: to check others takes anybody's word for a lot of work.
	MaxDER     = 16 << 10
	MaxKeyBits = 8192
	// ClockSkew is how far the clocks of devices and of who issues certificates
	// may differ from ours.
	ClockSkew = 5 * time.Minute
)

// ParseCertificate reads a certificate as clients put it into an enrollment: PEM,
// with or without its first and last lines and its line breaks, or base64 of DER.
func ParseCertificate(text string) (*x509.Certificate, error) {
	if len(text) > MaxCertificate {
		return nil, fmt.Errorf("the certificate has %d bytes, more than %d", len(text), MaxCertificate)
	}
	var der []byte
	if block, rest := pem.Decode([]byte(text)); block != nil {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("the PEM block is a %q and no certificate", block.Type)
		}
		if next, _ := pem.Decode(rest); next != nil {
			return nil, fmt.Errorf("there is more than one PEM block; give the one certificate that counts")
		}
		der = block.Bytes
	} else {
		body := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(text)
		var err error
		if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), "")); err != nil {
			return nil, fmt.Errorf("the certificate is neither PEM nor base64: %w", err)
		}
		if block, _ := pem.Decode(der); block != nil && block.Type == "CERTIFICATE" {
			der = block.Bytes // some tools put base64 around PEM
		}
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	return c, nil
}

// Info describes a certificate as registrations and enrollments show it.
type Info struct {
	SubjectName      string    `json:"subjectName"`
	SHA1Thumbprint   string    `json:"sha1Thumbprint"`   // hexadecimal, upper case
	SHA256Thumbprint string    `json:"sha256Thumbprint"` // hexadecimal, upper case
	IssuerName       string    `json:"issuerName"`
	NotBeforeUTC     time.Time `json:"notBeforeUtc"`
	NotAfterUTC      time.Time `json:"notAfterUtc"`
	SerialNumber     string    `json:"serialNumber"` // hexadecimal, upper case
	Version          int       `json:"version"`
}

// InfoOf describes c.
func InfoOf(c *x509.Certificate) Info {
	short, long := sha1.Sum(c.Raw), sha256.Sum256(c.Raw) //nolint:gosec // see above
	serial := strings.ToUpper(c.SerialNumber.Text(16))
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	return Info{
		SubjectName: c.Subject.String(), IssuerName: c.Issuer.String(),
		SHA1Thumbprint:   strings.ToUpper(hex.EncodeToString(short[:])),
		SHA256Thumbprint: strings.ToUpper(hex.EncodeToString(long[:])),
		NotBeforeUTC:     c.NotBefore.UTC(), NotAfterUTC: c.NotAfter.UTC(),
		SerialNumber: serial, Version: c.Version,
	}
}

// Leaf checks that a presented chain begins with one of the certificates that an
// enrollment pins, and that it is valid now and for this registration id. Its
// issuer does not matter.
func Leaf(now time.Time, chain []*x509.Certificate, id string, pinned ...*x509.Certificate) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: none was presented", ErrCertificate)
	}
	leaf := chain[0]
	found := false
	for _, p := range pinned {
		found = found || p != nil && bytes.Equal(p.Raw, leaf.Raw)
	}
	if !found {
		return fmt.Errorf("%w: it is not the one of the enrollment", ErrCertificate)
	}
	if err := inTime(now, leaf); err != nil {
		return err
	}
	return commonName(leaf, id)
}

// Issued checks that a presented chain leads to one of the certificates with which
// an enrollment signs, an intermediate or a root, and that all between are
// valid now and may sign. It returns how far above the leaf that certificate is:
// of several enrollments the nearest counts.
func Issued(now time.Time, chain []*x509.Certificate, id string, signing ...*x509.Certificate) (distance int, err error) {
	if len(chain) == 0 {
		return 0, fmt.Errorf("%w: none was presented", ErrCertificate)
	}
	if len(chain) > MaxChain {
		return 0, fmt.Errorf("%w: %d certificates presented, at most %d are accepted", ErrCertificate, len(chain), MaxChain)
	}
	for k, c := range chain {
		if err := modest(c); err != nil {
			return 0, fmt.Errorf("certificate %d of the chain: %w", k+1, err)
		}
	}
	if err := commonName(chain[0], id); err != nil {
		return 0, err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	anchors := 0
	for _, s := range signing {
		if s == nil {
			continue
		}
		if err := inTime(now, s); err != nil {
			continue
		}
		roots.AddCert(s)
		anchors++
	}
	if anchors == 0 {
		return 0, fmt.Errorf("%w: the enrollment has no signing certificate that is valid now", ErrCertificate)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	leaf := chain[0]
	if err := inTime(now, leaf); err != nil {
		return 0, err
	}
	found, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: clamp(now, leaf),
		// Device makers set any extended key usage, or none.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	distance = len(found[0])
	for _, f := range found {
		distance = min(distance, len(f)-1)
	}
	if distance == 0 {
		// A signing certificate that is itself presented as the leaf proves that
		// somebody has its key, but is no device.
		return 0, fmt.Errorf("%w: it is the signing certificate itself", ErrCertificate)
	}
	return distance, nil
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
