package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Grant is what a token of a policy allows.
type Grant struct {
	Policy  string
	Rights  Rights
	Expires time.Time // of the token; may be past by less than [causeway.TokenSkew]
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
	const op = "auth.Service"
	if token == "" {
		return Grant{}, &causeway.Error{Code: causeway.IotHubUnauthorized, Op: op, Msg: "Authorization header missing", Err: ErrNoProof}
	}
	g, err := service(now, token, host, path, r)
	if err != nil {
		return Grant{}, Unauthorized(op, err)
	}
	return g, nil
}

func service(now time.Time, token causeway.Secret, host, path string, r Realm) (Grant, error) {
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
	if dotted(path) || !coversPath(t, r, path, sas.CoversFold) {
		return Grant{}, fmt.Errorf("%w: %q does not cover %q", ErrScope, t.Resource, path)
	}
	if !signedBy(t, p.Primary, p.Secondary) {
		return Grant{}, fmt.Errorf("%w: policy %q", ErrSignature, p.Name)
	}
	return Grant{Policy: p.Name, Rights: p.Rights, Expires: t.Expiry}, nil
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
