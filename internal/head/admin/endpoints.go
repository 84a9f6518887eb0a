package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// Endpoints is what this head asks of the custom endpoints of a hub; see
// packages endpoint and delivery.
type Endpoints interface {
	Status() []delivery.Status
	DeadLetters(ctx context.Context, endpoint string, from int64, limit int) (page []delivery.DeadLetter, next int64, last bool, err error)
	Replay(ctx context.Context, endpoint string) (int, error)
	Purge(ctx context.Context, endpoint string) error
}

// healthBody is how an endpoint fares, with the names the service has for it and
// some more.
type healthBody struct {
	EndpointID   string     `json:"endpointId" doc:"Name of the endpoint"`
	HealthStatus string     `json:"healthStatus" enum:"unknown,healthy,degraded,unhealthy,dead" doc:"unknown: nothing was sent yet; degraded: it takes some, or messages wait for long; unhealthy: it takes nothing and is tried again; dead: for an hour or more"`
	LastError    string     `json:"lastKnownError,omitempty"`
	LastFailure  *time.Time `json:"lastKnownErrorTime,omitempty"`
	LastSuccess  *time.Time `json:"lastSuccessfulSendAttemptTime,omitempty"`
	LastAttempt  *time.Time `json:"lastSendAttemptTime,omitempty"`
	Waiting      int64      `json:"waitingMessages"`
	WaitingBytes int64      `json:"waitingBytes"`
	Oldest       *time.Time `json:"oldestMessageTime,omitempty" doc:"When the oldest message that waits arrived"`
	Sent         uint64     `json:"sentMessages" doc:"Since the start of the server"`
	Failed       uint64     `json:"failedAttempts" doc:"Since the start of the server"`
	DeadLettered uint64     `json:"deadLetteredMessages" doc:"Since the start of the server"`
	Dropped      uint64     `json:"droppedMessages" doc:"Since the start of the server"`
}

func newHealth(s delivery.Status) healthBody {
	return healthBody{
		EndpointID: s.Name, HealthStatus: string(s.Health), LastError: s.LastError, LastFailure: given(s.LastFailure),
		LastSuccess: given(s.LastSuccess), LastAttempt: given(s.LastAttempt), Waiting: s.Waiting, WaitingBytes: s.WaitingBytes,
		Oldest: given(s.Oldest), Sent: s.Sent, Failed: s.Failed, DeadLettered: s.DeadLettered, Dropped: s.Dropped,
	}
}

// given returns a time, or nil for none.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

type healthOutput struct {
	Body struct {
		Value []healthBody `json:"value" nullable:"false" doc:"By name"`
	}
}

// deadLetterBody is a message that an endpoint did not get.
type deadLetterBody struct {
	Offset       int64             `json:"offset" doc:"Its place among the dead letters of the hub"`
	Endpoint     string            `json:"endpoint"`
	Reason       string            `json:"reason" enum:"queueFull,queueFailed,expired,refused"`
	Detail       string            `json:"detail,omitempty" doc:"What the endpoint said"`
	Attempts     int               `json:"attempts,omitempty"`
	Died         time.Time         `json:"died"`
	DeviceID     string            `json:"deviceId"`
	ModuleID     string            `json:"moduleId,omitempty"`
	Enqueued     string            `json:"enqueuedTime"`
	Source       string            `json:"source,omitempty"`
	Properties   map[string]string `json:"properties"`
	System       map[string]string `json:"systemProperties"`
	BodyEncoding string            `json:"bodyEncoding" enum:"json,text,base64" doc:"How body stands here"`
	Body         json.RawMessage   `json:"body"`
}

func newDeadLetter(l *delivery.DeadLetter) deadLetterBody {
	m := &l.Message
	b := deadLetterBody{
		Offset: l.Offset, Endpoint: l.Endpoint, Reason: l.Reason, Detail: l.Detail, Attempts: l.Attempts, Died: l.Died.UTC(),
		DeviceID: m.From.Device, ModuleID: m.From.Module, Enqueued: timeText(m.Enqueued), Source: m.Source,
		Properties: map[string]string{}, System: systemProperties(m),
	}
	for _, p := range m.Properties {
		b.Properties[p.Key] = p.Value
	}
	b.BodyEncoding, b.Body = showBody(m.Body, m.ContentType)
	return b
}

