package routed

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Record is a message as IoT Hub writes it to storage.
type Record struct {
	EnqueuedTimeUtc  string
	Properties       map[string]string
	SystemProperties map[string]string
	Body             json.RawMessage // JSON where IsJSON, else a string of base64
}

// NewRecord returns the record of a message.
func NewRecord(m *causeway.Message) Record {
	return Record{
		EnqueuedTimeUtc: Time(m.Enqueued), Properties: Properties(m), SystemProperties: SystemProperties(m),
		Body: Body(m),
	}
}

// Time writes a time, in UTC and with seven digits of a second.
func Time(t time.Time) string { return t.UTC().Format(hubjson.Ticks) }

// Properties returns the application properties of a message. Of those with the
// same name the first counts.
func Properties(m *causeway.Message) map[string]string {
	out := make(map[string]string, len(m.Properties)+3)
	for _, p := range m.Properties {
		if _, ok := out[p.Key]; !ok {
			out[p.Key] = p.Value
		}
	}
	// On events of the hub itself these are application properties.
	put(out, "iothub-message-schema", m.Schema)
	put(out, "iothub-creation-time-utc", m.CreationTime)
	put(out, "iothub-operation", m.Operation)
	return out
}

// SystemProperties returns the system properties of a message by the names that
// route conditions have for them.
func SystemProperties(m *causeway.Message) map[string]string {
	out := map[string]string{}
	put(out, "messageId", m.ID)
	put(out, "correlationId", m.CorrelationID)
	put(out, "userId", m.UserID)
	put(out, "contentType", m.ContentType)
	put(out, "contentEncoding", m.ContentEncoding)
	put(out, "connectionDeviceId", m.From.Device)
	put(out, "connectionModuleId", m.From.Module)
	put(out, "connectionAuthMethod", m.Auth)
	put(out, "connectionDeviceGenerationId", m.GenerationID)
	put(out, "iothub-message-source", m.Source)
	put(out, "iothub-interface-id", m.InterfaceID)
	put(out, "dt-dataschema", m.ModelID)
	put(out, "dt-subject", m.Component)
	if !m.Enqueued.IsZero() {
		out["enqueuedTime"] = Time(m.Enqueued)
	}
	return out
}

func put(m map[string]string, key, value string) {
	if value != "" {
		m[key] = value
	}
}

// IsJSON reports whether a body stands in records and events as the JSON it is:
// when its content type and encoding say so, and it is.
func IsJSON(m *causeway.Message) bool {
	return strings.EqualFold(m.ContentType, "application/json") && strings.EqualFold(m.ContentEncoding, "utf-8") &&
		utf8.Valid(m.Body) && json.Valid(m.Body)
}

// Body returns a body as it stands in records and events.
func Body(m *causeway.Message) json.RawMessage {
	if IsJSON(m) {
		return m.Body
	}
	text := make([]byte, 0, base64.StdEncoding.EncodedLen(len(m.Body))+2)
	text = append(text, '"')
	text = base64.StdEncoding.AppendEncode(text, m.Body)
	return append(text, '"')
}
