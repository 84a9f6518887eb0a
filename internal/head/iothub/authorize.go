package iothub

import (
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// The texts of 401 answers to requests that prove nothing yet. What a refused
// proof is answered is said by package auth.
const (
	msgNoHeader = "Authorization header missing: send a shared access signature of a policy or device of this IoT hub"
	msgScheme   = "The Authorization header must hold a shared access signature: SharedAccessSignature sr=…&sig=…&se=…"
	msgNoPolicy = "Unauthorized: this operation needs the token of a shared access policy, the token names none (skn)"
)

// authorize finds out who calls and whether it may. A policy needs one of the
// route's rights; on some routes a device may prove itself instead.
func (h *handler) authorize(c *call) error {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		if c.route.self && c.r.TLS != nil && len(c.r.TLS.PeerCertificates) > 0 {
			return h.authorizeDevice(c, "")
		}
		return causeway.Errorf(causeway.IotHubUnauthorized, "iothub.authorize", msgNoHeader)
	}
	if scheme, _, _ := strings.Cut(header, " "); !strings.EqualFold(scheme, sas.Prefix) {
		return causeway.Errorf(causeway.IotHubUnauthorized, "iothub.authorize", msgScheme)
	}
	header = sas.Prefix + header[len(sas.Prefix):]
	token := causeway.Secret(sas.Prefix + header[len(sas.Prefix):])
	claim, err := auth.ClaimOf(token)
	switch {
	case err != nil:
		return err
	case claim.Policy != "":
		return h.authorizePolicy(c, token)
	case c.route.self:
		return h.authorizeDevice(c, token)
	default:
		return causeway.Errorf(causeway.IotHubUnauthorized, "iothub.authorize", msgNoPolicy)
	}
}

func (h *handler) authorizePolicy(c *call, token causeway.Secret) error {
	grant, err := auth.Service(time.Now(), token, c.host, c.r.URL.Path, c.hub.Realm())
	if err != nil {
		return err
	}
	if grant.Rights&c.route.rights == 0 {
		least := c.route.rights & -c.route.rights // any one is enough, name the least
		return causeway.Errorf(causeway.IotHubUnauthorized, "iothub.authorize",
			"Unauthorized: the authorization rule %q does not allow access for the permission %s", grant.Policy, least)
	}
	c.who = "policy " + grant.Policy
	return nil
}

// authorizeDevice lets the device of the path in by its own key or certificate.
func (h *handler) authorizeDevice(c *call, token causeway.Secret) error {
	caller := c.id.Parent()
	rec, err := h.registry.Get(c.r.Context(), caller)
	if causeway.CodeOf(err) == causeway.DeviceNotFound {
		// Whether an id exists is nobody's business who cannot prove it.
		return auth.Unauthorized("iothub.authorize", fmt.Errorf("%w: %w", auth.ErrUnknown, err))
	}
	if err != nil {
		return err
	}
	cred := causeway.Credential{
		Host: c.host, Identity: caller, Token: token,
		ClientType: c.r.UserAgent(), Transport: causeway.HTTPS, RemoteAddr: c.r.RemoteAddr,
	}
	if c.r.TLS != nil {
		cred.Certificates = c.r.TLS.PeerCertificates
	}
	if _, err := auth.DeviceRequest(time.Now(), cred, c.r.URL.Path, rec.Subject(nil), c.hub.Realm()); err != nil {
		return err
	}
	c.who = "device " + caller.Device
	return nil
}
