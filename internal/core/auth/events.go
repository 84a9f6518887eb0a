package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Events decides like [Service] about a request for path on the Event
// Hubs-compatible end point of a hub. Its clients name resources
// sb://{host}/{entity}/…, and they sign with the text of the key where clients
// of a hub sign with what the text is the base64 of: both are accepted.
func Events(now time.Time, token causeway.Secret, host, path string, r Realm) (Grant, error) {
	return request("auth.Events", now, token, host, path, r, signedByText)
}

// EventsToken is [Events] for who shows a token before saying what for: Covers
// of the grant tells what it is good for.
func EventsToken(now time.Time, token causeway.Secret, host string, r Realm) (Grant, error) {
	return bearer("auth.EventsToken", now, token, host, r, signedByText)
}

// EventsKey decides about a client of the Event Hubs-compatible end point that
// gives the key of a policy itself. The grant covers everything and does not
// expire. Every refusal is [causeway.IotHubUnauthorized].
func EventsKey(policy string, key causeway.Secret, r Realm) (Grant, error) {
	const op = "auth.EventsKey"
	if key == "" {
		return Grant{}, Unauthorized(op, ErrNoProof)
	}
	p, ok := r.policy(policy)
	if !ok {
		return Grant{}, Unauthorized(op, fmt.Errorf("%w: %q", ErrPolicy, policy))
	}
	// Hashes have one length, so the time taken says nothing of the keys'.
	given := sha256.Sum256([]byte(key))
	match := 0
	for _, k := range [...]causeway.Secret{p.Primary, p.Secondary} {
		own := sha256.Sum256([]byte(k))
		match |= subtle.ConstantTimeCompare(given[:], own[:])
	}
	if match == 0 {
		return Grant{}, Unauthorized(op, fmt.Errorf("%w: policy %q", ErrSignature, p.Name))
	}
	return Grant{Policy: p.Name, Rights: p.Rights}, nil
}

// signedByText is [signedBy] for keys of which also the text may have signed.
// All are always tried.
func signedByText(t sas.Token, primary, secondary causeway.Secret) bool {
	ok := signedBy(t, primary, secondary)
	for _, k := range [...]causeway.Secret{primary, secondary} {
		if t.Verify([]byte(k)) { // an empty key verifies nothing
			ok = true
		}
	}
	return ok
}
