package http

import (
	"net/http"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// The texts of 401 answers to requests that prove nothing yet. What a refused
// proof is answered is said by the hub.
const (
	msgNoHeader = "Authorization header missing: send a shared access signature of the device, or connect with its client certificate"
	msgScheme   = "The Authorization header must hold a shared access signature: SharedAccessSignature sr=…&sig=…&se=…"
)

// credential returns what a request proves itself with. Tail is the path behind
// the identity's own, e.g. /messages/events.
func (c *call) credential(tail string) (causeway.Credential, error) {
	const op = "http.authenticate"
	cred := causeway.Credential{
		Host: c.host(), Identity: c.id, Path: sas.DeviceResource("", c.id.Device, c.id.Module) + tail,
		APIVersion: c.r.URL.Query().Get("api-version"), ClientType: c.r.UserAgent(),
		Transport: causeway.HTTPS, RemoteAddr: c.r.RemoteAddr,
	}
	if c.r.TLS != nil {
		cred.Certificates = c.r.TLS.PeerCertificates
	}
	header := c.r.Header.Get("Authorization")
	switch scheme, rest, _ := strings.Cut(header, " "); {
	case header == "" && len(cred.Certificates) == 0:
		return cred, causeway.Errorf(causeway.IotHubUnauthorized, op, msgNoHeader)
	case header == "":
	case !strings.EqualFold(scheme, sas.Prefix):
		return cred, causeway.Errorf(causeway.IotHubUnauthorized, op, msgScheme)
	default:
		cred.Token = causeway.Secret(sas.Prefix + " " + rest)
	}
	return cred, nil
}

// session opens a session for one request; whoever gets it closes it.
func (h *handler) session(c *call, tail string) (causeway.Session, error) {
	cred, err := c.credential(tail)
	if err != nil {
		return nil, err
	}
	s, err := h.hub.Connect(c.r.Context(), cred, nil)
	if err != nil {
		return nil, err
	}
	c.id = s.Identity()
	return s, nil
}

// lock returns the lock token in the path.
func (c *call) lock() (causeway.LockToken, error) {
	l, ok := hubhttp.ParseLock(c.params.lock)
	if !ok {
		return l, causeway.Errorf(causeway.ArgumentInvalid, "http.settle",
			"the lock token %q is not one this hub gives: take it from the ETag header of the message", hubhttp.Clip(c.params.lock))
	}
	return l, nil
}

// done is the answer to what needs no words.
var done = reply{status: http.StatusNoContent}
