package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// TrialBody is a message to try routes on, in the form of the service's
// management API.
type TrialBody struct {
	Message *trialMessageBody `json:"message,omitempty"`
	Twin    *trialTwinBody    `json:"twin,omitempty" doc:"Twin of the sender"`
}

type trialMessageBody struct {
	Body             string             `json:"body,omitempty" maxLength:"262144"`
	AppProperties    map[string]*string `json:"appProperties,omitempty"`
	SystemProperties map[string]string  `json:"systemProperties,omitempty" doc:"By the names that conditions have for them, such as contentType, contentEncoding and connectionDeviceId"`
}

type trialTwinBody struct {
	Tags       map[string]any `json:"tags,omitempty"`
	Properties *struct {
		Desired  map[string]any `json:"desired,omitempty"`
		Reported map[string]any `json:"reported,omitempty"`
	} `json:"properties,omitempty"`
}

func (b *TrialBody) trial() routing.Trial {
	var t routing.Trial
	if m := b.Message; m != nil {
		t.Message = routing.TrialMessage{Body: m.Body, AppProperties: m.AppProperties, SystemProperties: m.SystemProperties}
	}
	if b.Twin != nil {
		t.Twin = &routing.TrialTwin{Tags: document(b.Twin.Tags)}
		if p := b.Twin.Properties; p != nil {
			t.Twin.Properties.Desired, t.Twin.Properties.Reported = document(p.Desired), document(p.Reported)
		}
	}
	return t
}

func document(m map[string]any) json.RawMessage {
	if m == nil {
		return nil
	}
	b, _ := json.Marshal(m) //nolint:errchkjson // it came as JSON
	return b
}

type tryRouteInput struct {
	HubPath
	Body struct {
		TrialBody
		Route routeBody `json:"route"`
	}
}

// positionBody is a place in the text of a condition.
type positionBody struct {
	Line   int `json:"line" doc:"From 1"`
	Column int `json:"column" doc:"From 1, in characters"`
}

type compilationErrorBody struct {
	Message  string `json:"message"`
	Severity string `json:"severity" enum:"error,warning"`
	Location struct {
		Start positionBody `json:"start"`
		End   positionBody `json:"end" doc:"The first character after it"`
	} `json:"location"`
}

type tryRouteOutput struct {
	Body struct {
		Result  string `json:"result" enum:"true,false,undefined" doc:"A route takes a message only when it is true"`
		Details struct {
			CompilationErrors []compilationErrorBody `json:"compilationErrors" nullable:"false"`
		} `json:"details"`
	}
}

type tryAllInput struct {
	HubPath
	Body struct {
		TrialBody
		RoutingSource string `json:"routingSource,omitempty" enum:"DeviceMessages,TwinChangeEvents,DeviceLifecycleEvents,DeviceJobLifecycleEvents,DigitalTwinChangeEvents,DeviceConnectionStateEvents" doc:"What the message is; DeviceMessages unless said otherwise"`
	}
}

type matchedBody struct {
	Properties routeBody `json:"properties"`
}

type tryAllOutput struct {
	Body struct {
		Routes []matchedBody `json:"routes" nullable:"false" doc:"Those that take the message"`
	}
}

func (s *Server) addTrials(api huma.API) {
	one := operation("testRoute", http.MethodPost, "/hubs/{hub}/routing/test", "routing", "Try a route on a message", auth.AllRights)
	one.Errors = append(one.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
	one.MaxBodyBytes = 2 * maxBody // a message of the largest size, escaped
	huma.Register(api, one, s.tryRoute)

	all := operation("testAllRoutes", http.MethodPost, "/hubs/{hub}/routing/testall", "routing", "Show which routes take a message", auth.AllRights)
	all.Errors = append(all.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity)
	all.MaxBodyBytes = 2 * maxBody
	huma.Register(api, all, s.tryAll)
}

func (s *Server) tryRoute(ctx context.Context, in *tryRouteInput) (*tryRouteOutput, error) {
	if _, err := s.find(in.name()); err != nil {
		return nil, s.problem(ctx, err)
	}
	trial := in.Body.trial()
	result, errs, err := trial.Try(in.Body.Route.route())
	if err != nil {
		return nil, s.problem(ctx, causeway.Errorf(causeway.ArgumentInvalid, "admin.testRoute", "%v", err))
	}
	out := &tryRouteOutput{}
	out.Body.Result = result.String()
	out.Body.Details.CompilationErrors = newCompilationErrors(errs)
	return out, nil
}

func newCompilationErrors(errs routecond.Errors) []compilationErrorBody {
	out := make([]compilationErrorBody, len(errs))
	for i, e := range errs {
		out[i].Message, out[i].Severity = e.Message, "error"
		out[i].Location.Start = positionBody(e.Location.Start)
		out[i].Location.End = positionBody(e.Location.End)
	}
	return out
}

func (s *Server) tryAll(ctx context.Context, in *tryAllInput) (*tryAllOutput, error) {
	h, err := s.find(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	source := routing.Source(in.Body.RoutingSource)
	if source == "" {
		source = routing.DeviceMessages
	}
	trial := in.Body.trial()
	taken, err := trial.TryAll(h.Settings.Routing, source)
	if err != nil {
		return nil, s.problem(ctx, causeway.Errorf(causeway.ArgumentInvalid, "admin.testAllRoutes", "%v", err))
	}
	out := &tryAllOutput{}
	out.Body.Routes = make([]matchedBody, len(taken))
	for i, r := range taken {
		out.Body.Routes[i].Properties = newRoute(r)
	}
	return out, nil
}
