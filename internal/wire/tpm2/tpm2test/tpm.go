// Package tpm2test is a TPM in software for tests: it has the keys, and opens
// activation blobs as the commands of a TPM would. The real thing is tested in
// package tpm2, on swtpm.
package tpm2test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// TPM has an endorsement key and a storage root key.
type TPM struct{ ek, srk *rsa.PrivateKey }

// New returns a TPM with keys of its own.
func New(t testing.TB) *TPM {
	t.Helper()
	var p TPM
	for _, k := range []**rsa.PrivateKey{&p.ek, &p.srk} {
		var err error
		if *k, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	return &p
}

// Reset gives the TPM another storage root key, as when its owner is cleared.
func (p *TPM) Reset(t testing.TB) *TPM {
	t.Helper()
	n := New(t)
	return &TPM{ek: p.ek, srk: n.srk}
}

// EndorsementKey and StorageRootKey return the public parts as TPM2B_PUBLIC.
func (p *TPM) EndorsementKey() []byte { return public(&p.ek.PublicKey, 0x000300B2, make([]byte, 32)) }

// StorageRootKey returns the public part of the storage root key.
func (p *TPM) StorageRootKey() []byte { return public(&p.srk.PublicKey, 0x00030472, nil) }

func public(k *rsa.PublicKey, attrs uint32, policy []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, 0x0001)
	b = be.AppendUint16(b, 0x000B)
	b = be.AppendUint32(b, attrs)
	b = sized(b, policy)
	for _, v := range []uint16{0x0006, 128, 0x0043, 0x0010, 2048} {
		b = be.AppendUint16(b, v)
	}
	b = be.AppendUint32(b, 0)
	return sized(nil, sized(b, k.N.FillBytes(make([]byte, 256))))
}

func sized(b, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(content))), content...) //nolint:gosec // short
}

// take takes a TPM2B off b.
func take(b []byte) (content, rest []byte, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errors.New("a TPM2B is cut short")
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], nil
}

// Activate opens a blob and returns the HMAC key in it.
func (p *TPM) Activate(blob []byte) ([]byte, error) {
	var parts [6][]byte
	var err error
	for i := range parts {
		if parts[i], blob, err = take(blob); err != nil {
			return nil, fmt.Errorf("part %d: %w", i+1, err)
		}
	}
	srk := p.StorageRootKey()[2:]
	seed, err := rsa.DecryptOAEP(sha256.New(), nil, p.ek, parts[1], []byte("IDENTITY\x00"))
	if err != nil {
		return nil, fmt.Errorf("credential secret: %w", err)
	}
	enc, err := verified(seed, parts[0], name(srk))
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	inner, _, err := take(decrypt(kdfa(seed, "STORAGE", name(srk), 16), enc))
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	seed, err = rsa.DecryptOAEP(sha256.New(), nil, p.srk, parts[3], []byte("DUPLICATE\x00"))
	if err != nil {
		return nil, fmt.Errorf("duplication secret: %w", err)
	}
	object := name(parts[4])
	if enc, err = verified(seed, parts[2], object); err != nil {
		return nil, fmt.Errorf("duplicate: %w", err)
	}
	plain := decrypt(inner, decrypt(kdfa(seed, "STORAGE", object, 16), enc))
	sum, sensitive, err := take(plain)
	if err != nil {
		return nil, fmt.Errorf("inner wrapper: %w", err)
	}
	if want := sha256.Sum256(append(bytes.Clone(sensitive), object...)); !bytes.Equal(sum, want[:]) {
		return nil, errors.New("inner wrapper: the digest is wrong")
	}
	if sensitive, _, err = take(sensitive); err != nil || len(sensitive) < 2 {
		return nil, errors.New("sensitive area: cut short")
	}
	var key []byte
	for rest, i := sensitive[2:], 0; i < 3; i++ { // password, seed, key
		if key, rest, err = take(rest); err != nil {
			return nil, fmt.Errorf("sensitive area: %w", err)
		}
	}
	return key, nil
}

// verified checks the HMAC in front of an encrypted value.
func verified(seed, b, object []byte) ([]byte, error) {
	sum, enc, err := take(b)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, kdfa(seed, "INTEGRITY", nil, 32))
	mac.Write(enc)
	mac.Write(object)
	if !hmac.Equal(sum, mac.Sum(nil)) {
		return nil, errors.New("it is bound to something else")
	}
	return enc, nil
}

func name(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append([]byte{0, 0x0B}, sum[:]...)
}

func kdfa(key []byte, label string, u []byte, n int) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte{0, 0, 0, 1})
	mac.Write([]byte(label + "\x00"))
	mac.Write(u)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(8*n))) //nolint:gosec // short
	return mac.Sum(nil)[:n]
}

func decrypt(key, enc []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	out := make([]byte, len(enc))
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(out, enc) //nolint:staticcheck // the mode of TPMs
	return out
}
