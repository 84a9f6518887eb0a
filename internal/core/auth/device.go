package auth

import (
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Device decides whether cred proves that its sender is s, a device or module of
// the hub r.
//
// Accepted are a token signed with a key of s itself, a token of a policy with
// the right DeviceConnect, and a certificate as s is registered for. A device's
// key does not speak for its modules nor a module's for its device. When both
// token and certificate are given, the token counts for an identity registered
// with keys, the certificate for any other.
//
// The returned method's Expires is the token's own expiry, which may be past by
// less than [causeway.TokenSkew]; the end of a certificate that an authority
// issued; and zero for thumbprints. Its Grounds are among the [Grounds] of the hub
// for a policy's token and for a certificate that an authority issued.
//
// Every refusal is [causeway.IotHubUnauthorized] with the same message; see
// [Reason] for the cause.
func Device(now time.Time, cred causeway.Credential, s Subject, r Realm) (causeway.AuthMethod, error) {
	m, err := device(now, cred, s, r, "")
	if err != nil {
		return causeway.AuthMethod{}, Unauthorized("auth.Device", fmt.Errorf("%s: %w", cred.Identity, err))
	}
	return m, nil
}

// DeviceRequest decides like [Device] about a REST request for path, decoded as
// in [net/url.URL.Path], made by a device or module on behalf of itself: a device
// that manages its own module identities, for instance. See [ClaimOf] for who
// that is.
//
// Besides the proof of s, path must lie under /devices/{d} of s, for a module
// under /devices/{d}/modules/{m}, and a token's resource must cover it.
func DeviceRequest(now time.Time, cred causeway.Credential, path string, s Subject, r Realm) (causeway.AuthMethod, error) {
	const op = "auth.DeviceRequest"
	// A host is given to both, for there is none in a path.
	if dotted(path) || !sas.Covers("h"+identityPath(s.ID), "h"+path) {
		return causeway.AuthMethod{}, Unauthorized(op, fmt.Errorf("%s: %w: path %q is not its own", s.ID, ErrScope, path))
	}
	m, err := device(now, cred, s, r, path)
	if err != nil {
		return causeway.AuthMethod{}, Unauthorized(op, fmt.Errorf("%s: %w", s.ID, err))
	}
	return m, nil
}

// device is Device, for a token that must cover path, or the identity itself
// when path is "". Its errors are causes.
func device(now time.Time, cred causeway.Credential, s Subject, r Realm, path string) (causeway.AuthMethod, error) {
	if cred.Identity.Device != s.ID.Device || cred.Identity.Module != s.ID.Module || s.ID.Device == "" {
		return causeway.AuthMethod{}, fmt.Errorf("%w: asked for %q, the record is of %q", ErrUnknown, cred.Identity, s.ID)
	}
	if cred.Host != "" && !r.knows(cred.Host) {
		return causeway.AuthMethod{}, fmt.Errorf("%w: %q", ErrHost, cred.Host)
	}
	var m causeway.AuthMethod
	var err error
	switch {
	case cred.Token != "" && (len(cred.Certificates) == 0 || s.Type == SAS):
		if path == "" {
			path = identityPath(s.ID)
		}
		m, err = byToken(now, cred.Token, s, r, path)
	case len(cred.Certificates) > 0:
		m, err = byCertificate(now, cred.Certificates, s, r)
	default:
		err = ErrNoProof
	}
	if err != nil {
		return causeway.AuthMethod{}, err
	}
	// Last, so that only who could connect otherwise is reported as disabled.
	if s.Disabled {
		return causeway.AuthMethod{}, fmt.Errorf("%w: %s", ErrDisabled, s.DisabledCause)
	}
	return m, nil
}

// byToken decides about a shared access signature for path.
func byToken(now time.Time, token causeway.Secret, s Subject, r Realm, path string) (causeway.AuthMethod, error) {
	t, err := readToken(now, token)
	if err != nil {
		return causeway.AuthMethod{}, err
	}
	m := causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas", Expires: t.Expiry}
	primary, secondary := s.Primary, s.Secondary
	switch {
	case t.Policy != "":
		p, ok := r.policy(t.Policy)
		if !ok {
			return causeway.AuthMethod{}, fmt.Errorf("%w: %q", ErrPolicy, t.Policy)
		}
		if !p.Rights.Has(DeviceConnect) {
			return causeway.AuthMethod{}, fmt.Errorf("%w: %q has %s", ErrRights, p.Name, p.Rights)
		}
		m.Scope, primary, secondary = causeway.ScopeHub, p.Primary, p.Secondary
	case s.Type != SAS:
		return causeway.AuthMethod{}, fmt.Errorf("%w: a token, registered is %q", ErrMethod, s.Type)
	case s.ID.IsModule():
		m.Scope = causeway.ScopeModule
	}
	if !coversPath(t, r, path, sas.Covers) {
		return causeway.AuthMethod{}, fmt.Errorf("%w: %q", ErrScope, t.Resource)
	}
	key, ok := signer(t, primary, secondary)
	if !ok {
		return causeway.AuthMethod{}, ErrSignature
	}
	if m.Scope == causeway.ScopeHub {
		m.Grounds = groundsOfKey(t.Policy, key)
	}
	return m, nil
}
