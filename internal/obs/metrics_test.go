package obs_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway/internal/obs"
)

// TestMetrics shows that metrics of several heads and hubs live in one registry
// under sound names, and that none is needed.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		head := obs.NewHead(reg, name)
		head.Connects.Inc()
		head.Refused.WithLabelValues("x").Inc()
		head.Requests.WithLabelValues("getTwin", "200").Inc()
		head.RequestLatency.WithLabelValues("getTwin").Observe(1)
		obs.NewHub(reg, name).Methods.WithLabelValues("ok").Inc()
		obs.NewLog(reg, name).Records.Inc()
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 20 {
		t.Errorf("%d metrics", len(families))
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "causeway_") || f.GetHelp() == "" {
			t.Errorf("metric %q: %q", f.GetName(), f.GetHelp())
		}
	}
	obs.NewHead(nil, "nobody").Connects.Inc()
	obs.NewHub(nil, "nobody").Telemetry.Inc()
	obs.NewLog(nil, "nobody").Records.Inc()
}
