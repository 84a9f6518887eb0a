package routing

import (
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// timeFormat is how conditions see times: they compare them as text.
const timeFormat = "2006-01-02T15:04:05.000Z"

// message shows a message to conditions.
type message struct {
	m       *causeway.Message
	from    Sender
	shadows bool
	time    []byte // text of a time
}

var _ routecond.Message = (*message)(nil)

// turn shows another message of the same sender.
func (v *message) turn(m *causeway.Message) {
	v.m, v.shadows, v.time = m, false, v.time[:0]
	for i := range m.Properties {
		if k := m.Properties[i].Key; k != "" && k[0] == '$' {
			v.shadows = true
		}
	}
}

// Property returns an application property. Names that are as long are compared
// without case; that some letters take more bytes than their capitals does not
// count.
func (v *message) Property(name string) (value string, null, ok bool) {
	for i := range v.m.Properties {
		p := &v.m.Properties[i]
		if len(p.Key) == len(name) && (p.Key == name || strings.EqualFold(p.Key, name)) {
			return p.Value, false, true
		}
	}
	// Readers of events see these among the application properties too.
	switch name {
	case "iothub-message-schema":
		value = v.m.Schema
	case "iothub-creation-time-utc":
		value = v.m.CreationTime
	case "iothub-operation":
		value = v.m.Operation
	}
	return value, false, value != ""
}

// Shadows reports whether an application property may stand for another.
func (v *message) Shadows() bool { return v.shadows }

// Body returns the body.
func (v *message) Body() []byte { return v.m.Body }

// Twin returns the twin of the sender.
func (v *message) Twin() (routecond.Twin, bool) {
	if v.from == nil {
		return routecond.Twin{}, false
	}
	return v.from.Twin()
}

// System returns a system property by the names of the service, those of its
// edge runtime, and those of annotations.
func (v *message) System(name string) (string, bool) {
	m := v.m
	var s string
	switch name {
	case "messageid":
		s = m.ID
	case "correlationid", "cid":
		s = m.CorrelationID
	case "userid":
		s = m.UserID
	case "to":
		s = m.To
	case "contenttype":
		s = m.ContentType
	case "contentencoding":
		s = m.ContentEncoding
	case "connectiondeviceid", "iothub-connection-device-id":
		s = m.From.Device
	case "connectionmoduleid", "iothub-connection-module-id":
		s = m.From.Module
	case "connectionauthmethod", "iothub-connection-auth-method":
		s = m.Auth
	case "connectiondevicegenerationid", "iothub-connection-auth-generation-id":
		s = m.GenerationID
	case "enqueuedtime", "iothub-enqueuedtime":
		return v.text(m.Enqueued)
	case "iothub-message-source", "messagesource":
		s = m.Source
	case "messageschema", "iothub-message-schema":
		s = m.Schema
	case "creationtime", "iothub-creation-time-utc":
		s = m.CreationTime
	case "iothub-interface-id":
		s = m.InterfaceID
	case "dt-dataschema", "modelid":
		s = m.ModelID
	case "dt-subject":
		s = m.Component
	case "operation", "iothub-operation":
		s = m.Operation
	case "outputname":
		s = m.Output
	case "inputname":
		s = m.Input
	case "ack":
		s = string(m.Ack)
	case "absolute-expiry-time":
		return v.text(m.Expiry)
	case "deliverycount":
		if m.DeliveryCount == 0 {
			return "", false
		}
		return strconv.Itoa(m.DeliveryCount), true
	}
	return s, s != ""
}

// text returns t as conditions see it.
func (v *message) text(t time.Time) (string, bool) {
	if t.IsZero() {
		return "", false
	}
	from := len(v.time)
	v.time = t.UTC().AppendFormat(v.time, timeFormat)
	b := v.time[from:]
	return unsafe.String(unsafe.SliceData(b), len(b)), true
}
