package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
)

// TestBrokenRoute: a route that takes nothing shows why; without one there is no
// such column.
func TestBrokenRoute(t *testing.T) {
	list := []client.Route{
		{Name: "good", Source: "DeviceMessages", EndpointNames: []string{"events"}, IsEnabled: true},
		{Name: "old", Source: "DeviceMessages", Condition: "bygone(x)", EndpointNames: []string{"events"}, IsEnabled: true, Problem: "there is no function bygone"},
	}
	for n, want := range map[int]bool{1: false, 2: true} {
		var out bytes.Buffer
		o := addOutput(&cobra.Command{}, &state.State{Stdout: &out})
		o.format = outTable
		if err := o.print(list[:n], func(t *table) { routeTable(t, list[:n]) }); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.Contains(text, "PROBLEM") != want || strings.Contains(text, "there is no function bygone") != want {
			t.Errorf("%d routes:\n%s", n, text)
		}
	}
}
