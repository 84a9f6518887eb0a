package tpm2

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Constants of part 2, §6.3 to §8.3.
const (
	algRSA       = 0x0001
	algKeyedHash = 0x0008
	algHMAC      = 0x0005
	algAES       = 0x0006
	algSHA256    = 0x000B
	algNull      = 0x0010
	algCFB       = 0x0043

	attrFixedTPM   = 1 << 1
	attrRestricted = 1 << 16
	attrDecrypt    = 1 << 17
	attrUserAuth   = 1 << 6
	attrSign       = 1 << 18
)

const (
	// MaxPublic bounds the bytes of a public part: an RSA key of 4096 bits with
	// a policy has fewer than 700.
	MaxPublic = 1024

	defaultExponent = 65537 // what 0 stands for
	leastBits       = 2048
	mostBits        = 4096
)

// ErrPublic says that bytes are not the public part of a storage key; the error
// that wraps it says why.
var ErrPublic = errors.New("not the public part of an RSA storage key of a TPM")

// Public is the public part of a restricted RSA decryption key that the TPM
// holds: its endorsement key or its storage root key.
type Public struct {
	// Key encrypts to the TPM.
	Key *rsa.PublicKey

	area []byte // the TPMT_PUBLIC
	bits int    // of the AES key that protects children, 128 or 256
}

// ParsePublic reads a TPM2B_PUBLIC. The length in front may be missing, as some
// tools leave it out. It keeps no reference to b.
func ParsePublic(b []byte) (*Public, error) {
	if len(b) > MaxPublic {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrPublic, len(b), MaxPublic)
	}
	if len(b) >= 2 && int(binary.BigEndian.Uint16(b)) == len(b)-2 {
		b = b[2:]
	}
	p, err := parseArea(append([]byte(nil), b...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPublic, err)
	}
	return p, nil
}

// ParseBase64 reads a TPM2B_PUBLIC in base64, the form in which devices and
// enrollments hold it.
func ParseBase64(text string) (*Public, error) {
	if len(text) > base64.StdEncoding.EncodedLen(MaxPublic) {
		return nil, fmt.Errorf("%w: it has %d characters, more than %d", ErrPublic, len(text), base64.StdEncoding.EncodedLen(MaxPublic))
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not base64: %w", ErrPublic, err)
	}
	return ParsePublic(b)
}

// parseArea reads a TPMT_PUBLIC (part 2 §12.2.4) of an RSA storage key.
func parseArea(area []byte) (*Public, error) {
	r := reader{b: area}
	kind, hash, attrs := r.u16(), r.u16(), r.u32()
	r.sized() // authPolicy
	symmetric, bits, mode := r.u16(), r.u16(), uint16(0)
	if symmetric == algAES {
		mode = r.u16()
	}
	scheme, keyBits, exponent := r.u16(), r.u16(), r.u32()
	modulus := r.sized()
	switch {
	case r.short:
		return nil, errors.New("it ends too early")
	case len(r.b) > 0:
		return nil, fmt.Errorf("%d bytes follow it", len(r.b))
	case kind != algRSA:
		return nil, fmt.Errorf("the kind of key is %#04x, only RSA (0x0001) is supported", kind)
	case hash != algSHA256:
		return nil, fmt.Errorf("the name algorithm is %#04x, only SHA-256 (0x000b) is supported", hash)
	case attrs&(attrRestricted|attrDecrypt) != attrRestricted|attrDecrypt || attrs&attrSign != 0 || attrs&attrFixedTPM == 0:
		return nil, fmt.Errorf("its attributes %#08x are not those of a restricted decryption key that stays in its TPM", attrs)
	case symmetric != algAES || bits != 128 && bits != 256 || mode != algCFB:
		return nil, errors.New("it does not protect its children by AES in CFB mode")
	case scheme != algNull:
		return nil, fmt.Errorf("it has the scheme %#04x, a storage key has none", scheme)
	case keyBits < leastBits || keyBits > mostBits || int(keyBits) != 8*len(modulus):
		return nil, fmt.Errorf("a modulus of %d bytes for %d bits; %d to %d bits are supported", len(modulus), keyBits, leastBits, mostBits)
	case modulus[0]&0x80 == 0 || modulus[len(modulus)-1]&1 == 0:
		return nil, errors.New("its modulus is not one of RSA")
	}
	if exponent == 0 {
		exponent = defaultExponent
	}
	if exponent < 3 || exponent%2 == 0 || exponent > 1<<31-1 {
		return nil, fmt.Errorf("its exponent is %d", exponent)
	}
	return &Public{
		Key:  &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent)},
		area: area,
		bits: int(bits),
	}, nil
}

// Bytes returns the TPM2B_PUBLIC.
func (p *Public) Bytes() []byte { return appendSized(nil, p.area) }

// Equal reports whether q is the same key with the same attributes.
func (p *Public) Equal(q *Public) bool { return string(p.area) == string(q.area) }

// name returns the Name of an object with this public area (part 1 §16).
func name(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), sum[:]...)
}

// reader takes structures apart. Short is set, and zeros are returned, once there
// is too little.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.short, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// appendSized appends a TPM2B.
func appendSized(b, content []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(content))) //nolint:gosec // some hundred bytes at most
	return append(b, content...)
}
