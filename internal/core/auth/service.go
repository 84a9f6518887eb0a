package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Grant is what a token of a policy allows.
type Grant struct {
	Policy  string
	Rights  Rights
	Expires time.Time // of the token; may be past by less than [causeway.TokenSkew]; zero for a key

	scope string // path of the token's resource
}

// Covers reports whether the resource of the token is good for a path, decoded
// as in [net/url.URL.Path]; "" and "/" stand for the hub as a whole. Paths are
// compared without case.
func (g Grant) Covers(path string) bool {
	if dotted(path) {
		return false
	}
	// A host is given to both, for there is none in a path.
	wanted := "h/" + strings.TrimPrefix(path, "/")
	return sas.CoversFold("h/"+g.scope, wanted) || sas.CoversFold("h/"+percent.Unescape(g.scope), wanted)
}

// Service decides about a request for path on host that bears the token of a
// policy. Path is decoded, as in [net/url.URL.Path]; it is "" or "/" for a
// connection that is about the hub as a whole. The token's resource must cover
// it; paths are compared without case.
//
// Which right the request needs is for its handler to say. A refusal is
// [causeway.IotHubUnauthorized]; the message tells a missing token from one that
// is not accepted, and nothing else.
func Service(now time.Time, token causeway.Secret, host, path string, r Realm) (Grant, error) {
	return request("auth.Service", now, token, host, path, r, signedBy)
}

// ServiceToken is [Service] for who shows a token before saying what for:
// Covers of the grant tells what it is good for.
func ServiceToken(now time.Time, token causeway.Secret, host string, r Realm) (Grant, error) {
	return bearer("auth.ServiceToken", now, token, host, r, signedBy)
}

// verifier reports whether one of two keys signed a token.
type verifier func(t sas.Token, primary, secondary causeway.Secret) bool

// request decides about a token and what is asked with it.
func request(op string, now time.Time, token causeway.Secret, host, path string, r Realm, signed verifier) (Grant, error) {
	g, err := bearer(op, now, token, host, r, signed)
	if err != nil {
		return Grant{}, err
	}
	if !g.Covers(path) {
		return Grant{}, Unauthorized(op, fmt.Errorf("%w: %q does not cover %q", ErrScope, g.scope, path))
	}
	return g, nil
}

// bearer decides about a token by itself.
func bearer(op string, now time.Time, token causeway.Secret, host string, r Realm, signed verifier) (Grant, error) {
	if token == "" {
		return Grant{}, &causeway.Error{Code: causeway.IotHubUnauthorized, Op: op, Msg: "Authorization header missing", Err: ErrNoProof}
	}
	g, err := grantOf(now, token, host, r, signed)
	if err != nil {
		return Grant{}, Unauthorized(op, err)
	}
	return g, nil
}

// grantOf reads and verifies a token. Its errors are causes.
func grantOf(now time.Time, token causeway.Secret, host string, r Realm, signed verifier) (Grant, error) {
	if !r.knows(host) {
		return Grant{}, fmt.Errorf("%w: %q", ErrHost, host)
	}
	t, err := readToken(now, token)
	if err != nil {
		return Grant{}, err
	}
	if t.Policy == "" {
		return Grant{}, fmt.Errorf("%w: the token names none", ErrPolicy)
	}
	p, ok := r.policy(t.Policy)
	if !ok {
		return Grant{}, fmt.Errorf("%w: %q", ErrPolicy, t.Policy)
	}
	scope, ok := scopeOf(t, r)
	if !ok {
		return Grant{}, fmt.Errorf("%w: %q is of another host", ErrScope, t.Resource)
	}
	if !signed(t, p.Primary, p.Secondary) {
		return Grant{}, fmt.Errorf("%w: policy %q", ErrSignature, p.Name)
	}
	return Grant{Policy: p.Name, Rights: p.Rights, Expires: t.Expiry, scope: scope}, nil
}

// scopeOf returns the path of a token's resource; ok is false unless its host
// is a name of the hub: host names of one hub are interchangeable.
func scopeOf(t sas.Token, r Realm) (path string, ok bool) {
	for _, granted := range forms(t) {
		path := resourcePath(granted)
		for _, host := range r.Hosts {
			if sas.CoversFold(granted, host+"/"+path) {
				return path, true
			}
		}
	}
	return "", false
}

// resourcePath returns a resource without its scheme and host.
func resourcePath(resource string) string {
	if i := strings.Index(resource, "://"); i > 0 && !strings.Contains(resource[:i], "/") {
		resource = resource[i+3:]
	}
	_, path, _ := strings.Cut(resource, "/")
	return path
}

// dotted reports whether path has a segment that a server may resolve to mean
// another path than was compared.
func dotted(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
