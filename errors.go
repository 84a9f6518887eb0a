package causeway

import (
	"errors"
	"fmt"
	"strconv"
)

// Name returns the catalogue name of c, or its number when it has none.
func (c Code) Name() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return strconv.Itoa(int(c))
}

// String returns the name.
func (c Code) String() string { return c.Name() }

// HTTPStatus returns the HTTP status of c.
func (c Code) HTTPStatus() int { return int(c) / 1000 }

// Error is an error that may cross the contract. Code says what went wrong in
// terms every head can map, Msg says it to the client, Err is for the log.
type Error struct {
	Code Code
	Op   string // what was being done, e.g. "registry.Get"
	Msg  string // safe to show to a client
	Err  error  // cause, never shown to a client
}

// Error returns the full text, for logs.
func (e *Error) Error() string {
	s := e.Msg
	if s == "" {
		s = e.Code.Name()
	}
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same code and no message, so
// that errors.Is(err, &causeway.Error{Code: c}) asks for a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Msg == "" && t.Op == "" && t.Err == nil
}

// Errorf returns an *Error with a formatted message for the client.
func Errorf(code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Msg: fmt.Sprintf(format, args...)}
}

// ErrNoCredit says that a client does not take a command now; see
// [Device.Deliver].
var ErrNoCredit = errors.New("the client gives no credit for a command")

// CodeOf returns the code of the first *Error in err's chain, ServerError when
// there is none, and 0 for nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ServerError
}

// MessageOf returns the text of err that a client may see.
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Msg != "" {
			return e.Msg
		}
		return e.Code.Name()
	}
	return "internal error"
}
