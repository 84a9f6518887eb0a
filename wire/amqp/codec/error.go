package codec

import "fmt"

// Conditions that decoding can end with (AMQP 1.0 part 2 §2.8.14, §2.8.15).
const (
	DecodeError  = "amqp:decode-error"
	InvalidField = "amqp:invalid-field"
	FramingError = "amqp:connection:framing-error"
)

// Error says why bytes are not what they should be. The connection, session or
// link that they came by is ended with Condition.
type Error struct {
	Condition string // one of DecodeError, InvalidField, FramingError
	Msg       string // what is wrong; safe to tell the peer
}

// Error returns the message.
func (e *Error) Error() string { return "amqp: " + e.Msg }

func malformed(msg string) error { return &Error{Condition: DecodeError, Msg: msg} }

func malformedf(format string, args ...any) error {
	return &Error{Condition: DecodeError, Msg: fmt.Sprintf(format, args...)}
}

func invalidf(format string, args ...any) error {
	return &Error{Condition: InvalidField, Msg: fmt.Sprintf(format, args...)}
}

func framingf(format string, args ...any) error {
	return &Error{Condition: FramingError, Msg: fmt.Sprintf(format, args...)}
}
