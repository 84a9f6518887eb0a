package hubamqp

import (
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// The types of tokens.
const (
	TokenSAS = "servicebus.windows.net:sastoken"
	TokenJWT = "jwt"
)

const operationPutToken = "put-token"

// PutToken is a request to take a token.
type PutToken struct {
	MessageID  codec.Value // goes back as the correlation id of the reply, with its type
	ReplyTo    string
	Type       string // TokenSAS, TokenJWT, or as the client wrote it
	Name       string // whose token it is; see ParseAudience
	Token      causeway.Secret
	Expiration time.Time // zero when the client does not say
}

// DecodePutToken reads a request. When the message is understood but the request
// is not, MessageID and ReplyTo are set all the same, so that it can be answered
// with 400, unless the id is longer than MaxEcho. Errors: IotHubFormatError, ArgumentInvalid.
func DecodePutToken(payload []byte) (PutToken, error) {
	const op = "amqp.cbs"
	var x codec.Message
	var r PutToken
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	var err error
	if r.MessageID, err = echoed(op, "message-id", x.Properties.MessageID); err != nil {
		return r, err
	}
	r.ReplyTo = x.Properties.ReplyTo
	operation := ""
	for k, v := range x.ApplicationProperties.All() {
		key, _ := k.Text()
		switch key {
		case "operation":
			operation, _ = v.Text()
		case "type":
			r.Type, _ = v.Text()
		case "name":
			r.Name, _ = v.Text()
		case "expiration":
			r.Expiration = stamp(v)
		}
	}
	if !strings.EqualFold(operation, operationPutToken) {
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "operation %q is not known; the operation of $cbs is %s", cut(operation), operationPutToken)
	}
	switch {
	case strings.EqualFold(r.Type, TokenSAS):
		r.Type = TokenSAS
	case strings.EqualFold(r.Type, TokenJWT), strings.EqualFold(r.Type, "bearer"):
		r.Type = TokenJWT
	default:
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "token type %q is not known; the types are %s and %s", cut(r.Type), TokenSAS, TokenJWT)
	}
	var s Scratch
	token, err := s.body(op, x.Body)
	switch {
	case err != nil:
		return r, err
	case r.Name == "":
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the request has no name")
	case len(token) == 0:
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the request has no token in its body")
	case len(token) > MaxToken:
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the token has %d bytes, the limit is %d", len(token), MaxToken)
	}
	r.Token = causeway.Secret(view(token))
	return r, nil
}

// AppendPutToken appends a request.
func AppendPutToken(dst []byte, r PutToken) []byte {
	w := codec.NewWriter(dst)
	writeRequest(&w, r.MessageID, CBSAddress, r.ReplyTo)
	w.Map(codec.CodeApplicationProperties)
	pair(&w, "operation", operationPutToken)
	pair(&w, "type", r.Type)
	pair(&w, "name", r.Name)
	if !r.Expiration.IsZero() {
		w.String("expiration")
		w.Timestamp(codec.TimestampOf(r.Expiration))
	}
	w.End()
	w.ValueSection(codec.String(string(r.Token)))
	return w.Bytes()
}

// Reply is the answer to a request to $cbs or $management.
type Reply struct {
	Correlation codec.Value // the message id of the request
	Status      int         // as in HTTP
	Description string
}

// OK reports whether the request was granted.
func (r *Reply) OK() bool { return r.Status >= 200 && r.Status <= 299 }

// AppendPutTokenResponse appends the reply to a request.
func AppendPutTokenResponse(dst []byte, r Reply) []byte {
	w := codec.NewWriter(dst)
	writeReply(&w, r, "")
	w.ValueSection(codec.Value{})
	return w.Bytes()
}

// ReplyFor returns the reply that tells of err: 200 for nil, otherwise the HTTP
// status of its code.
func ReplyFor(correlation codec.Value, err error) Reply {
	if err == nil {
		return Reply{correlation, 200, "OK"}
	}
	code := causeway.CodeOf(err)
	status := code.HTTPStatus()
	switch {
	case code == causeway.PartitionNotFound:
		status = 404 // the catalogue has it among those to try again
	case status < 400 || status > 599:
		status = 500
	}
	return Reply{correlation, status, causeway.MessageOf(err)}
}

// writeReply writes the properties of a reply.
func writeReply(w *codec.Writer, r Reply, condition string) {
	writeCorrelation(w, r.Correlation)
	w.Map(codec.CodeApplicationProperties)
	w.String("status-code")
	w.Int(int32(r.Status))
	pair(w, "status-description", r.Description)
	pair(w, "error-condition", condition)
	w.End()
}

// DecodePutTokenResponse reads a reply. Errors: IotHubFormatError.
func DecodePutTokenResponse(payload []byte) (Reply, error) {
	r, _, err := decodeReply("amqp.cbs", payload)
	return r, err
}

func decodeReply(op string, payload []byte) (Reply, codec.Message, error) {
	var x codec.Message
	var r Reply
	if err := x.Decode(payload); err != nil {
		return r, x, malformed(op, err)
	}
	r.Correlation = x.Properties.CorrelationID
	for k, v := range x.ApplicationProperties.All() {
		switch key, _ := k.Text(); key {
		case "status-code", "statusCode":
			r.Status, _ = status(v)
		case "status-description", "statusDescription":
			r.Description, _ = v.Text()
		}
	}
	if r.Status == 0 {
		return r, x, causeway.Errorf(causeway.IotHubFormatError, op, "the reply has no status-code")
	}
	return r, x, nil
}
