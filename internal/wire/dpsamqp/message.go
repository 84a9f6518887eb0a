package dpsamqp

import (
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Op is what a device asks for.
type Op uint8

// The operations.
const (
	_        Op = iota
	Register    // iotdps-register
	Lookup      // iotdps-get-operationstatus
)

// The application properties of messages, and the words in them.
const (
	keyOperation   = "iotdps-operation-type"
	keyOperationID = "iotdps-operation-id"
	keyRetryAfter  = "retry-after"
	// What the SDK for C# looks for; it reads names by case.
	keyRetryAfterNET = "Retry-After"

	opRegister = "iotdps-register"
	opLookup   = "iotdps-get-operationstatus"
)

// maxText bounds the text of a client that is repeated in an error.
const maxText = 128

func cut(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// Request is what a device sends. Decoded, it borrows from the payload.
type Request struct {
	Op        Op
	Operation string // id, of a Lookup
	// Correlation goes back with the answer, as it is; null when there was none.
	Correlation codec.Value
	Body        []byte // JSON of a Register; see dpsjson.Parse
}

// DecodeRequest reads a request. Errors: IotHubFormatError (the message cannot be
// read), GenericBadRequest.
func DecodeRequest(payload []byte) (Request, error) {
	const op = "amqp.provisioning"
	var x codec.Message
	var r Request
	if err := x.Decode(payload); err != nil {
		return r, &causeway.Error{Code: causeway.IotHubFormatError, Op: op, Msg: "the message cannot be read: " + strings.TrimPrefix(err.Error(), "amqp: "), Err: err}
	}
	if r.Correlation = x.Properties.CorrelationID; r.Correlation.IsNull() {
		r.Correlation = x.Properties.MessageID // as a reply names it
	}
	word := ""
	for k, v := range x.ApplicationProperties.All() {
		switch key, _ := k.Text(); key {
		case keyOperation:
			word, _ = v.Text()
		case keyOperationID:
			r.Operation, _ = v.Text()
		}
	}
	switch {
	case strings.EqualFold(word, opLookup):
		r.Op = Lookup // the body does not matter: some clients repeat the registration
		if r.Operation == "" {
			return r, causeway.Errorf(causeway.GenericBadRequest, op, "application property %s is missing: which operation?", keyOperationID)
		}
		return r, nil
	case !strings.EqualFold(word, opRegister):
		return r, causeway.Errorf(causeway.GenericBadRequest, op, "application property %s is %q, want %s or %s", keyOperation, cut(word), opRegister, opLookup)
	}
	r.Op = Register
	var ok bool
	if r.Body, ok = body(x.Body); !ok {
		return r, causeway.Errorf(causeway.GenericBadRequest, op, "the body must be the JSON of a registration in a data section")
	}
	return r, nil
}

// body returns the content of a body: of data, or of a value that is binary or
// text.
func body(b codec.Body) (content []byte, ok bool) {
	if b.Kind() == 0 {
		return nil, true
	}
	if content, ok = b.Bytes(); ok {
		return content, true
	}
	v, ok := b.Value()
	if !ok {
		return nil, false
	}
	if text, ok := v.Text(); ok {
		return []byte(text), true
	}
	content, ok = v.Bytes()
	return content, ok || v.IsNull()
}

// AppendRequest appends a request.
func AppendRequest(dst []byte, r Request) []byte {
	w := codec.NewWriter(dst)
	writeCorrelation(&w, r.Correlation)
	w.Map(codec.CodeApplicationProperties)
	w.String(keyOperation)
	if r.Op == Lookup {
		w.String(opLookup)
		w.String(keyOperationID)
		w.String(r.Operation)
	} else {
		w.String(opRegister)
	}
	w.End()
	w.Data(r.Body)
	return w.Bytes()
}

func writeCorrelation(w *codec.Writer, id codec.Value) {
	if id.IsNull() {
		return
	}
	w.List(codec.CodeProperties)
	for range 5 { // message-id, user-id, to, subject, reply-to
		w.Null()
	}
	w.Value(id)
	w.End()
}

// Reply is the answer to a request.
type Reply struct {
	Correlation codec.Value
	RetryAfter  int    // seconds until the next question makes sense, 0 when it is over
	Body        []byte // JSON
}

// AppendReply appends an answer.
func AppendReply(dst []byte, r Reply) []byte {
	w := codec.NewWriter(dst)
	writeCorrelation(&w, r.Correlation)
	if r.RetryAfter > 0 {
		w.Map(codec.CodeApplicationProperties)
		for _, key := range [...]string{keyRetryAfter, keyRetryAfterNET} {
			w.String(key)
			w.Int(seconds(r.RetryAfter)) // the SDK for C takes an int or a string
		}
		w.End()
	}
	w.Data(r.Body)
	return w.Bytes()
}

// mostSeconds bounds what a client is told to wait; some take no more.
const mostSeconds = 300

func seconds(n int) int32 { return int32(min(n, mostSeconds)) } //nolint:gosec // bounded

// DecodeReply reads an answer, from which it borrows.
func DecodeReply(payload []byte) (Reply, error) {
	var x codec.Message
	var r Reply
	if err := x.Decode(payload); err != nil {
		return r, err
	}
	r.Correlation = x.Properties.CorrelationID
	if v, ok := x.ApplicationProperties.Lookup(keyRetryAfter); ok {
		n, _ := v.Int64()
		r.RetryAfter = int(max(0, min(n, mostSeconds)))
	}
	r.Body, _ = x.Body.Bytes()
	return r, nil
}
