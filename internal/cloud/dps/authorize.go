package dps

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Why a back end is refused, for the log.
var (
	errNoPolicy  = errors.New("the token names no policy of the service")
	errOtherHost = errors.New("the token is for another host")
)

// Authorize decides whether a token is of a policy of the service that has a
// right, and returns the policy's name. Who has no valid token gets
// CodeUnauthorized, and learns no more; who lacks the right gets CodeForbidden.
func (i *Instance) Authorize(now time.Time, token causeway.Secret, right Rights) (string, error) {
	p, err := i.policyOf(now, token)
	if err != nil {
		return "", &causeway.Error{
			Code: CodeUnauthorized, Op: "dps.Authorize",
			Msg: "Unauthorized: send the token of a shared access policy of this service that has not expired", Err: err,
		}
	}
	if !p.Rights.Includes(right) {
		return "", causeway.Errorf(CodeForbidden, "dps.Authorize", "the policy %q does not have the right %s, it has: %s", p.Name, right, p.Rights)
	}
	return p.Name, nil
}

// policyOf returns the policy that signed a token.
func (i *Instance) policyOf(now time.Time, token causeway.Secret) (AccessPolicy, error) {
	t, err := sas.Parse(string(token))
	if err != nil {
		return AccessPolicy{}, err
	}
	p, ok := i.Policy(t.Policy)
	if !ok {
		return AccessPolicy{}, errNoPolicy
	}
	signed := false
	for _, k := range [...]causeway.Secret{p.Primary, p.Secondary} {
		key, err := base64.StdEncoding.DecodeString(string(k))
		if err == nil && t.Verify(key) {
			signed = true
		}
	}
	switch {
	case !signed:
		return AccessPolicy{}, errors.New("the signature is of no key of the policy")
	case !now.Before(t.Expiry.Add(causeway.TokenSkew)):
		return AccessPolicy{}, fmt.Errorf("the token expired at %s", t.Expiry.Format(time.RFC3339))
	}
	host, _, _ := strings.Cut(t.Resource, "/")
	host = sas.Host(host)
	for _, h := range i.Hosts {
		if strings.EqualFold(h, host) {
			return p, nil
		}
	}
	return AccessPolicy{}, errOtherHost
}

// ConnectionString returns what back ends reach the service by, with the primary
// key of a policy.
func (i *Instance) ConnectionString(policy string) (string, bool) {
	p, ok := i.Policy(policy)
	if !ok || len(i.Hosts) == 0 {
		return "", false
	}
	return sas.ConnectionString{HostName: i.Hosts[0], SharedAccessKeyName: p.Name, SharedAccessKey: string(p.Primary)}.String(), true
}
