package attestation_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func key(fill string) causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))))
}

func sign(t *testing.T, resource string, k causeway.Secret, skn string, expiry time.Time) causeway.Secret {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(k))
	if err != nil {
		t.Fatal(err)
	}
	return causeway.Secret(sas.Sign(resource, raw, skn, expiry))
}

// TestDerivedKey is the sample of the public documentation of group keys.
func TestDerivedKey(t *testing.T) {
	got, err := attestation.DeriveKey(causeway.Secret("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="), "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	if err != nil || string(got) != "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=" {
		t.Errorf("derived %q, %v", string(got), err)
	}
	for _, bad := range []causeway.Secret{"", "not base64!"} {
		if _, err := attestation.DeriveKey(bad, "d"); err == nil || strings.Contains(err.Error(), "not base64!") {
			t.Errorf("key %q: %v", string(bad), err)
		}
	}
}

func TestToken(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	later := now.Add(time.Hour)
	keys := attestation.Keys{Primary: key("p"), Secondary: key("s")}
	group := attestation.Keys{Primary: key("g"), Secondary: key("h")}
	derived := func(k causeway.Secret, id string) causeway.Secret {
		d, err := attestation.DeriveKey(k, id)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	resource := "0neABC/registrations/Dev-1"
	lowEscaped := func(k causeway.Secret) causeway.Secret { // as the IoT Edge identity service signs
		return sign(t, strings.ToLower(resource), k, "registration", later)
	}
	for name, c := range map[string]struct {
		token causeway.Secret
		keys  error // from SignedBy
		group error // from SignedByGroup
		parse error
	}{
		"primary":              {token: sign(t, resource, keys.Primary, "registration", later), group: attestation.ErrSignature},
		"secondary":            {token: sign(t, resource, keys.Secondary, "", later), group: attestation.ErrSignature},
		"lower case":           {token: lowEscaped(keys.Primary), group: attestation.ErrSignature},
		"group":                {token: sign(t, resource, derived(group.Primary, "Dev-1"), "registration", later), keys: attestation.ErrSignature},
		"group, secondary":     {token: sign(t, resource, derived(group.Secondary, "Dev-1"), "registration", later), keys: attestation.ErrSignature},
		"group, lower key":     {token: sign(t, resource, derived(group.Primary, "dev-1"), "registration", later), keys: attestation.ErrSignature},
		"group, lower all":     {token: lowEscaped(derived(group.Primary, "dev-1")), keys: attestation.ErrSignature},
		"another key":          {token: sign(t, resource, key("x"), "registration", later), keys: attestation.ErrSignature, group: attestation.ErrSignature},
		"another registration": {token: sign(t, resource+"0", keys.Primary, "", later), parse: attestation.ErrScope},
		"another scope":        {token: sign(t, "0neABD/registrations/Dev-1", keys.Primary, "", later), parse: attestation.ErrScope},
		"part of the resource": {token: sign(t, "0neABC/registrations", keys.Primary, "", later), parse: attestation.ErrScope},
		"expired":              {token: sign(t, resource, keys.Primary, "", now.Add(-causeway.TokenSkew)), parse: attestation.ErrExpired},
		"a little late":        {token: sign(t, resource, keys.Primary, "", now.Add(-causeway.TokenSkew+time.Second)), group: attestation.ErrSignature},
		"no token":             {token: "", parse: attestation.ErrToken},
		"something else":       {token: "Bearer x", parse: attestation.ErrToken},
	} {
		got, err := attestation.ParseToken(now, c.token, "0neabc", "Dev-1")
		if !errors.Is(err, c.parse) || c.parse == nil && err != nil {
			t.Errorf("%s: parse: %v, want %v", name, err, c.parse)
		}
		if err != nil {
			continue
		}
		if k, err := got.SignedBy(keys); !errors.Is(err, c.keys) || c.keys == nil && (err != nil || k == "") {
			t.Errorf("%s: own keys: %v, want %v", name, err, c.keys)
		}
		d, err := got.SignedByGroup(group, "Dev-1")
		if !errors.Is(err, c.group) || c.group == nil && (err != nil || d.Primary == "" || d.Secondary == "") {
			t.Errorf("%s: the group's: %v, want %v", name, err, c.group)
		}
	}
}

// TestTokenForms checks resources that are escaped as clients do: not at all, or
// twice.
func TestTokenForms(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	k := key("p")
	raw, _ := base64.StdEncoding.DecodeString(string(k))
	resource := "0ne/registrations/a:b"
	plain := sas.Sign(resource, raw, "", now.Add(time.Hour))
	token, err := sas.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	twice := sas.Sign("0ne/registrations/"+url.QueryEscape("a:b"), raw, "", now.Add(time.Hour))
	for name, text := range map[string]string{
		"escaped": plain,
		// Java signs and sends it as it is, with an empty policy name.
		"not escaped": "SharedAccessSignature sr=" + resource + "&sig=" + url.QueryEscape(signature(raw, resource, token.RawExpiry)) + "&se=" + token.RawExpiry + "&skn=",
		"twice":       twice,
	} {
		got, err := attestation.ParseToken(now, causeway.Secret(text), "0ne", "a:b")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := got.SignedBy(attestation.Keys{Primary: k}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := got.SignedByRaw(raw); err != nil {
			t.Errorf("%s: raw: %v", name, err)
		}
		if err := got.SignedByRaw(nil); !errors.Is(err, attestation.ErrSignature) {
			t.Errorf("%s: no key: %v", name, err)
		}
	}
}

func signature(key []byte, resource, expiry string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(resource + "\n" + expiry))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
