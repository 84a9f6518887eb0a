package pki_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/pki"
)

func TestKeyType(t *testing.T) {
	for name, pub := range map[string]any{
		"rsa-2048": &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 3}, "": &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 3},
		"ec-p384": &ecdsa.PublicKey{Curve: elliptic.P384()}, "ec-p256": &ecdsa.PublicKey{Curve: elliptic.P256()}, "ed25519": ed25519.PublicKey{},
	} {
		got, err := pki.KeyType(pub)
		if got != name || (err == nil) != (name != "") {
			t.Errorf("%T: %q, %v, want %q", pub, got, err, name)
		}
	}
	for _, pub := range []any{&ecdsa.PublicKey{Curve: elliptic.P224()}, nil, 7} {
		if got, err := pki.KeyType(pub); err == nil {
			t.Errorf("%T is taken for %q", pub, got)
		}
	}
}
