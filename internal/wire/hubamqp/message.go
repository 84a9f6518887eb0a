package hubamqp

import (
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Application properties that are system properties.
const (
	keyAck          = "iothub-ack"
	keySchema       = "iothub-message-schema"
	keyCreationTime = "iothub-creation-time-utc"
	keyOutput       = "iothub-outputname"
	keyOperation    = "iothub-operation"
)

// Message annotations.
const (
	annInterfaceID   = "iothub-interface-id"
	annComponent     = "dt-subject"
	annDiagnosticID  = "Diagnostic-Id"
	annDiagnosticCtx = "Correlation-Context"
	annModelID       = "dt-dataschema"
	annDevice        = "iothub-connection-device-id"
	annModule        = "iothub-connection-module-id"
	annGeneration    = "iothub-connection-auth-generation-id"
	annAuth          = "iothub-connection-auth-method"
	annEnqueued      = "iothub-enqueuedtime"
	annSource        = "iothub-message-source"
	annDeliveryCount = "iothub-deliverycount"
	annSequence      = "x-opt-sequence-number"
	annOffset        = "x-opt-offset"
	annEnqueuedTime  = "x-opt-enqueued-time"
	annPartitionKey  = "x-opt-partition-key"
	annLockToken     = "x-opt-lock-token"
	annInputName     = "x-opt-input-name"
)

// echoed returns the id of a request as its answer repeats it. Answers may wait to
// be taken, and with them their ids: one that is too long is refused, and is null.
func echoed(op, name string, v codec.Value) (codec.Value, error) {
	text, _ := v.Text()
	b, _ := v.Bytes()
	if n := len(text) + len(b); n > MaxEcho {
		return codec.Value{}, causeway.Errorf(causeway.ArgumentInvalid, op, "%s has %d bytes, the limit is %d", name, n, MaxEcho)
	}
	return v, nil
}

// malformed returns err, which is of the codec, as an error of this package.
func malformed(op string, err error) error {
	return &causeway.Error{Code: causeway.IotHubFormatError, Op: op, Msg: "the message cannot be read: " + strings.TrimPrefix(err.Error(), "amqp: "), Err: err}
}

// decode reads a message into x, and what all kinds of messages have in common
// into m, replacing everything in m.
func decode(op string, x *codec.Message, m *causeway.Message, s *Scratch, payload []byte) error {
	if err := x.Decode(payload); err != nil {
		return malformed(op, err)
	}
	p := &x.Properties
	*m = causeway.Message{
		ID: s.id(p.MessageID), CorrelationID: s.id(p.CorrelationID), UserID: s.bytes(p.UserID), To: p.To,
		ContentType: p.ContentType, ContentEncoding: p.ContentEncoding,
		Properties: m.Properties[:0],
	}
	if p.AbsoluteExpiryTime.OK {
		m.Expiry = timeOf(p.AbsoluteExpiryTime.V)
	}
	for k, v := range x.ApplicationProperties.All() {
		key, _ := k.Text()
		value, ok := s.text(v)
		if !ok {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "application property %q is of type %v; it must be a string or another simple value", cut(key), v.Kind())
		}
		if !setApplication(m, key, value) {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "more than %d application properties", MaxProperties)
		}
	}
	if m.CreationTime == "" && p.CreationTime.OK {
		from := len(s.b)
		s.b = appendTime(s.b, p.CreationTime.V)
		m.CreationTime = view(s.b[from:])
	}
	for k, v := range x.MessageAnnotations.All() {
		name, _ := k.Text()
		if to := annotation(m, name); to != nil {
			*to, _ = s.text(v)
		}
	}
	var err error
	m.Body, err = s.body(op, x.Body)
	return err
}

// body returns the payload of a message.
func (s *Scratch) body(op string, b codec.Body) ([]byte, error) {
	switch b.Kind() {
	case 0:
		return nil, nil
	case codec.CodeData:
		if b.Len() > 1 {
			return s.join(b), nil
		}
		content, _ := b.Bytes()
		return content, nil
	case codec.CodeValue:
		v, _ := b.Value()
		if content, ok := v.Bytes(); ok {
			return content, nil
		}
		if text, ok := v.Text(); ok {
			return bytesOf(text), nil
		}
		if v.IsNull() {
			return nil, nil
		}
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "the body is of type %v; it must be data, binary or a string", v.Kind())
	}
	return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "the body is a sequence; it must be data, binary or a string")
}

