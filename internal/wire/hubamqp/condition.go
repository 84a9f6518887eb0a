package hubamqp

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// The error conditions of IoT Hub and of AMQP that a hub ends links with.
const (
	NotFound            = "amqp:not-found"
	Unauthorized        = "amqp:unauthorized-access"
	NotAllowed          = "amqp:not-allowed"
	NotImplemented      = "amqp:not-implemented"
	InternalError       = "amqp:internal-error"
	InvalidField        = "amqp:invalid-field"
	ResourceLimit       = "amqp:resource-limit-exceeded"
	MessageSize         = "amqp:link:message-size-exceeded"
	LinkStolen          = "amqp:link:stolen"
	LinkRedirect        = "amqp:link:redirect"
	DetachForced        = "amqp:link:detach-forced"
	ConnectionForced    = "amqp:connection:forced"
	ArgumentError       = "com.microsoft:argument-error"
	ArgumentOutOfRange  = "com.microsoft:argument-out-of-range"
	Throttled           = "com.microsoft:device-container-throttled"
	QuotaExceeded       = "com.microsoft:quota-exceeded"
	Timeout             = "com.microsoft:timeout"
	MessageLockLost     = "com.microsoft:message-lock-lost"
	PreconditionFailed  = "com.microsoft:precondition-failed"
	DeviceAlreadyExists = "com.microsoft:device-already-exists"
	HubSuspended        = "com.microsoft:iot-hub-suspended"
	HubNotFound         = "com.microsoft:iot-hub-not-found-error"
	LinkConflict        = "com.microsoft:link-creation-conflict"
	ServerBusy          = "com.microsoft:server-busy"
)

// The keys of the info of a condition.
const (
	InfoTrackingID = "com.microsoft:tracking-id"
	InfoErrorCode  = "com.microsoft:error-code"
)

// ConditionOf returns the condition that tells a client of err. Its description
// is a JSON object, its info has the code and a new tracking id, which
// [TrackingID] returns for the log. A *codec.Condition in the chain of err is
// returned as it is; what is wrong with bytes keeps the condition of the codec.
// It returns nil for nil.
func ConditionOf(err error) *codec.Condition {
	if err == nil {
		return nil
	}
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c
	}
	code := causeway.CodeOf(err)
	name, message := conditionName(code), causeway.MessageOf(err)
	if e, ok := errors.AsType[*codec.Error](err); ok {
		name = e.Condition
		if _, ok := errors.AsType[*causeway.Error](err); !ok {
			code, message = causeway.IotHubFormatError, e.Msg
		}
	}
	return condition(name, code, message)
}

// NewCondition returns a condition of the given name for a code and a message,
// where the name does not follow from the code.
func NewCondition(name string, code causeway.Code, message string) *codec.Condition {
	return condition(name, code, message)
}

func condition(name string, code causeway.Code, message string) *codec.Condition {
	id := rand.Text()
	text := hubjson.Must(hubjson.Error{ErrorCode: int(code), TrackingID: id, Message: message, TimestampUTC: time.Now().UTC().Format(hubjson.Ticks)})
	return &codec.Condition{
		Name:        name,
		Description: string(text),
		Info: codec.NewMap(
			codec.Symbol(InfoTrackingID), codec.String(id),
			codec.Symbol(InfoErrorCode), codec.Int(int32(code))),
	}
}

// TrackingID returns the tracking id of a condition, or "".
func TrackingID(c *codec.Condition) string {
	v, _ := c.Info.Lookup(InfoTrackingID)
	id, _ := v.Text()
	return id
}

