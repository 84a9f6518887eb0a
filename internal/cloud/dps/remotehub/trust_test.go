package remotehub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/remotehub"
)

// certificateFor makes a certificate that is its own authority.
func certificateFor(t *testing.T, host string, ends time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// TestNotTrusted: a server that cannot be trusted to be the hub is named as what it is.
// That it is tried again would be of no use.
func TestNotTrusted(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	good, roots := certificateFor(t, "hub.example", tomorrow)
	_, others := certificateFor(t, "hub.example", tomorrow)
	wrong, ofWrong := certificateFor(t, "other.example", tomorrow)
	ended, ofEnded := certificateFor(t, "hub.example", tomorrow.Add(-25*time.Hour))
	for name, c := range map[string]struct {
		shows *tls.Certificate // nil: it does not speak TLS
		roots *x509.CertPool
		want  string // "" for none
	}{
		"trusted":       {&good, roots, ""},
		"unknown":       {&good, others, "an authority that the provisioning service does not trust"},
		"wrong name":    {&wrong, ofWrong, "another host name"},
		"expired":       {&ended, ofEnded, "expired"},
		"without TLS":   {nil, roots, "does not speak TLS"},
		"wrong and old": {&ended, others, "its certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				http.Error(w, "{}", http.StatusInternalServerError)
			}))
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			if c.shows != nil {
				srv.TLS = &tls.Config{Certificates: []tls.Certificate{*c.shows}, MinVersion: tls.VersionTLS12}
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			host, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
			hubs := remotehub.New(client.Options{RootCAs: c.roots, Address: host})
			defer hubs.Close()
			h, err := hubs.Target(dps.Link{Host: "hub.example", ConnectionString: causeway.Secret("HostName=hub.example:" + port + ";SharedAccessKeyName=p;SharedAccessKey=a2V5")})
			if err != nil {
				t.Fatal(err)
			}
			_, _, get := h.Get(t.Context(), "d")
			for what, err := range map[string]error{"get": get, "put": h.Put(t.Context(), dps.Device{ID: "d", Thumbprint: "AB"}, false), "delete": h.Delete(t.Context(), "d")} {
				u, unusable := errors.AsType[*dps.UnusableError](err)
				if err == nil || unusable != (c.want != "") || unusable && (!strings.Contains(u.Msg, c.want) || u.Err == nil) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if (asked.Load() > 0) != (c.want == "") {
				t.Errorf("it was asked %d times", asked.Load())
			}
		})
	}
}
