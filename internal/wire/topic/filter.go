package topic

import (
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// The filters that are the same for every client.
const (
	MethodFilter       = methodRequest + "#"
	TwinResponseFilter = twinResponse + "#"
	DesiredFilter      = twinDesired + "#"
)

// MaxQoS is the highest quality of service that is granted; a request for more
// is granted this.
const MaxQoS = 1

// Filter is what a subscription asks for.
type Filter struct {
	Lanes         causeway.Lane // traffic of the session; 0 for twin responses
	TwinResponses bool          // answers to the client's own twin requests
	Name          string        // the only method or input wanted, decoded; "" for all
}

// Wants reports whether the filter asks for deliveries on lane, of the method or
// input called name where lane has names.
func (f Filter) Wants(lane causeway.Lane, name string) bool {
	if !f.Lanes.Has(lane) {
		return false
	}
	return f.Name == "" || f.Name == name
}

// ParseFilter reads a filter of SUBSCRIBE or UNSUBSCRIBE sent by the client id.
// Exactly the filters of IoT Hub are known, and the forms that name a single
// method or input. Errors wrap ErrUnknown or ErrForeign: the subscription is to
// be refused (0x80), the connection to be kept.
func ParseFilter(filter string, id causeway.Identity) (Filter, error) {
	switch filter {
	case MethodFilter:
		return Filter{Lanes: causeway.LaneMethods}, nil
	case TwinResponseFilter:
		return Filter{TwinResponses: true}, nil
	case DesiredFilter:
		return Filter{Lanes: causeway.LaneDesired}, nil
	}
	if rest, ok := strings.CutPrefix(filter, methodRequest); ok {
		if name, ok := single(rest); ok {
			return Filter{Lanes: causeway.LaneMethods, Name: name}, nil
		}
		return Filter{}, unknownFilter(filter)
	}
	if !strings.HasPrefix(filter, devices) {
		return Filter{}, unknownFilter(filter)
	}
	rest, own := cutIdentity(filter, id)
	if !own {
		return Filter{}, foreignOr(filter, commands, inputs, "#")
	}
	switch {
	case rest == commands+"/#":
		return Filter{Lanes: causeway.LaneCommands}, nil
	case !id.IsModule():
	case rest == "#":
		return Filter{Lanes: causeway.LaneCommands | causeway.LaneInputs}, nil
	case rest == inputs+"#":
		return Filter{Lanes: causeway.LaneInputs}, nil
	case strings.HasPrefix(rest, inputs):
		if name, ok := single(rest[len(inputs):]); ok {
			return Filter{Lanes: causeway.LaneInputs, Name: name}, nil
		}
	}
	return Filter{}, unknownFilter(filter)
}

// single reads "{name}/#".
func single(s string) (name string, ok bool) {
	name, ok = strings.CutSuffix(s, "/#")
	if !ok || name == "" || strings.ContainsAny(name, "/+#") {
		return "", false
	}
	return percent.Unescape(name), true
}

func unknownFilter(filter string) error {
	return fmt.Errorf("%w: filter %s", ErrUnknown, quote(filter))
}

// CommandFilter returns the filter for cloud-to-device messages of id.
func CommandFilter(id causeway.Identity) string {
	return string(appendIdentity(nil, id)) + commands + "/#"
}

// InputFilter returns the filter for all inputs of the module id.
func InputFilter(id causeway.Identity) string {
	return string(appendIdentity(nil, id)) + inputs + "#"
}
