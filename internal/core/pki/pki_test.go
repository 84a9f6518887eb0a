package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("Test root")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// names are what a server on this machine is reached by.
var names = []string{"hub.example.com", "localhost", "127.0.0.1", "::1", "*.hub.example.com"}

func TestAuthority(t *testing.T) {
	c := newCA(t).Certificate()
	if !c.IsCA || !c.BasicConstraintsValid || c.MaxPathLen != 1 || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("not an authority: %+v", c)
	}
	if len(c.SubjectKeyId) != 20 || !bytes.Equal(c.SubjectKeyId, c.AuthorityKeyId) {
		t.Errorf("key ids %x and %x", c.SubjectKeyId, c.AuthorityKeyId)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T is not P-256", c.PublicKey)
	}
	if c.NotAfter.Sub(c.NotBefore) < pki.AuthorityLife {
		t.Errorf("good from %s to %s", c.NotBefore, c.NotAfter)
	}
}

func TestServerCertificateShape(t *testing.T) {
	ca := newCA(t)
	cert, err := ca.IssueServer(names, pki.ServerLife)
	if err != nil {
		t.Fatal(err)
	}
	c := cert.Leaf
	for _, name := range []string{"hub.example.com", "HUB.example.com", "localhost", "127.0.0.1", "::1", "eu.hub.example.com"} {
		if _, err := c.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Verify(x509.VerifyOptions{DNSName: "other.example.com", Roots: ca.Pool()}); err == nil {
		t.Error("good for a name that was not asked for")
	}
	if len(c.IPAddresses) != 2 || len(c.DNSNames) != 3 {
		t.Errorf("names %v, addresses %v", c.DNSNames, c.IPAddresses)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || c.IsCA {
		t.Errorf("usage %v, authority %v", c.ExtKeyUsage, c.IsCA)
	}
	if !bytes.Equal(c.AuthorityKeyId, ca.Certificate().SubjectKeyId) || bytes.Equal(c.SubjectKeyId, c.AuthorityKeyId) {
		t.Errorf("key ids %x and %x", c.SubjectKeyId, c.AuthorityKeyId)
	}
	if len(cert.Certificate) != 1 {
		t.Errorf("%d certificates are sent, want the leaf alone: clients have the root", len(cert.Certificate))
	}
}

func TestServerNamesRefused(t *testing.T) {
	ca := newCA(t)
	for _, names := range [][]string{
		nil,
		{""},
		{"a b"},
		{"a..b"},
		{"*"},
		{"a.*.b"},
		{"hub:443"},
		{"https://hub"},
		{strings.Repeat("a", 64)},
		slices.Repeat([]string{"hub"}, pki.MaxNames+1),
	} {
		if _, err := ca.IssueServer(names, time.Hour); err == nil {
			t.Errorf("%.80q: accepted", names)
		}
	}
}

func TestHandshake(t *testing.T) {
	root := newCA(t)
	below, err := root.IssueCA("Test issuing authority", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range []*pki.CA{root, below} {
		server, err := ca.IssueServer([]string{"localhost"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		client, err := ca.IssueClient("dev1/mod1", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		a, b := net.Pipe()
		s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: root.Pool(), ClientAuth: tls.RequireAndVerifyClientCert})
		c := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: root.Pool(), ServerName: "localhost"})
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		if err := c.Handshake(); err != nil {
			t.Fatalf("client: %v", err)
		}
		if err := <-done; err != nil {
			t.Fatalf("server: %v", err)
		}
		if got := s.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "dev1/mod1" {
			t.Errorf("client is %q", got)
		}
		a.Close() // without TLS's farewell, for which the other end would have to read
		b.Close()
	}
	if _, err := below.IssueCA("too deep", time.Hour); err == nil {
		t.Error("an authority below an issuing authority was made, which nobody would accept")
	}
}

func TestLives(t *testing.T) {
	ca := newCA(t)
	past, err := ca.IssueClient("dev1", -time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !past.Leaf.NotAfter.Before(time.Now()) || !past.Leaf.NotBefore.Before(past.Leaf.NotAfter) {
		t.Errorf("good from %s to %s, want an expired one", past.Leaf.NotBefore, past.Leaf.NotAfter)
	}
	long, err := ca.IssueClient("dev1", 2*pki.AuthorityLife)
	if err != nil {
		t.Fatal(err)
	}
	if long.Leaf.NotAfter.After(ca.Certificate().NotAfter) {
		t.Errorf("good until %s, longer than its authority", long.Leaf.NotAfter)
	}
}

func TestSelfSigned(t *testing.T) {
	cert, err := pki.SelfSigned("dev1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Leaf.CheckSignature(cert.Leaf.SignatureAlgorithm, cert.Leaf.RawTBSCertificate, cert.Leaf.Signature); err != nil {
		t.Error(err)
	}
	short, long := pki.Thumbprints(cert.Leaf)
	if len(short) != 40 || len(long) != 64 || short != strings.ToUpper(short) {
		t.Errorf("thumbprints %s and %s", short, long)
	}
}

func TestLoadOrCreateCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "pki")
	first, err := pki.LoadOrCreateCA(dir, "Local authority")
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(filepath.Join(dir, pki.CAKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key has mode %v, %v", info.Mode(), err)
		}
	}
	again, err := pki.LoadOrCreateCA(dir, "ignored")
	if err != nil {
		t.Fatal(err)
	}
	if !again.Certificate().Equal(first.Certificate()) {
		t.Error("another authority the second time")
	}
	cert, err := again.IssueClient("dev1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Leaf.CheckSignatureFrom(first.Certificate()); err != nil {
		t.Errorf("what was issued after loading: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.new-*")); err != nil || len(left) > 0 {
		t.Errorf("files left over: %v, %v", left, err)
	}
}

func TestLoadOrCreateCARefuses(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, cert, key string){
		"key lost":     func(t *testing.T, _, key string) { remove(t, key) },
		"key damaged":  func(t *testing.T, _, key string) { write(t, key, "nonsense", 0o600) },
		"cert damaged": func(t *testing.T, cert, _ string) { write(t, cert, "nonsense", 0o644) },
		"key of another": func(t *testing.T, _, key string) {
			dir := t.TempDir()
			if _, err := pki.LoadOrCreateCA(dir, "other"); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, pki.CAKeyFile))
			if err != nil {
				t.Fatal(err)
			}
			write(t, key, string(b), 0o600)
		},
		"not an authority": func(t *testing.T, cert, key string) {
			dir := filepath.Dir(cert)
			ca := newCA(t)
			if _, err := ca.ServerCertificate(dir, names); err != nil {
				t.Fatal(err)
			}
			for from, to := range map[string]string{pki.ServerFile: cert, pki.ServerKeyFile: key} {
				if err := os.Rename(filepath.Join(dir, from), to); err != nil {
					t.Fatal(err)
				}
			}
		},
		"key exposed": func(t *testing.T, _, key string) {
			if runtime.GOOS == "windows" {
				remove(t, key) // has no modes; lost is refused as well
				return
			}
			if err := os.Chmod(key, 0o640); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := pki.LoadOrCreateCA(dir, "Local authority"); err != nil {
				t.Fatal(err)
			}
			damage(t, filepath.Join(dir, pki.CAFile), filepath.Join(dir, pki.CAKeyFile))
			_, err := pki.LoadOrCreateCA(dir, "Local authority")
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q does not say which file", err)
			}
		})
	}
}

