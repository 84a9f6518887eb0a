package tpm2test_test

import (
	"bytes"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/tpm2"
	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
)

func TestActivate(t *testing.T) {
	p := tpm2test.New(t)
	ek, err := tpm2.ParsePublic(p.EndorsementKey())
	if err != nil {
		t.Fatal(err)
	}
	srk, err := tpm2.ParsePublic(p.StorageRootKey())
	if err != nil {
		t.Fatal(err)
	}
	blob, err := tpm2.Activation(ek, srk, []byte("the key"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := p.Activate(blob); err != nil || !bytes.Equal(key, []byte("the key")) {
		t.Errorf("key %q, %v", key, err)
	}
	if _, err := p.Reset(t).Activate(blob); err == nil {
		t.Error("a TPM that was reset opens a blob of before")
	}
	for i := 0; i < len(blob); i += 13 {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if key, err := p.Activate(bad); err == nil && i < len(blob)-3 {
			t.Fatalf("byte %d is changed, and the key is %q", i, key)
		}
		if _, err := p.Activate(blob[:i]); err == nil {
			t.Fatalf("the first %d bytes are enough", i)
		}
	}
}
