package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
)

// problem turns an error into one that huma answers with (RFC 9457). The client
// sees the message of a causeway.Error; anything else is an internal error.
func (s *Server) problem(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[huma.StatusError](err); ok {
		return p
	}
	code := causeway.CodeOf(err)
	if code == causeway.ServerError || code.HTTPStatus() >= 500 {
		s.Log.ErrorContext(ctx, "request failed", "error", err)
	}
	return newProblem(err)
}

func newProblem(err error) huma.StatusError {
	status := causeway.CodeOf(err).HTTPStatus()
	if causeway.CodeOf(err) == causeway.IotHubNotFound {
		status = http.StatusNotFound // 401 tells devices to give up; here it would mislead
	}
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	p := huma.NewError(status, causeway.MessageOf(err))
	if m, ok := p.(*huma.ErrorModel); ok {
		m.Title = causeway.CodeOf(err).Name()
	}
	return p
}

// writeProblem answers from a middleware.
func writeProblem(api huma.API, ctx huma.Context, err error) {
	p := newProblem(err)
	// A client that went away is all that can make this fail.
	_ = huma.WriteErr(api, ctx, p.GetStatus(), p.Error())
}
