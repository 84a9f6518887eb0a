package routing

import (
	"strings"

	"github.com/causeway-iot/causeway"
)

// source numbers the sources.
type source uint8

const (
	telemetry source = iota
	twinChange
	lifecycle
	jobLifecycle
	digitalTwin
	connection
	sources
)

// names are the sources as settings and messages have them.
var names = [sources]struct {
	setting Source
	message string
}{
	telemetry:    {DeviceMessages, causeway.SourceTelemetry},
	twinChange:   {TwinChanges, causeway.SourceTwinChange},
	lifecycle:    {DeviceLifecycle, causeway.SourceLifecycle},
	jobLifecycle: {DeviceJobLifecycle, causeway.SourceJobLifecycle},
	digitalTwin:  {DigitalTwinChanges, causeway.SourceDigitalTwin},
	connection:   {DeviceConnectionStates, causeway.SourceConnectionState},
}

func sourceOf(s Source) (source, bool) {
	for i := range names {
		if names[i].setting == s {
			return source(i), true
		}
	}
	return 0, false
}

func sourceOfMessage(s string) (source, bool) {
	for i := range names {
		if names[i].message == s {
			return source(i), true
		}
	}
	return 0, false
}

func sourceList() string {
	list := make([]string, 0, len(names))
	for i := range names {
		list = append(list, string(names[i].setting))
	}
	return strings.Join(list, ", ")
}
