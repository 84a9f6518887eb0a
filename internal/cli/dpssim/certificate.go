package dpssim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// certificateLife is how long the certificates of simulated devices are valid.
const certificateLife = 24 * time.Hour

// Signer makes certificates of devices, as the one of an enrollment group does.
type Signer struct {
	chain [][]byte // DER
	cert  *x509.Certificate
	key   crypto.Signer
}

// NewSigner returns a signer with the first certificate of a chain and its key,
// both PEM.
func NewSigner(chain, key []byte) (*Signer, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("read the signing certificate: %w", err)
	}
	k, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || pair.Leaf == nil {
		return nil, fmt.Errorf("the key of the signing certificate is of a kind that cannot sign")
	}
	if !pair.Leaf.IsCA {
		return nil, fmt.Errorf("the certificate %q may not sign others", pair.Leaf.Subject)
	}
	return &Signer{pair.Certificate, pair.Leaf, k}, nil
}

// Certificate returns a new certificate for the registration id, with its chain.
func (s *Signer) Certificate(id string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &key.PublicKey, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", id, err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, s.chain...), PrivateKey: key}, nil
}
