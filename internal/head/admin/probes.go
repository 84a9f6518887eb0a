package admin

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// mountProbes adds what machines ask: health, metrics, profiles.
func (s *Server) mountProbes(mux *http.ServeMux) {
	mux.Handle("GET /healthz", s.probe(obs.Live))
	mux.Handle("GET /readyz", s.probe(obs.Ready))
	if s.Gatherer != nil {
		var metrics http.Handler = promhttp.HandlerFor(s.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
		if !s.OpenMetrics {
			metrics = s.adminOnly(metrics)
		}
		mux.Handle("GET /metrics", metrics)
	}
	if s.Pprof {
		for path, h := range map[string]http.HandlerFunc{
			"/debug/pprof/":        pprof.Index,
			"/debug/pprof/cmdline": pprof.Cmdline,
			"/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol":  pprof.Symbol,
			"/debug/pprof/trace":   pprof.Trace,
		} {
			mux.Handle(path, s.adminOnly(h))
		}
	}
}

// healthJSON is the answer of a probe.
type healthJSON struct {
	Status string      `json:"status"` // ok or failing
	Checks []checkJSON `json:"checks"`
}

type checkJSON struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
	TookMS int64  `json:"tookMs"`
}

// probe answers a probe: 200 when all checks pass, else 503. Anybody may ask,
// so that only the part of an error is shown that is meant for strangers.
func (s *Server) probe(p obs.Probe) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rep := s.Health.Report(r.Context(), p)
		out := healthJSON{Status: "ok", Checks: make([]checkJSON, len(rep.Checks))}
		status := http.StatusOK
		if !rep.OK {
			out.Status, status = "failing", http.StatusServiceUnavailable
		}
		for i, c := range rep.Checks {
			out.Checks[i] = checkJSON{Name: c.Name, Status: "ok", TookMS: c.Took.Milliseconds()}
			if c.Err != nil {
				out.Checks[i].Status, out.Checks[i].Error = "failing", causeway.MessageOf(c.Err)
			}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(out); err != nil {
			s.Log.Debug("probe not answered", obs.KeyError, err)
		}
	})
}
