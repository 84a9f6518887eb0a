package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// OpenCA opens an authority from its certificate, those above it up to the root,
// all DER, and its private key, PKCS #8, as [CA.Export] gives them.
func OpenCA(chain [][]byte, key []byte) (*CA, error) {
	if len(chain) == 0 {
		return nil, errors.New("an authority has no certificate")
	}
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read the private key of an authority: %w", err)
	}
	c := &CA{}
	var ok bool
	if c.key, ok = k.(crypto.Signer); !ok {
		return nil, errors.New("the private key of an authority cannot sign")
	}
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of an authority: %w", err)
		}
		if i == 0 {
			c.cert = cert
		}
		if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			c.chain = append(c.chain, der)
		}
	}
	if pub, ok := c.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(c.key.Public()) {
		return nil, errors.New("the private key is not that of the authority's certificate")
	}
	return c, nil
}

// Export returns the private key of c, PKCS #8, for who keeps it under seal.
func (c *CA) Export() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return der, nil
}

// SignClient makes a certificate for a client called cn that has the key pub. It
// is good for ttl, but not longer than c.
func (c *CA) SignClient(cn string, pub crypto.PublicKey, ttl time.Duration) (*x509.Certificate, error) {
	t := leaf(cn, c.until(ttl))
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, err := issue(t, pub, c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate %q: %w", cn, err)
	}
	return cert, nil
}
