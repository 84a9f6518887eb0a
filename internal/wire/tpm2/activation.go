package tpm2

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

const (
	// MaxKey bounds an HMAC key in bytes: a TPM takes none that is longer than a
	// block of the hash.
	MaxKey = sha256.BlockSize
	// MaxData bounds the data that comes with a key: every TPM takes as much as
	// one input buffer.
	MaxData = 1024

	innerSize = 16 // of the key that wraps; clients fix AES-128
	seedSize  = sha256.Size
)

// Activation makes the blob with which a TPM takes over an HMAC key: only one
// that holds both ek, its endorsement key, and srk, the parent of the key to be,
// can open it. Data is handed over encrypted beside the key; it must not be empty.
//
// The blob is six TPM2B, one behind the other: the credential and its secret,
// bound to the name of srk; the key as a duplicate under srk, its secret, its
// public part; the data. It is encrypted anew each time.
func Activation(ek, srk *Public, key, data []byte) ([]byte, error) {
	switch {
	case len(key) == 0 || len(key) > MaxKey:
		return nil, fmt.Errorf("activation blob: a key of %d bytes is not within 1 and %d", len(key), MaxKey)
	case len(data) == 0 || len(data) > MaxData:
		return nil, fmt.Errorf("activation blob: data of %d bytes is not within 1 and %d", len(data), MaxData)
	}
	inner := random(innerSize)
	credential, secret, err := makeCredential(ek, name(srk.area), inner)
	if err != nil {
		return nil, fmt.Errorf("activation blob: encrypt to the endorsement key: %w", err)
	}
	d, err := duplicate(srk, key, inner)
	if err != nil {
		return nil, fmt.Errorf("activation blob: encrypt to the storage root key: %w", err)
	}
	var b []byte
	for _, part := range [][]byte{credential, secret, d.private, d.secret, d.public, encryptCFB(inner, data)} {
		b = appendSized(b, part)
	}
	return b, nil
}

// makeCredential encrypts a value for the TPM that holds both ek and an object
// of the given name (part 1 §24).
func makeCredential(ek *Public, object, value []byte) (credential, secret []byte, err error) {
	seed := random(seedSize)
	secret, err = encryptSeed(ek, seed, "IDENTITY")
	if err != nil {
		return nil, nil, err
	}
	enc := encryptCFB(kdfa(seed, "STORAGE", object, nil, ek.bits), appendSized(nil, value))
	return append(appendSized(nil, integrity(seed, enc, object)), enc...), secret, nil
}

// duplicated is an object on its way to a new parent.
type duplicated struct{ public, private, secret []byte }

// duplicate wraps an HMAC key for its import under srk, with inner as the key of
// the inner wrapper (part 1 §23.3).
func duplicate(srk *Public, key, inner []byte) (d duplicated, err error) {
	obfuscation := random(sha256.Size) // seedValue of the sensitive area
	unique := sha256.Sum256(append(append([]byte(nil), obfuscation...), key...))

	// TPMT_PUBLIC of a keyed hash object that signs and may be used with an
	// (empty) password. It came from outside, so none of the fixed attributes.
	p := binary.BigEndian.AppendUint16(nil, algKeyedHash)
	p = binary.BigEndian.AppendUint16(p, algSHA256)
	p = binary.BigEndian.AppendUint32(p, attrSign|attrUserAuth)
	p = appendSized(p, nil) // no policy
	p = binary.BigEndian.AppendUint16(p, algHMAC)
	p = binary.BigEndian.AppendUint16(p, algSHA256)
	d.public = appendSized(p, unique[:])
	object := name(d.public)

	// TPMT_SENSITIVE.
	s := binary.BigEndian.AppendUint16(nil, algKeyedHash)
	s = appendSized(s, nil) // no password
	s = appendSized(s, obfuscation)
	s = appendSized(s, key)
	sensitive := appendSized(nil, s)

	sum := sha256.Sum256(append(append([]byte(nil), sensitive...), object...))
	wrapped := encryptCFB(inner, append(appendSized(nil, sum[:]), sensitive...))

	seed := random(seedSize)
	if d.secret, err = encryptSeed(srk, seed, "DUPLICATE"); err != nil {
		return d, err
	}
	outer := encryptCFB(kdfa(seed, "STORAGE", object, nil, srk.bits), wrapped)
	d.private = append(appendSized(nil, integrity(seed, outer, object)), outer...)
	return d, nil
}

// integrity returns the HMAC over an encrypted value and the name it is bound to.
func integrity(seed, enc, object []byte) []byte {
	mac := hmac.New(sha256.New, kdfa(seed, "INTEGRITY", nil, nil, 8*sha256.Size))
	mac.Write(enc)
	mac.Write(object)
	return mac.Sum(nil)
}

// encryptSeed encrypts a seed to the key of a TPM; the label includes its
// terminating zero (part 1 §B.4).
func encryptSeed(p *Public, seed []byte, label string) ([]byte, error) {
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, p.Key, seed, append([]byte(label), 0))
}

// kdfa derives bits from a key (part 1 §11.4.10.2): a counter, the label and a
// zero, both contexts, and the number of bits, under HMAC-SHA256.
func kdfa(key []byte, label string, u, v []byte, bits int) []byte {
	var out []byte
	for i := uint32(1); len(out) < bits/8; i++ {
		mac := hmac.New(sha256.New, key)
		mac.Write(binary.BigEndian.AppendUint32(nil, i))
		mac.Write([]byte(label))
		mac.Write([]byte{0})
		mac.Write(u)
		mac.Write(v)
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(bits))) //nolint:gosec // 256 at most
		out = mac.Sum(out)
	}
	return out[:bits/8]
}

// encryptCFB encrypts in CFB mode with an initialisation vector of zeros, as TPMs
// do with keys that are used once. Integrity is the business of an HMAC outside,
// or of the digest inside.
func encryptCFB(key, plain []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("a derived key has no size of AES: " + err.Error()) // a programmer's error
	}
	out := make([]byte, len(plain))
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(out, plain) //nolint:staticcheck // the mode that TPMs speak
	return out
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
