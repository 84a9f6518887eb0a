package plugin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/causeway-iot/causeway"
)

// TLS makes the configuration of a client from settings: the certificates, PEM,
// that the server's must be signed by (none for those the system trusts), and the
// chain and key, PEM, by which the server knows us (none for none).
func TLS(authorities, chain string, key causeway.Secret) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(authorities)) {
			return nil, errors.New("setting \"caCertificates\" has no certificate in it: it must be PEM")
		}
	}
	if (chain == "") != (key == "") {
		return nil, errors.New("settings clientCertificate and clientKey go together")
	}
	if chain != "" {
		pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
		if err != nil {
			return nil, errors.New("settings clientCertificate and clientKey are no pair of PEM: " + err.Error())
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
