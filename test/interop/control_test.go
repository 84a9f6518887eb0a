//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// The hubs under test. The Java SDK wants a host name with a point in it; the second
// one is where devices are provisioned to that leave the first. One of the two
// provisioning services asks for patience.
const (
	hubName          = "localhost"
	javaHubName      = "java"
	javaHostName     = "java.localhost"
	secondHubName    = "second"
	secondHostName   = "second.localhost"
	provisioningName = "dps"
	throttledName    = "throttled"
	throttledHost    = "throttled.localhost"
)

// control answers the suites: restart the server, issue certificates, sign access
// to blobs, start TPMs.
type control struct {
	s     *process.Server
	ca    *pki.CA
	admin *client.Admin
	tpms  tpms
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 60*time.Second)
	defer cancel()
	var err error
	switch r.URL.Path {
	case "/restart":
		if r.URL.Query().Get("how") == "in-order" {
			err = c.s.RestartInOrder(ctx)
		} else {
			err = c.s.Restart(ctx)
		}
	case "/certificate":
		err = c.certificate(w, r.URL.Query().Get("kind"), r.URL.Query().Get("cn"))
	case "/sas":
		err = c.sas(ctx, w, r.URL.Query())
	case "/tpm":
		err = c.tpms.start(w)
	case "/tpm/restart", "/tpm/clear", "/tpm/renew", "/tpm/stop":
		err = c.tpms.change(path.Base(r.URL.Path), r.URL.Query())
	default:
		http.NotFound(w, r)
	}
	if errors.Is(err, errNoTPM) {
		http.Error(w, err.Error(), http.StatusNotImplemented)
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// certificate answers with a new certificate of a device and its key.
func (c *control) certificate(w io.Writer, kind, cn string) error {
	issue, more := pki.SelfSigned, map[string]string{}
	switch kind {
	case "ca":
		issue = c.ca.IssueClient
	case "chain":
		root, err := pki.NewCA("Interop root of " + cn)
		if err != nil {
			return err
		}
		intermediate, err := root.IssueCA("Interop intermediate of "+cn, time.Hour)
		if err != nil {
			return err
		}
		issue, more["root"], more["intermediate"] = intermediate.IssueClient, string(root.PEM()), string(intermediate.PEM())
	}
	cert, err := issue(cn, time.Hour)
	if err != nil {
		return err
	}
	out, err := certificateJSON(cert)
	if err != nil {
		return err
	}
	maps.Copy(out, more)
	return json.NewEncoder(w).Encode(out)
}

func certificateJSON(cert tls.Certificate) (map[string]string, error) {
	var chain bytes.Buffer
	for _, der := range cert.Certificate {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	sha1, sha256 := pki.Thumbprints(leaf)
	return map[string]string{
		"cert": chain.String(), "key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
		"pkcs8":      string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		"thumbprint": strings.ToUpper(sha1), "thumbprint256": sha256,
	}, nil
}

// sas answers with the path and query of an address of blobs.
func (c *control) sas(ctx context.Context, w io.Writer, q url.Values) error {
	access, err := c.admin.SignBlob(ctx, q.Get("hub"), client.BlobGrant{
		Container: q.Get("container"), Blob: q.Get("blob"), Permissions: q.Get("permissions"), Seconds: 600,
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(access)
}

func newHTTPClient(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

// withKey returns a connection string with another key.
func withKey(connectionString, key string) string {
	parts := strings.Split(connectionString, ";")
	for i, p := range parts {
		if strings.HasPrefix(p, "SharedAccessKey=") {
			parts[i] = "SharedAccessKey=" + key
		}
	}
	return strings.Join(parts, ";")
}

// trust returns the authorities of a file.
func trust(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: no certificate", file)
	}
	return pool, nil
}
