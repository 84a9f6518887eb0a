// Package fault reads the messages by which public test suites of IoT Hub's SDKs
// ask a hub to misbehave: to cut a connection, a session or a link, or to refuse
// what a client does for a while.
//
// It knows the words. What is broken, and how, is known to the heads, whose
// connections are a [Target].
package fault

import (
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Kind is what shall go wrong, in the words of the suites.
type Kind string

// The kinds. Those that begin with Kill or ShutDown happen once, those that
// begin with Invoke last for a while.
const (
	KillTCP            Kind = "KillTcp"
	ShutDownMQTT       Kind = "ShutDownMqtt"
	ShutDownAMQP       Kind = "ShutDownAmqp" // with a close in order
	KillConnection     Kind = "KillAmqpConnection"
	KillSession        Kind = "KillAmqpSession"
	KillCBSRequest     Kind = "KillAmqpCBSLinkReq"
	KillCBSResponse    Kind = "KillAmqpCBSLinkResp"
	KillTelemetry      Kind = "KillAmqpD2CLink"
	KillCommands       Kind = "KillAmqpC2DLink"
	KillTwinRequest    Kind = "KillAmqpTwinLinkReq"
	KillTwinResponse   Kind = "KillAmqpTwinLinkResp"
	KillMethodRequest  Kind = "KillAmqpMethodReqLink"
	KillMethodResponse Kind = "KillAmqpMethodRespLink"

	Throttle   Kind = "InvokeThrottling"
	Quota      Kind = "InvokeMaxMessageQuota"
	AuthFailed Kind = "InvokeAuthError"
)

var kinds = []Kind{
	KillTCP, ShutDownMQTT, ShutDownAMQP, KillConnection, KillSession, KillCBSRequest, KillCBSResponse, KillTelemetry,
	KillCommands, KillTwinRequest, KillTwinResponse, KillMethodRequest, KillMethodResponse, Throttle, Quota, AuthFailed,
}

// Kinds returns every kind.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }

// Lasts reports whether the kind refuses what a client does for a while.
func (k Kind) Lasts() bool { return strings.HasPrefix(string(k), "Invoke") }

// Fits reports whether clients of a transport can be met by it.
func (k Kind) Fits(t causeway.Transport) bool {
	amqp := strings.HasPrefix(string(t), "amqp")
	switch {
	case k.Lasts():
		return true
	case k == KillTCP:
		return t != causeway.HTTPS
	case k == ShutDownMQTT:
		return strings.HasPrefix(string(t), "mqtt")
	}
	return amqp
}

// Code returns what clients are refused with while a kind lasts.
func (k Kind) Code() causeway.Code {
	switch k {
	case Throttle:
		return causeway.ThrottlingException
	case Quota:
		return causeway.IotHubQuotaExceeded
	}
	return causeway.IotHubUnauthorized
}

// Target is a connection that can be broken on purpose. Break must not block. A
// link that is not there is no error.
type Target interface {
	Break(k Kind, reason string)
}

// Fault is what a message asks for.
type Fault struct {
	Kind     Kind
	Reason   string
	Delay    time.Duration // until it happens
	Duration time.Duration // how long it lasts
}

// The properties of a message that asks for a fault.
const (
	property     = "AzIoTHub_FaultOperationType"
	propReason   = "AzIoTHub_FaultOperationCloseReason"
	propDelay    = "AzIoTHub_FaultOperationDelayInSecs"
	propDuration = "AzIoTHub_FaultOperationDurationInSecs"
)

// Bounds, and what counts without a duration.
const (
	MaxDelay        = 5 * time.Minute
	MaxDuration     = 10 * time.Minute
	DefaultDuration = 5 * time.Second
	maxReason       = 256
)

// Of returns the fault that a message asks for; ok is false when it asks for
// none. It keeps nothing of the message. Code ArgumentInvalid.
func Of(m *causeway.Message) (f Fault, ok bool, err error) {
	const op = "fault"
	var kind string
	for i := range m.Properties {
		if strings.EqualFold(m.Properties[i].Key, property) {
			kind, ok = strings.Clone(m.Properties[i].Value), true
		}
	}
	if !ok {
		return f, false, nil
	}
	f = Fault{Kind: Kind(kind), Duration: DefaultDuration}
	known := false
	for _, k := range kinds {
		known = known || k == f.Kind
	}
	if !known {
		return f, true, causeway.Errorf(causeway.ArgumentInvalid, op, "%s is %q, it must be one of %v", property, clip(kind), kinds)
	}
	for i := range m.Properties {
		p := &m.Properties[i]
		switch {
		case strings.EqualFold(p.Key, propReason):
			f.Reason = strings.Clone(clip(p.Value))
		case strings.EqualFold(p.Key, propDelay):
			f.Delay, err = seconds(propDelay, p.Value, MaxDelay)
		case strings.EqualFold(p.Key, propDuration):
			f.Duration, err = seconds(propDuration, p.Value, MaxDuration)
		}
		if err != nil {
			return f, true, err
		}
	}
	return f, true, nil
}

func seconds(name, text string, most time.Duration) (time.Duration, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > int(most/time.Second) {
		return 0, causeway.Errorf(causeway.ArgumentInvalid, "fault", "%s is %q, it must be a number of seconds from 0 to %d", name, clip(text), int(most/time.Second))
	}
	return time.Duration(n) * time.Second, nil
}

func clip(s string) string {
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}
