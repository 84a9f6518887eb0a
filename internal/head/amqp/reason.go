package amqp

import (
	"errors"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Reason is why a connection ended or a request was refused. It is the label of
// the metric and the attribute in the log.
type Reason string

// Ends that are nobody's fault.
const (
	ReasonClosed  Reason = "closed"        // the client closed the connection
	ReasonLost    Reason = "lost"          // the network connection ended
	ReasonStop    Reason = "server_stop"   // the server stops
	ReasonIdle    Reason = "idle_timeout"  // silent for twice the idle time-out
	ReasonSlow    Reason = "slow_client"   // does not read what it is sent
	ReasonExpired Reason = "token_expired" // of SASL PLAIN
	ReasonFault   Reason = "fault"         // the client asked for it
	ReasonRemote  Reason = "client_error"  // the client closed the connection with an error
)

// Refusals before a connection is open.
const (
	ReasonConnections    Reason = "connection_limit"
	ReasonHandshake      Reason = "tls_handshake"
	ReasonConnectTimeout Reason = "connect_timeout"
	ReasonSASL           Reason = "sasl"
	ReasonUnknownHost    Reason = "unknown_host"
	ReasonUnclaimed      Reason = "unclaimed" // neither token nor link in time
)

// Violations that end an open connection.
const (
	ReasonMalformed Reason = "malformed_frame"
	ReasonViolation Reason = "protocol_violation"
)

// Refusals of links, which leave the connection open.
const (
	ReasonUnknownAddress Reason = "unknown_address"
	ReasonDirection      Reason = "link_direction"
	ReasonUnauthorized   Reason = "unauthorized"
	ReasonBusy           Reason = "server_busy"
	ReasonLinkRefused    Reason = "link_refused" // by the plane of its address, or one too many
)

// Refusals of single messages, which leave the link open.
const (
	ReasonMessage   Reason = "malformed_message"
	ReasonTooLarge  Reason = "message_too_large"
	ReasonRejected  Reason = "hub_rejected" // the hub does not take the message
	ReasonHubFailed Reason = "hub_failed"
	ReasonThrottled Reason = "throttled" // above a rate
	ReasonQuota     Reason = "quota"     // above a quota
	ReasonTokens    Reason = "too_many_tokens"
)

// end is why a connection ends.
type end struct {
	reason Reason
	err    error // detail, may be nil
}

// refusal reports whether an end with this reason is one that the client caused
// and the metric of refusals counts.
func (r Reason) refusal() bool {
	switch r {
	case ReasonClosed, ReasonLost, ReasonStop, ReasonExpired, ReasonFault, ReasonRemote:
		return false
	}
	return true
}

// endOf returns the end that an error of the engine means.
func endOf(err error) *end {
	switch {
	case err == nil:
		return &end{ReasonClosed, nil}
	case errors.Is(err, wire.ErrSASL):
		return &end{ReasonSASL, err}
	case errors.Is(err, wire.ErrOpenTimeout):
		return &end{ReasonConnectTimeout, nil}
	case errors.Is(err, wire.ErrSilent):
		return &end{ReasonIdle, nil}
	case errors.Is(err, wire.ErrStuck):
		return &end{ReasonSlow, nil}
	case errors.Is(err, wire.ErrRemote):
		return &end{ReasonRemote, err}
	case errors.Is(err, wire.ErrLost):
		return &end{ReasonLost, nil}
	}
	if _, ok := errors.AsType[*codec.Error](err); ok {
		return &end{ReasonMalformed, err}
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		if c.Name == wire.FramingError || c.Name == codec.DecodeError {
			return &end{ReasonMalformed, err}
		}
		return &end{ReasonViolation, err}
	}
	return &end{ReasonLost, err}
}

// reasonOfLink returns why the hub does not let a link in.
func reasonOfLink(err error) Reason {
	switch code := causeway.CodeOf(err); {
	case code == causeway.AmqpAddressNotFound:
		return ReasonUnknownAddress
	case code == causeway.InvalidOperation:
		return ReasonDirection
	case code.HTTPStatus() == 429 || code.HTTPStatus() >= 500:
		return ReasonBusy
	}
	return ReasonUnauthorized
}

// reasonOfMessage returns why a message was not taken.
func reasonOfMessage(err error) Reason {
	code := causeway.CodeOf(err)
	switch {
	case code == causeway.IotHubFormatError:
		return ReasonMessage
	case code == causeway.MessageTooLarge:
		return ReasonTooLarge
	case code == causeway.IotHubQuotaExceeded:
		return ReasonQuota
	case code.HTTPStatus() == 429:
		return ReasonThrottled
	case rejection(err):
		return ReasonRejected
	}
	return ReasonHubFailed
}

// rejection reports whether an error of Session.Send is about what is in the
// messages, of which then perhaps only one is at fault.
func rejection(err error) bool {
	switch causeway.CodeOf(err).HTTPStatus() {
	case 400, 413:
		return true
	}
	return false
}
