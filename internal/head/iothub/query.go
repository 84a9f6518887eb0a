package iothub

import (
	"net/http"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// The headers of pages.
const (
	headerMaxItems     = "x-ms-max-item-count"
	headerContinuation = "x-ms-continuation"
	headerItemType     = "x-ms-item-type"
)

// query answers a page of a query. Clients tell by the header of the next page
// whether there is one, so it is not sent empty; some refuse items of another
// type than the header names.
func (h *handler) query(c *call) (reply, error) {
	const op = "iothub.query"
	var body struct {
		Query *string `json:"query"`
	}
	if err := readJSON(c, causeway.MaxRequestBody, &body); err != nil {
		if causeway.CodeOf(err) == causeway.DeserializationError {
			err = &causeway.Error{Code: causeway.IotHubFormatError, Op: op, Msg: causeway.MessageOf(err), Err: err}
		}
		return reply{}, err
	}
	if body.Query == nil {
		return reply{}, causeway.Errorf(causeway.ArgumentNull, op, `the request body has no member "query", such as {"query":"SELECT * FROM devices"}`)
	}
	size, err := maxItems(op, c.r.Header)
	if err != nil {
		return reply{}, err
	}
	page, err := h.queries.Query(c.r.Context(), c.hub.Name(), *body.Query, size, c.r.Header.Get(headerContinuation))
	if err != nil {
		return reply{}, err
	}
	rep := reply{status: http.StatusOK, header: http.Header{}}
	rep.header.Set(headerItemType, page.ItemType)
	if page.Token != "" {
		rep.header.Set(headerContinuation, page.Token)
	}
	return rep.json(page.Items)
}

// maxItems returns how many items a client asks for, 0 when it does not say.
func maxItems(op string, h http.Header) (int, error) {
	text := h.Get(headerMaxItems)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, causeway.Errorf(causeway.ArgumentInvalid, op, "the header %s is %q, it must be a whole number from 1", headerMaxItems, hubhttp.Clip(text))
	}
	return int(n), nil
}
