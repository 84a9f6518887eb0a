package hubhttp

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// appPrefix begins the header of an application property, as net/http spells
// received names.
const appPrefix = "Iothub-App-"

// MaxProperties bounds the application properties of one message of a batch;
// those of a request are bounded with its header.
const MaxProperties = 1024

// ReadMessage reads the system and application properties of a message from the
// headers of a request. HTTP does not keep the case of header names, and HTTP/2
// forbids upper case, so application properties arrive in lower case. Code
// ArgumentInvalid.
func ReadMessage(h http.Header) (causeway.Message, error) {
	var m causeway.Message
	for name, values := range h {
		if key, ok := strings.CutPrefix(name, appPrefix); ok {
			m.Properties = append(m.Properties, causeway.Property{Key: strings.ToLower(key), Value: strings.Join(values, ",")})
			continue
		}
		if len(values) == 0 || !strings.HasPrefix(name, "Iothub-") && name != "Dt-Subject" && name != "Traceparent" && name != "Tracestate" {
			continue
		}
		if err := setSystem(&m, strings.ToLower(name), values[0]); err != nil {
			return m, err
		}
	}
	// The order of headers is lost.
	slices.SortFunc(m.Properties, func(a, b causeway.Property) int { return cmp.Compare(a.Key, b.Key) })
	return m, nil
}

// setSystem sets the system property that a header stands for; name is in lower
// case. Others are ignored: newer clients may know more of them.
func setSystem(m *causeway.Message, name, value string) error {
	switch name {
	case "iothub-messageid":
		m.ID = value
	case "iothub-correlationid":
		m.CorrelationID = value
	case "iothub-userid":
		m.UserID = value
	case "iothub-to":
		m.To = value
	case "iothub-contenttype":
		m.ContentType = value
	case "iothub-contentencoding":
		m.ContentEncoding = value
	case "iothub-creationtimeutc":
		m.CreationTime = value
	case "iothub-messageschema":
		m.Schema = value
	case "iothub-interface-id":
		m.InterfaceID = value
	case "iothub-operation":
		m.Operation = value
	case "dt-subject":
		m.Component = value
	case "traceparent":
		m.DiagnosticID = value
	case "tracestate":
		m.DiagnosticCtx = value
	case "iothub-ack":
		if m.Ack = causeway.Ack(strings.ToLower(value)); m.Ack == "none" {
			m.Ack = causeway.AckNone
		}
	case "iothub-expiry":
		if value == "" {
			return nil
		}
		t, err := parseTime(value)
		if err != nil {
			return causeway.Errorf(causeway.ArgumentInvalid, "http.message",
				"iothub-expiry is %q, it must be a time such as 2024-01-31T12:00:00Z", Clip(value))
		}
		m.Expiry = t
	}
	return nil
}

// parseTime reads ISO 8601, with UTC as the default zone, and the date format
// of HTTP.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", http.TimeFormat} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, strconv.ErrSyntax
}

// CommandAddress is what a command for id is addressed to.
func CommandAddress(id causeway.Identity) string {
	if id.IsModule() {
		return "/devices/" + id.Device + "/modules/" + id.Module + "/messages/deviceBound"
	}
	return "/devices/" + id.Device + "/messages/deviceBound"
}

// CommandHeader returns the properties of a cloud-to-device message as headers,
// spelled as the service spells them. What no header can carry is left out.
func CommandHeader(id causeway.Identity, m *causeway.Message) http.Header {
	h := http.Header{
		"Content-Type":          {"application/octet-stream"},
		"iothub-sequencenumber": {strconv.FormatInt(m.Sequence, 10)},
		"iothub-enqueuedtime":   {Time(m.Enqueued)},
		"iothub-deliverycount":  {strconv.Itoa(m.DeliveryCount)},
		"iothub-to":             {CommandAddress(id)},
	}
	for _, p := range []struct{ name, value string }{
		{"iothub-messageid", m.ID},
		{"iothub-correlationid", m.CorrelationID},
		{"iothub-userid", m.UserID},
		{"iothub-ack", string(m.Ack)},
		{"iothub-creationtimeutc", m.CreationTime},
		{"iothub-messageschema", m.Schema},
		{"ContentType", m.ContentType},
		{"ContentEncoding", m.ContentEncoding},
	} {
		if p.value != "" {
			h[p.name] = []string{headerText(p.value)}
		}
	}
	if !m.Expiry.IsZero() {
		h["iothub-expiry"] = []string{Time(m.Expiry)}
	}
	for _, p := range m.Properties {
		if headerName(p.Key) {
			name := "iothub-app-" + p.Key
			h[name] = append(h[name], headerText(p.Value))
		}
	}
	return h
}

// headerName reports whether a property name can be part of a header name
// (RFC 9110 §5.6.2, token). Names from other protocols may not.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// headerText makes a property value fit for a header: control characters,
// which could end it, become spaces.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
