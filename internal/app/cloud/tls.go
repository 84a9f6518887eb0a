package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/obs"
)

// renewEvery is how often the server's certificate is looked at while the cloud
// runs; it is replaced long before it ends.
const renewEvery = 24 * time.Hour

// certificates is what the cloud shows to clients. With an authority of its own
// it covers the hosts of hubs as they are made; an operator's certificate stays
// as it is.
type certificates struct {
	ca   *pki.CA // nil: the certificate is the operator's
	dir  string
	base []string // names that are always covered
	log  *slog.Logger

	mu      sync.Mutex // one issue at a time
	names   []string
	current atomic.Pointer[tls.Certificate]
}

// openCertificates loads or makes the certificate. Its authority, for clients
// to trust, is in the file ca: "" when the certificate is the operator's own.
func openCertificates(cfg *config.Config, hostname string, log *slog.Logger) (s *certificates, ca string, err error) {
	s = &certificates{dir: filepath.Join(cfg.Data, CADir), base: names(cfg, hostname), log: log}
	if cfg.TLS.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.Certificate, cfg.TLS.Key)
		if err != nil {
			return nil, "", fmt.Errorf("load certificate: %w", err)
		}
		s.current.Store(&cert)
		return s, "", nil
	}
	if s.ca, err = pki.LoadOrCreateCA(s.dir, "Causeway local CA"); err != nil {
		return nil, "", fmt.Errorf("open the local certificate authority: %w", err)
	}
	if err := s.cover(nil); err != nil {
		return nil, "", err
	}
	return s, filepath.Join(s.dir, CAFile), nil
}

// names lists the host names and addresses that the certificate always has.
func names(cfg *config.Config, hostname string) []string {
	all := []string{"localhost", "127.0.0.1", "::1"}
	all = append(all, cfg.TLS.Names...)
	for _, h := range cfg.Hubs {
		all = append(append(all, h.Name), h.Hosts...)
	}
	if hostname != "" {
		all = append(all, hostname)
	}
	return canonical(all)
}

// canonical returns host names in one form, sorted, each once.
func canonical(hosts []string) []string {
	all := slices.Clone(hosts)
	for i := range all {
		all[i] = strings.ToLower(strings.TrimSuffix(all[i], "."))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// cover sees to it that the certificate has hosts besides its other names, and
// that it does not end soon.
func (s *certificates) cover(hosts []string) error {
	if s.ca == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := canonical(append(append(slices.Clone(s.base), s.names...), hosts...))
	cert, err := s.ca.ServerCertificate(s.dir, all)
	if err != nil {
		return fmt.Errorf("issue the server certificate: %w", err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return fmt.Errorf("read the server certificate: %w", err)
		}
	}
	s.names = all
	s.current.Store(&cert)
	return nil
}

// run replaces the certificate before it ends, until ctx does.
func (s *certificates) run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := s.cover(nil); err != nil {
				s.log.Error("the server certificate could not be renewed; clients will refuse it once it has ended",
					"ends", s.leaf().NotAfter, obs.KeyError, err)
			}
		}
	}
}

// config is the configuration of all listeners.
func (s *certificates) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current.Load(), nil },
		MinVersion:     tls.VersionTLS12,
		// Devices may prove themselves by a certificate. It is asked for here
		// and judged by the hub: a self-signed one has no chain to verify.
		ClientAuth:       tls.RequestClientCert,
		VerifyConnection: bounded,
	}
}

// What a client may present, which is kept as long as its connection. The TLS layer
// itself takes 256 KiB and keys of 8192 bits; who judges a chain has limits of his
// own below these.
const (
	maxPresented      = 16       // certificates
	maxPresentedBytes = 64 << 10 // of all
)

// bounded refuses a client that presents more certificates than anybody needs.
func bounded(state tls.ConnectionState) error {
	size := 0
	for _, c := range state.PeerCertificates {
		size += len(c.Raw)
	}
	if n := len(state.PeerCertificates); n > maxPresented || size > maxPresentedBytes {
		return fmt.Errorf("%d certificates of %d bytes were presented, at most %d of %d bytes are accepted", n, size, maxPresented, maxPresentedBytes)
	}
	return nil
}

// leaf returns the certificate that is shown now.
func (s *certificates) leaf() *x509.Certificate {
	cert := s.current.Load()
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil // it was parsed when it was loaded
	}
	return leaf
}

// isShown is a check of TLS clients of our own: the server must show the very
// certificate that we do, whatever names it has.
func (s *certificates) isShown(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 || !state.PeerCertificates[0].Equal(s.leaf()) {
		return errors.New("another server answers on our port")
	}
	return nil
}
