package hubamqp

import (
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Kind says what an address is for.
type Kind uint8

// The kinds of addresses. Paths are written here as [Address.String] does; they
// are accepted in any case, with or without a slash in front, and as a full URI.
const (
	_                     Kind = iota
	KindCBS                    // $cbs
	KindTelemetry              // /devices/{d}[/modules/{m}]/messages/events; a receiver there gets module inputs
	KindCommands               // /devices/{d}[/modules/{m}]/messages/devicebound
	KindMethods                // /devices/{d}[/modules/{m}]/methods/devicebound
	KindTwin                   // /devices/{d}[/modules/{m}]/twin
	KindServiceCommands        // /messages/devicebound
	KindFeedback               // /messages/servicebound/feedback
	KindFileNotifications      // /messages/servicebound/filenotifications
	KindRedirect               // messages/events[/{tail}]: elsewhere
	KindEvents                 // {eh}/ConsumerGroups/{cg}/Partitions/{p}
	KindEventsManagement       // {eh}/$management, or $management alone
	KindEventsSend             // {eh}, {eh}/Partitions/{p}, {eh}/Publishers/{name}: writing, which a hub does not allow
)

// Address is a parsed address of a link.
type Address struct {
	Kind Kind
	Host string // of a full URI: in lower case, without port; "" for a path

	Device, Module string // of the kinds of a device

	Entity    string // of the kinds of events; "" in a bare $management
	Group     string // KindEvents
	Partition string // KindEvents; perhaps KindEventsSend
	// Tail is what stands after "messages/events/" in a KindRedirect, as it was
	// written.
	Tail string
}

// OfDevice reports whether a is an address of a device or a module.
func (a *Address) OfDevice() bool { return a.Kind >= KindTelemetry && a.Kind <= KindTwin }

// Identity returns the device or module of a, of the given hub.
func (a *Address) Identity(hub string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: a.Device, Module: a.Module}
}

// DeviceAddress returns the address of one of the kinds of a device.
func DeviceAddress(kind Kind, id causeway.Identity) string {
	return (&Address{Kind: kind, Device: id.Device, Module: id.Module}).String()
}

// The addresses that are the same for everybody.
const (
	CBSAddress               = "$cbs"
	ManagementAddress        = "$management"
	ServiceCommandsAddress   = "/messages/devicebound"
	FeedbackAddress          = "/messages/serviceBound/feedback"
	FileNotificationsAddress = "/messages/serviceBound/filenotifications"
)

const opAddress = "amqp.address"

func badAddress(s, why string) error {
	return causeway.Errorf(causeway.AmqpAddressNotFound, opAddress, "address %q: %s", cut(s), why)
}

// cut returns the beginning of s, for an error.
func cut(s string) string {
	const most = 128
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// ParseAddress reads the address of a link: a path, or a URI of which the scheme
// does not matter. Ids are percent-decoded. The error is AmqpAddressNotFound.
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxAddress {
		return Address{}, badAddress(s, "longer than an address can be")
	}
	var a Address
	path := s
	if i := strings.Index(path, "://"); i > 0 && strings.IndexByte(path[:i], '/') < 0 {
		var host string
		host, path, _ = strings.Cut(path[i+3:], "/")
		if a.Host = strings.ToLower(sas.Host(host)); a.Host == "" {
			return Address{}, badAddress(s, "no host")
		}
	}
	path = strings.TrimPrefix(path, "/")
	if why := a.parse(path); why != "" {
		return Address{}, badAddress(s, why)
	}
	return a, nil
}

// parse reads a path without a slash in front, and says what is wrong with it.
func (a *Address) parse(path string) (wrong string) {
	const events = "messages/events"
	if len(path) >= len(events) && strings.EqualFold(path[:len(events)], events) &&
		(len(path) == len(events) || path[len(events)] == '/') {
		a.Kind = KindRedirect
		a.Tail = strings.TrimPrefix(path[len(events):], "/")
		return ""
	}
	var segments [7]string // devices/{d}/modules/{m}/messages/events is the longest
	n := 0
	for rest := strings.TrimSuffix(path, "/"); rest != ""; n++ {
		if n == len(segments)-1 {
			return "no such address"
		}
		segments[n], rest, _ = strings.Cut(rest, "/")
		if segments[n] == "" {
			return "empty segment"
		}
	}
	seg := segments[:n]
	if n > 0 && strings.EqualFold(seg[0], "devices") {
		return a.parseDevice(seg[1:])
	}
	switch {
	case match(seg, "$cbs"):
		a.Kind = KindCBS
	case match(seg, "$management"):
		a.Kind = KindEventsManagement
	case match(seg, "messages", "devicebound"):
		a.Kind = KindServiceCommands
	case match(seg, "messages", "servicebound", "feedback"):
		a.Kind = KindFeedback
	case match(seg, "messages", "servicebound", "filenotifications"):
		a.Kind = KindFileNotifications
	case n == 0 || strings.EqualFold(seg[0], "messages") || seg[0][0] == '$':
		return "no such address"
	default:
		return a.parseEvents(seg)
	}
	return ""
}

// parseDevice reads what follows "devices/".
func (a *Address) parseDevice(seg []string) (wrong string) {
	if len(seg) < 2 {
		return "no such address"
	}
	var ok bool
	if a.Device, ok = decodeID(seg[0]); !ok {
		return "not a device id"
	}
	seg = seg[1:]
	if len(seg) > 2 && strings.EqualFold(seg[0], "modules") {
		if a.Module, ok = decodeID(seg[1]); !ok {
			return "not a module id"
		}
		seg = seg[2:]
	}
	switch {
	case match(seg, "messages", "events"):
		a.Kind = KindTelemetry
	case match(seg, "messages", "devicebound"):
		a.Kind = KindCommands
	case match(seg, "methods", "devicebound"):
		a.Kind = KindMethods
	case match(seg, "twin"):
		a.Kind = KindTwin
	default:
		return "no such address"
	}
	return ""
}

