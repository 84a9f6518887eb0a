package amqp

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// conditionOf returns what a peer is told of an error.
func conditionOf(err error) *codec.Condition {
	if err == nil {
		return nil
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c
	}
	if e, ok := errors.AsType[*codec.Error](err); ok {
		return &codec.Condition{Name: e.Condition, Description: e.Msg}
	}
	return &codec.Condition{Name: InternalError}
}

// Refuse makes an error that tells the peer a condition.
func Refuse(name, format string, args ...any) *codec.Condition {
	return &codec.Condition{Name: name, Description: fmt.Sprintf(format, args...)}
}

// The error conditions of the standard (part 2 §2.8.15 to §2.8.18).
const (
	InternalError         = "amqp:internal-error"
	NotFound              = "amqp:not-found"
	UnauthorizedAccess    = "amqp:unauthorized-access"
	ResourceLimitExceeded = "amqp:resource-limit-exceeded"
	NotAllowed            = "amqp:not-allowed"
	NotImplemented        = "amqp:not-implemented"
	ResourceLocked        = "amqp:resource-locked"
	PreconditionFailed    = "amqp:precondition-failed"
	FrameSizeTooSmall     = "amqp:frame-size-too-small"
	IllegalState          = "amqp:illegal-state"
	ConnectionForced      = "amqp:connection:forced"
	FramingError          = codec.FramingError
	DecodeError           = codec.DecodeError
	InvalidField          = codec.InvalidField
	ResourceDeleted       = "amqp:resource-deleted"
	ConnectionRedirect    = "amqp:connection:redirect"
	WindowViolation       = "amqp:session:window-violation"
	ErrantLink            = "amqp:session:errant-link"
	HandleInUse           = "amqp:session:handle-in-use"
	UnattachedHandle      = "amqp:session:unattached-handle"
	DetachForced          = "amqp:link:detach-forced"
	TransferLimitExceeded = "amqp:link:transfer-limit-exceeded"
	MessageSizeExceeded   = "amqp:link:message-size-exceeded"
	LinkRedirect          = "amqp:link:redirect"
	LinkStolen            = "amqp:link:stolen"
)

// The bounds of a condition that would not fit into the frames of the peer.
const (
	shortName        = 128
	shortDescription = 200
)

// pushError queues what of makes of a condition. When that is larger than the
// peer's frames, the condition is told without its info, and shortened; the
// mutex is held.
func (c *Conn) pushError(channel uint16, cond *codec.Condition, of func(*codec.Condition) codec.Performative) {
	if c.push(channel, of(cond), nil) || cond == nil {
		return
	}
	c.push(channel, of(&codec.Condition{
		Name: cut(cond.Name, shortName), Description: cut(cond.Description, shortDescription),
	}), nil)
}

// cut returns the beginning of s that has at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// The errors of calls on what has ended, or before it may be used.
var (
	ErrClosed   = errors.New("amqp: the connection is closed")
	ErrNotOpen  = errors.New("amqp: the connection is not open yet")
	ErrEnded    = errors.New("amqp: the session has ended")
	ErrDetached = errors.New("amqp: the link is detached")
	ErrNoCredit = errors.New("amqp: the peer has given no credit")
	ErrFull     = errors.New("amqp: too much waits to be written, or is unsettled")
)
