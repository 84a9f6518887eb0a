package dps

import (
	"net/http"
	"net/url"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
)

// registration reads what a device sends, and who it says it is. The body of a
// question does not matter: clients send what they like.
func (c *call) registration(withBody bool) (causeway.Registration, error) {
	r := causeway.Registration{
		Scope: c.params.scope, ID: c.params.id,
		Credential: causeway.Credential{
			Host: c.r.Host, Token: tokenOf(c.r), APIVersion: c.r.URL.Query().Get("api-version"), ClientType: c.r.UserAgent(),
			Transport: causeway.HTTPS, RemoteAddr: c.r.RemoteAddr,
		},
	}
	if c.r.TLS != nil {
		r.Credential.Certificates = c.r.TLS.PeerCertificates
	}
	if !withBody {
		return r, nil
	}
	b, err := c.body()
	if err != nil {
		return r, err
	}
	in, err := dpsjson.Parse(b, r.Credential.APIVersion)
	if err != nil {
		return r, err
	}
	r.Payload, r.EndorsementKey, r.StorageRootKey, r.CSR = in.Payload, in.EndorsementKey, in.StorageRootKey, in.CSR
	return r, in.Check(r.ID)
}

// register starts a registration. A device with a TPM that shows no token yet is
// given a challenge.
func (h *handler) register(c *call) (reply, error) {
	r, err := c.registration(true)
	if err != nil {
		return reply{}, err
	}
	if r.EndorsementKey != nil && r.Credential.Token == "" {
		ch, err := h.service.Challenge(c.r.Context(), r)
		if err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusUnauthorized, body: dpsjson.Challenge(ch)}, nil
	}
	op, err := h.service.Register(c.r.Context(), r)
	if err != nil {
		return reply{}, err
	}
	rep, err := operation(&op)
	rep.header["Location"] = []string{"https://" + c.r.Host + "/" + url.PathEscape(r.Scope) + "/registrations/" + url.PathEscape(r.ID) + "/operations/" + url.PathEscape(op.ID)}
	return rep, err
}

func (h *handler) lookup(c *call) (reply, error) {
	r, err := c.registration(false)
	if err != nil {
		return reply{}, err
	}
	op, err := h.service.Lookup(c.r.Context(), r, c.params.operation)
	if err != nil {
		return reply{}, err
	}
	return operation(&op)
}

func (h *handler) status(c *call) (reply, error) {
	r, err := c.registration(true)
	if err != nil {
		return reply{}, err
	}
	if len(r.CSR) > 0 {
		return reply{}, causeway.Errorf(causeway.GenericBadRequest, "dps.status", "csr: a certificate is issued at registration; send the request with PUT …/register, or leave it out here")
	}
	op, err := h.service.Status(c.r.Context(), r)
	if err != nil {
		return reply{}, err
	}
	body, err := dpsjson.State(&op)
	return reply{status: http.StatusOK, body: body}, err
}

// operation answers with the state of an operation.
func operation(op *causeway.Operation) (reply, error) {
	rep := reply{status: dpsjson.Status(op), header: http.Header{}}
	if !dpsjson.Final(op) {
		rep.header["Retry-After"] = []string{retryAfter(op.RetryAfter)}
	}
	var err error
	rep.body, err = dpsjson.Operation(op)
	return rep, err
}
