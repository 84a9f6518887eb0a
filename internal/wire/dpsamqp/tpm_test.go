package dpsamqp_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
)

// blob is as long as those of RSA keys of 2048 bits.
var blob = bytes.Repeat([]byte{1, 2, 3}, 260)[:779]

// dialogue takes a server through the responses of a client and returns its
// challenges.
func dialogue(t *dpsamqp.TPM, blob []byte, responses ...[]byte) (challenges [][]byte, done bool, err error) {
	for _, r := range responses {
		challenge, step, err := t.Next(r)
		if err != nil {
			return challenges, false, err
		}
		switch step {
		case dpsamqp.Activate:
			if challenge, err = t.Blob(blob); err != nil {
				return challenges, false, err
			}
		case dpsamqp.Verify:
			return challenges, true, nil
		}
		challenges = append(challenges, challenge)
	}
	return challenges, false, nil
}

func response(parts ...string) []byte { return []byte("\x00" + strings.Join(parts, "\x00")) }

func TestTPM(t *testing.T) {
	ek := "\x00\x02\x00e" // keys have zeros in them
	for name, responses := range map[string][][]byte{
		"as Java, Node and C do":      {response("scope", "id", ek), response("srk"), {0}, response("token")},
		"without an initial response": {nil, response("scope", "id", ek), response("srk"), {0}, response("token")},
		"in segments":                 {[]byte("\x80scope\x00i"), []byte("\x81d\x00"), []byte("\xC2" + ek), []byte("\x80s"), []byte("\xC1rk"), {0}, []byte("\xC0token")},
	} {
		var s dpsamqp.TPM
		challenges, done, err := dialogue(&s, blob, responses...)
		if err != nil || !done {
			t.Errorf("%s: %v %v", name, done, err)
			continue
		}
		if s.Address != (dpsamqp.Address{Scope: "scope", ID: "id"}) || string(s.EndorsementKey) != ek || string(s.StorageRootKey) != "srk" || s.Token != "token" {
			t.Errorf("%s: %+v", name, s)
		}
		n := len(challenges)
		first, second := challenges[n-2], challenges[n-1]
		if first[0] != 0x80 || second[0] != 0xC1 || !bytes.Equal(append(first[1:len(first):len(first)], second[1:]...), blob) || len(first) > 471 || len(second) > 471 {
			t.Errorf("%s: segments %x… %x…", name, first[:2], second[:2])
		}
		for _, c := range challenges[:n-2] {
			if !bytes.Equal(c, []byte{0}) {
				t.Errorf("%s: challenge %x", name, c)
			}
		}
		if _, _, err := s.Next([]byte{0}); err == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
}

func TestTPMBadInput(t *testing.T) {
	hello, srk := response("scope", "id", "ek"), response("srk")
	for name, responses := range map[string][][]byte{
		"empty":                         {{}},
		"no control byte of ours":       {[]byte("\x01scope\x00id\x00ek")},
		"no key":                        {response("scope", "id")},
		"empty key":                     {response("scope", "id", "")},
		"empty id":                      {response("scope", "", "ek")},
		"empty scope":                   {response("", "id", "ek")},
		"long ids":                      {response(strings.Repeat("s", dpsamqp.MaxAddress), "id", "ek")},
		"a long message":                {response("scope", "id", strings.Repeat("e", dpsamqp.MaxResponse))},
		"a long message in segments":    {append([]byte{0x80}, make([]byte, dpsamqp.MaxResponse-1)...), append([]byte{0xC1}, 1, 2)},
		"wrong sequence":                {[]byte("\x80scope"), []byte("\xC0\x00id\x00ek")},
		"begins with the second":        {[]byte("\x81scope")},
		"a segment, then none":          {[]byte("\x80scope"), response("scope", "id", "ek")},
		"empty segments":                {{0x80}, {0x81}},
		"no storage root key":           {hello, {0}},
		"nothing for the key":           {hello, nil},
		"a word for the second half":    {hello, srk, []byte("\x00more")},
		"no token":                      {hello, srk, {0}, {0}},
		"a token that is never whole":   {hello, srk, {0}, append([]byte{0x80}, make([]byte, dpsamqp.MaxResponse)...), {0x81, 1}},
		"no control byte for the token": {hello, srk, {0}, []byte("token")},
	} {
		var s dpsamqp.TPM
		_, done, err := dialogue(&s, blob, responses...)
		if done || !errors.Is(err, dpsamqp.ErrTPM) {
			t.Errorf("%s: %v %v", name, done, err)
		}
		if _, _, err := s.Next(hello); err == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
	// A blob that does not fit is nobody's fault but ours.
	for _, b := range [][]byte{nil, {1}, make([]byte, 1000)} {
		var s dpsamqp.TPM
		if _, _, err := dialogue(&s, b, hello, srk); err == nil || errors.Is(err, dpsamqp.ErrTPM) {
			t.Errorf("a blob of %d bytes: %v", len(b), err)
		}
	}
	var s dpsamqp.TPM
	if _, err := s.Blob(blob); err == nil {
		t.Error("a blob before the keys")
	}
}
