// Package event makes the messages that a hub sends about itself: that a twin
// changed, that an identity was created or deleted, that a device connected or
// disconnected.
//
// It knows their exact bodies and properties. When they are made, and where
// routes take them, is not its business.
package event

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// The schemas of events, and what they say was done.
const (
	schemaTwin       = "twinChangeNotification"
	schemaLifecycle  = "deviceLifecycleNotification"
	schemaConnection = "deviceConnectionStateNotification"

	opUpdateTwin   = "updateTwin"
	opReplaceTwin  = "replaceTwin"
	opCreate       = "createDeviceIdentity" // of modules too, which are told by moduleId
	opDelete       = "deleteDeviceIdentity"
	opConnected    = "deviceConnected"
	opDisconnected = "deviceDisconnected"
)

// timeFormat is that of operationTimestamp.
const timeFormat = "2006-01-02T15:04:05.0000000Z"

// New returns an event about id without a body: what all events have in common.
// Properties beyond that may be appended.
func New(hub string, id causeway.Identity, source, op, schema string, at time.Time) causeway.Message {
	m := causeway.Message{
		From: id, Source: source, Enqueued: at.UTC(),
		ContentType: "application/json", ContentEncoding: "utf-8",
		CorrelationID: newID(), UserID: hub,
		Properties: make([]causeway.Property, 0, 6),
	}
	m.From.Hub = hub
	add := func(k, v string) { m.Properties = append(m.Properties, causeway.Property{Key: k, Value: v}) }
	add("hubName", hub)
	add("deviceId", id.Device)
	if id.IsModule() {
		add("moduleId", id.Module)
	}
	if op != "" {
		add("opType", op)
	}
	add("operationTimestamp", at.UTC().Format(timeFormat))
	add("iothub-message-schema", schema)
	return m
}

// newID returns the identifier of an event: 16 random bytes in hex.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Source returns the source of routes that e is of, "" for none.
func Source(e *registry.Event) string {
	switch e.Kind {
	case registry.Created, registry.Removed:
		return causeway.SourceLifecycle
	case registry.TwinChanged:
		if e.Tags != nil || e.Desired != nil || e.Reported != nil {
			return causeway.SourceTwinChange
		}
	}
	return ""
}

// OfRegistry returns the message about an event of the registry whose [Source]
// is not "".
func OfRegistry(hub string, e *registry.Event) (causeway.Message, error) {
	id := e.Record().ID
	switch {
	case e.Kind == registry.Created:
		m := New(hub, id, causeway.SourceLifecycle, opCreate, schemaLifecycle, e.At)
		m.Body = lifecycleBody(e.After)
		return m, nil
	case e.Kind == registry.Removed:
		m := New(hub, id, causeway.SourceLifecycle, opDelete, schemaLifecycle, e.At)
		m.Body = lifecycleBody(e.Before)
		return m, nil
	case e.Replace:
		m := New(hub, id, causeway.SourceTwinChange, opReplaceTwin, schemaTwin, e.At)
		m.Body = replaceBody(e.After)
		return m, nil
	}
	m := New(hub, id, causeway.SourceTwinChange, opUpdateTwin, schemaTwin, e.At)
	var err error
	if m.Body, err = updateBody(e); err != nil {
		return causeway.Message{}, fmt.Errorf("describe the change of the twin of %s: %w", id, err)
	}
	return m, nil
}

// OfConnection returns the message that id connected or disconnected. The
// sequence is that of a [Sequencer].
//
// As in the service, it does not say in an annotation which module it is about.
func OfConnection(hub string, id causeway.Identity, connected bool, at time.Time, sequence string) causeway.Message {
	op := opDisconnected
	if connected {
		op = opConnected
	}
	m := New(hub, id, causeway.SourceConnectionState, op, schemaConnection, at)
	m.From.Module = ""
	m.Body = append(append([]byte(`{"sequenceNumber":"`), sequence...), `"}`...)
	return m
}

// identity appends the members that say whose twin it is.
func identity(b []byte, r *registry.Record) []byte {
	b = append(b, `{"deviceId":`...)
	b = text(b, r.ID.Device)
	if r.ID.IsModule() {
		b = append(b, `,"moduleId":`...)
		b = text(b, r.ID.Module)
	}
	b = append(b, `,"etag":"`...)
	b = append(b, twin.ETagText(r.Twin.ETag)...)
	return append(b, `","version":`...)
}

func text(b []byte, s string) []byte {
	t, _ := json.Marshal(s) //nolint:errchkjson // a string
	return append(b, t...)
}

// lifecycleBody is the twin of an identity that came or went.
func lifecycleBody(r *registry.Record) []byte {
	b := fmt.Appendf(identity(nil, r), "%d", r.Twin.Version)
	if tags := r.Twin.Tags; len(tags) > len("{}") {
		b = append(append(b, `,"tags":`...), tags...)
	}
	b = append(b, `,"properties":{"desired":`...)
	b = untouched(b, &r.Twin.Desired)
	b = append(b, `,"reported":`...)
	b = untouched(b, &r.Twin.Reported)
	return append(b, "}}"...)
}

// untouched appends a section; one that was never written shows the first day
// of the calendar.
func untouched(b []byte, s *registry.Section) []byte {
	d := twin.Doc{Properties: s.Properties, Metadata: s.Metadata}
	if s.Version <= 1 && len(s.Properties) <= len("{}") {
		d.Metadata = []byte(`{"$lastUpdated":"0001-01-01T00:00:00Z"}`)
	}
	return twin.AppendService(b, d, s.Version)
}

// replaceBody is the whole twin.
func replaceBody(r *registry.Record) []byte {
	t := &r.Twin
	b := fmt.Appendf(identity(nil, r), "%d", t.Version)
	b = append(b, `,"tags":`...)
	if len(t.Tags) == 0 {
		b = append(b, "{}"...)
	}
	b = append(b, t.Tags...)
	b = append(b, `,"properties":{"desired":`...)
	b = twin.AppendService(b, twin.Doc{Properties: t.Desired.Properties, Metadata: t.Desired.Metadata}, t.Desired.Version)
	b = append(b, `,"reported":`...)
	b = twin.AppendService(b, twin.Doc{Properties: t.Reported.Properties, Metadata: t.Reported.Metadata}, t.Reported.Version)
	return append(b, "}}"...)
}

// updateBody is what changed, with the metadata of that.
func updateBody(e *registry.Event) ([]byte, error) {
	b := fmt.Appendf(nil, `{"version":%d`, e.After.Twin.Version)
	if e.Tags != nil {
		b = append(append(b, `,"tags":`...), e.Tags...)
	}
	next := `,"properties":{`
	for _, s := range []struct {
		which   twin.Section
		patch   []byte
		version int64
	}{{twin.Desired, e.Desired, e.After.Twin.Desired.Version}, {twin.Reported, e.Reported, e.After.Twin.Reported.Version}} {
		if s.patch == nil {
			continue
		}
		metadata, err := e.SectionMetadata(s.which, s.patch, s.version)
		if err != nil {
			return nil, err
		}
		b = append(b, next...)
		b = append(append(append(b, '"'), s.which.String()...), `":`...)
		b = twin.AppendService(b, twin.Doc{Properties: s.patch, Metadata: metadata}, s.version)
		next = ","
	}
	if next == "," {
		b = append(b, '}')
	}
	return append(b, '}'), nil
}
