package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// throttleBody is how many calls a provisioning service takes.
type throttleBody struct {
	Preset string         `json:"preset" doc:"Whose limits it has: standard-s1, or empty for none but those of limits"`
	Limits map[string]int `json:"limits" nullable:"false" doc:"Limits that replace those of the preset: registrations (of all devices, a minute), operations (of back ends, a minute), polls (questions of one device, in ten seconds); 0 is no limit"`
	// Effective is only sent.
	Effective map[string]int `json:"effective" nullable:"false" readOnly:"true" required:"false" doc:"What that comes to, by name; one that is missing has no limit"`
}

type throttleOutput struct {
	ETag string `header:"ETag" doc:"Of the service, which this is a part of"`
	Body throttleBody
}

type setThrottleInput struct {
	ChangedPath
	Body struct {
		Preset string         `json:"preset,omitempty" maxLength:"64" doc:"standard-s1, or empty for none"`
		Limits map[string]int `json:"limits,omitempty" nullable:"false" maxProperties:"3" doc:"Limits that replace those of the preset, by name; 0 is no limit"`
	}
}

func (s *Server) addThrottle(api huma.API) {
	const path = "/provisioning/{service}/throttle"
	get := operation("getProvisioningThrottle", http.MethodGet, path, "provisioning", "Show how many calls a provisioning service takes", 0)
	get.Errors = append(get.Errors, http.StatusNotFound)
	huma.Register(api, get, s.getThrottle)

	set := operation("setProvisioningThrottle", http.MethodPut, path, "provisioning", "Set how many calls a provisioning service takes", 0)
	set.Errors = append(set.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, set, s.setThrottle)
}

func (s *Server) getThrottle(ctx context.Context, in *ServicePath) (*throttleOutput, error) {
	i, err := s.service(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return newThrottle(&i), nil
}

func (s *Server) setThrottle(ctx context.Context, in *setThrottleInput) (*throttleOutput, error) {
	i, err := s.change(ctx, &in.ChangedPath, func(i *dps.Instance) error {
		i.Throttle = dps.Throttle{Preset: in.Body.Preset, Limits: in.Body.Limits}
		return nil
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "provisioning service throttled", "service", i.Name, "preset", i.Throttle.Preset, "limits", i.Throttle.Limits)
	return newThrottle(&i), nil
}

func newThrottle(i *dps.Instance) *throttleOutput {
	out := &throttleOutput{ETag: `"` + serviceETag(i) + `"`, Body: throttleBody{Preset: i.Throttle.Preset, Limits: map[string]int{}, Effective: map[string]int{}}}
	for name, n := range i.Throttle.Limits {
		out.Body.Limits[name] = n
	}
	limits, err := i.Throttle.Resolve()
	if err != nil {
		return out // what is stored was resolved
	}
	for l, n := range limits {
		if n > 0 {
			out.Body.Effective[dps.Limit(l).String()] = n
		}
	}
	return out
}
