package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxRequest bounds a certificate request, in bytes. That of the largest key that
// is accepted has about 2.5 KiB.
const MaxRequest = 8 << 10

// Request is a certificate request (PKCS #10) whose signature is right and that
// asks for nothing but a certificate of a client.
type Request struct {
	*x509.CertificateRequest
	KeyType string // see [KeyType]
}

// Object identifiers of extensions (RFC 5280 §4.2.1).
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAltName          = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// ParseRequest reads a certificate request, DER, and checks it: its size, its
// signature, the strength of its key, and that it does not ask for the rights of
// an authority. Names other than the common name may be the common name again; a
// request for any others is refused. The usage that it asks for does not matter:
// who issues decides it.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > MaxRequest {
		return nil, fmt.Errorf("the certificate request has %d bytes, at most %d are accepted", len(der), MaxRequest)
	}
	c, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate request is no PKCS #10: %w", err)
	}
	r := &Request{CertificateRequest: c}
	if r.KeyType, err = KeyType(c.PublicKey); err != nil {
		return nil, fmt.Errorf("the certificate request has %w", err)
	}
	if weak(c.SignatureAlgorithm) {
		return nil, fmt.Errorf("the certificate request is signed with %s; sign it with SHA-256 or better", c.SignatureAlgorithm)
	}
	if err := c.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed with its own key: %w", err)
	}
	if c.Subject.CommonName == "" {
		return nil, errors.New("the certificate request has no common name (CN); give the registration id")
	}
	return r, r.extensions()
}

// extensions checks what is asked for beside the subject.
func (r *Request) extensions() error {
	for _, e := range r.Extensions {
		switch {
		case e.Id.Equal(oidKeyUsage):
			var usage asn1.BitString
			if rest, err := asn1.Unmarshal(e.Value, &usage); err != nil || len(rest) > 0 {
				return errors.New("the keyUsage of the certificate request cannot be read")
			}
			// keyCertSign and cRLSign (RFC 5280 §4.2.1.3).
			if usage.At(5) == 1 || usage.At(6) == 1 {
				return errors.New("the certificate request asks for the right to sign certificates (keyUsage); ask for digitalSignature")
			}
		case e.Id.Equal(oidBasicConstraints):
			var is struct {
				CA  bool `asn1:"optional"`
				Len int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &is); err != nil || len(rest) > 0 {
				return errors.New("the basicConstraints of the certificate request cannot be read")
			}
			if is.CA {
				return errors.New("the certificate request asks to be an authority (basicConstraints CA:TRUE); leave that out")
			}
		case e.Id.Equal(oidNameConstraints):
			return errors.New("the certificate request has nameConstraints, which are of authorities; leave them out")
		case e.Critical && !e.Id.Equal(oidAltName):
			if !slices.ContainsFunc([]asn1.ObjectIdentifier{{2, 5, 29, 14}, {2, 5, 29, 37}}, e.Id.Equal) { // key identifier, extended usage
				return fmt.Errorf("the certificate request has the critical extension %s, which cannot be honoured here", e.Id)
			}
		}
	}
	for _, n := range r.DNSNames {
		if !strings.EqualFold(n, r.Subject.CommonName) {
			return fmt.Errorf("the certificate request asks for the name %q, which is not its common name; leave subjectAltName out", clip(n))
		}
	}
	if len(r.EmailAddresses)+len(r.IPAddresses)+len(r.URIs) > 0 {
		return errors.New("the certificate request asks for addresses in subjectAltName; leave it out")
	}
	return nil
}

// SameKey reports whether two public keys, as they stand in a request and in a
// certificate, are the same.
func (r *Request) SameKey(c *x509.Certificate) bool {
	return bytes.Equal(r.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo)
}

// weak reports whether signatures of that kind can be forged, or are not known.
func weak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return false
	}
	return true
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
