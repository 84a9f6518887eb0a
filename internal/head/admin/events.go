package admin

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

const (
	eventsID  = "streamEvents"
	typeLines = "application/x-ndjson"
	typeSSE   = "text/event-stream"
)

type eventsInput struct {
	HubPath
	Device    string `query:"device" maxLength:"128" doc:"Only events of this device and its modules"`
	Module    string `query:"module" maxLength:"128" doc:"Only events of modules of this name"`
	Partition int    `query:"partition" minimum:"-1" maximum:"31" default:"-1" doc:"Only this partition; -1 is all"`
	From      string `query:"from" maxLength:"1024" default:"latest" doc:"Where to begin: latest, earliest, a time such as 2024-01-31T12:00:00Z, or offsets such as 0:17,1:4"`
	Max       int    `query:"max" minimum:"0" default:"0" doc:"End after this many events; 0 is never"`
	Heartbeat int    `query:"heartbeat" minimum:"1" maximum:"300" default:"15" doc:"Seconds of silence after which a heartbeat is sent"`
	Accept    string `header:"Accept" doc:"text/event-stream for server-sent events, else one JSON object a line"`
	LastEvent string `header:"Last-Event-ID" maxLength:"1024" doc:"Where a client of server-sent events goes on; instead of from"`
}

// addEvents adds the stream of live events.
func (s *Server) addEvents(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas
	schema := schemas.Schema(reflect.TypeFor[eventLine](), true, "EventLine")
	schemas.SchemaFromRef(schema.Ref).Required = []string{"type"} // the rest depends on the type
	op := operation(eventsID, http.MethodGet, "/hubs/{hub}/events", "events", "Stream the events of a hub as they arrive", auth.ServiceConnect)
	op.Description += " The answer has no end, unless max is given: lines of JSON, or server-sent events with the type of the line as their event. " +
		"What arrives after the headers of the answer were sent is shown when from is latest. Order is kept within a partition."
	op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The events.",
		Content: map[string]*huma.MediaType{
			typeLines: {Schema: schema},
			typeSSE:   {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}}
	slots := make(chan struct{}, MaxStreams)
	huma.Register(api, op, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		select {
		case <-s.stopped:
			return nil, s.problem(ctx, causeway.Errorf(causeway.ServiceUnavailable, "admin.events", "the server is shutting down"))
		default:
		}
		st, err := s.newStream(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		select {
		case slots <- struct{}{}:
		default:
			return nil, s.problem(ctx, causeway.Errorf(causeway.ServerBusy, "admin.events", "%d event streams are open, which is the limit: end one and try again", MaxStreams))
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer func() { <-slots }()
			s.serveStream(hc, st)
		}}, nil
	})
}

// newStream finds the log and the place to begin.
func (s *Server) newStream(ctx context.Context, in *eventsInput) (*stream, error) {
	const op = "admin.events"
	h, err := s.find(in.name())
	if err != nil {
		return nil, err
	}
	log, ok := s.HubLog(h.Name)
	if !ok {
		return nil, causeway.Errorf(causeway.ServiceUnavailable, op, "hub %q is not running", h.Name)
	}
	if in.Partition >= log.Partitions() {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "there is no partition %d, the hub has %d, the first is 0", in.Partition, log.Partitions())
	}
	from := in.From
	if in.LastEvent != "" {
		from = in.LastEvent
	}
	begin, err := parseStart(from, log.Partitions())
	if err != nil {
		return nil, err
	}
	st := &stream{
		log: log, next: map[eventlog.Partition]eventlog.Offset{}, filter: filter{in.Device, in.Module},
		max: in.Max, heartbeat: time.Duration(in.Heartbeat) * time.Second, stop: s.stopped,
		out: &lineWriter{sse: strings.Contains(in.Accept, typeSSE)},
	}
	for p := range eventlog.Partition(log.Partitions()) {
		if in.Partition >= 0 && int(p) != in.Partition {
			continue
		}
		if st.next[p], err = begin.resolve(ctx, log, p); err != nil {
			return nil, err
		}
	}
	if g, ok := ctx.Value(grantKey{}).(auth.Grant); ok {
		st.expires = g.Expires
	}
	return st, nil
}

// serveStream runs a stream on a connection.
func (s *Server) serveStream(hc huma.Context, st *stream) {
	_, w := humago.Unwrap(hc)
	st.out.w, st.out.rc = w, http.NewResponseController(w)
	contentType := typeLines
	if st.out.sse {
		contentType = typeSSE
	}
	hc.SetHeader("Content-Type", contentType)
	hc.SetHeader("X-Accel-Buffering", "no") // some proxies hold answers back otherwise
	hc.SetStatus(http.StatusOK)
	ctx := hc.Context()
	log := s.Log.With(obs.KeyRemote, hc.RemoteAddr(), obs.KeyHub, hc.Param("hub"))
	log.DebugContext(ctx, "event stream opened")
	err := st.out.flush()
	if err == nil {
		err = st.run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "event stream broke", obs.KeyError, err)
		return
	}
	log.DebugContext(ctx, "event stream closed")
}
