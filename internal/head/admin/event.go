package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// The types of the lines of a stream.
const (
	lineEvent     = "event"     // a message
	lineHeartbeat = "heartbeat" // nothing happened for a while
	lineGap       = "gap"       // events were forgotten before they were read
	lineError     = "error"     // an event that cannot be shown; the stream goes on
	lineEnd       = "end"       // the last line, with the reason
)

// The encodings of a body in a stream.
const (
	bodyJSON   = "json"   // a JSON value as it is
	bodyText   = "text"   // a string
	bodyBase64 = "base64" // a string of base64
)

// eventLine is one line of a stream. Which members are there depends on the type.
type eventLine struct {
	Type      string `json:"type" enum:"event,heartbeat,gap,error,end" doc:"What the line says"`
	Partition *int   `json:"partition,omitempty" doc:"event, gap, error: partition of the log"`
	Offset    *int64 `json:"offset,omitempty" doc:"event, error: position in the partition; gap: first position that is held"`
	Time      string `json:"time,omitempty" doc:"heartbeat: the server's time"`
	Message   string `json:"message,omitempty" doc:"gap, error, end: in words"`

	*Event
}

// Event is a message as a stream shows it. System properties and annotations
// have the names under which SDKs show them.
type Event struct {
	DeviceID         string            `json:"deviceId" doc:"event: who sent it"`
	ModuleID         string            `json:"moduleId,omitempty"`
	SequenceNumber   int64             `json:"sequenceNumber"`
	EnqueuedTime     string            `json:"enqueuedTime" doc:"When it arrived"`
	SystemProperties map[string]string `json:"systemProperties" doc:"message-id, correlation-id, user-id, to, content-type, content-encoding, absolute-expiry-time"`
	Annotations      map[string]string `json:"annotations" doc:"Stamped by the hub: iothub-connection-device-id, iothub-enqueuedtime, …"`
	Properties       map[string]string `json:"properties" doc:"Application properties"`
	BodyEncoding     string            `json:"bodyEncoding" enum:"json,text,base64" doc:"How body stands here"`
	Body             json.RawMessage   `json:"body"`
}

// newEventLine shows a record. ok is false when the filter does not want it.
func newEventLine(p eventlog.Partition, r eventlog.Record, f filter) (l eventLine, ok bool) {
	partition, offset := int(p), int64(r.Offset)
	m, err := envelope.Decode(r.Payload)
	if err != nil {
		return eventLine{Type: lineError, Partition: &partition, Offset: &offset, Message: "the event cannot be read: " + err.Error()}, true
	}
	if !f.wants(m.From) {
		return eventLine{}, false
	}
	at := m.Enqueued
	if at.IsZero() {
		at = r.Time
	}
	e := &Event{
		DeviceID: m.From.Device, ModuleID: m.From.Module, SequenceNumber: offset, EnqueuedTime: timeText(at),
		SystemProperties: systemProperties(&m), Annotations: annotations(&m, at),
		Properties: make(map[string]string, len(m.Properties)),
	}
	for _, prop := range m.Properties {
		e.Properties[prop.Key] = prop.Value
	}
	e.BodyEncoding, e.Body = showBody(m.Body, m.ContentType)
	return eventLine{Type: lineEvent, Partition: &partition, Offset: &offset, Event: e}, true
}

func timeText(t time.Time) string { return t.UTC().Format(hubjson.Millis) }

// present puts the pairs whose value is not empty into a map.
func present(pairs ...[2]string) map[string]string {
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		if p[1] != "" {
			out[p[0]] = p[1]
		}
	}
	return out
}

func systemProperties(m *causeway.Message) map[string]string {
	expiry := ""
	if !m.Expiry.IsZero() {
		expiry = timeText(m.Expiry)
	}
	return present(
		[2]string{"message-id", m.ID}, [2]string{"correlation-id", m.CorrelationID}, [2]string{"user-id", m.UserID},
		[2]string{"to", m.To}, [2]string{"content-type", m.ContentType}, [2]string{"content-encoding", m.ContentEncoding},
		[2]string{"absolute-expiry-time", expiry})
}

func annotations(m *causeway.Message, at time.Time) map[string]string {
	return present(
		[2]string{"iothub-connection-device-id", m.From.Device}, [2]string{"iothub-connection-module-id", m.From.Module},
		[2]string{"iothub-connection-auth-generation-id", m.GenerationID}, [2]string{"iothub-connection-auth-method", m.Auth},
		[2]string{"iothub-enqueuedtime", timeText(at)}, [2]string{"iothub-message-source", m.Source},
		[2]string{"dt-dataschema", m.ModelID}, [2]string{"dt-subject", m.Component},
		[2]string{"iothub-interface-id", m.InterfaceID}, [2]string{"iothub-creation-time-utc", m.CreationTime},
		[2]string{"iothub-message-schema", m.Schema}, [2]string{"iothub-outputname", m.Output},
		[2]string{"Diagnostic-Id", m.DiagnosticID}, [2]string{"Correlation-Context", m.DiagnosticCtx})
}

// showBody returns a body as JSON text and says how: as the JSON it is when its
// content type says so and is right, as a string when it is text, as base64
// else.
func showBody(body []byte, contentType string) (encoding string, text json.RawMessage) {
	if !utf8.Valid(body) {
		return bodyBase64, hubjson.Must(base64.StdEncoding.EncodeToString(body))
	}
	if isJSON(contentType) && json.Valid(body) {
		var b bytes.Buffer
		if json.Compact(&b, body) == nil { // one line stays one line
			return bodyJSON, b.Bytes()
		}
	}
	return bodyText, hubjson.Must(string(body))
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