// conditionName returns the condition for a code.
func conditionName(code causeway.Code) string {
	switch code {
	case causeway.InvalidOperation, causeway.UnsupportedOperationOnReplica:
		return NotAllowed
	case causeway.RequestCanceled, causeway.RequestTimedOut, causeway.GenericTimeout, causeway.ClientClosedRequest:
		return Timeout
	case causeway.ConnectionForcefullyClosedOnNewConnection:
		return LinkStolen
	case causeway.IotHubNotFound:
		return HubNotFound
	case causeway.DeviceDisabled:
		return Unauthorized
	case causeway.IotHubSuspended:
		return HubSuspended
	case causeway.InvalidMessageExpiryTime:
		return ArgumentError
	case causeway.IotHubQuotaExceeded, causeway.JobQuotaExceeded, causeway.DeviceMaximumQueueDepthExceeded,
		causeway.IotHubMaxCbsTokenExceeded, causeway.DeviceMaximumActiveFileUploadLimitExceeded,
		causeway.DeviceMaximumQueueSizeExceeded, causeway.DeviceMaximumInflightMethodExceeded,
		causeway.TooManyDevices, causeway.TooManyModulesOnDevice, causeway.ConfigurationCountLimitExceeded:
		return ResourceLimit
	case causeway.FeatureNotSupported:
		return NotImplemented
	case causeway.DeviceAlreadyExists, causeway.ModuleAlreadyExistsOnDevice:
		return DeviceAlreadyExists
	case causeway.LinkCreationConflict:
		return LinkConflict
	case causeway.DeviceMessageLockLost:
		return MessageLockLost
	case causeway.PartitionNotFound:
		return NotFound
	case causeway.ReceiveLinkOpensThrottled:
		return Throttled
	}
	switch code.HTTPStatus() {
	case 400, 415:
		return ArgumentError
	case 401:
		return Unauthorized
	case 403, 405, 409:
		return NotAllowed
	case 404:
		return NotFound
	case 412:
		return PreconditionFailed
	case 413:
		return MessageSize
	case 429:
		return Throttled
	case 504:
		return Timeout
	}
	return InternalError
}

// ErrorOf returns the error that a condition tells of, a *causeway.Error: with
// the code in its info or its description when there is one, else with the code
// that its name suggests. It returns nil for nil.
func ErrorOf(c *codec.Condition) error {
	if c == nil {
		return nil
	}
	const op = "amqp"
	var text hubjson.Error
	message := c.Description
	if json.Unmarshal([]byte(c.Description), &text) == nil && text.Message != "" {
		message = text.Message
	}
	if message == "" {
		message = c.Name
	}
	code := causeway.Code(text.ErrorCode)
	if v, ok := c.Info.Lookup(InfoErrorCode); ok {
		if n, ok := v.Int64(); ok && n == int64(int32(n)) {
			code = causeway.Code(n)
		}
	}
	if s := code.HTTPStatus(); s < 400 || s > 599 {
		code = codeNamed(c.Name)
	}
	return &causeway.Error{Code: code, Op: op, Msg: message, Err: c}
}

// codeNamed returns the code that the name of a condition suggests.
func codeNamed(name string) causeway.Code {
	switch name {
	case NotFound:
		return causeway.DeviceNotFound
	case Unauthorized:
		return causeway.IotHubUnauthorized
	case NotAllowed:
		return causeway.InvalidOperation
	case NotImplemented:
		return causeway.FeatureNotSupported
	case codec.DecodeError, InvalidField, codec.FramingError:
		return causeway.IotHubFormatError
	case ResourceLimit, QuotaExceeded:
		return causeway.IotHubQuotaExceeded
	case MessageSize:
		return causeway.MessageTooLarge
	case LinkStolen:
		return causeway.ConnectionForcefullyClosedOnNewConnection
	case DetachForced, ConnectionForced:
		return causeway.ServiceUnavailable
	case ArgumentError, ArgumentOutOfRange:
		return causeway.ArgumentInvalid
	case Throttled:
		return causeway.ThrottlingException
	case Timeout:
		return causeway.GenericTimeout
	case MessageLockLost:
		return causeway.DeviceMessageLockLost
	case PreconditionFailed:
		return causeway.PreconditionFailed
	case DeviceAlreadyExists:
		return causeway.DeviceAlreadyExists
	case HubSuspended:
		return causeway.IotHubSuspended
	case HubNotFound:
		return causeway.IotHubNotFound
	case LinkConflict:
		return causeway.LinkCreationConflict
	case ServerBusy:
		return causeway.ServerBusy
	}
	return causeway.ServerError
}

// Redirect tells a reader of events where they are: at the Event Hubs-compatible
// endpoint of the given host and port, under the name of the event hub. The tail
// is that of the address that was asked for.
func Redirect(host string, port uint16, entity, tail string) *codec.Condition {
	c := condition(LinkRedirect, causeway.InvalidOperation, "events are read from "+host)
	a := Address{Kind: KindEventsSend, Entity: entity}
	var b codec.MapBuilder
	b.Add(codec.Symbol("hostname"), codec.String(host))
	b.Add(codec.Symbol("network-host"), codec.String(host))
	b.Add(codec.Symbol("port"), codec.Uint(uint32(port)))
	// Readers find the name of the event hub between the port and the next slash.
	b.Add(codec.Symbol("address"), codec.String("amqps://"+host+":"+itoa(port)+"/"+a.String()+"/"+tail))
	for k, v := range c.Info.All() {
		b.Add(k, v)
	}
	c.Info = b.Map()
	return c
}
