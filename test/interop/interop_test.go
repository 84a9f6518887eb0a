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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

// ready is the part of the ready file the suites need.
type ready struct {
	Hub                     string `json:"hub"`
	HTTPSPort               int    `json:"httpsPort"`
	MQTTPort                int    `json:"mqttPort"`
	AdminURL                string `json:"adminUrl"`
	OwnerConnectionString   string `json:"ownerConnectionString"`
	ServiceConnectionString string `json:"serviceConnectionString"`
	CAFile                  string `json:"caFile"`
}

// server is a running quickstart that can be killed and started again.
type server struct {
	bin, dir string
	log      *os.File

	mu    sync.Mutex
	cmd   *exec.Cmd
	ready ready
}

func (s *server) start(ctx context.Context) error {
	file := filepath.Join(s.dir, "ready.json")
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	cmd := exec.Command(s.bin, "quickstart", "--no-sensor", "--quiet", "--data", filepath.Join(s.dir, "data"), "--ready-file", file)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	for {
		b, err := os.ReadFile(file)
		if err == nil {
			if err := json.Unmarshal(b, &s.ready); err != nil {
				return fmt.Errorf("ready file: %w", err)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server did not become ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *server) restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	_ = s.cmd.Wait() // killed: its status says only that
	return s.start(ctx)
}

// stop ends the server as a user would and reports how it ended.
func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
		return fmt.Errorf("did not stop within 30 s of an interrupt")
	}
}

// control answers the suites: restart the server, issue certificates.
type control struct {
	s  *server
	ca *pki.CA
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/restart":
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
		defer cancel()
		if err := c.s.restart(ctx); err != nil {
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
	s := &server{bin: bin, dir: dir, log: log}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.start(ctx); err != nil {
		b, _ := os.ReadFile(log.Name())
		t.Fatalf("%v\n%s", err, b)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("server: %v", err)
		}
		if b, _ := os.ReadFile(log.Name()); t.Failed() || bytes.Contains(b, []byte("DATA RACE")) {
			t.Errorf("the server's log:\n%s", tail(b, 20000))
		}
	})

	ca, err := pki.LoadOrCreateCA(filepath.Join(dir, "device-ca"), "Interop device CA")
	if err != nil {
		t.Fatal(err)
	}
	c := &control{s: s, ca: ca}
	if err := registerCA(s, filepath.Join(dir, "data"), filepath.Join(dir, "device-ca", "ca.pem"), bin); err != nil {
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
		"HUB_HOST="+s.ready.Hub,
		"OWNER_CONNECTION_STRING="+s.ready.OwnerConnectionString,
		"SERVICE_CONNECTION_STRING="+s.ready.ServiceConnectionString,
		"ADMIN_URL="+s.ready.AdminURL,
		"CA_FILE="+s.ready.CAFile,
		"CONTROL_URL=http://"+l.Addr().String(),
		"NODE_EXTRA_CA_CERTS="+s.ready.CAFile,
		"REQUESTS_CA_BUNDLE="+s.ready.CAFile,
		"NO_PROXY=*", "no_proxy=*",
	)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("node", func(t *testing.T) {
		modules := os.Getenv("INTEROP_NODE")
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
		run(t, filepath.Join(dir, "node"), env, "node", "--test", "--test-concurrency=1", "--test-reporter=spec")
	})
	t.Run("python", func(t *testing.T) {
		venv := os.Getenv("INTEROP_PYTHON")
		if venv == "" {
			t.Skip("the Python SDKs are not installed")
		}
		run(t, filepath.Join(here, "python"), append(env, "PYTHONDONTWRITEBYTECODE=1"), filepath.Join(venv, "bin", "python"), "-W", "ignore", "-m", "unittest", "-v")
	})
}

// registerCA makes the hub trust an authority, through the command line.
func registerCA(s *server, data, file, bin string) error {
	out, err := exec.Command(bin, "hub", "authority", "add", "interop", file, "--data", data).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
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