// A crash may leave the key alone: nothing was signed with it.
func TestCAInterrupted(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, pki.CAKeyFile), "half a key", 0o600)
	if _, err := pki.LoadOrCreateCA(dir, "Local authority"); err != nil {
		t.Error(err)
	}
}

func TestCAExpires(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		if _, err := pki.LoadOrCreateCA(dir, "Local authority"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pki.AuthorityLife + time.Hour) //nolint:forbidigo // simulated time
		if _, err := pki.LoadOrCreateCA(dir, "Local authority"); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("ten years later: error %v", err)
		}
	})
}

func TestServerCertificateIsKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		get := func(ca *pki.CA, names ...string) *x509.Certificate {
			t.Helper()
			cert, err := ca.ServerCertificate(dir, names)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				name = strings.Replace(name, "*", "any", 1)
				if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			return cert.Leaf
		}
		first := get(ca, names...)
		if !get(ca, names...).Equal(first) || !get(ca, "localhost", "::1", "[::1]").Equal(first) {
			t.Error("replaced although it was good")
		}
		time.Sleep(pki.ServerLife - pki.RenewBefore - time.Hour) //nolint:forbidigo // simulated time
		if !get(ca, names...).Equal(first) {
			t.Error("replaced although it had more than a month left")
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // simulated time
		second := get(ca, names...)
		if second.Equal(first) || bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Error("not replaced, with its key, when it had less than a month left")
		}
		third := get(ca, "new.example.com")
		if third.Equal(second) {
			t.Error("not replaced for another name")
		}
		other := newCA(t)
		fourth := get(other, "new.example.com")
		if fourth.Equal(third) {
			t.Error("not replaced for another authority")
		}
		write(t, filepath.Join(dir, pki.ServerKeyFile), "nonsense", 0o600)
		fifth := get(other, "new.example.com")
		if fifth.Equal(fourth) {
			t.Error("not replaced when its key was damaged")
		}
		if err := os.Chmod(filepath.Join(dir, pki.ServerKeyFile), 0o644); err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && get(other, "new.example.com").Equal(fifth) {
			t.Error("not replaced when its key was exposed")
		}
	})
}

// Near the end of its authority's life a new certificate would be no better.
func TestServerCertificateAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		time.Sleep(pki.AuthorityLife - 10*24*time.Hour) //nolint:forbidigo // simulated time
		first, err := ca.ServerCertificate(dir, names)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ca.ServerCertificate(dir, names)
		if err != nil || !again.Leaf.Equal(first.Leaf) {
			t.Errorf("replaced for one with the same end, %v", err)
		}
	})
}

func TestParseAuthorities(t *testing.T) {
	a, b := newCA(t), newCA(t)
	client, err := a.IssueClient("dev1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	bundle := slices.Concat([]byte("# first\n"), a.PEM(), []byte("\n# second\n"), b.PEM(), []byte("the end"))
	got, err := pki.ParseAuthorities(bundle)
	if err != nil || len(got) != 2 || !got[0].Equal(a.Certificate()) || !got[1].Equal(b.Certificate()) {
		t.Fatalf("got %d, %v", len(got), err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: pki.Pool(got...), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if pki.Pool() != nil {
		t.Error("a pool of nothing is not nil")
	}
	for name, text := range map[string][]byte{
		"nothing":          nil,
		"no PEM":           []byte("hello"),
		"a key":            pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"damaged":          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"not an authority": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]}),
		"good, then bad":   slices.Concat(a.PEM(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
		"long":             make([]byte, pki.MaxBundle+1),
	} {
		if got, err := pki.ParseAuthorities(text); err == nil || got != nil {
			t.Errorf("%s: got %d, %v", name, len(got), err)
		}
	}
}

func FuzzParseAuthorities(f *testing.F) {
	ca, err := pki.NewCA("Fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := pki.ParseAuthorities(text)
		if (err == nil) == (len(certs) == 0) {
			t.Errorf("%d authorities and error %v", len(certs), err)
		}
	})
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
