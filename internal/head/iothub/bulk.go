package iothub

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Bounds of bulk requests.
const (
	maxBulkBody   = 8 << 20   // 100 identities with full twins
	maxRotateBody = 256 << 10 // 100 ids
)

// bulkResult is the outcome of POST /devices.
type bulkResult struct {
	IsSuccessful bool          `json:"isSuccessful"`
	Errors       []bulkError   `json:"errors"`
	Warnings     []bulkWarning `json:"warnings"`
}

type bulkError struct {
	DeviceID    string `json:"deviceId"`
	ModuleID    string `json:"moduleId"`
	ErrorCode   string `json:"errorCode"` // a name of the catalogue
	ErrorStatus string `json:"errorStatus"`
	Operation   string `json:"operation"`
}

// bulkWarning is never sent: an identity and its twin are registered together.
type bulkWarning struct {
	DeviceID      string `json:"deviceId"`
	WarningCode   string `json:"warningCode"`
	WarningStatus string `json:"warningStatus"`
}

// bulkChange creates, updates and deletes up to bulk.MaxItems identities. When
// some failed the status is 400, and both spellings of the header tell clients
// that the body is the result all the same.
func (h *handler) bulkChange(c *call) (reply, error) {
	raw, err := readItems(c, maxBulkBody, bulk.MaxItems)
	if err != nil {
		return reply{}, err
	}
	items := make([]bulk.Item, len(raw))
	for i := range raw {
		items[i] = bulk.Parse(raw[i])
	}
	failed, err := h.bulk.Apply(c.r.Context(), c.hub.Name(), items)
	if err != nil {
		return reply{}, invokeError(err)
	}
	res := bulkResult{IsSuccessful: len(failed) == 0, Errors: make([]bulkError, len(failed)), Warnings: []bulkWarning{}}
	bad := make(map[int]bool, len(failed))
	for i, f := range failed {
		bad[f.Index] = true
		code, msg := itemError(f.Err)
		res.Errors[i] = bulkError{f.Device, f.Module, code, msg, f.Operation}
		if causeway.CodeOf(f.Err) >= causeway.GenericServerError {
			h.log.Error("an item of a bulk operation failed", obs.KeyHub, c.hub.Name(), obs.KeyRequest, c.request, obs.KeyError, f.Err)
		}
	}
	for i := range items {
		if !bad[i] {
			id := causeway.Identity{Hub: c.hub.Name(), Device: items[i].Device, Module: items[i].Module}
			h.log.Info("identity changed in bulk", obs.KeyID, id, "mode", items[i].Mode.String(), "by", c.who, obs.KeyRequest, c.request, obs.KeyRemote, c.r.RemoteAddr)
		}
	}
	rep := reply{status: http.StatusOK}
	if !res.IsSuccessful {
		name := causeway.BulkRegistryOperationFailure.Name()
		rep.status = http.StatusBadRequest
		rep.header = http.Header{"IotHubErrorCode": {name}, "iothub-errorcode": {name}}
	}
	return rep.json(res)
}

// readItems reads an array of up to most members, each still JSON text.
func readItems(c *call, limit, most int) ([]json.RawMessage, error) {
	const op = "iothub.items"
	body, err := readBody(c, limit, causeway.GenericRequestEntityTooLarge)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "the request body is not UTF-8, %s", position(body, invalidUTF8(body)))
	}
	var items []json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, badJSON(op, body, err)
	}
	if isNull(body) {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "the request body is null, a JSON array was expected")
	}
	if len(items) > most {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "the request body has %d items, at most %d are allowed: send several requests", len(items), most)
	}
	return items, nil
}

// itemError returns the name and the text that tell of one item of many.
func itemError(err error) (code, msg string) {
	c := causeway.CodeOf(err)
	if s := c.HTTPStatus(); s < 400 || s > 599 {
		c = causeway.ServerError
	}
	return c.Name(), causeway.MessageOf(err)
}

// rotateBody asks for new keys.
type rotateBody struct {
	PolicyKey *string `json:"policyKey"`
	Devices   []struct {
		ID       *string `json:"id"`
		ModuleID *string `json:"moduleId"`
	} `json:"devices"`
}

type rotateResult struct {
	PolicyKey   string        `json:"policyKey"`
	RotatedKeys []rotatedKeys `json:"rotatedKeys"`
	Errors      []rotateError `json:"errors"`
}

type rotatedKeys struct {
	ID           string  `json:"id"`
	ModuleID     *string `json:"moduleId"`
	PrimaryKey   string  `json:"primaryKey"`
	SecondaryKey string  `json:"secondaryKey"`
}

type rotateError struct {
	ID          string  `json:"id"`
	ModuleID    *string `json:"moduleId"`
	ErrorCode   string  `json:"errorCode"`
	ErrorStatus string  `json:"errorStatus"`
}

// rotateKeys gives up to bulk.MaxItems identities new keys. The answer is 200
// even when some failed: a client that took it for a failure would lose the keys
// of the others.
func (h *handler) rotateKeys(c *call) (reply, error) {
	const op = "iothub.rotateKeys"
	var body rotateBody
	if err := readJSON(c, maxRotateBody, &body); err != nil {
		return reply{}, err
	}
	which, err := bulk.ParsePolicyKey(text(body.PolicyKey))
	if err != nil {
		return reply{}, err
	}
	if len(body.Devices) > bulk.MaxItems {
		return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "devices has %d items, at most %d are allowed: send several requests", len(body.Devices), bulk.MaxItems)
	}
	ids := make([]causeway.Identity, len(body.Devices))
	for i, d := range body.Devices {
		ids[i] = causeway.Identity{Hub: c.hub.Name(), Device: text(d.ID), Module: text(d.ModuleID)}
		if ids[i].Device == "" {
			return reply{}, causeway.Errorf(causeway.ArgumentNull, op, "devices[%d].id is missing", i)
		}
		if err := checkIDs(ids[i]); err != nil {
			return reply{}, causeway.Errorf(causeway.ArgumentInvalid, op, "devices[%d]: %s", i, causeway.MessageOf(err))
		}
	}
	res := rotateResult{PolicyKey: text(body.PolicyKey), RotatedKeys: []rotatedKeys{}, Errors: []rotateError{}}
	for _, r := range h.bulk.RotateKeys(c.r.Context(), which, ids) {
		if r.Err != nil {
			code, msg := itemError(r.Err)
			res.Errors = append(res.Errors, rotateError{r.ID.Device, orNull(r.ID.Module), code, msg})
			continue
		}
		res.RotatedKeys = append(res.RotatedKeys, rotatedKeys{r.ID.Device, orNull(r.ID.Module), string(r.Primary), string(r.Secondary)})
		h.log.Info("keys rotated", obs.KeyID, r.ID, "by", c.who, obs.KeyRequest, c.request, obs.KeyRemote, c.r.RemoteAddr)
	}
	return reply{status: http.StatusOK}.json(res)
}
