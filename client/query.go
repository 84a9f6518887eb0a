package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// QueryPage is a part of the outcome of a query.
type QueryPage struct {
	ItemType     string            // "Twin", "DeviceJob" or "Raw"
	Items        []json.RawMessage // JSON objects
	Continuation string            // asks for the next page; "" when there is none
}

// QueryPage asks for one page of a query, such as "SELECT * FROM devices WHERE
// tags.site = 'north'", of at most size items; 0 leaves that to the hub, which
// gives 100 and at most 1000. Continuation is that of the page before, which can
// be used any number of times, with the same text. A page may be empty and have
// a continuation. Codes: ArgumentInvalid (the message says where the query is
// wrong).
func (s *Service) QueryPage(ctx context.Context, text string, size int, continuation string) (QueryPage, error) {
	q := request{
		method: http.MethodPost, path: "/devices/query", op: "query", query: url.Values{"api-version": {apiVersion}},
		body: map[string]string{"query": text}, header: http.Header{},
	}
	if size > 0 {
		q.header.Set("x-ms-max-item-count", strconv.Itoa(size))
	}
	if continuation != "" {
		q.header.Set("x-ms-continuation", continuation)
	}
	var p QueryPage
	h, err := s.rest.do(ctx, q, &p.Items)
	if err != nil {
		return QueryPage{}, err
	}
	p.ItemType, p.Continuation = h.Get("x-ms-item-type"), h.Get("x-ms-continuation")
	return p, nil
}

// Query returns the items of a query, asking for pages as they are needed. It
// ends after an error.
func (s *Service) Query(ctx context.Context, text string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for next := ""; ; {
			p, err := s.QueryPage(ctx, text, 0, next)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if next = p.Continuation; next == "" {
				return
			}
		}
	}
}
