package topic

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// view returns b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unescape returns s percent-decoded: s itself when nothing is escaped, else
// text at the end of scratch.
func unescape(s string, scratch []byte) (string, []byte) {
	if strings.IndexByte(s, '%') < 0 {
		return s, scratch
	}
	from := len(scratch)
	scratch = percent.AppendUnescape(scratch, s)
	return view(scratch[from:]), scratch
}

// Keys of system properties that are written without the "$." prefix.
const (
	keyAck          = "iothub-ack"
	keyOperation    = "iothub-operation"
	keyCreationTime = "iothub-creation-time-utc"
)

// parseBag reads a property bag into m, replacing everything in m but Body.
//
// The bag is what follows "messages/events/" in its entirety, slashes included:
// some clients write values without escaping them. One '?' before and one '/'
// after it are noise that some clients add.
func parseBag(bag string, m *causeway.Message, scratch []byte) ([]byte, error) {
	*m = causeway.Message{Body: m.Body, Properties: m.Properties[:0]}
	bag = strings.TrimSuffix(strings.TrimPrefix(bag, "?"), "/")
	for bag != "" {
		var item string
		if i := strings.IndexByte(bag, '&'); i >= 0 {
			item, bag = bag[:i], bag[i+1:]
		} else {
			item, bag = bag, ""
		}
		key, value := item, ""
		if i := strings.IndexByte(item, '='); i >= 0 {
			key, value = item[:i], item[i+1:]
		}
		// Nearly all system keys arrive as "%24.mid" or "$.mid": neither needs decoding.
		system, ok := strings.CutPrefix(key, "%24.")
		if !ok {
			system, ok = strings.CutPrefix(key, "$.")
		}
		if !ok || strings.IndexByte(system, '%') >= 0 {
			key, scratch = unescape(key, scratch)
			system, ok = strings.CutPrefix(key, "$.")
		}
		value, scratch = unescape(value, scratch)
		if !utf8.ValidString(value) || !ok && !utf8.ValidString(key) {
			return scratch, fmt.Errorf("%w: property bag is not UTF-8 after percent-decoding", ErrMalformed)
		}
		switch {
		case ok:
			setSystem(m, system, value)
		case key == "":
		case !setPlain(m, key, value) && !setProperty(m, key, value):
			return scratch, fmt.Errorf("%w: more than %d application properties", ErrMalformed, MaxProperties)
		}
	}
	return scratch, nil
}

// setSystem sets the system property written "$."+name. Unknown ones are
// dropped: newer clients may know more of them.
func setSystem(m *causeway.Message, name, value string) {
	switch name {
	case "mid":
		m.ID = value
	case "cid":
		m.CorrelationID = value
	case "uid":
		m.UserID = value
	case "to":
		m.To = value
	case "exp":
		m.Expiry = parseTime(value)
	case "ct":
		m.ContentType = value
	case "ce":
		m.ContentEncoding = value
	case "on":
		m.Output = value
	case "schema":
		m.Schema = value
	case "ctime":
		m.CreationTime = value
	case "ifid":
		m.InterfaceID = value
	case "sub":
		m.Component = value
	case "diagid":
		m.DiagnosticID = value
	case "diagctx":
		m.DiagnosticCtx = value
	case "cdid":
		m.From.Device = value
	case "cmid":
		m.From.Module = value
	}
}

// setPlain sets a system property whose key has no "$." prefix, and reports
// whether key is one.
func setPlain(m *causeway.Message, key, value string) bool {
	switch key {
	case keyAck:
		m.Ack = causeway.Ack(ackText(causeway.Ack(value))) // "none" and unknown words ask for nothing
	case keyOperation:
		m.Operation = value
	case keyCreationTime:
		m.CreationTime = value
	default:
		return false
	}
	return true
}

// setProperty sets an application property, the last of equal keys winning, and
// reports whether there was room for it.
func setProperty(m *causeway.Message, key, value string) bool {
	for i := range m.Properties {
		if m.Properties[i].Key == key {
			m.Properties[i].Value = value
			return true
		}
	}
	if len(m.Properties) == MaxProperties {
		return false
	}
	m.Properties = append(m.Properties, causeway.Property{Key: key, Value: value})
	return true
}

// expiryLayout is what the .NET client accepts in $.exp and nothing else:
// exactly seven fractional digits and a Z (its round-trip format "o").
const expiryLayout = "2006-01-02T15:04:05.0000000Z"

// parseTime reads an ISO 8601 time, in UTC when it names no zone. What cannot be
// read is no time: an expiry nobody understands must not lose the message.
func parseTime(s string) time.Time {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// item appends key=value to a bag that began at start. The key is written as
// given, the value escaped.
func item(dst []byte, start int, key, value string) []byte {
	if len(dst) > start {
		dst = append(dst, '&')
	}
	dst = append(dst, key...)
	dst = append(dst, '=')
	return percent.AppendEscape(dst, value)
}

// appendBag appends the properties of m. System keys are written with an escaped
// dollar sign, because some clients compare the text without decoding it.
//
// Application properties whose key is empty, begins with "$." or is the name of
// a system property are left out: a reader would take them for something else.
func appendBag(dst []byte, m *causeway.Message, to string) []byte {
	start := len(dst)
	for _, p := range [...]struct{ key, value string }{
		{"%24.mid", m.ID},
		{"%24.to", to},
		{"%24.cid", m.CorrelationID},
		{"%24.uid", m.UserID},
		{"%24.ct", m.ContentType},
		{"%24.ce", m.ContentEncoding},
		{"%24.on", m.Output},
		{"%24.schema", m.Schema},
		{"%24.ctime", m.CreationTime},
		{"%24.ifid", m.InterfaceID},
		{"%24.sub", m.Component},
		{"%24.diagid", m.DiagnosticID},
		{"%24.diagctx", m.DiagnosticCtx},
		{keyAck, ackText(m.Ack)},
		{keyOperation, m.Operation},
	} {
		if p.value != "" {
			dst = item(dst, start, p.key, p.value)
		}
	}
	if y := m.Expiry.UTC().Year(); !m.Expiry.IsZero() && y <= 9999 {
		var text [len(expiryLayout) + 8]byte
		dst = item(dst, start, "%24.exp", view(m.Expiry.UTC().AppendFormat(text[:0], expiryLayout)))
	}
	for i := range m.Properties {
		p := &m.Properties[i]
		if p.Key == "" || strings.HasPrefix(p.Key, "$.") ||
			p.Key == keyAck || p.Key == keyOperation || p.Key == keyCreationTime {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = percent.AppendEscape(dst, p.Key)
		dst = append(dst, '=')
		dst = percent.AppendEscape(dst, p.Value)
	}
	return dst
}

// ackText returns what is written for a; asking for no feedback is not written.
func ackText(a causeway.Ack) string {
	switch a {
	case causeway.AckPositive, causeway.AckNegative, causeway.AckFull:
		return string(a)
	}
	return ""
}
