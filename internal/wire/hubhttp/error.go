package hubhttp

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Form is one of the two shapes of an error body.
type Form uint8

// The forms. Which one a route has follows from what the service does.
const (
	FormA Form = iota // registry, messages: {"Message":"ErrorCode:Name;text","ExceptionMessage":"…"}
	FormB             // twins, methods: {"Message":"{\"errorCode\":…}","ExceptionMessage":""}
)

// errorBody is the outer shape of both forms.
type errorBody struct {
	Message          string
	ExceptionMessage string
}

// Error is what an error is answered with.
type Error struct {
	Status int
	Code   causeway.Code
	Body   []byte
}

// ErrorOf renders err in a form. Request is the id of the request, which becomes
// the tracking id.
func ErrorOf(err error, f Form, request string, now time.Time) Error {
	code := causeway.CodeOf(err)
	if s := code.HTTPStatus(); s < 400 || s > 599 {
		code = causeway.ServerError
	}
	return Error{Status: code.HTTPStatus(), Code: code, Body: f.render(code, causeway.MessageOf(err), request, now)}
}

// SetHeader puts what goes with an error body into h: the name of the code, and
// for a client that comes too often when to come again.
func (e Error) SetHeader(h http.Header, err error) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("iothub-errorcode", e.Code.Name())
	if d := RetryAfter(err); d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// RetryAfter returns when err says to try again, 0 when it does not.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return e.RetryAfter()
	}
	return 0
}

// render returns the body of an error.
func (f Form) render(code causeway.Code, msg, request string, now time.Time) []byte {
	tracking := request + "-G:0-TimeStamp:" + now.UTC().Format("01/02/2006 15:04:05")
	// Clients take the message apart at semicolons.
	msg = strings.ReplaceAll(msg, ";", ",")
	var body errorBody
	if f == FormB {
		body.Message = string(detail(code, msg, tracking, now))
	} else {
		body.Message = "ErrorCode:" + code.Name() + ";" + msg
		body.ExceptionMessage = "Tracking ID:" + tracking
	}
	return hubjson.Must(body)
}

// detail returns the JSON text that is the message in form B.
//
// Node's SDK knows only form A: of a 404 it makes a DeviceNotFoundError when
// the text between the first colon and the first semicolon is DeviceNotFound.
// A leading member with such a name lets it, and means nothing to those who
// read the JSON. See Azure/azure-iot-sdk-node issue 971.
func detail(code causeway.Code, msg, tracking string, now time.Time) []byte {
	text := hubjson.Must(hubjson.Error{ErrorCode: int(code), TrackingID: tracking, Message: msg, TimestampUTC: Time(now)})
	if code != causeway.DeviceNotFound {
		return text
	}
	// It does not undo escapes either, so that quotes had better need none.
	name := hubjson.Must("ErrorCode:" + code.Name() + ";" + strings.ReplaceAll(msg, `"`, "'") + ";")
	out := make([]byte, 0, len(text)+len(name)+8)
	out = append(out, '{')
	out = append(out, name...)
	out = append(out, `:"",`...)
	return append(out, text[1:]...)
}
