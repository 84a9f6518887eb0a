package topic

import (
	"strconv"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// AppendCommand appends the topic on which the cloud-to-device message m is
// delivered to id. The bag is never empty: clients look for "%24.to", which is
// the address of id unless m.To says otherwise.
func AppendCommand(dst []byte, id causeway.Identity, m *causeway.Message) []byte {
	dst = appendIdentity(dst, id)
	dst = append(dst, commands+"/"...)
	to := m.To
	if to == "" {
		to = CommandAddress(id)
	}
	return appendBag(dst, m, to)
}

// CommandAddress returns the "to" of a cloud-to-device message for id:
// "/devices/{d}/messages/deviceBound".
func CommandAddress(id causeway.Identity) string {
	return "/" + string(appendIdentity(nil, id)) + "messages/deviceBound"
}

// AppendInput appends the topic on which m is delivered to an input of the
// module id. The bag is never empty: it begins with the sender, m.From, or the
// module's own device when m has no sender.
func AppendInput(dst []byte, id causeway.Identity, input string, m *causeway.Message) []byte {
	dst = appendIdentity(dst, id)
	dst = append(dst, inputs...)
	dst = appendName(dst, input)
	dst = append(dst, '/')
	start := len(dst)
	device := m.From.Device
	if device == "" {
		device = id.Device
	}
	dst = item(dst, start, "%24.cdid", device)
	if m.From.Module != "" {
		dst = item(dst, start, "%24.cmid", m.From.Module)
	}
	dst = append(dst, '&')
	end := len(dst)
	if dst = appendBag(dst, m, m.To); len(dst) == end {
		dst = dst[:end-1]
	}
	return dst
}

// AppendMethodRequest appends the topic of a direct method call.
func AppendMethodRequest(dst []byte, method, rid string) []byte {
	dst = append(dst, methodRequest...)
	dst = appendName(dst, method)
	dst = append(dst, '/')
	return appendRequestID(dst, rid)
}

// appendName appends the name of a method or an input as one level of a topic.
// Only what would make another topic of it is escaped: of the SDKs just the one
// for Python decodes names, and the command of a component has an asterisk in
// its name, "thermostat1*reboot".
func appendName(dst []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c == 0x7f || strings.IndexByte(`/\?#+%`, c) >= 0 {
			dst = percent.AppendEscape(dst, name[i:i+1])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendTwinResponse appends the topic of the answer to a twin request. Clients
// want a status of three digits, so anything else becomes 500. The version is
// written on success of a patch (204) and otherwise when it is not 0.
func AppendTwinResponse(dst []byte, status int, rid string, version int64) []byte {
	if status < 100 || status > 999 {
		status = 500
	}
	dst = append(dst, twinResponse...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, '/')
	dst = appendRequestID(dst, rid)
	if version != 0 || status == 204 {
		dst = append(dst, "&$version="...)
		dst = strconv.AppendInt(dst, version, 10)
	}
	return dst
}

// AppendDesired appends the topic that announces a change of the desired section
// and its new version.
func AppendDesired(dst []byte, version int64) []byte {
	dst = append(dst, twinDesired+"?$version="...)
	return strconv.AppendInt(dst, version, 10)
}

// AppendTelemetry appends the topic on which the client id sends m.
func AppendTelemetry(dst []byte, id causeway.Identity, m *causeway.Message) []byte {
	dst = appendIdentity(dst, id)
	dst = append(dst, events+"/"...)
	return appendBag(dst, m, m.To)
}

// AppendMethodResponse appends the topic of a client's answer to a method call.
func AppendMethodResponse(dst []byte, status int, rid string) []byte {
	dst = append(dst, methodResponse...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, '/')
	return appendRequestID(dst, rid)
}

// AppendTwinGet appends the topic on which a client asks for its twin.
func AppendTwinGet(dst []byte, rid string) []byte {
	dst = append(dst, twinGet...)
	return appendRequestID(dst, rid)
}

// AppendTwinPatch appends the topic on which a client reports properties.
// Version is the one it expects to change, 0 for any.
func AppendTwinPatch(dst []byte, rid string, version int64) []byte {
	dst = append(dst, twinReported...)
	dst = appendRequestID(dst, rid)
	if version != 0 {
		dst = append(dst, "&$version="...)
		dst = strconv.AppendInt(dst, version, 10)
	}
	return dst
}

// appendRequestID appends the query, in which $rid must be first and its dollar
// sign literal. The id is written as it came.
func appendRequestID(dst []byte, rid string) []byte {
	dst = append(dst, "?$rid="...)
	return append(dst, rid...)
}

// appendIdentity appends "devices/{d}/" or "devices/{d}/modules/{m}/". Ids are
// not escaped in topics.
func appendIdentity(dst []byte, id causeway.Identity) []byte {
	dst = append(dst, devices...)
	dst = append(dst, id.Device...)
	if id.Module != "" {
		dst = append(dst, modules...)
		dst = append(dst, id.Module...)
	}
	return append(dst, '/')
}
