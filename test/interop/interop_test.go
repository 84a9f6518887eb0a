//go:build interop

// Package interop runs unmodified Azure SDKs against a server of this build:
// it starts the server, hands its addresses to the Node and Python suites, and
// kills and restarts it when they ask. Run it through test/interop/run.
package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// control answers the suites: restart the server, issue certificates.
type control struct {
	s  *process.Server
	ca *pki.CA
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/restart":
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
		defer cancel()
		if err := c.s.Restart(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case "/certificate":
		cn := r.URL.Query().Get("cn")
		issue := pki.SelfSigned
		if r.URL.Query().Get("kind") == "ca" {
			issue = c.ca.IssueClient
		}
		cert, err := issue(cn, time.Hour)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out, err := certificateJSON(cert)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out)
	default:
		http.NotFound(w, r)
	}
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
	sha1, sha256 := pki.Thumbprints(leaf)
	return map[string]string{
		"cert": chain.String(), "key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
		"thumbprint": strings.ToUpper(sha1), "thumbprint256": sha256,
	}, nil
}

func TestSDKs(t *testing.T) {
	bin := os.Getenv("CAUSEWAY_BIN")
	if bin == "" {
		t.Fatal("CAUSEWAY_BIN is not set: run test/interop/run")
	}
	if only := os.Getenv("INTEROP_ONLY"); only != "" && only != "node" && only != "python" {
		t.Fatalf("INTEROP_ONLY is %q, want node or python", only)
	}
	if os.Getenv("INTEROP_NAMESPACE") != "" {
		if err := loopbackUp(); err != nil {
			t.Fatalf("bring the loopback interface up: %v", err)
		}
	}
	if l, err := net.Listen("tcp", "127.0.0.1:443"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("port 443: %v", err)
		}
		t.Skipf("the SDKs need port 443, which cannot be bound here: %v", err)
	} else {
		l.Close()
	}

	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := &process.Server{Binary: bin, Data: filepath.Join(dir, "data"), Output: log}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the server: %v", err)
		}
		if b, _ := os.ReadFile(log.Name()); t.Failed() || bytes.Contains(b, []byte("DATA RACE")) {
			t.Errorf("the server's log:\n%s", tail(b, 20000))
		}
	})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}

	ca, err := pki.NewCA("Interop device CA")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{s: s, ca: ca}
	if err := registerCA(ctx, s.Ready(), ca); err != nil {
		t.Fatalf("register the device CA: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: c}
	go func() { _ = web.Serve(l) }()
	defer web.Close()

	env := append(os.Environ(),
		"HUB_HOST="+s.Ready().Hub,
		"OWNER_CONNECTION_STRING="+s.Ready().OwnerConnectionString,
		"SERVICE_CONNECTION_STRING="+s.Ready().ServiceConnectionString,
		"ADMIN_URL="+s.Ready().AdminURL+"/api/v1",
		"CA_FILE="+s.Ready().CAFile,
		"CONTROL_URL=http://"+l.Addr().String(),
		"NODE_EXTRA_CA_CERTS="+s.Ready().CAFile,
		"REQUESTS_CA_BUNDLE="+s.Ready().CAFile,
		"NO_PROXY=*", "no_proxy=*",
	)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("node", func(t *testing.T) {
		modules := os.Getenv("INTEROP_NODE")
		if !selected("node") {
			t.Skip("INTEROP_ONLY says otherwise")
		}
		if modules == "" {
			t.Skip("the Node SDKs are not installed")
		}
		// Modules resolve from the folder of the importing file.
		if err := os.CopyFS(filepath.Join(dir, "node"), os.DirFS(filepath.Join(here, "node"))); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, "node", "node_modules"))
		if err := os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(dir, "node", "node_modules")); err != nil {
			t.Fatal(err)
		}
		args := []string{"--test", "--test-concurrency=1", "--test-reporter=spec"}
		if p := os.Getenv("INTEROP_PATTERN"); p != "" {
			args = append(args, "--test-name-pattern="+p)
		}
		run(t, filepath.Join(dir, "node"), env, "node", args...)
	})
	t.Run("python", func(t *testing.T) {
		venv := os.Getenv("INTEROP_PYTHON")
		if !selected("python") {
			t.Skip("INTEROP_ONLY says otherwise")
		}
		if venv == "" {
			t.Skip("the Python SDKs are not installed")
		}
		args := []string{"-W", "ignore", "-m", "unittest", "-v"}
		if p := os.Getenv("INTEROP_PATTERN"); p != "" {
			args = append(args, "-k", p)
		}
		run(t, filepath.Join(here, "python"), append(env, "PYTHONDONTWRITEBYTECODE=1"), filepath.Join(venv, "bin", "python"), args...)
	})
}

// selected reports whether INTEROP_ONLY leaves a suite in.
func selected(suite string) bool {
	only := os.Getenv("INTEROP_ONLY")
	return only == "" || only == suite
}

// registerCA makes the hub trust an authority.
func registerCA(ctx context.Context, r process.Ready, ca *pki.CA) error {
	cs, err := sas.ParseConnectionString(r.OwnerConnectionString)
	if err != nil {
		return err
	}
	token, err := cs.Token(time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"certificate": string(ca.PEM())})
	if err != nil {
		return err
	}
	trust, err := os.ReadFile(r.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trust)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	defer web.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.AdminURL+"/api/v1/hubs/localhost/authorities/interop", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", token)
	req.Header.Set("Content-Type", "application/json")
	res, err := web.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

// run runs a suite and passes its output on line by line.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			t.Log(strings.TrimRight(line, "\n"))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
