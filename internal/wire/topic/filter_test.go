package topic_test

import (
	"errors"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

func TestParseFilter(t *testing.T) {
	const (
		c2d     = causeway.LaneCommands
		methods = causeway.LaneMethods
		desired = causeway.LaneDesired
		ins     = causeway.LaneInputs
	)
	tests := []struct {
		filter string
		id     causeway.Identity
		want   topic.Filter
		err    error
	}{
		{"devices/dev1/messages/devicebound/#", device, topic.Filter{Lanes: c2d}, nil},
		{"devices/dev1/modules/mod1/messages/devicebound/#", module, topic.Filter{Lanes: c2d}, nil},
		{"$iothub/methods/POST/#", device, topic.Filter{Lanes: methods}, nil},
		{"$iothub/methods/POST/#", module, topic.Filter{Lanes: methods}, nil},
		{"$iothub/methods/POST/reboot/#", device, topic.Filter{Lanes: methods, Name: "reboot"}, nil},
		{"$iothub/methods/POST/re%20boot/#", device, topic.Filter{Lanes: methods, Name: "re boot"}, nil},
		{"$iothub/twin/res/#", device, topic.Filter{TwinResponses: true}, nil},
		{"$iothub/twin/PATCH/properties/desired/#", module, topic.Filter{Lanes: desired}, nil},
		{"devices/dev1/modules/mod1/inputs/#", module, topic.Filter{Lanes: ins}, nil},
		{"devices/dev1/modules/mod1/inputs/in/#", module, topic.Filter{Lanes: ins, Name: "in"}, nil},
		{"devices/dev1/modules/mod1/#", module, topic.Filter{Lanes: ins | c2d}, nil},

		{"devices/dev2/messages/devicebound/#", device, topic.Filter{}, topic.ErrForeign},
		{"devices/dev1/messages/devicebound/#", module, topic.Filter{}, topic.ErrForeign},
		{"devices/dev1/modules/mod1/messages/devicebound/#", device, topic.Filter{}, topic.ErrForeign},
		{"devices/dev1/modules/mod2/#", module, topic.Filter{}, topic.ErrForeign},
		{"devices/dev1/modules/mod2/inputs/#", module, topic.Filter{}, topic.ErrForeign},
		{"devices/dev2/#", device, topic.Filter{}, topic.ErrForeign},

		{"", device, topic.Filter{}, topic.ErrUnknown},
		{"#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/+/messages/devicebound/#", device, topic.Filter{}, topic.ErrForeign},
		{"devices/dev1/#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/messages/#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/messages/devicebound", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/messages/deviceBound/#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/messages/devicebound/+", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/messages/events/#", device, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/modules/mod1/inputs/+/#", module, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/modules/mod1/inputs/a/b/#", module, topic.Filter{}, topic.ErrUnknown},
		{"devices/dev1/modules/mod1/inputs//#", module, topic.Filter{}, topic.ErrUnknown},
		{"$iothub/#", device, topic.Filter{}, topic.ErrUnknown},
		{"$iothub/methods/POST/+/#", device, topic.Filter{}, topic.ErrUnknown},
		{"$iothub/methods/POST/reboot", device, topic.Filter{}, topic.ErrUnknown},
		{"$iothub/methods/res/#", device, topic.Filter{}, topic.ErrUnknown},
		{"$share/g/$iothub/methods/POST/#", device, topic.Filter{}, topic.ErrUnknown},
		{"$SYS/#", device, topic.Filter{}, topic.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.filter+" by "+tt.id.String(), func(t *testing.T) {
			got, err := topic.ParseFilter(tt.filter, tt.id)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestFilterOfClientIsKnown(t *testing.T) {
	for filter, id := range map[string]causeway.Identity{
		topic.MethodFilter: device, topic.TwinResponseFilter: device, topic.DesiredFilter: module,
		topic.CommandFilter(device): device, topic.CommandFilter(module): module, topic.InputFilter(module): module,
	} {
		if _, err := topic.ParseFilter(filter, id); err != nil {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

func TestFilterWants(t *testing.T) {
	one := topic.Filter{Lanes: causeway.LaneMethods, Name: "reboot"}
	if !one.Wants(causeway.LaneMethods, "reboot") || one.Wants(causeway.LaneMethods, "other") || one.Wants(causeway.LaneInputs, "reboot") {
		t.Errorf("%+v wants something else than its one method", one)
	}
	all := topic.Filter{Lanes: causeway.LaneMethods}
	if !all.Wants(causeway.LaneMethods, "any") || all.Wants(causeway.LaneCommands, "") {
		t.Errorf("%+v wants something else than all methods", all)
	}
}
