// Package secret seals keys that are stored: what a database or a backup holds
// is useless without the key file beside it.
//
// It knows encryption of short texts and the key file. What is sealed, and where
// it is kept, it does not know.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
)

// KeySize is the length of a sealing key in bytes: AES-256.
const KeySize = 32

// MaxSealed bounds the length of text that is opened, in bytes.
const MaxSealed = 64 << 10

// version begins sealed text; text of a later form will begin otherwise.
const version = "v1"

// The ways sealed text can be refused.
var (
	// ErrSealed is text that was not sealed by this package, or was cut or changed.
	ErrSealed = errors.New("sealed text is damaged, or was sealed for another place")
	// ErrKey is text that was sealed with a key that is not at hand.
	ErrKey = errors.New("sealed with a key that is not in the key file")
)

// Sealer seals and opens short secrets. What is sealed for one bind opens for no
// other, so that a sealed key cannot be moved to another record; bind is not
// secret, e.g. "hub/device/primary".
type Sealer interface {
	Seal(plain causeway.Secret, bind string) (causeway.Secret, error)
	Open(sealed causeway.Secret, bind string) (causeway.Secret, error)
}

var _ Sealer = (*Keyring)(nil)

// Keyring seals with its first key and opens with any, so that keys can be
// changed without rewriting all that was sealed. It is safe for concurrent use.
//
// The sealed text is "v1:{key id}:{base64 of nonce and ciphertext}", AES-256-GCM
// with a random nonce of 96 bits: good for 2^32 texts under one key.
type Keyring struct {
	keys []sealKey
}

type sealKey struct {
	id   string // first four bytes of the key's SHA-256, hexadecimal
	aead cipher.AEAD
}

// NewKeyring returns a keyring that seals with key, of [KeySize] bytes, and also
// opens what was sealed with one of older.
func NewKeyring(key []byte, older ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for _, b := range append([][]byte{key}, older...) {
		if len(b) != KeySize {
			return nil, fmt.Errorf("sealing key has %d bytes, want %d", len(b), KeySize)
		}
		block, err := aes.NewCipher(b)
		if err != nil {
			return nil, fmt.Errorf("prepare sealing key: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("prepare sealing key: %w", err)
		}
		sum := sha256.Sum256(b)
		k.keys = append(k.keys, sealKey{id: hex.EncodeToString(sum[:4]), aead: aead})
	}
	return k, nil
}

// Seal encrypts plain for bind. The empty secret stays empty: it means that
// there is none.
func (k *Keyring) Seal(plain causeway.Secret, bind string) (causeway.Secret, error) {
	if plain == "" {
		return "", nil
	}
	key := k.keys[0]
	box := key.aead.Seal(nil, nil, []byte(plain), additional(bind))
	text := version + ":" + key.id + ":" + base64.RawStdEncoding.EncodeToString(box)
	if len(text) > MaxSealed {
		return "", fmt.Errorf("seal %s: secret of %d bytes is too long", bind, len(plain))
	}
	return causeway.Secret(text), nil
}

// Open decrypts what Seal returned for the same bind. Its errors wrap ErrSealed
// or ErrKey and hold nothing of the text.
func (k *Keyring) Open(sealed causeway.Secret, bind string) (causeway.Secret, error) {
	if sealed == "" {
		return "", nil
	}
	v, rest, _ := strings.Cut(string(sealed), ":")
	id, text, ok := strings.Cut(rest, ":")
	// The decoder below would skip line breaks; sealed text has none.
	if v != version || !ok || len(sealed) > MaxSealed || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("open %s: %w", bind, ErrSealed)
	}
	box, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", bind, ErrSealed)
	}
	known := false
	for _, key := range k.keys {
		if key.id != id {
			continue
		}
		known = true
		if plain, err := key.aead.Open(nil, nil, box, additional(bind)); err == nil {
			return causeway.Secret(plain), nil
		}
	}
	if !known {
		return "", fmt.Errorf("open %s: %w", bind, ErrKey)
	}
	return "", fmt.Errorf("open %s: %w", bind, ErrSealed)
}

// additional is what is authenticated beside the secret: the place it is for,
// and the form, so that text of another form cannot pass for this one.
func additional(bind string) []byte { return []byte(version + "\x00" + bind) }
