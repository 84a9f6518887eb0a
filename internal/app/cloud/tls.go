package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/pki"
)

// openTLS returns the configuration of all listeners, and the file with the
// authority that clients must trust. The names of hubs that are made later are
// covered after a restart.
func (c *Cloud) openTLS() (*tls.Config, string, error) {
	var hosts []string
	for _, h := range c.cfg.Hubs {
		hosts = append(hosts, h.Name)
		hosts = append(hosts, h.Hosts...)
	}
	cert, ca, err := certificate(&c.cfg, names(&c.cfg, c.o.Hostname, hosts))
	if err != nil {
		return nil, "", err
	}
	return serverTLS(cert), ca, nil
}

// certificate returns what the cloud shows to clients, and the file with the
// authority they must trust: "" when the certificate is the operator's own.
func certificate(cfg *config.Config, names []string) (tls.Certificate, string, error) {
	if cfg.TLS.Certificate != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.Certificate, cfg.TLS.Key)
		if err != nil {
			return tls.Certificate{}, "", fmt.Errorf("load certificate: %w", err)
		}
		return cert, "", nil
	}
	dir := filepath.Join(cfg.Data, CADir)
	ca, err := pki.LoadOrCreateCA(dir, "Causeway local CA")
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("open the local certificate authority: %w", err)
	}
	cert, err := ca.ServerCertificate(dir, names)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("issue the server certificate: %w", err)
	}
	return cert, filepath.Join(dir, CAFile), nil
}

// names lists the host names and addresses the certificate should have.
func names(cfg *config.Config, hostname string, hosts []string) []string {
	all := []string{"localhost", "127.0.0.1", "::1"}
	all = append(all, cfg.TLS.Names...)
	all = append(all, hosts...)
	if hostname != "" {
		all = append(all, hostname)
	}
	for i := range all {
		all[i] = strings.ToLower(strings.TrimSuffix(all[i], "."))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// serverTLS is the configuration of all listeners.
func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// Devices may prove themselves by a certificate. It is asked for here
		// and judged by the hub: a self-signed one has no chain to verify.
		ClientAuth: tls.RequestClientCert,
	}
}

// leaf returns the server's certificate.
func (c *Cloud) leaf() *x509.Certificate {
	cert := &c.tlsConfig.Certificates[0]
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil // it was parsed when it was loaded
	}
	return leaf
}
