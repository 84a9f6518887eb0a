package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Event returns e in the form that Service.Events has: names and values as text,
// and as one line of JSON in Event.Raw. It shares no memory with e.
func (e *PartitionEvent) Event() (Event, error) {
	m := &e.Message
	at := m.Enqueued
	if at.IsZero() {
		at = e.Enqueued
	}
	out := Event{
		Offset: e.Sequence, DeviceID: strings.Clone(m.From.Device), ModuleID: strings.Clone(m.From.Module),
		SequenceNumber: e.Sequence, EnqueuedTime: Time{at}, Properties: make(map[string]string, len(m.Properties)),
		SystemProperties: present(
			"message-id", m.ID, "correlation-id", m.CorrelationID, "user-id", m.UserID, "to", m.To,
			"content-type", m.ContentType, "content-encoding", m.ContentEncoding, "absolute-expiry-time", timeText(m.Expiry)),
		Annotations: present(
			"iothub-connection-device-id", m.From.Device, "iothub-connection-module-id", m.From.Module,
			"iothub-connection-auth-generation-id", m.GenerationID, "iothub-connection-auth-method", m.Auth,
			"iothub-enqueuedtime", timeText(at), "iothub-message-source", m.Source,
			"dt-dataschema", m.ModelID, "dt-subject", m.Component, "iothub-interface-id", m.InterfaceID,
			"iothub-creation-time-utc", m.CreationTime, "iothub-message-schema", m.Schema,
			"Diagnostic-Id", m.DiagnosticID, "Correlation-Context", m.DiagnosticCtx),
	}
	out.Partition, _ = strconv.Atoi(e.Partition) // other servers may have other names
	if n, err := strconv.ParseInt(e.Offset, 10, 64); err == nil {
		out.Offset = n
	}
	for _, p := range m.Properties {
		out.Properties[strings.Clone(p.Key)] = strings.Clone(p.Value)
	}
	var err error
	if out.BodyEncoding, out.Body, err = showBody(m.Body, m.ContentType); err != nil {
		return out, err
	}
	type plain Event
	out.Raw, err = hubjson.Marshal(struct {
		Type string `json:"type"`
		plain
		EnqueuedTime string `json:"enqueuedTime"`
	}{"event", plain(out), timeText(at)})
	return out, err
}

// present returns the pairs of names and values whose value is not empty.
func present(pairs ...string) map[string]string {
	out := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i]] = strings.Clone(pairs[i+1])
		}
	}
	return out
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// showBody returns a body as JSON text and says how: as the JSON it is when its
// content type says so and is right, as a string when it is text, as base64 else.
func showBody(body []byte, contentType string) (encoding string, text json.RawMessage, err error) {
	if !utf8.Valid(body) {
		text, err = hubjson.Marshal(base64.StdEncoding.EncodeToString(body))
		return "base64", text, err
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")) {
		var b bytes.Buffer
		if json.Compact(&b, body) == nil {
			return "json", b.Bytes(), nil
		}
	}
	text, err = hubjson.Marshal(string(body))
	return "text", text, err
}
