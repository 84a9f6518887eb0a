package hubamqp

import (
	"math"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Application properties of direct methods. Clients differ in case.
const (
	keyMethodName   = "IoThub-methodname"
	keyMethodStatus = "IoThub-status"
)

// MethodRequest is a call on its way to a device.
type MethodRequest struct {
	Correlation [16]byte // a uuid; the answer has it too
	Call        causeway.Call
}

// MethodResponse is the answer of a device.
type MethodResponse struct {
	Correlation [16]byte
	Result      causeway.Result
}

// AppendMethodRequest appends a call. A payload that is empty is written as null.
func AppendMethodRequest(dst []byte, r MethodRequest) []byte {
	w := codec.NewWriter(dst)
	writeCorrelation(&w, codec.UUID(r.Correlation))
	w.Map(codec.CodeApplicationProperties)
	w.String(keyMethodName)
	w.String(r.Call.Method)
	w.End()
	if len(r.Call.Payload) == 0 {
		w.Data([]byte("null"))
	} else {
		w.Data(r.Call.Payload)
	}
	return w.Bytes()
}

// DecodeMethodRequest reads a call. Errors: IotHubFormatError, ArgumentInvalid.
func DecodeMethodRequest(s *Scratch, payload []byte) (MethodRequest, error) {
	const op = "amqp.method"
	var x codec.Message
	var r MethodRequest
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	var err error
	if r.Correlation, err = correlation(op, x.Properties.CorrelationID); err != nil {
		return r, err
	}
	v, _ := lookup(x.ApplicationProperties, keyMethodName)
	if r.Call.Method, _ = v.Text(); r.Call.Method == "" {
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the call has no application property %s", keyMethodName)
	}
	r.Call.Payload, err = s.body(op, x.Body)
	return r, err
}

// AppendMethodResponse appends an answer.
func AppendMethodResponse(dst []byte, r MethodResponse) []byte {
	w := codec.NewWriter(dst)
	writeCorrelation(&w, codec.UUID(r.Correlation))
	w.Map(codec.CodeApplicationProperties)
	w.String(keyMethodStatus)
	w.Int(int32(r.Result.Status))
	w.End()
	w.Data(r.Result.Payload)
	return w.Bytes()
}

// DecodeMethodResponse reads an answer; its correlation may be a uuid or the text
// of one. Errors: IotHubFormatError, ArgumentInvalid, MessageTooLarge.
func DecodeMethodResponse(s *Scratch, payload []byte) (MethodResponse, error) {
	const op = "amqp.method"
	var x codec.Message
	var r MethodResponse
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	var err error
	if r.Correlation, err = correlation(op, x.Properties.CorrelationID); err != nil {
		return r, err
	}
	v, _ := lookup(x.ApplicationProperties, keyMethodStatus)
	n, ok := v.Int64()
	if !ok || n != int64(int32(n)) {
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the answer has no application property %s that is an int", keyMethodStatus)
	}
	r.Result.Status = int(n)
	if r.Result.Payload, err = s.body(op, x.Body); err == nil && len(r.Result.Payload) > causeway.MaxMethodPayload {
		err = causeway.Errorf(causeway.MessageTooLarge, op, "the payload has %d bytes, the limit is %d", len(r.Result.Payload), causeway.MaxMethodPayload)
	}
	return r, err
}

// correlation returns the uuid that a correlation id is, or is the text of.
func correlation(op string, v codec.Value) (u [16]byte, err error) {
	if u, ok := v.UUID(); ok {
		return u, nil
	}
	text, ok := v.Text()
	if b, isBinary := v.Bytes(); isBinary {
		if len(b) == len(u) {
			return [16]byte(b), nil
		}
		text, ok = view(b), true
	}
	if u, isUUID := parseUUID(text); ok && isUUID {
		return u, nil
	}
	return u, causeway.Errorf(causeway.ArgumentInvalid, op, "correlation-id is of type %v that is not the uuid of the call", v.Kind())
}

// lookup returns the value of a key in any case.
func lookup(m codec.Map, key string) (codec.Value, bool) {
	for k, v := range m.All() {
		if name, ok := k.Text(); ok && strings.EqualFold(name, key) {
			return v, true
		}
	}
	return codec.Value{}, false
}

// writeCorrelation writes properties that are a correlation id only.
func writeCorrelation(w *codec.Writer, id codec.Value) {
	w.List(codec.CodeProperties)
	for range 5 { // message-id, user-id, to, subject, reply-to
		w.Null()
	}
	w.Value(id)
	w.End()
}

// writeRequest writes properties of a request: a message id and where the reply
// is to go.
func writeRequest(w *codec.Writer, id codec.Value, to, replyTo string) {
	w.List(codec.CodeProperties)
	w.Value(id)
	w.Null() // user-id
	field(w, to)
	w.Null() // subject
	field(w, replyTo)
	w.End()
}

// status returns a number that is meant to be a status.
func status(v codec.Value) (int, bool) {
	n, ok := v.Int64()
	return int(n), ok && n >= 0 && n <= math.MaxInt32
}
