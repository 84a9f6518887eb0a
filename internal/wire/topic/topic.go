// Package topic is the grammar of IoT Hub's MQTT topics, in both directions:
// what a device publishes, what a hub delivers, which filters may be subscribed,
// the user name of CONNECT, and the property bag that carries a message's
// properties inside a topic.
//
// It knows text only. Packets, sessions, delivery guarantees and who is
// authenticated are other packages' matters; the caller says which identity the
// connection belongs to, and a topic of any other identity is [ErrForeign].
//
// # Borrowed memory
//
// Parsing does not allocate for ordinary topics. Strings in results point into
// the topic that was given, or, where percent-decoding changed them, into the
// scratch buffer. Both must stay unchanged for as long as the result is used.
package topic

import (
	"errors"

	"github.com/causeway-iot/causeway"
)

// The ways a topic can be wrong. Errors of this package wrap one of them.
var (
	// ErrUnknown is a topic or filter that IoT Hub does not have.
	ErrUnknown = errors.New("unknown topic")
	// ErrForeign is a topic or filter of another identity than the connected one.
	ErrForeign = errors.New("topic of another identity")
	// ErrMalformed is a known topic with a property bag, query or status that
	// cannot be read.
	ErrMalformed = errors.New("malformed topic")
)

// Limits of what is accepted inside a topic.
const (
	MaxProperties = 512     // application properties in one bag
	MaxRequestID  = 256     // bytes of a $rid
	MaxUsername   = 4 << 10 // bytes of a CONNECT user name
)

// Kind says what a topic is for.
type Kind uint8

// The kinds. The first four are published by clients, the others by hubs.
const (
	_              Kind = iota
	Telemetry           // devices/{d}[/modules/{m}]/messages/events/{bag}
	MethodResponse      // $iothub/methods/res/{status}/?$rid={rid}
	TwinGet             // $iothub/twin/GET/?$rid={rid}
	TwinPatch           // $iothub/twin/PATCH/properties/reported/[?$rid={rid}]
	Command             // devices/{d}[/modules/{m}]/messages/devicebound/{bag}
	Input               // devices/{d}/modules/{m}/inputs/{input}/{bag}
	MethodRequest       // $iothub/methods/POST/{name}/?$rid={rid}
	TwinResponse        // $iothub/twin/res/{status}/?$rid={rid}
	Desired             // $iothub/twin/PATCH/properties/desired/?$version={n}
)

// Publish is what a parsed topic says besides the properties of a message.
type Publish struct {
	Kind    Kind
	Name    string // MethodRequest: method; Input: input; decoded
	RID     string // request id as sent, to be echoed unchanged; borrowed; "" for a TwinPatch that wants no answer
	Status  int    // MethodResponse, TwinResponse
	Version int64  // TwinPatch: expected version, 0 for any; TwinResponse, Desired: new version
}

// ParsePublish reads the topic of a PUBLISH sent by the client id.
//
// For [Telemetry] the property bag replaces all fields of m except Body, reusing
// the capacity of m.Properties; for other kinds m is left alone and may be nil.
// Decoded text is appended to scratch, which is returned for the next call;
// truncate it only when no result is in use any more.
//
// Errors wrap ErrUnknown, ErrForeign or ErrMalformed.
func ParsePublish(topic []byte, id causeway.Identity, m *causeway.Message, scratch []byte) (Publish, []byte, error) {
	p, scratch, err := parsePublish(view(topic), id, m, scratch)
	if err != nil {
		return Publish{}, scratch, err
	}
	return p, scratch, nil
}

// ParseDelivery reads the topic of a PUBLISH sent by a hub to the client id. For
// [Command] and [Input] the property bag replaces all fields of m except Body;
// in the other respects it is like [ParsePublish].
func ParseDelivery(topic []byte, id causeway.Identity, m *causeway.Message, scratch []byte) (Publish, []byte, error) {
	p, scratch, err := parseDelivery(view(topic), id, m, scratch)
	if err != nil {
		return Publish{}, scratch, err
	}
	return p, scratch, nil
}
