package pki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/causeway-iot/causeway/internal/core/durable"
)

// The files of an authority and of a server, in a directory of their own.
const (
	CAFile        = "ca.pem"
	CAKeyFile     = "ca.key"
	ServerFile    = "server.pem" // leaf first, then what is between it and the root
	ServerKeyFile = "server.key"
)

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY" // PKCS #8
)

// LoadOrCreateCA reads the authority kept in dir, or makes one called commonName
// that is good for [AuthorityLife]. The key is readable by its owner only; a key
// that others may read is refused, except on Windows. An authority of which one
// file is missing, or that has expired, is an error: replacing it would break
// the trust of every client that has it.
func LoadOrCreateCA(dir, commonName string) (*CA, error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, CAKeyFile)
	haveCert, err := exists(certPath)
	if err != nil {
		return nil, err
	}
	haveKey, err := exists(keyPath)
	if err != nil {
		return nil, err
	}
	switch {
	case haveCert && haveKey:
		return loadCA(certPath, keyPath)
	case haveCert:
		return nil, fmt.Errorf("%s is there but its key %s is not: restore the key, or remove the certificate to get a new authority", certPath, keyPath)
	case haveKey:
		// A crash between the two files leaves a key that has signed nothing.
		if err := os.Remove(keyPath); err != nil {
			return nil, fmt.Errorf("remove key without a certificate: %w", err)
		}
	}
	c, err := NewCA(commonName)
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(c.key)
	if err != nil {
		return nil, err
	}
	if err := writePair(certPath, c.PEM(), keyPath, key); err != nil {
		return nil, err
	}
	return c, nil
}

func loadCA(certPath, keyPath string) (*CA, error) {
	pair, err := loadPair(certPath, keyPath)
	if err != nil {
		return nil, err
	}
	cert := pair.Leaf
	key, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return nil, fmt.Errorf("key %s cannot sign", keyPath)
	case !cert.IsCA:
		return nil, fmt.Errorf("%s is not the certificate of an authority", certPath)
	case !time.Now().Before(cert.NotAfter):
		return nil, fmt.Errorf("authority %s expired on %s: remove %s and %s to get a new one, and have clients trust it",
			certPath, cert.NotAfter.Format(time.DateOnly), certPath, keyPath)
	}
	c := &CA{cert: cert, key: key}
	for _, der := range pair.Certificate { // an authority of the user's may come with those above it
		above, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", certPath, err)
		}
		if !bytes.Equal(above.RawIssuer, above.RawSubject) {
			c.chain = append(c.chain, der)
		}
	}
	return c, nil
}

// ServerCertificate returns the server certificate kept in dir when c has issued
// it, it covers all names, and it has more than [RenewBefore] left; otherwise it
// issues and keeps a new one for names, which may hold IP addresses. The key is
// replaced along with the certificate.
//
// It looks at the files each time, so calling it daily renews in time.
func (c *CA) ServerCertificate(dir string, names []string) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, ServerFile), filepath.Join(dir, ServerKeyFile)
	// A pair that cannot be read is replaced like one that is missing: nobody
	// trusts it for its own sake.
	if pair, err := loadPair(certPath, keyPath); err == nil && c.stillGood(pair.Leaf, names) {
		return pair, nil
	} else if errors.Is(err, fs.ErrPermission) {
		return tls.Certificate{}, err
	}
	pair, err := c.IssueServer(names, ServerLife)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := encodeKey(pair.PrivateKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := writePair(certPath, encodeChain(pair.Certificate), keyPath, key); err != nil {
		return tls.Certificate{}, err
	}
	return pair, nil
}

// stillGood reports whether a certificate on file need not be replaced.
func (c *CA) stillGood(cert *x509.Certificate, names []string) bool {
	now := time.Now()
	end := cert.NotAfter
	if end.Before(c.cert.NotAfter) { // a new one could live longer
		end = end.Add(-RenewBefore)
	}
	if now.Before(cert.NotBefore) || !now.Before(end) || cert.CheckSignatureFrom(c.cert) != nil {
		return false
	}
	for _, name := range names {
		if ip := parseIP(name); ip != nil {
			name = ip.String()
		} else if len(name) > 0 && name[0] == '*' {
			// VerifyHostname takes names, not patterns; one label stands for all.
			name = "x" + name[1:]
		}
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	return len(names) > 0
}

// ErrExposed is a private key that other users may read.
var ErrExposed = errors.New("private key may be read by other users")

// loadPair reads a certificate chain and its private key.
func loadPair(certPath, keyPath string) (tls.Certificate, error) {
	chain, err := os.ReadFile(certPath)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	info, err := os.Stat(keyPath)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("look at private key: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return tls.Certificate{}, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrExposed, keyPath, mode, keyPath)
	}
	key, err := os.ReadFile(keyPath)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read private key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read %s and %s: %w", certPath, keyPath, err)
	}
	return pair, nil
}

// writePair writes a private key and then its certificate chain, each whole or
// not at all, and durably. A crash between the two leaves a pair that does not
// match, which is noticed when it is read.
func writePair(certPath string, chain []byte, keyPath string, key []byte) error {
	if err := durable.MakeDir(filepath.Dir(keyPath)); err != nil {
		return fmt.Errorf("create directory of certificates: %w", err)
	}
	if err := writeFile(keyPath, key, 0o600); err != nil {
		return err
	}
	return writeFile(certPath, chain, 0o644)
}

// writeFile replaces path by a file with the given content.
func writeFile(path string, content []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that matters is returned
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("name %s: %w", path, err)
	}
	if runtime.GOOS == "windows" { // directories cannot be synced, and need not be
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory of %s: %w", path, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory of %s: %w", path, err)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", path, err)
	}
	return true, nil
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

func encodeChain(chain [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}))
	}
	return b.Bytes()
}