// setApplication sets an application property, which may be a system property,
// and reports whether there was room for it.
func setApplication(m *causeway.Message, key, value string) bool {
	switch key {
	case keyAck:
		m.Ack = ack(value)
	case keySchema:
		m.Schema = value
	case keyCreationTime:
		m.CreationTime = value
	case keyOutput:
		m.Output = value
	case keyOperation:
		m.Operation = value
	case "", annDevice, annModule: // the Java SDK says who sends, which is the hub's to say
	default:
		if len(m.Properties) == MaxProperties {
			return false
		}
		m.Properties = append(m.Properties, causeway.Property{Key: key, Value: value})
	}
	return true
}

// ack returns the feedback that is asked for; other words ask for none. The Java
// SDK has words of its own for two of them.
func ack(value string) causeway.Ack {
	switch value {
	case "positive", "positiveonly":
		return causeway.AckPositive
	case "negative", "negativeonly":
		return causeway.AckNegative
	case "full":
		return causeway.AckFull
	}
	return causeway.AckNone
}

// annotation returns the field for the annotation of the given name that a
// sender may set, or nil.
func annotation(m *causeway.Message, name string) *string {
	switch name {
	case annInterfaceID:
		return &m.InterfaceID
	case annComponent:
		return &m.Component
	case annDiagnosticID:
		return &m.DiagnosticID
	case annDiagnosticCtx:
		return &m.DiagnosticCtx
	}
	return nil
}

// text writes a pair of a map unless the value is empty.
func text(w *codec.Writer, name, value string) {
	if value != "" {
		w.Symbol(name)
		w.String(value)
	}
}

// field writes a string field of a list, null when it is empty.
func field(w *codec.Writer, value string) {
	if value == "" {
		w.Null()
		return
	}
	w.String(value)
}

// symbol writes a symbol field of a list, null when it is empty.
func symbol(w *codec.Writer, value string) {
	if value == "" {
		w.Null()
		return
	}
	w.Symbol(value)
}

// writeProperties writes the section of properties.
func writeProperties(w *codec.Writer, m *causeway.Message, to string) {
	w.List(codec.CodeProperties)
	field(w, m.ID)
	if m.UserID == "" {
		w.Null()
	} else {
		w.Binary(bytesOf(m.UserID))
	}
	field(w, to)
	w.Null() // subject
	w.Null() // reply-to
	field(w, m.CorrelationID)
	symbol(w, m.ContentType)
	symbol(w, m.ContentEncoding)
	if m.Expiry.IsZero() {
		w.Null()
	} else {
		w.Timestamp(codec.TimestampOf(m.Expiry))
	}
	w.End()
}

// pair writes an application property unless its value is empty.
func pair(w *codec.Writer, key, value string) {
	if value != "" {
		w.String(key)
		w.String(value)
	}
}

// writeApplication writes the section of application properties for a peer that
// takes those with the names of system properties for such: the others of that
// name are left out.
func writeApplication(w *codec.Writer, m *causeway.Message) {
	w.Map(codec.CodeApplicationProperties)
	pair(w, keyAck, string(ack(string(m.Ack))))
	pair(w, keySchema, m.Schema)
	pair(w, keyCreationTime, m.CreationTime)
	pair(w, keyOutput, m.Output)
	pair(w, keyOperation, m.Operation)
	for i := range m.Properties {
		p := &m.Properties[i]
		if p.Key == "" || isSystem(p.Key) || again(m.Properties, i) {
			continue
		}
		w.String(p.Key)
		w.String(p.Value)
	}
	w.End()
}

func isSystem(key string) bool {
	switch key {
	case keyAck, keySchema, keyCreationTime, keyOutput, keyOperation:
		return true
	}
	return false
}

// again reports whether the key of property i comes again after it: the last one
// counts, since a map must not have a key twice.
func again(ps []causeway.Property, i int) bool {
	key := ps[i].Key
	for j := i + 1; j < len(ps); j++ {
		if len(ps[j].Key) == len(key) && ps[j].Key == key {
			return true
		}
	}
	return false
}

// writeSent writes the annotations that a sender may set, into an open section.
func writeSent(w *codec.Writer, m *causeway.Message) {
	text(w, annInterfaceID, m.InterfaceID)
	text(w, annComponent, m.Component)
	text(w, annDiagnosticID, m.DiagnosticID)
	text(w, annDiagnosticCtx, m.DiagnosticCtx)
}
