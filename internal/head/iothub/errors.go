package iothub

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// errorForm is one of the two shapes of an error body.
type errorForm uint8

const (
	formA errorForm = iota // registry and commands
	formB                  // twins and methods
)

// errorBody is the outer shape of both forms.
type errorBody struct {
	Message          string
	ExceptionMessage string
}

// writeError answers with err and returns the status.
func (h *handler) writeError(c *call, err error) int {
	code := causeway.CodeOf(err)
	status := code.HTTPStatus()
	if status < 400 || status > 599 {
		code, status = causeway.ServerError, http.StatusInternalServerError
	}
	form := formA
	if c.route != nil {
		form = c.route.form
	}
	head := c.w.Header()
	head.Set("Content-Type", "application/json; charset=utf-8")
	head.Set("iothub-errorcode", code.Name())
	h.send(c, status, form.render(code, causeway.MessageOf(err), c.request, time.Now()))
	return status
}

// render returns the body of an error.
func (f errorForm) render(code causeway.Code, msg, request string, now time.Time) []byte {
	tracking := request + "-G:0-TimeStamp:" + now.UTC().Format("01/02/2006 15:04:05")
	// Clients take the message apart at semicolons.
	msg = strings.ReplaceAll(msg, ";", ",")
	var body errorBody
	if f == formB {
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
	text := hubjson.Must(hubjson.Error{ErrorCode: int(code), TrackingID: tracking, Message: msg, TimestampUTC: timeZ(now)})
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

// badJSON turns an error of encoding/json into one that says where in body the
// fault is.
func badJSON(op string, body []byte, err error) error {
	switch e := err.(type) { //nolint:errorlint // encoding/json returns them unwrapped
	case *json.SyntaxError:
		if len(strings.TrimSpace(string(body))) == 0 {
			return causeway.Errorf(causeway.DeserializationError, op, "the request body is empty, a JSON object was expected")
		}
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is not valid JSON, %s: %s", position(body, e.Offset), e.Error())
	case *json.UnmarshalTypeError:
		// The offset counts from the start of the member when the member decodes
		// itself, which its name makes up for.
		where := position(body, e.Offset)
		if e.Field != "" {
			where = "member " + strconv.Quote(e.Field)
		}
		return causeway.Errorf(causeway.DeserializationError, op, "the request body does not have the expected form, %s: a %s is not a %s", where, e.Value, kind(e))
	}
	return &causeway.Error{Code: causeway.DeserializationError, Op: op, Msg: "the request body cannot be read as JSON", Err: err}
}

// kind names a Go type in the words of JSON.
func kind(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "string":
		return "string"
	case "bool":
		return "boolean"
	case "int", "int64", "int32":
		return "whole number"
	case "slice":
		return "array"
	default:
		return "object"
	}
}

// position names the place of a byte offset as people count.
func position(body []byte, offset int64) string {
	before := string(body[:min(max(offset, 0), int64(len(body)))])
	line := strings.Count(before, "\n") + 1
	column := len(before) - (strings.LastIndexByte(before, '\n') + 1)
	return "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(max(column, 1))
}
