package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Limits of a bundle of authorities.
const (
	MaxBundle      = 1 << 20 // bytes
	MaxAuthorities = 1000
)

// ParseAuthorities reads the certificates of authorities from PEM text, in the
// order they stand in. Text between them is ignored; anything else than the
// certificate of an authority is an error that says which block it is.
func ParseAuthorities(text []byte) ([]*x509.Certificate, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("bundle of %d bytes, at most %d are accepted", len(text), MaxBundle)
	}
	var certs []*x509.Certificate
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("PEM block %d is a %q, not a certificate; keep keys out of a bundle", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate %d of the bundle: %w", n, err)
		}
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, fmt.Errorf("certificate %d of the bundle, %q, is not that of an authority", n, cert.Subject)
		}
		if certs = append(certs, cert); len(certs) > MaxAuthorities {
			return nil, fmt.Errorf("bundle has more than %d authorities", MaxAuthorities)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return certs, nil
}

// Pool returns a pool of certs, nil when there are none.
func Pool(certs ...*x509.Certificate) *x509.CertPool {
	if len(certs) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}
