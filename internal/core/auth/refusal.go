package auth

import (
	"errors"

	"github.com/causeway-iot/causeway"
)

// Why a client was refused. These are causes of the errors of this package, for
// logs and metrics. A client never learns which one it was: it could otherwise
// find out which identities exist.
var (
	ErrHost        = errors.New("host is not a name of this hub")
	ErrUnknown     = errors.New("no such identity")
	ErrDisabled    = errors.New("identity is disabled")
	ErrNoProof     = errors.New("neither token nor certificate was given")
	ErrMethod      = errors.New("proof is of another kind than the identity is registered with")
	ErrToken       = errors.New("token cannot be read")
	ErrExpired     = errors.New("token has expired")
	ErrScope       = errors.New("token is for another resource")
	ErrSignature   = errors.New("signature is of no key of the identity or policy")
	ErrPolicy      = errors.New("no such policy")
	ErrRights      = errors.New("policy lacks the right DeviceConnect")
	ErrCertificate = errors.New("certificate is not accepted")
)

// reasons are short words for the causes, in the order they are looked for.
var reasons = []struct {
	err  error
	word string
}{
	{ErrHost, "host"},
	{ErrUnknown, "unknown"},
	{ErrDisabled, "disabled"},
	{ErrNoProof, "no-proof"},
	{ErrMethod, "method"},
	{ErrToken, "token"},
	{ErrExpired, "expired"},
	{ErrScope, "scope"},
	{ErrSignature, "signature"},
	{ErrPolicy, "policy"},
	{ErrRights, "rights"},
	{ErrCertificate, "certificate"},
}

// Reason returns a short word for why err refused a client, fit for the label of
// a metric: one of a dozen fixed words, "other" for an error of another origin
// and "" for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "other"
}

// refusalMessage is all that a refused client is told.
const refusalMessage = "Unauthorized. Check that the identity exists and is enabled, that the key or certificate is its own, " +
	"that the token is for this host and identity and has not expired, and that the client's clock is right."

// Unauthorized returns the error for a client refused because of cause, which
// only the log will see. Whoever finds that an identity does not exist uses it
// with [ErrUnknown], so that the answer is the same as for a wrong key.
func Unauthorized(op string, cause error) *causeway.Error {
	return &causeway.Error{Code: causeway.IotHubUnauthorized, Op: op, Msg: refusalMessage, Err: cause}
}