// parseEvents reads an address of the Event Hubs-compatible endpoint.
func (a *Address) parseEvents(seg []string) (wrong string) {
	var ok bool
	if a.Entity, ok = decodeID(seg[0]); !ok || strings.EqualFold(a.Entity, "devices") || strings.EqualFold(a.Entity, "messages") {
		return "not an event hub name"
	}
	switch {
	case match(seg, "", "$management"):
		a.Kind = KindEventsManagement
	case match(seg, "", "consumergroups", "", "partitions", ""):
		a.Kind = KindEvents
		group, ok1 := decodeID(seg[2])
		partition, ok2 := decodeID(seg[4])
		if !ok1 || !ok2 {
			return "not a consumer group and a partition"
		}
		a.Group, a.Partition = group, partition
	case match(seg, "", "partitions", ""):
		a.Kind = KindEventsSend
		if a.Partition, ok = decodeID(seg[2]); !ok {
			return "not a partition"
		}
	case match(seg, ""), match(seg, "", "publishers", ""):
		a.Kind = KindEventsSend
	default:
		return "no such address"
	}
	return ""
}

// match reports whether seg has the given words, in any case; an empty word
// stands for any.
func match(seg []string, words ...string) bool {
	if len(seg) != len(words) {
		return false
	}
	for i, w := range words {
		if w != "" && !strings.EqualFold(seg[i], w) {
			return false
		}
	}
	return true
}

// decodeID returns a segment percent-decoded, if it can be an id at all.
func decodeID(segment string) (string, bool) {
	id := percent.Unescape(segment)
	ok := id != "" && len(id) <= causeway.MaxIDLength && utf8.ValidString(id) && strings.IndexByte(id, '/') < 0
	return id, ok
}

// String returns the address as clients write it, with ids escaped; as a URI
// when it has a host. What it returns parses to the same address.
func (a *Address) String() string {
	b := make([]byte, 0, 128)
	if a.Host != "" {
		b = append(append(b, "amqps://"...), a.Host...)
		if !strings.HasPrefix(a.Kind.path(), "/") {
			b = append(b, '/')
		}
	}
	switch a.Kind {
	case KindTelemetry, KindCommands, KindMethods, KindTwin:
		b = appendIdentity(b, a.Device, a.Module)
		b = append(b, a.Kind.path()...)
	case KindRedirect:
		b = append(append(append(b, a.Kind.path()...), '/'), a.Tail...)
	case KindEvents:
		b = percent.AppendEscape(b, a.Entity)
		b = appendGroup(append(b, "/ConsumerGroups/"...), a.Group)
		b = percent.AppendEscape(append(b, "/Partitions/"...), a.Partition)
	case KindEventsManagement:
		if a.Entity != "" {
			b = append(percent.AppendEscape(b, a.Entity), '/')
		}
		b = append(b, a.Kind.path()...)
	case KindEventsSend:
		b = percent.AppendEscape(b, a.Entity)
		if a.Partition != "" {
			b = percent.AppendEscape(append(b, "/Partitions/"...), a.Partition)
		}
	default:
		b = append(b, a.Kind.path()...)
	}
	return string(b)
}

// path returns the fixed end of the addresses of a kind.
func (k Kind) path() string {
	switch k {
	case KindCBS:
		return CBSAddress
	case KindTelemetry:
		return "/messages/events"
	case KindCommands:
		return "/messages/devicebound"
	case KindMethods:
		return "/methods/devicebound"
	case KindTwin:
		return "/twin"
	case KindServiceCommands:
		return ServiceCommandsAddress
	case KindFeedback:
		return FeedbackAddress
	case KindFileNotifications:
		return FileNotificationsAddress
	case KindRedirect:
		return "messages/events"
	case KindEventsManagement:
		return ManagementAddress
	}
	return ""
}

// appendIdentity appends "/devices/{d}[/modules/{m}]" with escaped ids.
func appendIdentity(b []byte, device, module string) []byte {
	b = percent.AppendEscape(append(b, "/devices/"...), device)
	if module != "" {
		b = percent.AppendEscape(append(b, "/modules/"...), module)
	}
	return b
}

// appendGroup appends a consumer group; clients write the dollar sign of
// $Default as it is.
func appendGroup(b []byte, group string) []byte {
	if rest, ok := strings.CutPrefix(group, "$"); ok {
		return percent.AppendEscape(append(b, '$'), rest)
	}
	return percent.AppendEscape(b, group)
}

// appendCommandTo appends the "to" of a cloud-to-device message for id, as
// services write it: "/devices/{d}[/modules/{m}]/messages/deviceBound".
func appendCommandTo(b []byte, id causeway.Identity) []byte {
	return append(appendIdentity(b, id.Device, id.Module), "/messages/deviceBound"...)
}

// ParseCommandTarget reads the "to" of a cloud-to-device message that a service
// sends. The error is ArgumentInvalid.
func ParseCommandTarget(to string) (device, module string, err error) {
	if to == "" {
		return "", "", causeway.Errorf(causeway.ArgumentInvalid, opAddress,
			"the message has no \"to\"; it must be /devices/{device}/messages/devicebound or /devices/{device}/modules/{module}/messages/devicebound")
	}
	a, err := ParseAddress(to)
	if err != nil || a.Kind != KindCommands {
		return "", "", causeway.Errorf(causeway.ArgumentInvalid, opAddress,
			"\"to\" is %q; it must be /devices/{device}/messages/devicebound or /devices/{device}/modules/{module}/messages/devicebound", cut(to))
	}
	return a.Device, a.Module, nil
}
