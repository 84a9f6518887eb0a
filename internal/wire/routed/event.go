package routed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/causeway-iot/causeway"
)

// The types of events that Event Grid has for hubs.
const (
	DeviceCreated      = "Microsoft.Devices.DeviceCreated"
	DeviceDeleted      = "Microsoft.Devices.DeviceDeleted"
	DeviceConnected    = "Microsoft.Devices.DeviceConnected"
	DeviceDisconnected = "Microsoft.Devices.DeviceDisconnected"
	DeviceTelemetry    = "Microsoft.Devices.DeviceTelemetry"
)

// The types of events that it does not have.
const (
	TwinUpdated        = "Causeway.Devices.TwinUpdated"
	TwinReplaced       = "Causeway.Devices.TwinReplaced"
	DigitalTwinUpdated = "Causeway.Devices.DigitalTwinUpdated"
	JobChanged         = "Causeway.Devices.JobChanged"
)

// Event is what both forms of an event have in common.
type Event struct {
	ID      string // the same whenever the same message is sent again
	Subject string
	Type    string
	Time    string
	Data    any
}

// GridEvent is an event in Event Grid's own form.
type GridEvent struct {
	ID              string `json:"id"`
	Topic           string `json:"topic"`
	Subject         string `json:"subject"`
	EventType       string `json:"eventType"`
	EventTime       string `json:"eventTime"`
	Data            any    `json:"data"`
	DataVersion     string `json:"dataVersion"`
	MetadataVersion string `json:"metadataVersion"`
}

// CloudEvent is an event in the form of CloudEvents 1.0.
type CloudEvent struct {
	ID              string `json:"id"`
	Source          string `json:"source"`
	SpecVersion     string `json:"specversion"`
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	Time            string `json:"time"`
	DataContentType string `json:"datacontenttype"`
	Data            any    `json:"data"`
}

// Grid returns e in Event Grid's form.
func (e *Event) Grid(topic string) GridEvent {
	return GridEvent{
		ID: e.ID, Topic: topic, Subject: e.Subject, EventType: e.Type, EventTime: e.Time, Data: e.Data,
		DataVersion: "1", MetadataVersion: "1",
	}
}

// Cloud returns e in the form of CloudEvents.
func (e *Event) Cloud(source string) CloudEvent {
	return CloudEvent{
		ID: e.ID, Source: source, SpecVersion: "1.0", Type: e.Type, Subject: e.Subject, Time: e.Time,
		DataContentType: "application/json", Data: e.Data,
	}
}

// Topic returns what events of a hub come from, unless its operator says.
func Topic(hub string) string {
	return "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/CAUSEWAY/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/" + strings.ToUpper(hub)
}

// Subject returns what an event is about.
func Subject(id causeway.Identity) string {
	if id.Module != "" {
		return "devices/" + id.Device + "/" + id.Module
	}
	return "devices/" + id.Device
}

// NewEvent returns the event that tells of a message.
func NewEvent(m *causeway.Message) Event {
	e := Event{ID: ID(m), Subject: Subject(m.From), Time: Time(m.Enqueued)}
	op, _ := m.Property("opType")
	switch m.Source {
	case causeway.SourceLifecycle:
		e.Type = DeviceCreated
		if strings.HasPrefix(op, "delete") {
			e.Type = DeviceDeleted
		}
		e.Data = lifecycleOf(m)
	case causeway.SourceConnectionState:
		e.Type = DeviceConnected
		if strings.HasSuffix(op, "Disconnected") {
			e.Type = DeviceDisconnected
		}
		e.Data = connectionOf(m)
	case causeway.SourceTwinChange:
		e.Type = TwinUpdated
		if op == "replaceTwin" {
			e.Type = TwinReplaced
		}
		e.Data = messageOf(m)
	case causeway.SourceDigitalTwin:
		e.Type, e.Data = DigitalTwinUpdated, messageOf(m)
	case causeway.SourceJobLifecycle:
		e.Type, e.Data = JobChanged, messageOf(m)
	default:
		e.Type, e.Data = DeviceTelemetry, messageOf(m)
	}
	return e
}

// ID returns an id of a message in the form of a UUID, the same whenever the same
// message is sent again. It is made of what the hub stamped on the message, its
// sequence in the queue included.
func ID(m *causeway.Message) string {
	h := sha256.New()
	for _, s := range []string{m.From.Hub, m.From.Device, m.From.Module, m.Source, m.ID} {
		_, _ = h.Write(append([]byte(s), 0)) // never fails
	}
	var n [16]byte
	binary.BigEndian.PutUint64(n[:], uint64(m.Sequence))              //nolint:gosec // bits
	binary.BigEndian.PutUint64(n[8:], uint64(m.Enqueued.UnixMicro())) //nolint:gosec // bits
	_, _ = h.Write(n[:])
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // RFC 9562, version 8
	t := hex.EncodeToString(b)
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// messageData is what is told of a message of a device.
type messageData struct {
	Body             json.RawMessage   `json:"body"`
	Properties       map[string]string `json:"properties"`
	SystemProperties map[string]string `json:"systemProperties"`
}

func messageOf(m *causeway.Message) messageData {
	system := map[string]string{}
	put(system, "iothub-content-type", m.ContentType)
	put(system, "iothub-content-encoding", m.ContentEncoding)
	put(system, "iothub-connection-device-id", m.From.Device)
	put(system, "iothub-connection-module-id", m.From.Module)
	put(system, "iothub-connection-auth-method", m.Auth)
	put(system, "iothub-connection-auth-generation-id", m.GenerationID)
	put(system, "iothub-message-source", m.Source)
	put(system, "iothub-message-id", m.ID)
	put(system, "iothub-correlation-id", m.CorrelationID)
	put(system, "iothub-interface-id", m.InterfaceID)
	put(system, "dt-dataschema", m.ModelID)
	put(system, "dt-subject", m.Component)
	if !m.Enqueued.IsZero() {
		system["iothub-enqueuedtime"] = Time(m.Enqueued)
	}
	return messageData{Body: Body(m), Properties: Properties(m), SystemProperties: system}
}

// sender names who an event of the hub is about.
type sender struct {
	HubName  string `json:"hubName"`
	DeviceID string `json:"deviceId"`
	ModuleID string `json:"moduleId,omitempty"`
}

func senderOf(m *causeway.Message) sender {
	s := sender{m.From.Hub, m.From.Device, m.From.Module}
	if name, ok := m.Property("hubName"); ok && name != "" {
		s.HubName = name
	}
	return s
}

// connectionData is the data of DeviceConnected and DeviceDisconnected.
type connectionData struct {
	Info json.RawMessage `json:"deviceConnectionStateEventInfo"`
	sender
}

func connectionOf(m *causeway.Message) connectionData {
	return connectionData{objectOf(m), senderOf(m)}
}

// lifecycleData is the data of DeviceCreated and DeviceDeleted.
type lifecycleData struct {
	Twin json.RawMessage `json:"twin"`
	sender
}

func lifecycleOf(m *causeway.Message) lifecycleData {
	return lifecycleData{objectOf(m), senderOf(m)}
}

// objectOf returns the body of an event of the hub, which is a JSON object.
func objectOf(m *causeway.Message) json.RawMessage {
	if !json.Valid(m.Body) {
		return json.RawMessage("{}")
	}
	return m.Body
}
