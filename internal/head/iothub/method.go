package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// maxMethodBody bounds a method request: its payload and room for the rest.
const maxMethodBody = causeway.MaxMethodPayload + 16<<10

// methodBody is a request to invoke a direct method.
type methodBody struct {
	MethodName               *string         `json:"methodName"`
	Payload                  json.RawMessage `json:"payload"`
	ResponseTimeoutInSeconds *int            `json:"responseTimeoutInSeconds"`
	ConnectTimeoutInSeconds  *int            `json:"connectTimeoutInSeconds"`
}

// methodReply is a device's answer.
type methodReply struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

func (h *handler) invoke(c *call) (reply, error) {
	var body methodBody
	if err := readJSON(c, maxMethodBody, &body); err != nil {
		return reply{}, err
	}
	connect, response, err := body.check()
	if err != nil {
		return reply{}, err
	}
	call := causeway.Call{Method: *body.MethodName, Payload: body.Payload}
	if len(call.Payload) == 0 {
		call.Payload = []byte("null")
	}
	// Clients count from when they began to send: what reading took is off.
	response = max(response-time.Since(c.arrived), time.Second)
	res, err := c.hub.Invoke(c.r.Context(), c.id, call, connect, response)
	if err != nil {
		return reply{}, invokeError(err)
	}
	if len(res.Payload) == 0 {
		res.Payload = []byte("null")
	}
	return reply{status: http.StatusOK}.json(methodReply{res.Status, res.Payload})
}

// check returns the two waits of a valid request.
func (b *methodBody) check() (connect, response time.Duration, err error) {
	const op = "iothub.invoke"
	name := text(b.MethodName)
	switch {
	case name == "":
		return 0, 0, causeway.Errorf(causeway.ArgumentNull, op, "methodName is missing")
	case utf8.RuneCountInString(name) > causeway.MaxMethodName:
		return 0, 0, causeway.Errorf(causeway.ArgumentInvalid, op, "methodName has more than %d characters", causeway.MaxMethodName)
	case len(b.Payload) > causeway.MaxMethodPayload:
		return 0, 0, causeway.Errorf(causeway.MessageTooLarge, op, "payload has %d bytes, at most %d are allowed", len(b.Payload), causeway.MaxMethodPayload)
	}
	response, connect = causeway.DefaultMethodWait, 0
	if n := b.ResponseTimeoutInSeconds; n != nil {
		if response = time.Duration(*n) * time.Second; *n > 1e6 || response < causeway.MinMethodTimeout || response > causeway.MaxMethodTimeout {
			return 0, 0, causeway.Errorf(causeway.ArgumentInvalid, op, "responseTimeoutInSeconds is %d, it must be from %d to %d",
				*n, int(causeway.MinMethodTimeout.Seconds()), int(causeway.MaxMethodTimeout.Seconds()))
		}
	}
	if n := b.ConnectTimeoutInSeconds; n != nil {
		if connect = time.Duration(*n) * time.Second; *n > 1e6 || connect < 0 || connect > causeway.MaxMethodTimeout {
			return 0, 0, causeway.Errorf(causeway.ArgumentInvalid, op, "connectTimeoutInSeconds is %d, it must be from 0 to %d",
				*n, int(causeway.MaxMethodTimeout.Seconds()))
		}
	}
	return connect, response, nil
}

// invokeError gives a code to errors of a context, which pass through Invoke.
func invokeError(err error) error {
	if _, ok := errors.AsType[*causeway.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &causeway.Error{Code: causeway.GatewayTimeout, Op: "iothub.invoke", Msg: "the device did not answer in time", Err: err}
	case errors.Is(err, context.Canceled):
		return &causeway.Error{Code: causeway.ClientClosedRequest, Op: "iothub.invoke", Msg: "the caller went away", Err: err}
	}
	return err
}
