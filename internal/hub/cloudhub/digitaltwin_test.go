package cloudhub_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/digitaltwin"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// TestDigitalTwinEvents: changes of the twin of a device with a model are events
// that routes take, with a JSON Patch; nothing is made when no route wants it.
func TestDigitalTwinEvents(t *testing.T) {
	for _, tc := range []struct {
		source routing.Source
		want   []string
	}{
		{routing.DigitalTwinChanges, []string{`digitalTwinChangeEvents d [{"op":"add","path":"/$metadata/t","value":{"desiredValue":21,"desiredVersion":2}}] opType=updateDigitalTwin`}},
		{routing.DeviceLifecycle, nil},
	} {
		c := newRouted(t, settings(routing.Route{Source: tc.source, Condition: "true", EndpointNames: []string{"a"}}), nil)
		c.registry.Observe(&digitaltwin.Events{Publisher: c.set})
		id := causeway.Identity{Hub: hubName, Device: "d"}
		if _, err := c.registry.Create(t.Context(), registry.Record{ID: id, Enabled: true}); err != nil {
			t.Fatal(err)
		}
		c.shelves["a"].take()
		if err := c.registry.SetModel(t.Context(), id, "dtmi:a;1"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.registry.UpdateTwin(t.Context(), id, registry.TwinUpdate{Desired: []byte(`{"t":21}`)}, "*"); err != nil {
			t.Fatal(err)
		}
		same(t, string(tc.source), c.shelves["a"].take(), tc.want...)
	}
}
