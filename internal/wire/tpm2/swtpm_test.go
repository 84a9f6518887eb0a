package tpm2_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/internal/wire/tpm2"
)

// TestActivation has a TPM, in software but not ours, take over keys from
// activation blobs, and compares what it signs with them.
func TestActivation(t *testing.T) {
	tpm := startTPM(t)
	ek, srk := tpm.public(ekHandle), tpm.public(srkHandle)
	for _, size := range []int{1, 32, 64, tpm2.MaxKey} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			key, data := random(size), []byte("hub.example/devices/d")
			blob, err := tpm2.Activation(ek, srk, key, data)
			if err != nil {
				t.Fatal(err)
			}
			signed, opened := tpm.activate(t, blob, []byte("what is signed"))
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte("what is signed"))
			if want := mac.Sum(nil); !bytes.Equal(signed, want) {
				t.Errorf("the TPM signs %x, want %x", signed, want)
			}
			if !bytes.Equal(opened, data) {
				t.Errorf("the data is %q, want %q", opened, data)
			}
		})
	}
}

// TestActivationElsewhere checks that a blob is of no use to another TPM.
func TestActivationElsewhere(t *testing.T) {
	one, other := startTPM(t), startTPM(t)
	blob, err := tpm2.Activation(one.public(ekHandle), one.public(srkHandle), random(32), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.credential(t, split(t, blob)); err == nil {
		t.Error("another TPM opens the credential")
	}
	// The right endorsement key, and a storage root key of another TPM.
	blob, err = tpm2.Activation(one.public(ekHandle), other.public(srkHandle), random(32), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.credential(t, split(t, blob)); err == nil {
		t.Error("a TPM opens a credential that is bound to another key")
	}
}

const (
	ekHandle  = "0x81010001"
	srkHandle = "0x81000001"
)

// swtpm is a TPM of Debian's swtpm, driven by tpm2-tools.
type swtpm struct {
	t    *testing.T
	dir  string
	tcti string
}

// startTPM starts a TPM with an endorsement key and a storage root key.
func startTPM(t *testing.T) *swtpm {
	t.Helper()
	for _, tool := range []string{"swtpm", "tpm2_createek"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "1" {
				t.Fatalf("%s is missing; CI installs swtpm, tpm2-tools and libtss2-tcti-swtpm0", tool)
			}
			t.Skipf("%s is missing: apt-get install swtpm tpm2-tools libtss2-tcti-swtpm0", tool)
		}
	}
	dir := t.TempDir()
	port := process.FreePorts(t, 2)
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", fmt.Sprintf("type=tcp,port=%d", port), "--ctrl", fmt.Sprintf("type=tcp,port=%d", port+1),
		"--flags", "not-need-init,startup-clear")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &swtpm{t: t, dir: dir, tcti: fmt.Sprintf("swtpm:host=127.0.0.1,port=%d", port)}
	for end := time.Now().Add(20 * time.Second); ; {
		if _, err := s.run(t, "tpm2_getcap", "properties-fixed"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the TPM does not answer: %v\n%s", err, out.String())
		}
	}
	s.must(t, "tpm2_createek", "-c", ekHandle, "-G", "rsa", "-u", "ek.pub")
	s.must(t, "tpm2_createprimary", "-C", "o", "-G", "rsa2048:aes128cfb", "-g", "sha256", "-c", "srk.ctx",
		"-a", "restricted|decrypt|fixedtpm|fixedparent|noda|userwithauth|sensitivedataorigin")
	s.must(t, "tpm2_evictcontrol", "-C", "o", "-c", "srk.ctx", srkHandle)
	s.must(t, "tpm2_flushcontext", "-t")
	return s
}

func (s *swtpm) run(t *testing.T, tool string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+s.tcti)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", tool, err, stderr.String())
	}
	return out, err
}

func (s *swtpm) must(t *testing.T, tool string, args ...string) []byte {
	t.Helper()
	out, err := s.run(t, tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *swtpm) write(name string, b []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), b, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *swtpm) read(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// public reads the public part of a key as a device would send it.
func (s *swtpm) public(handle string) *tpm2.Public {
	s.t.Helper()
	s.must(s.t, "tpm2_readpublic", "-c", handle, "-o", "key.pub")
	b := s.read("key.pub")
	p, err := tpm2.ParsePublic(b)
	if err != nil {
		s.t.Fatalf("key %s: %v", handle, err)
	}
	if !bytes.Equal(p.Bytes(), b) {
		s.t.Errorf("key %s comes back as %x, was %x", handle, p.Bytes(), b)
	}
	return p
}

// split takes a blob apart.
func split(t *testing.T, blob []byte) (parts [][]byte) {
	t.Helper()
	for len(blob) > 0 {
		if len(blob) < 2 || len(blob)-2 < int(binary.BigEndian.Uint16(blob)) {
			t.Fatalf("%d bytes are no TPM2B", len(blob))
		}
		n := 2 + int(binary.BigEndian.Uint16(blob))
		parts, blob = append(parts, blob[:n]), blob[n:]
	}
	if len(parts) != 6 {
		t.Fatalf("the blob has %d parts, want 6", len(parts))
	}
	return parts
}

// credential opens the first two parts of a blob, the inner key.
func (s *swtpm) credential(t *testing.T, parts [][]byte) ([]byte, error) {
	t.Helper()
	// The file format of tpm2-tools: a magic number and a version in front.
	s.write("credential", append(append([]byte{0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1}, parts[0]...), parts[1]...))
	s.must(t, "tpm2_startauthsession", "--policy-session", "-S", "session")
	defer s.must(t, "tpm2_flushcontext", "session")
	s.must(t, "tpm2_policysecret", "-S", "session", "-c", "e")
	if _, err := s.run(t, "tpm2_activatecredential", "-c", srkHandle, "-C", ekHandle, "-i", "credential", "-o", "inner", "-P", "session:session"); err != nil {
		return nil, err
	}
	return s.read("inner"), nil
}

// activate takes over the key of a blob and signs text with it. It returns the
// data of the blob too.
func (s *swtpm) activate(t *testing.T, blob, text []byte) (signed, data []byte) {
	t.Helper()
	parts := split(t, blob)
	inner, err := s.credential(t, parts)
	if err != nil {
		t.Fatal(err)
	}
	s.write("dup", parts[2])
	s.write("seed", parts[3])
	s.write("pub", parts[4])
	s.write("text", text)
	s.must(t, "tpm2_import", "-C", srkHandle, "-u", "pub", "-i", "dup", "-s", "seed", "-k", "inner", "-r", "priv")
	s.must(t, "tpm2_load", "-C", srkHandle, "-u", "pub", "-r", "priv", "-c", "key.ctx")
	defer s.must(t, "tpm2_flushcontext", "-t")
	s.must(t, "tpm2_hmac", "-c", "key.ctx", "-o", "mac", "text")

	block, err := aes.NewCipher(inner)
	if err != nil {
		t.Fatal(err)
	}
	data = make([]byte, len(parts[5])-2)
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(data, parts[5][2:]) //nolint:staticcheck // what TPMs speak
	return s.read("mac"), data
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
