package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/wire/pkcs7"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// tokenLife is how long a token is good that stands for the password of a request.
const tokenLife = time.Minute

func invalid(format string, args ...any) error {
	return causeway.Errorf(causeway.GenericBadRequest, "est", format, args...)
}

// authorities answers with the certificates of the authorities (RFC 7030 §4.1).
// They are for everybody: devices ask before they have anything to show.
func (h *handler) authorities(_ *http.Request, i dps.Instance) (answer, error) {
	chain, err := h.service.IssuerChain(i.Name)
	if err != nil {
		return answer{}, err
	}
	if len(chain) == 0 {
		return answer{}, causeway.Errorf(causeway.GenericNotFound, "est", "this provisioning service issues no certificates: make a credential policy first")
	}
	bag, err := pkcs7.Certificates(chain...)
	return answer{status: http.StatusOK, bag: bag}, err
}

// attributes says that a request needs none in particular (RFC 7030 §4.5.2).
func (h *handler) attributes(*http.Request, dps.Instance) (answer, error) {
	return answer{status: http.StatusNoContent}, nil
}

func (h *handler) enroll(r *http.Request, i dps.Instance) (answer, error) {
	return h.issue(r, i, false)
}

func (h *handler) renew(r *http.Request, i dps.Instance) (answer, error) {
	return h.issue(r, i, true)
}

// issue answers with the certificate of the device alone, as the protocol has it:
// those above it are had from cacerts.
func (h *handler) issue(r *http.Request, i dps.Instance, renew bool) (answer, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/pkcs10" {
		return answer{}, causeway.Errorf(causeway.GenericUnsupportedMediaType, "est", "send the certificate request with Content-Type: application/pkcs10")
	}
	body, err := io.ReadAll(r.Body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return answer{}, causeway.Errorf(causeway.GenericRequestEntityTooLarge, "est", "the request body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return answer{}, &causeway.Error{Code: causeway.RequestTimedOut, Op: "est", Msg: "the request body could not be read to its end", Err: err}
	}
	csr, err := readRequest(body)
	if err != nil {
		return answer{}, err
	}
	reg, err := registration(r, i.IDScope, csr)
	if err != nil {
		return answer{}, err
	}
	chain, err := h.service.Enroll(r.Context(), reg, renew)
	if err != nil {
		return answer{}, err
	}
	bag, err := pkcs7.Certificates(chain[0])
	return answer{status: http.StatusOK, bag: bag}, err
}

// readRequest returns the DER of a certificate request: the body is base64 with
// any line ends (RFC 8951 §3.1), and some clients leave the lines of PEM around it
// or send DER.
func readRequest(body []byte) ([]byte, error) {
	if len(body) > 1 && body[0] == 0x30 && body[1] > 0x7F { // a SEQUENCE of 128 bytes or more
		return body, nil // its last bytes may look like space
	}
	if body = bytes.TrimSpace(body); len(body) == 0 {
		return nil, invalid("the request body is empty, it must be a certificate request (PKCS #10) in base64")
	}
	if b, _ := pem.Decode(body); b != nil {
		if !strings.HasSuffix(b.Type, "CERTIFICATE REQUEST") {
			return nil, invalid("the PEM block in the request body is no CERTIFICATE REQUEST")
		}
		return b.Bytes, nil
	}
	der, err := base64.StdEncoding.AppendDecode(nil, bytes.Join(bytes.Fields(body), nil))
	if err != nil {
		return nil, invalid("the request body is not base64 of a certificate request (PKCS #10)")
	}
	return der, nil
}

// registration returns who asks: the common name of the certificate request is the
// registration id, and what proves it is a client certificate, a token, or a name
// and a password. That is the key of the device, or a token.
func registration(r *http.Request, scope string, csr []byte) (causeway.Registration, error) {
	c, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return causeway.Registration{}, invalid("the certificate request is no PKCS #10: %v", err)
	}
	reg := causeway.Registration{
		Scope: scope, ID: c.Subject.CommonName, CSR: csr,
		Credential: causeway.Credential{Host: r.Host, ClientType: r.UserAgent(), Transport: causeway.HTTPS, RemoteAddr: r.RemoteAddr},
	}
	if r.TLS != nil {
		reg.Credential.Certificates = r.TLS.PeerCertificates
	}
	header := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(header, " ")
	user, password, basic := r.BasicAuth()
	switch {
	case strings.EqualFold(scheme, sas.Prefix):
		reg.Credential.Token = causeway.Secret(sas.Prefix + " " + rest)
	case basic && !strings.EqualFold(user, reg.ID):
		return reg, &causeway.Error{Code: dps.CodeUnauthorized, Op: "est", Msg: "Unauthorized: the user name must be the registration id, which is the common name of the certificate request"}
	case basic && strings.HasPrefix(password, sas.Prefix+" "):
		reg.Credential.Token = causeway.Secret(password)
	case basic:
		key, err := base64.StdEncoding.DecodeString(password)
		if err != nil || len(key) == 0 {
			return reg, &causeway.Error{Code: dps.CodeUnauthorized, Op: "est", Msg: "Unauthorized"}
		}
		// Whoever has the key could have signed it.
		reg.Credential.Token = causeway.Secret(sas.Sign(scope+"/registrations/"+reg.ID, key, "registration", time.Now().Add(tokenLife)))
	}
	return reg, nil
}
