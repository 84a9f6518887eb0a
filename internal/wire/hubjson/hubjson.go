// Package hubjson is JSON as IoT Hub writes it to its clients, whatever carries
// it: the object that tells of an error, what a device sees of its twin, and
// text in which only what must be is escaped.
package hubjson

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/causeway-iot/causeway"
)

// The layouts of instants, in UTC.
const (
	Ticks  = "2006-01-02T15:04:05.0000000Z" // seven digits of a second, always
	Millis = "2006-01-02T15:04:05.000Z"
)

// Marshal encodes v and leaves HTML characters, such as those of URIs, as they
// are.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Must encodes as Marshal does. It is for strings, and structs of strings and
// numbers, whose encoding cannot fail.
func Must(v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		panic("hubjson: encode " + err.Error())
	}
	return b
}

// Error is the object that tells a client of an error. Clients read the message
// in it.
type Error struct {
	ErrorCode    int    `json:"errorCode"`
	TrackingID   string `json:"trackingId"`
	Message      string `json:"message"`
	TimestampUTC string `json:"timestampUtc"`
}

// TwinError is the status and the body of the answer to a twin request that is
// refused with err. Some clients look at the body only.
func TwinError(err error) (status int, body []byte) {
	code := causeway.CodeOf(err)
	if status = code.HTTPStatus(); status < 400 || status > 599 {
		code, status = causeway.ServerError, 500
	}
	return status, Must(Error{int(code), rand.Text(), causeway.MessageOf(err), time.Now().UTC().Format(Millis)})
}

// DeviceTwin is a device's view of its twin: the two sections, nothing else.
func DeviceTwin(t causeway.Twin) []byte {
	b := make([]byte, 0, len(t.Desired)+len(t.Reported)+len(`{"desired":,"reported":}`))
	b = append(b, `{"desired":`...)
	b = append(b, t.Desired...)
	b = append(b, `,"reported":`...)
	b = append(b, t.Reported...)
	return append(b, '}')
}
