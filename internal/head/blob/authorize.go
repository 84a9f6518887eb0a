package blob

import (
	"net/netip"
	"strings"
	"time"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// authorize checks the signature of a request and whether it allows the
// operation.
func (c *call) authorize(now time.Time) error {
	t, ok, err := blobsas.Parse(c.r.URL.RawQuery)
	switch {
	case !ok && c.r.Header.Get("Authorization") != "":
		return fail(authenticationFailed, "keys and bearer tokens are not accepted: send a shared access signature in the query (sv, sr, sp, se, sig)")
	case !ok:
		return fail(noAuthentication, "send a shared access signature in the query (sv, sr, sp, se, sig)")
	case err != nil:
		return fail(authenticationFailed, "%v", err)
	case !t.Verify(c.account.Key, blobsas.AccountName, c.container, c.blob):
		return fail(authenticationFailed, "the signature is not of this account, or is for another resource")
	case !t.ValidAt(now):
		return fail(authenticationFailed, "the signature is valid from %s to %s, it is %s", stamp(t.Start), stamp(t.Expiry), stamp(now))
	}
	// Only from here on the client is known to have been given the token.
	if from, err := netip.ParseAddrPort(c.r.RemoteAddr); err != nil || !t.Admits(from.Addr()) {
		if t.From.IsValid() {
			return fail(sourceIPMismatch, "the signature is not good for this address")
		}
	}
	if t.Scope == blobsas.Account {
		if !strings.Contains(t.Services, "b") {
			return fail(serviceMismatch, "the signature is not for the Blob service (ss)")
		}
		if !strings.Contains(t.Types, string("sco"[c.op.level])) {
			return fail(resourceTypeMismatch, "the signature is not for this type of resource (srt)")
		}
	} else if c.op.account {
		return fail(permissionMismatch, "%s needs a signature for the account", c.op.name)
	}
	if !t.Allows(c.op.permissions) {
		return fail(permissionMismatch, "%s needs one of the permissions %q, the signature has %q", c.op.name, c.op.permissions, clip(t.Permissions))
	}
	c.token = t
	return nil
}

// mayReplace adds to a check that a token which may only create does not
// replace.
func (c *call) mayReplace(check port.Check) port.Check {
	if c.token.Allows("w") {
		return check
	}
	return func(now *port.Attrs) error {
		if now != nil {
			return fail(permissionMismatch, "the blob exists, and the signature may only create (c)")
		}
		return check(now)
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "always"
	}
	return t.UTC().Format(time.RFC3339)
}
