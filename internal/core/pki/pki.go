// Package pki makes and keeps certificates: a local certificate authority, the
// certificates of servers, and those of clients for tests and the command line.
// It also reads authorities from PEM text.
//
// It does not decide who is trusted: package auth verifies the certificates that
// devices present. Keys are ECDSA P-256 throughout.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the registry has SHA-1 thumbprints
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// Life times of certificates.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	ServerLife    = 397 * 24 * time.Hour // the longest that all common clients accept
	RenewBefore   = 30 * 24 * time.Hour  // a server certificate with less left is replaced

	// backdate allows for clients whose clock is slow.
	backdate = time.Hour
)

// MaxNames bounds how many names a server certificate is made for.
const MaxNames = 100

// CA is a certificate authority with its key. It is safe for concurrent use.
type CA struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // sent along with what it issued: from itself up to below the root
}

// NewCA makes an authority that lives in memory only.
func NewCA(commonName string) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := authority(commonName, time.Now().Add(AuthorityLife))
	t.MaxPathLen = 1 // room for one issuing authority below, as of an edge device
	cert, err := issue(t, key.Public(), nil, key)
	if err != nil {
		return nil, fmt.Errorf("make authority %q: %w", commonName, err)
	}
	return &CA{cert: cert, key: key}, nil
}

// IssueCA makes an authority below c, which can issue to servers and clients but
// not to authorities.
func (c *CA) IssueCA(commonName string, ttl time.Duration) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if c.cert.MaxPathLenZero {
		return nil, fmt.Errorf("issue authority %q: %q may not issue to authorities", commonName, c.cert.Subject.CommonName)
	}
	t := authority(commonName, c.until(ttl))
	t.MaxPathLenZero = true
	cert, err := issue(t, key.Public(), c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("issue authority %q: %w", commonName, err)
	}
	return &CA{cert: cert, key: key, chain: append([][]byte{cert.Raw}, c.chain...)}, nil
}

// Certificate returns the authority's own certificate, to be treated read-only.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// PEM returns the authority's own certificate in PEM form, for clients to trust.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.cert.Raw})
}

// Pool returns a pool that holds the authority alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// IssueServer makes a certificate for a server with the given DNS names and IP
// addresses, of which the first is also the common name.
func (c *CA) IssueServer(names []string, ttl time.Duration) (tls.Certificate, error) {
	t := leaf("", c.until(ttl))
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if err := setNames(t, names); err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return c.issueLeaf(t)
}

// IssueClient makes a certificate for a client whose common name is cn: "{d}" or
// "{d}/{m}" for a device or module. A ttl below zero makes one that has expired.
func (c *CA) IssueClient(cn string, ttl time.Duration) (tls.Certificate, error) {
	t := leaf(cn, c.until(ttl))
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return c.issueLeaf(t)
}

// SelfSigned makes a certificate for a client that no authority vouches for, to
// be registered by its thumbprint.
func SelfSigned(cn string, ttl time.Duration) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	t := leaf(cn, time.Now().Add(ttl))
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, err := issue(t, key.Public(), nil, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make self-signed certificate %q: %w", cn, err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// Thumbprints returns the SHA-1 and SHA-256 thumbprints of a certificate, in
// upper case hexadecimal as the registry shows them.
func Thumbprints(cert *x509.Certificate) (sha1hex, sha256hex string) {
	short, long := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw) //nolint:gosec // see above
	return strings.ToUpper(hex.EncodeToString(short[:])), strings.ToUpper(hex.EncodeToString(long[:]))
}

// until returns the end of a certificate that is to live for ttl: never later
// than the authority's own, which would break the chain.
func (c *CA) until(ttl time.Duration) time.Time {
	end := time.Now().Add(ttl)
	if end.After(c.cert.NotAfter) {
		return c.cert.NotAfter
	}
	return end
}

// issueLeaf signs t for a new key. The chain that is returned ends below the
// root, which clients have.
func (c *CA) issueLeaf(t *x509.Certificate) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := issue(t, key.Public(), c.cert, c.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate %q: %w", t.Subject.CommonName, err)
	}
	return tls.Certificate{Certificate: append([][]byte{cert.Raw}, c.chain...), PrivateKey: key, Leaf: cert}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// authority returns the template of an authority's certificate.
func authority(commonName string, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"Causeway"}},
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// leaf returns the template of a certificate that issues nothing.
func leaf(commonName string, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
}

// issue completes the template t and signs it: by parent, or by itself when
// parent is nil.
func issue(t *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	t.SerialNumber = serial.Add(serial, big.NewInt(1)) // never zero
	t.NotBefore = time.Now().Add(-backdate)
	if !t.NotAfter.After(t.NotBefore) { // one that has expired is wanted
		t.NotBefore = t.NotAfter.Add(-backdate)
	}
	if t.SubjectKeyId, err = keyID(pub); err != nil {
		return nil, err
	}
	if parent == nil {
		parent = t
		t.AuthorityKeyId = t.SubjectKeyId
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, signer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back what was signed: %w", err)
	}
	return cert, nil
}

// keyID returns the first 160 bits of the SHA-256 of a public key (RFC 7093 §2).
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

// setNames puts DNS names and IP addresses into a template.
func setNames(t *x509.Certificate, names []string) error {
	if len(names) == 0 {
		return errors.New("it needs at least one name")
	}
	if len(names) > MaxNames {
		return fmt.Errorf("%d names, at most %d are possible", len(names), MaxNames)
	}
	for _, name := range names {
		if ip := parseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		if err := CheckName(name); err != nil {
			return err
		}
		t.DNSNames = append(t.DNSNames, strings.ToLower(name))
	}
	t.Subject.CommonName = names[0]
	if len(names[0]) > 64 { // ub-common-name, RFC 5280 appendix A
		t.Subject.CommonName = ""
	}
	return nil
}

// CheckName says whether a certificate can be for a name.
func CheckName(name string) error {
	if parseIP(name) == nil && !dnsName(name) {
		return fmt.Errorf("%q is neither a DNS name nor an IP address", name)
	}
	return nil
}

// parseIP reads an IP address, bare or in the brackets of a URL.
func parseIP(name string) net.IP {
	return net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
}

// dnsName reports whether name can stand in a certificate: labels of letters,
// digits, '-' and '_', the first of which may be "*".
func dnsName(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" && len(name) > 1 {
			continue
		}
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
