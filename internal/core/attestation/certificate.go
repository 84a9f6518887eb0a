package attestation

import (
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
	// MaxDER and MaxKeyBits bound certificates, in bytes and in bits of an RSA key:
	// whoever shows others has us do a lot of work.
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
	if err := modest(c); err != nil {
		return nil, err
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
