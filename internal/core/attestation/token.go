package attestation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Keys are the two keys of an enrollment, in base64.
type Keys struct{ Primary, Secondary causeway.Secret }

// DeriveKey returns the key that a device has whose group has the given one:
// base64 of the HMAC-SHA256 of the registration id. The error says that the
// group's key is not base64; it does not show it.
func DeriveKey(group causeway.Secret, registrationID string) (causeway.Secret, error) {
	key, err := base64.StdEncoding.DecodeString(string(group))
	if err != nil || len(key) == 0 {
		return "", fmt.Errorf("derive the key of a device: the key of the group is not base64")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(registrationID))
	return causeway.Secret(base64.StdEncoding.EncodeToString(mac.Sum(nil))), nil
}

// Token is a token of a registration that was read and is in time, and whose
// signature is still to be checked.
type Token struct {
	token sas.Token
	id    string // registration id as it stands in the token
}

// ParseToken reads a token for the registration id in a scope, and checks that
// it is for that one and has not expired. Clients write the resource
// {scope}/registrations/{id} in many ways: escaped, not escaped, in lower case.
func ParseToken(now time.Time, token causeway.Secret, scope, id string) (Token, error) {
	t, err := sas.Parse(string(token))
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	want := scope + "/registrations/" + id
	resource := strings.Trim(t.Resource, "/")
	if !strings.EqualFold(resource, want) {
		if resource = percent.Unescape(resource); !strings.EqualFold(resource, want) {
			return Token{}, fmt.Errorf("%w: %q", ErrScope, t.Resource)
		}
	}
	if !now.Before(t.Expiry.Add(causeway.TokenSkew)) {
		return Token{}, fmt.Errorf("%w: at %s", ErrExpired, t.Expiry.Format(time.RFC3339))
	}
	return Token{token: t, id: resource[len(resource)-len(id):]}, nil
}

// SignedBy returns the key that signed t, or ErrSignature. All are always tried,
// so that the time it takes says nothing of which one it was.
func (t Token) SignedBy(k Keys) (causeway.Secret, error) {
	var found causeway.Secret
	for _, candidate := range [...]causeway.Secret{k.Primary, k.Secondary} {
		key, err := base64.StdEncoding.DecodeString(string(candidate))
		if err == nil && t.token.Verify(key) { // an empty key verifies nothing
			found = candidate
		}
	}
	if found == "" {
		return "", ErrSignature
	}
	return found, nil
}

// SignedByGroup returns the key derived from one of a group's keys that signed t,
// or ErrSignature. A client derives it from the registration id as it knows it,
// which may differ in case from the one it sends: asked is the id as it was asked
// for.
func (t Token) SignedByGroup(k Keys, asked string) (device Keys, err error) {
	ids := []string{asked}
	for _, id := range []string{t.id, strings.ToLower(asked)} {
		if id != ids[0] && id != ids[len(ids)-1] {
			ids = append(ids, id)
		}
	}
	err = ErrSignature
	for _, id := range ids {
		primary, perr := DeriveKey(k.Primary, id)
		secondary, serr := DeriveKey(k.Secondary, id)
		if perr != nil || serr != nil {
			continue
		}
		derived := Keys{Primary: primary, Secondary: secondary}
		if _, e := t.SignedBy(derived); e == nil {
			device, err = derived, nil
		}
	}
	return device, err
}

// SignedByRaw checks that key, such as the one that a TPM took over, signed t.
func (t Token) SignedByRaw(key []byte) error {
	if !t.token.Verify(key) {
		return ErrSignature
	}
	return nil
}