type deadLettersInput struct {
	HubPath
	Endpoint string `query:"endpoint" maxLength:"64" doc:"Only those of this endpoint"`
	From     int64  `query:"from" minimum:"0" doc:"Begin at this offset"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type deadLettersOutput struct {
	Body struct {
		Value []deadLetterBody `json:"value" nullable:"false" doc:"The oldest first"`
		Next  *int64           `json:"next,omitempty" doc:"Where the next page begins; there is none without it"`
	}
}

type replayOutput struct {
	Body struct {
		Messages int `json:"messages" doc:"How many are in the queue again"`
	}
}

type kindsOutput struct {
	Body struct {
		Kinds    []plugin.Kind  `json:"kinds" nullable:"false"`
		Delivery []plugin.Field `json:"delivery" nullable:"false" doc:"Settings of the queue before an endpoint: members of the member delivery of its config; event hubs have none"`
	}
}

func (s *Server) addEndpoints(api huma.API) {
	const tag = "routing"
	huma.Register(api, operation("listEndpointKinds", http.MethodGet, "/endpoint-kinds", tag, "Describe the kinds of custom endpoints and their settings", 0), s.listKinds)

	health := operation("getEndpointHealth", http.MethodGet, "/hubs/{hub}/routing/health", tag, "Show how the custom endpoints of a hub fare", auth.AllRights)
	health.Errors = append(health.Errors, http.StatusNotFound)
	huma.Register(api, health, s.getHealth)

	list := operation("listDeadLetters", http.MethodGet, "/hubs/{hub}/routing/dead-letters", tag, "List messages that custom endpoints did not get", auth.AllRights)
	list.Errors = append(list.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, list, s.listDeadLetters)

	replay := operation("replayDeadLetters", http.MethodPost, "/hubs/{hub}/routing/endpoints/{name}/dead-letters/replay", tag, "Put the dead letters of an endpoint into its queue again", auth.AllRights)
	replay.Errors = append(replay.Errors, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable)
	huma.Register(api, replay, s.replay)

	purge := operation("deleteDeadLetters", http.MethodDelete, "/hubs/{hub}/routing/endpoints/{name}/dead-letters", tag, "Forget the dead letters of an endpoint", auth.AllRights)
	purge.DefaultStatus = http.StatusNoContent
	purge.Errors = append(purge.Errors, http.StatusNotFound, http.StatusUnprocessableEntity)
	huma.Register(api, purge, s.purge)
}

func (s *Server) listKinds(context.Context, *struct{}) (*kindsOutput, error) {
	out := &kindsOutput{}
	out.Body.Kinds, out.Body.Delivery = []plugin.Kind{}, []plugin.Field{}
	if s.EndpointKinds != nil {
		out.Body.Kinds, out.Body.Delivery = s.EndpointKinds()
	}
	return out, nil
}

// endpoints returns what delivers to the endpoints of a hub.
func (s *Server) endpoints(hub string) (Endpoints, error) {
	if _, err := s.find(hub); err != nil {
		return nil, err
	}
	if s.Endpoints != nil {
		if e, ok := s.Endpoints(hub); ok {
			return e, nil
		}
	}
	return nil, causeway.Errorf(causeway.GenericNotFound, "admin.endpoints", "hub %q does not run", hub)
}

func (s *Server) getHealth(ctx context.Context, in *HubPath) (*healthOutput, error) {
	e, err := s.endpoints(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &healthOutput{}
	out.Body.Value = []healthBody{}
	for _, st := range e.Status() {
		out.Body.Value = append(out.Body.Value, newHealth(st))
	}
	return out, nil
}

func (s *Server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*deadLettersOutput, error) {
	e, err := s.endpoints(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	page, next, last, err := e.DeadLetters(ctx, in.Endpoint, in.From, in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &deadLettersOutput{}
	out.Body.Value = []deadLetterBody{}
	for i := range page {
		out.Body.Value = append(out.Body.Value, newDeadLetter(&page[i]))
	}
	if !last {
		out.Body.Next = &next
	}
	return out, nil
}

func (s *Server) replay(ctx context.Context, in *RoutingPath) (*replayOutput, error) {
	e, err := s.endpoints(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	n, err := e.Replay(ctx, in.Name)
	if n > 0 {
		s.Log.InfoContext(ctx, "dead letters replayed", obs.KeyHub, in.name(), obs.KeyEndpoint, in.Name, obs.KeyCount, n)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &replayOutput{}
	out.Body.Messages = n
	return out, nil
}

func (s *Server) purge(ctx context.Context, in *RoutingPath) (*struct{}, error) {
	e, err := s.endpoints(in.name())
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	if err := e.Purge(ctx, in.Name); err != nil {
		return nil, s.problem(ctx, err)
	}
	s.Log.InfoContext(ctx, "dead letters purged", obs.KeyHub, in.name(), obs.KeyEndpoint, in.Name)
	return nil, nil
}
