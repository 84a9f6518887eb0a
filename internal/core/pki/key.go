package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
)

// The sizes of RSA keys that are accepted, in bits: fewer are no proof, more cost
// too much to verify.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

// KeyType names the type and size of a public key: "rsa-2048", "ec-p256",
// "ed25519". The error says what is accepted.
func KeyType(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < MinRSABits || bits > MaxRSABits {
			return "", fmt.Errorf("an RSA key of %d bits; it must have %d to %d", bits, MinRSABits, MaxRSABits)
		}
		return fmt.Sprintf("rsa-%d", bits), nil
	case *ecdsa.PublicKey:
		switch name := k.Params().Name; name {
		case "P-256", "P-384", "P-521":
			return "ec-p" + name[2:], nil
		default:
			return "", fmt.Errorf("an elliptic key on the curve %s; it must be on P-256, P-384 or P-521", name)
		}
	case ed25519.PublicKey:
		return "ed25519", nil
	}
	return "", errors.New("a key of a kind that is not supported; use RSA, an elliptic curve of NIST, or Ed25519")
}
