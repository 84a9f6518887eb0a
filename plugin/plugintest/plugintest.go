// Package plugintest helps to test plug-ins: it makes them of settings, as hubs
// do.
//
// It knows no plug-in.
package plugintest

import (
	"encoding/json"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/plugin"
)

// Open makes a sink of settings, which are a JSON object or become one, and of
// secrets. It is closed when the test ends.
func Open[C any](t testing.TB, open func(C, plugin.Env) (plugin.Sink, error), settings any, secrets map[string]causeway.Secret, env plugin.Env) plugin.Sink {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	r := &plugin.Registry{}
	plugin.AddSink(r, "sink", "", open)
	s, err := r.Open("sink", text, secrets, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the sink: %v", err)
		}
	})
	return s
}
