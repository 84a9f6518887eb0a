package dpsjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// MaxRequest bounds what a device sends, in bytes.
const MaxRequest = 128 << 10

// invalidRequest is the code of a request that cannot be read.
const invalidRequest = causeway.GenericBadRequest

func invalid(format string, args ...any) error {
	return causeway.Errorf(invalidRequest, "dpsjson", format, args...)
}

// Request is what a device sends when it registers.
type Request struct {
	ID             string // registration id, "" when it is left out
	Payload        []byte // JSON, nil when it is left out
	EndorsementKey []byte // TPM2B_PUBLIC of a device with a TPM
	StorageRootKey []byte
	CSR            []byte // PKCS #10, DER; only in versions of the API that know it
}

// Parse reads a request of a version of the API; nothing at all, a blank and "{}" are
// one without members. What is in a member that the version does not know is nobody's
// business, as with those that no version knows.
func Parse(body []byte, version string) (Request, error) {
	var r Request
	if len(body) > MaxRequest {
		return r, invalid("the request has %d bytes, at most %d are accepted", len(body), MaxRequest)
	}
	if body = bytes.TrimSpace(body); len(body) == 0 {
		return r, nil
	}
	if !utf8.Valid(body) {
		return r, invalid("the request is not UTF-8")
	}
	var in struct {
		ID  string `json:"registrationId"`
		TPM *struct {
			EndorsementKey string `json:"endorsementKey"`
			StorageRootKey string `json:"storageRootKey"`
		} `json:"tpm"`
		Payload json.RawMessage `json:"payload"`
		CSR     json.RawMessage `json:"csr"`
	}
	if err := json.Unmarshal(body, &in); err != nil || body[0] != '{' {
		return r, invalid("the request is not the JSON object of a registration: %s", why(err))
	}
	r.ID, r.Payload = in.ID, in.Payload
	if in.TPM != nil {
		var err error
		if r.EndorsementKey, err = decode("tpm.endorsementKey", in.TPM.EndorsementKey); err != nil {
			return r, err
		}
		if r.StorageRootKey, err = decode("tpm.storageRootKey", in.TPM.StorageRootKey); err != nil {
			return r, err
		}
	}
	if !KnowsCSR(version) || len(in.CSR) == 0 {
		return r, nil
	}
	var text string
	err := json.Unmarshal(in.CSR, &text)
	if err != nil {
		return r, invalid("csr must be a text: base64 of a certificate request (PKCS #10)")
	}
	r.CSR, err = decode("csr", text)
	return r, err
}

func why(err error) string {
	if err == nil {
		return "it is something else"
	}
	return err.Error()
}

func decode(name, text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, invalid("%s is not base64", name)
	}
	return b, nil
}

// Check reports an error when the request names another registration than the
// address it was sent to.
func (r *Request) Check(id string) error {
	if r.ID != "" && !strings.EqualFold(r.ID, id) {
		return invalid("registrationId %q in the request is not the %q of the address", clip(r.ID), clip(id))
	}
	return nil
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
