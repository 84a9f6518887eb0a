package pkcs7_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/internal/wire/pkcs7"
)

// TestEmpty compares with the message that the standard gives for no certificates.
func TestEmpty(t *testing.T) {
	got, err := pkcs7.Certificates()
	want := []byte{
		0x30, 0x25, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02, 0xA0, 0x18, 0x30, 0x16, 0x02, 0x01, 0x01, 0x31, 0x00,
		0x30, 0x0B, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01, 0xA0, 0x00, 0x31, 0x00,
	}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%X, %v\nwant %X", got, err, want)
	}
}

// TestCertificates has OpenSSL find the certificates again.
func TestCertificates(t *testing.T) {
	var certs [][]byte
	for _, name := range []string{"one", "two"} {
		ca, err := pki.NewCA(name)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, ca.Certificate().Raw)
	}
	der, err := pkcs7.Certificates(certs...)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := asn1.Unmarshal(der, new(asn1.RawValue)); err != nil || len(rest) > 0 {
		t.Fatalf("not one value: %v", err)
	}
	openssl := process.Tool(t, "openssl")
	path := filepath.Join(t.TempDir(), "m.p7b")
	if err := os.WriteFile(path, der, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), openssl, "pkcs7", "-inform", "DER", "-in", path, "-print_certs").Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	for i := range certs {
		var block *pem.Block
		if block, out = pem.Decode(out); block == nil || !bytes.Equal(block.Bytes, certs[i]) {
			t.Errorf("certificate %d is another", i+1)
		}
	}
}
