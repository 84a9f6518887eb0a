package auth

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// knows reports whether host, with or without a port, is a name of the hub.
func (r Realm) knows(host string) bool {
	host = sas.Host(host)
	for _, h := range r.Hosts {
		if strings.EqualFold(sas.Host(h), host) {
			return true
		}
	}
	return false
}

// policy returns the policy called name.
func (r Realm) policy(name string) (Policy, bool) {
	for _, p := range r.Policies {
		if p.Name == name {
			return p, true
		}
	}
	return Policy{}, false
}

// readToken parses a token and checks that it has not expired, with some
// tolerance: the clock of the client may be slow.
func readToken(now time.Time, token causeway.Secret) (sas.Token, error) {
	t, err := sas.Parse(string(token))
	if err != nil {
		return sas.Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !now.Before(t.Expiry.Add(causeway.TokenSkew)) {
		return sas.Token{}, fmt.Errorf("%w: at %s", ErrExpired, t.Expiry.Format(time.RFC3339))
	}
	return t, nil
}

// signedBy reports whether one of two base64 keys signed t.
func signedBy(t sas.Token, primary, secondary causeway.Secret) bool {
	_, ok := signer(t, primary, secondary)
	return ok
}

// signer returns which of two base64 keys signed t, decoded. Both are always
// tried, so that the time taken says nothing of which one it was.
func signer(t sas.Token, primary, secondary causeway.Secret) (by []byte, ok bool) {
	for _, k := range [...]causeway.Secret{primary, secondary} {
		key, err := base64.StdEncoding.DecodeString(string(k))
		if err == nil && t.Verify(key) { // an empty key verifies nothing
			by, ok = key, true
		}
	}
	return by, ok
}

// forms returns the readings of a token's resource: decoded once, and decoded
// twice where ids were escaped on their own before the whole.
func forms(t sas.Token) []string {
	once := t.Resource
	if twice := percent.Unescape(once); twice != once {
		return []string{once, twice}
	}
	return []string{once}
}

// coversPath reports whether t is good for path on any name of the hub: host
// names of one hub are interchangeable.
func coversPath(t sas.Token, r Realm, path string, covers func(granted, wanted string) bool) bool {
	for _, granted := range forms(t) {
		for _, host := range r.Hosts {
			if covers(granted, host+"/"+strings.TrimPrefix(path, "/")) {
				return true
			}
		}
	}
	return false
}

// identityPath returns the path of an identity as tokens name it.
func identityPath(id causeway.Identity) string { return sas.DeviceResource("", id.Device, id.Module) }

// Claim is whom a token claims to speak for. It is not verified: it only says
// whose keys to look up.
type Claim struct {
	Policy string // name of a shared access policy, or "" for an identity's own key
	Device string // "" unless the resource names a device
	Module string
}

// ClaimOf reads the claim of a token: the policy it names, and the device or
// module of a resource {host}/devices/{d}[/modules/{m}][/…].
func ClaimOf(token causeway.Secret) (Claim, error) {
	t, err := sas.Parse(string(token))
	if err != nil {
		return Claim{}, Unauthorized("auth.ClaimOf", fmt.Errorf("%w: %w", ErrToken, err))
	}
	c := Claim{Policy: t.Policy}
	_, path, _ := strings.Cut(strings.TrimRight(t.Resource, "/"), "/")
	if i := strings.Index(path, "?api-version="); i >= 0 {
		path = path[:i]
	}
	segments := strings.Split(path, "/")
	if len(segments) >= 2 && segments[0] == "devices" {
		c.Device = segments[1]
	}
	if len(segments) >= 4 && segments[2] == "modules" {
		c.Module = segments[3]
	}
	return c, nil
}
