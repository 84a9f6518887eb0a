package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// The exit codes of the program. They are part of its interface: scripts
// depend on them.
const (
	ExitOK           = 0
	ExitFailure      = 1   // anything without a code of its own
	ExitUsage        = 2   // wrong arguments, flags or configuration
	ExitNotFound     = 3   // the device, module, hub … does not exist, or is not online
	ExitConflict     = 4   // it exists already, or changed meanwhile (etag)
	ExitUnauthorized = 5   // missing, wrong or expired credentials
	ExitUnreachable  = 6   // no connection, or no answer in time
	ExitInterrupted  = 130 // Ctrl-C, before what was asked for was done
)

const exitHelp = `Exit codes:
  0  done
  1  failed
  2  wrong arguments, flags or configuration
  3  not found, or the device is not online
  4  exists already, or was changed by someone else
  5  not authorised
  6  not reachable, or no answer in time
  130  interrupted before it was done`

// usageError is a mistake in how the program was called.
type usageError struct {
	err error
	cmd string // whose help to look at
}

func (e *usageError) Error() string {
	s := e.err.Error()
	if e.cmd != "" {
		s += "\nRun '" + e.cmd + " --help' for usage."
	}
	return s
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// exitCode says what err means to a script.
func exitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return ExitUsage
	}
	if e, ok := errors.AsType[*causeway.Error](err); ok {
		switch e.Code.HTTPStatus() {
		case http.StatusNotFound:
			return ExitNotFound
		case http.StatusConflict, http.StatusPreconditionFailed:
			return ExitConflict
		case http.StatusUnauthorized, http.StatusForbidden:
			if e.Code == causeway.DeviceMaximumQueueDepthExceeded || e.Code == causeway.IotHubQuotaExceeded {
				return ExitFailure // a quota, not a matter of who asks
			}
			return ExitUnauthorized
		case http.StatusGatewayTimeout, http.StatusServiceUnavailable:
			return ExitUnreachable
		}
		return ExitFailure
	}
	if errors.Is(err, context.DeadlineExceeded) || unreachable(err) {
		return ExitUnreachable
	}
	return ExitFailure
}

func unreachable(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op != "listen" {
		return true
	}
	_, dns := errors.AsType[*net.DNSError](err)
	return dns || errors.Is(err, amqp.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || tlsTrouble(err)
}

func tlsTrouble(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// explain writes an error for people: what was refused, under which name, and
// what usually helps.
func explain(err error) string {
	var b strings.Builder
	b.WriteString("Error: ")
	e, coded := errors.AsType[*causeway.Error](err)
	switch {
	case coded && e.Op != "":
		fmt.Fprintf(&b, "%s: %s (%s)", e.Op, causeway.MessageOf(e), e.Code.Name())
	default:
		b.WriteString(err.Error())
	}
	if h := hint(err); h != "" {
		b.WriteString("\nHint: " + h)
	}
	return b.String()
}

// hinted is an error after which something else helps than usual.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func hint(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	if tlsTrouble(err) {
		return "the certificate of the server is not trusted; pass the authority that issued it with --ca FILE or CAUSEWAY_CA"
	}
	if unreachable(err) {
		return "is the cloud running? Check the host and port, or start one with 'causeway quickstart'"
	}
	switch causeway.CodeOf(err) {
	case causeway.DeviceNotOnline:
		return "methods are not queued: the device must be connected and listening; --connect-timeout waits for it"
	case causeway.GatewayTimeout:
		return "the device got the call but did not answer in time; --timeout gives it longer"
	case causeway.PreconditionFailed:
		return "it was changed since it was read: read it again, or pass --if-match '*' to overwrite"
	case causeway.IotHubUnauthorized, causeway.IotHubUnauthorizedAccess, causeway.GenericUnauthorized:
		return "check the policy and key of the connection string ('causeway hub connection-string', 'causeway dps connection-string')"
	}
	return ""
}
