package causeway

import (
	"strings"
	"time"
)

// Message is a telemetry message (device to cloud), a command (cloud to
// device), or a message between modules. Bodies are bytes end to end: only
// query languages parse them.
//
// A Message given to [Session.Send] is borrowed: its strings and slices may
// point into the caller's read buffer and are valid only until Send returns.
// Whoever keeps one keeps a [Message.Clone].
type Message struct {
	Body       []byte
	Properties []Property // application properties, in order of arrival

	// System properties set by the sender. Zero means absent.
	ID              string
	CorrelationID   string
	UserID          string
	To              string
	ContentType     string
	ContentEncoding string
	Expiry          time.Time // absolute expiry
	CreationTime    string    // iothub-creation-time-utc, as sent
	Ack             Ack       // feedback wanted (cloud to device)
	Schema          string    // iothub-message-schema
	InterfaceID     string    // iothub-interface-id
	Component       string    // dt-subject
	Operation       string    // iothub-operation
	Output          string    // iothub-outputname, module output
	Input           string    // module input this message is for
	DiagnosticID    string    // Diagnostic-Id, distributed tracing
	DiagnosticCtx   string    // Correlation-Context

	// Stamped by the hub; what a client put here is ignored.
	From          Identity
	Auth          string    // AuthMethod.JSON of the sending session
	GenerationID  string    // registry generation of the sender
	Enqueued      time.Time // arrival at the hub, UTC
	Source        string    // iothub-message-source, e.g. SourceTelemetry
	ModelID       string    // dt-dataschema
	Sequence      int64     // position in its queue or partition, from 0
	DeliveryCount int       // cloud to device: abandoned deliveries so far
	Lock          LockToken // cloud to device: settles this delivery
}

// Property is one application property.
type Property struct{ Key, Value string }

// Property returns the value of the first application property named key.
func (m *Message) Property(key string) (value string, ok bool) {
	for i := range m.Properties {
		if m.Properties[i].Key == key {
			return m.Properties[i].Value, true
		}
	}
	return "", false
}

// Size is what the message-size limits count: the body, the values of system
// properties, and the names and values of application properties, in bytes.
func (m *Message) Size() int {
	n := len(m.Body) + len(m.ID) + len(m.CorrelationID) + len(m.UserID) + len(m.To) +
		len(m.ContentType) + len(m.ContentEncoding) + len(m.CreationTime) + len(m.Ack) +
		len(m.Schema) + len(m.InterfaceID) + len(m.Component) + len(m.Operation) +
		len(m.Output) + len(m.Input) + len(m.DiagnosticID) + len(m.DiagnosticCtx)
	for i := range m.Properties {
		n += len(m.Properties[i].Key) + len(m.Properties[i].Value)
	}
	return n
}

// The values of iothub-message-source.
const (
	SourceTelemetry       = "Telemetry"
	SourceTwinChange      = "twinChangeEvents"
	SourceLifecycle       = "deviceLifecycleEvents"
	SourceJobLifecycle    = "deviceJobLifecycleEvents"
	SourceDigitalTwin     = "digitalTwinChangeEvents"
	SourceConnectionState = "deviceConnectionStateEvents"
)

// Ack says which outcomes of a cloud-to-device message its sender wants to
// hear of (iothub-ack).
type Ack string

// The feedback a sender may ask for. The zero value asks for none.
const (
	AckNone     Ack = ""
	AckPositive Ack = "positive"
	AckNegative Ack = "negative"
	AckFull     Ack = "full"
)

// LockToken identifies one delivery of a cloud-to-device message. It is a
// random UUID; the zero value is no lock.
type LockToken [16]byte

// Outcome is how a client settled a delivery.
type Outcome uint8

// The outcomes of a cloud-to-device delivery.
const (
	Accepted Outcome = iota // done; positive feedback
	Rejected                // dead-lettered; negative feedback
	Released                // abandoned: back to the queue, delivery count + 1
)

// Lane is a kind of traffic that flows from the hub to a client. A session
// receives only what it listens to.
type Lane uint8

// The lanes.
const (
	LaneCommands Lane = 1 << iota // cloud-to-device messages
	LaneMethods                   // direct methods
	LaneDesired                   // desired-property changes
	LaneInputs                    // module inputs (edge)
)

// Has reports whether every lane of x is in l.
func (l Lane) Has(x Lane) bool { return l&x == x }

// Clone returns a copy of m that shares no memory with it.
func (m *Message) Clone() Message {
	c := *m
	c.Body = append([]byte(nil), m.Body...)
	for _, s := range []*string{
		&c.ID, &c.CorrelationID, &c.UserID, &c.To, &c.ContentType, &c.ContentEncoding,
		&c.CreationTime, &c.Schema, &c.InterfaceID, &c.Component, &c.Operation, &c.Output,
		&c.Input, &c.DiagnosticID, &c.DiagnosticCtx,
	} {
		*s = strings.Clone(*s)
	}
	c.Ack = Ack(strings.Clone(string(m.Ack)))
	c.Properties = make([]Property, len(m.Properties))
	for i, p := range m.Properties {
		c.Properties[i] = Property{Key: strings.Clone(p.Key), Value: strings.Clone(p.Value)}
	}
	return c
}
