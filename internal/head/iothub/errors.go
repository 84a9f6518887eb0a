package iothub

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// The two shapes of an error body; see hubhttp.
type errorForm = hubhttp.Form

const (
	formA = hubhttp.FormA // registry and commands
	formB = hubhttp.FormB // twins and methods
)

// writeError answers with err and returns the status.
func (h *handler) writeError(c *call, err error) int {
	form := formA
	if c.route != nil {
		form = c.route.form
	}
	e := hubhttp.ErrorOf(err, form, c.request, time.Now())
	e.SetHeader(c.w.Header(), err)
	h.send(c, e.Status, e.Body)
	return e.Status
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
