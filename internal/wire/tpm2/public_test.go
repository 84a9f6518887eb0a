package tpm2_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/tpm2"
)

// template is the public part of a storage key, field by field.
type template struct {
	kind, hash  uint16
	attrs       uint32
	policy      []byte
	alg, bits   uint16
	mode        uint16
	scheme      uint16
	keyBits     uint16
	exponent    uint32
	modulus     []byte
	after       []byte
	noAlgorithm bool // leaves mode out
}

func storageKey(modulus []byte) template {
	return template{
		kind: 1, hash: 0xB, attrs: 0x000300B2, policy: bytes.Repeat([]byte{7}, 32), alg: 6, bits: 128, mode: 0x43,
		scheme: 0x10, keyBits: uint16(8 * len(modulus)), modulus: modulus,
	}
}

func (p template) area() []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, p.kind)
	b = be.AppendUint16(b, p.hash)
	b = be.AppendUint32(b, p.attrs)
	b = append(be.AppendUint16(b, uint16(len(p.policy))), p.policy...)
	b = be.AppendUint16(b, p.alg)
	b = be.AppendUint16(b, p.bits)
	if !p.noAlgorithm {
		b = be.AppendUint16(b, p.mode)
	}
	b = be.AppendUint16(b, p.scheme)
	b = be.AppendUint16(b, p.keyBits)
	b = be.AppendUint32(b, p.exponent)
	b = append(be.AppendUint16(b, uint16(len(p.modulus))), p.modulus...)
	return append(b, p.after...)
}

func modulus(t testing.TB, bits int) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key.N.Bytes()
}

func TestParsePublic(t *testing.T) {
	good := storageKey(modulus(t, 2048))
	area := good.area()
	sized := append(binary.BigEndian.AppendUint16(nil, uint16(len(area))), area...)
	p, err := tpm2.ParsePublic(sized)
	if err != nil {
		t.Fatal(err)
	}
	if p.Key.E != 65537 || !bytes.Equal(p.Key.N.Bytes(), good.modulus) {
		t.Errorf("key %v", p.Key)
	}
	for name, f := range map[string]func() (*tpm2.Public, error){
		"without its length": func() (*tpm2.Public, error) { return tpm2.ParsePublic(area) },
		"base64":             func() (*tpm2.Public, error) { return tpm2.ParseBase64(base64.StdEncoding.EncodeToString(sized)) },
	} {
		if q, err := f(); err != nil || !p.Equal(q) || !bytes.Equal(q.Bytes(), sized) {
			t.Errorf("%s: %v, %v", name, q, err)
		}
	}
	other := storageKey(modulus(t, 2048))
	if q, err := tpm2.ParsePublic(other.area()); err != nil || p.Equal(q) {
		t.Errorf("another key: equal, or %v", err)
	}
}

func TestParsePublicRefuses(t *testing.T) {
	m := modulus(t, 2048)
	even := append([]byte(nil), m...)
	even[len(even)-1] &^= 1
	small := append([]byte(nil), m...)
	small[0] = 1
	for name, c := range map[string]struct {
		change func(*template)
		want   string
	}{
		"elliptic curve":      {func(p *template) { p.kind = 0x23 }, "only RSA"},
		"another hash":        {func(p *template) { p.hash = 4 }, "only SHA-256"},
		"a key that signs":    {func(p *template) { p.attrs |= 1 << 18 }, "attributes"},
		"not restricted":      {func(p *template) { p.attrs &^= 1 << 16 }, "attributes"},
		"not fixed":           {func(p *template) { p.attrs &^= 1 << 1 }, "attributes"},
		"no cipher":           {func(p *template) { p.alg, p.noAlgorithm = 0x10, true }, "CFB"},
		"another mode":        {func(p *template) { p.mode = 0x42 }, "CFB"},
		"192 bits of AES":     {func(p *template) { p.bits = 192 }, "CFB"},
		"a scheme":            {func(p *template) { p.scheme = 0x14 }, "scheme"},
		"1024 bits":           {func(p *template) { p.modulus, p.keyBits = m[:128], 1024 }, "2048 to 4096"},
		"bits that are wrong": {func(p *template) { p.keyBits = 3072 }, "2048 to 4096"},
		"an even modulus":     {func(p *template) { p.modulus = even }, "modulus"},
		"a small modulus":     {func(p *template) { p.modulus = small }, "modulus"},
		"an even exponent":    {func(p *template) { p.exponent = 4 }, "exponent"},
		"exponent 1":          {func(p *template) { p.exponent = 1 }, "exponent"},
		"a huge exponent":     {func(p *template) { p.exponent = 1<<32 - 1 }, "exponent"},
		"bytes behind":        {func(p *template) { p.after = []byte{1} }, "follow"},
		"too many bytes":      {func(p *template) { p.after = make([]byte, tpm2.MaxPublic) }, "more than"},
		"a long policy":       {func(p *template) { p.policy = make([]byte, 700) }, ""},
	} {
		p := storageKey(m)
		c.change(&p)
		_, err := tpm2.ParsePublic(p.area())
		if c.want == "" {
			continue // only that it ends well
		}
		if !errors.Is(err, tpm2.ErrPublic) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to speak of %q", name, err, c.want)
		}
	}
	area := storageKey(m).area()
	for n := range area {
		if _, err := tpm2.ParsePublic(area[:n]); !errors.Is(err, tpm2.ErrPublic) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "not base64": "äöü", "endless": strings.Repeat("A", 1<<20)} {
		if _, err := tpm2.ParseBase64(text); !errors.Is(err, tpm2.ErrPublic) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestActivationBounds(t *testing.T) {
	p, err := tpm2.ParsePublic(storageKey(modulus(t, 2048)).area())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, data int }{{0, 1}, {tpm2.MaxKey + 1, 1}, {32, 0}, {32, tpm2.MaxData + 1}} {
		if _, err := tpm2.Activation(p, p, make([]byte, c.key), make([]byte, c.data)); err == nil {
			t.Errorf("a key of %d bytes and data of %d are taken", c.key, c.data)
		}
	}
	one, err := tpm2.Activation(p, p, make([]byte, 32), make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	two, err := tpm2.Activation(p, p, make([]byte, 32), make([]byte, 16))
	if err != nil || bytes.Equal(one, two) {
		t.Errorf("the same blob twice, or %v", err)
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(storageKey(modulus(f, 2048)).area())
	f.Add([]byte{0, 4, 0, 1, 0, 11})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := tpm2.ParsePublic(b)
		if err != nil {
			return
		}
		if q, err := tpm2.ParsePublic(p.Bytes()); err != nil || !p.Equal(q) {
			t.Errorf("%x does not come back: %v", b, err)
		}
		if _, err := tpm2.Activation(p, p, []byte{1}, []byte{2}); err != nil && !strings.Contains(err.Error(), "encrypt to") {
			t.Error(err)
		}
	})
}
