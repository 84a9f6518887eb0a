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
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// The hubs under test. The Java SDK wants a host name with a point in it.
const (
	hubName      = "localhost"
	javaHubName  = "java"
	javaHostName = "java.localhost"
)

// control answers the suites: restart the server, issue certificates, have
// files uploaded.
type control struct {
	s  *process.Server
	ca *pki.CA
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 60*time.Second)
	defer cancel()
	var err error
	switch r.URL.Path {
	case "/restart":
		err = c.s.Restart(ctx)
	case "/certificate":
		err = c.certificate(w, r.URL.Query().Get("kind"), r.URL.Query().Get("cn"))
	case "/notify":
		err = c.notify(ctx, r.URL.Query().Get("hub"), r.Body)
	default:
		http.NotFound(w, r)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// certificate answers with a new certificate of a device and its key.
func (c *control) certificate(w io.Writer, kind, cn string) error {
	issue := pki.SelfSigned
	if kind == "ca" {
		issue = c.ca.IssueClient
	}
	cert, err := issue(cn, time.Hour)
	if err != nil {
		return err
	}
	out, err := certificateJSON(cert)
	if err != nil {
		return err
	}
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

// notify puts notifications of uploaded files into the hub's queue. It stands in
// for the file upload, which no part of a hub does yet: the server is stopped,
// the queue is filled through the code that a hub will use, and the server is
// started again.
func (c *control) notify(ctx context.Context, hub string, body io.Reader) error {
	var files []struct {
		DeviceID        string    `json:"deviceId"`
		BlobURI         string    `json:"blobUri"`
		BlobName        string    `json:"blobName"`
		LastUpdatedTime time.Time `json:"lastUpdatedTime"`
		BlobSizeInBytes int64     `json:"blobSizeInBytes"`
	}
	if err := json.NewDecoder(body).Decode(&files); err != nil {
		return err
	}
	if err := c.s.Stop(); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	db, err := sqlite.Open(ctx, filepath.Join(c.s.Data, cloud.DatabaseFile), sqlite.Options{})
	if err != nil {
		return err
	}
	queue := outbox.New(outbox.Options{Store: db.Outbox()})
	for _, f := range files {
		err = errors.Join(err, queue.Notify(ctx, hub, outbox.FileNotification{
			DeviceID: f.DeviceID, BlobURI: f.BlobURI, BlobName: f.BlobName, Modified: f.LastUpdatedTime, Size: f.BlobSizeInBytes,
		}))
	}
	return errors.Join(err, db.Close(), c.s.Start(ctx))
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
