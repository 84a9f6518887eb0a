package iothub

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// limitBody gives the client bodyTimeout to send its body, whether somebody
// reads it or the server throws it away after a refusal.
func limitBody(c *call) {
	if c.r.Body != nil && c.r.Body != http.NoBody {
		// A ResponseWriter that is not net/http's may have no deadlines.
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}

// readBody reads the request body up to a limit; tooLarge is the code of a
// longer one.
func readBody(c *call, limit int, tooLarge causeway.Code) ([]byte, error) {
	const op = "iothub.body"
	tooMuch := func() error {
		return causeway.Errorf(tooLarge, op, "the request body is larger than %d bytes", limit)
	}
	if c.r.ContentLength > int64(limit) {
		c.w.Header().Set("Connection", "close") // the rest is not worth reading
		return nil, tooMuch()
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, int64(limit)))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooMuch()
		}
		c.w.Header().Set("Connection", "close")
		return nil, &causeway.Error{Code: causeway.RequestTimedOut, Op: op, Msg: "the request body could not be read to its end", Err: err}
	}
	// The server goes on reading while a request is answered, to see the client
	// leave; the deadline of the body would end a long method call.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
	return body, nil
}

// readJSON decodes a JSON object into v. Unknown members are ignored; anything
// after the object, text that is not UTF-8, and null are not.
func readJSON(c *call, limit int, v any) error {
	body, err := readBody(c, limit, causeway.GenericRequestEntityTooLarge)
	if err != nil {
		return err
	}
	return parseJSON(body, v)
}

// parseJSON is readJSON for a body that is read.
func parseJSON(body []byte, v any) error {
	const op = "iothub.json"
	if !utf8.Valid(body) {
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is not UTF-8, %s", position(body, invalidUTF8(body)))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return badJSON(op, body, err)
	}
	if isNull(body) {
		return causeway.Errorf(causeway.DeserializationError, op, "the request body is null, a JSON object was expected")
	}
	return nil
}

// invalidUTF8 returns the offset behind the first byte that is not UTF-8.
func invalidUTF8(b []byte) int64 {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return int64(i) + 1
		}
		i += n
	}
	return int64(len(b))
}

// isNull reports whether valid JSON text is null.
func isNull(b []byte) bool {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == 'n'
		}
	}
	return false
}
