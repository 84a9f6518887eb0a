package dps

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

func registrationView(r *dps.Registration) dps.RegistrationJSON {
	j := dps.RegistrationJSONOf(r)
	if r.ETag != "" {
		j.ETag = quoted(r.ETag)
	}
	return j
}

func (h *handler) getRegistration(c *call) (reply, error) {
	r, err := h.service.Registration(c.r.Context(), c.service, c.params.id)
	if err != nil {
		return reply{}, err
	}
	j := registrationView(&r)
	return reply{status: http.StatusOK, etag: j.ETag}.json(j)
}

func (h *handler) deleteRegistration(c *call) (reply, error) {
	err := h.service.DeleteRegistration(c.r.Context(), c.service, c.params.id, ifMatch(c.r))
	return reply{status: http.StatusNoContent}, err
}

func (h *handler) queryRegistrations(c *call) (reply, error) {
	if err := c.checkQuery(); err != nil {
		return reply{}, err
	}
	after, limit, err := c.page()
	if err != nil {
		return reply{}, err
	}
	list, err := h.service.Registrations(c.r.Context(), c.service, c.params.id, after, limit)
	if err != nil {
		return reply{}, err
	}
	out, last := make([]dps.RegistrationJSON, 0, len(list)), ""
	for i := range list {
		out, last = append(out, registrationView(&list[i])), list[i].ID
	}
	more := len(list) == limit
	if more { // see queryEnrollments
		next, err := h.service.Registrations(c.r.Context(), c.service, c.params.id, last, 1)
		if err != nil {
			return reply{}, err
		}
		more = len(next) > 0
	}
	return c.pageReply("DeviceRegistration", more, last).json(out)
}

// A continuation token says what it is of and after which id it goes on. It may be
// used again and again.

func sealToken(last, of string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.ToLower(of + "\n" + last)))
}

func openToken(token, of string) (after string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	was, after, ok := strings.Cut(string(b), "\n")
	if err != nil || !ok || was != strings.ToLower(of) {
		return "", causeway.Errorf(dps.CodeInvalid, "dps.page", "x-ms-continuation is not a token of this query")
	}
	return after, nil
}

func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return causeway.Errorf(causeway.GenericBadRequest, "dps.json", "the request body is not the JSON object that is expected: %v", err)
	}
	return nil
}
