package hubhttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
)

// BatchType is the Content-Type of a batch of messages.
const BatchType = "application/vnd.microsoft.iothub.json"

// MaxBatch is how many messages a batch may hold. What they may weigh together
// is causeway.MaxMessageSize.
const MaxBatch = 4096

// IsBatch reports whether a Content-Type is that of a batch; parameters and case
// do not matter.
func IsBatch(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == BatchType
}

// batchItem is one message of a batch.
type batchItem struct {
	Body          *string          `json:"body"`
	Base64Encoded *bool            `json:"base64Encoded"`
	Properties    *json.RawMessage `json:"properties"`
}

// ReadBatch reads a batch: a JSON array of objects with a body, which is base64
// unless base64Encoded is false, and properties named like headers. Unlike those
// of headers, names of application properties keep their case. Codes:
// DeserializationError (no such JSON), ArgumentInvalid (base64, expiry, no
// message), MessageTooLarge (too many messages, or together over 256 KB); the
// message says which element is at fault.
func ReadBatch(body []byte) ([]causeway.Message, error) {
	const op = "http.batch"
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, causeway.Errorf(causeway.DeserializationError, op,
			`the body is not a JSON array of messages such as [{"body":"aGVsbG8=","properties":{"iothub-messageid":"1"}}]`)
	}
	var msgs []causeway.Message
	total := 0
	for dec.More() {
		at := len(msgs)
		if at == MaxBatch {
			return nil, causeway.Errorf(causeway.MessageTooLarge, op, "the batch has more than %d messages", MaxBatch)
		}
		var it batchItem
		if err := dec.Decode(&it); err != nil {
			return nil, causeway.Errorf(causeway.DeserializationError, op, "element %d of the batch cannot be read as a message: %s", at, jsonFault(err))
		}
		m, err := it.message()
		if err != nil {
			return nil, causeway.Errorf(causeway.CodeOf(err), op, "element %d of the batch: %s", at, causeway.MessageOf(err))
		}
		if total += m.Size(); total > causeway.MaxMessageSize {
			return nil, causeway.Errorf(causeway.MessageTooLarge, op,
				"the messages of the batch have more than %d bytes together, element %d is the first one over the limit", causeway.MaxMessageSize, at)
		}
		msgs = append(msgs, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "the array of messages does not end: %s", jsonFault(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "something follows the array of messages")
	}
	if len(msgs) == 0 {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "the batch has no message")
	}
	return msgs, nil
}

// jsonFault says what is wrong with JSON, in words for a client.
func jsonFault(err error) string {
	switch e := err.(type) { //nolint:errorlint // encoding/json returns them unwrapped
	case *json.SyntaxError:
		return e.Error() + " near byte " + strconv.FormatInt(e.Offset, 10)
	case *json.UnmarshalTypeError:
		if e.Field == "" {
			return "a " + e.Value + " is not an object"
		}
		return "member " + strconv.Quote(e.Field) + " is a " + e.Value
	}
	return "it ends too early"
}

func (it *batchItem) message() (causeway.Message, error) {
	const op = "http.batch"
	var m causeway.Message
	if it.Properties != nil {
		if err := readProperties(&m, *it.Properties); err != nil {
			return m, err
		}
	}
	switch {
	case it.Body == nil:
		return m, causeway.Errorf(causeway.ArgumentInvalid, op, "body is missing")
	case it.Base64Encoded != nil && !*it.Base64Encoded:
		m.Body = []byte(*it.Body)
	default:
		b, err := base64.StdEncoding.DecodeString(*it.Body)
		if err != nil {
			return m, causeway.Errorf(causeway.ArgumentInvalid, op, `body is not base64; encode it, or send "base64Encoded":false with text`)
		}
		m.Body = b
	}
	return m, nil
}

// readProperties reads the properties of one message, in their order.
func readProperties(m *causeway.Message, text []byte) error {
	const op = "http.batch"
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	switch t, err := dec.Token(); {
	case err != nil || t == nil:
		return nil //nolint:nilerr // null; that it is JSON was seen before
	case t != json.Delim('{'):
		return causeway.Errorf(causeway.DeserializationError, op, "properties is not an object")
	}
	for n := 0; dec.More(); n++ {
		if n == MaxProperties {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "there are more than %d properties", MaxProperties)
		}
		k, _ := dec.Token()
		v, _ := dec.Token()
		name, _ := k.(string)
		value, ok := scalar(v)
		if !ok {
			return causeway.Errorf(causeway.DeserializationError, op, "property %q is not a string", Clip(name))
		}
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "iothub-app-") {
			if key := name[len(appPrefix):]; key != "" {
				m.Properties = append(m.Properties, causeway.Property{Key: key, Value: value})
			}
			continue
		}
		if err := setSystem(m, lower, value); err != nil {
			return err
		}
	}
	return nil
}

// scalar returns the text of a JSON scalar.
func scalar(t json.Token) (string, bool) {
	switch v := t.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case nil:
		return "", true
	}
	return "", false
}
