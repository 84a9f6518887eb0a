package iothub

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/httpanswer"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// call is one request on its way through the head.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	arrived time.Time
	request string // id, hex
	route   *route
	params  params
	host    string // asked for, without port
	hub     Hub
	id      causeway.Identity // of the path; Device is "" when it names none
	who     string            // who was authorised, for the log
}

// reply is a successful answer. Body is JSON unless raw is set.
type reply struct {
	status int
	etag   string // without quotes; "" for none
	header http.Header
	body   []byte
	raw    bool
}

// json puts v into the body. It fails only when what is stored is not JSON.
func (rep reply) json(v any) (reply, error) {
	body, err := hubjson.Marshal(v)
	if err != nil {
		return reply{}, fmt.Errorf("render the reply: %w", err)
	}
	rep.body = body
	return rep, nil
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, arrived: time.Now(), request: httpanswer.RequestID()}
	var allow []string
	c.route, c.params, allow = match(methodOf(r), r.URL)
	if c.route == nil && allow == nil && h.fallback != nil {
		h.fallback.ServeHTTP(w, r)
		return
	}
	var end func(id causeway.Identity, status int, err error)
	c.r, end = httpanswer.Trace(h.tracer, r, "iothub."+c.route.label(), c.request)
	status, err := h.serve(c, allow)
	end(c.id, status, err)
	h.metrics.Requests.WithLabelValues(c.route.label(), strconv.Itoa(status)).Inc()
	h.metrics.RequestLatency.WithLabelValues(c.route.label()).Observe(time.Since(c.arrived).Seconds())
	h.note(c, status, err)
}

// methodOf returns the method of a request. Clients whose HTTP library has no
// PATCH send a POST with a header that names it.
func methodOf(r *http.Request) string {
	if r.Method == http.MethodPost && strings.EqualFold(r.Header.Get("X-HTTP-Method-Override"), http.MethodPatch) {
		return http.MethodPatch
	}
	return r.Method
}

// serve answers and returns the status it answered with.
func (h *handler) serve(c *call, allow []string) (int, error) {
	c.w.Header().Set("x-ms-request-id", c.request)
	limitBody(c)
	rep, err := h.dispatch(c, allow)
	if err != nil {
		h.metrics.Refused.WithLabelValues(causeway.CodeOf(err).Name()).Inc()
		return h.writeError(c, err), err
	}
	return h.write(c, rep), nil
}

// dispatch checks what every route checks, then calls the route's handler.
func (h *handler) dispatch(c *call, allow []string) (reply, error) {
	if c.route == nil {
		return reply{}, httpanswer.Misrouted("iothub.route", c.w, c.r, allow)
	}
	c.host = strings.ToLower(sas.Host(c.r.Host))
	hub, ok := h.hubs(c.host)
	if !ok {
		return reply{}, causeway.Errorf(causeway.IotHubNotFound, "iothub.route",
			"IoT hub not found: no hub answers to the host name %q", clip(c.host))
	}
	c.hub, c.id = hub, c.params.identity(hub.Name())
	if err := hubhttp.CheckVersion(c.r); err != nil {
		return reply{}, err
	}
	if err := checkIDs(c.id); err != nil {
		return reply{}, err
	}
	if err := h.authorize(c); err != nil {
		return reply{}, err
	}
	if err := throttle(c); err != nil {
		return reply{}, err
	}
	return c.route.handle(h, c)
}

// checkIDs refuses ids that no identity can have, before anybody is asked who
// they are: it says nothing of which ones exist.
func checkIDs(id causeway.Identity) error {
	for _, part := range []struct{ name, id string }{{"device", id.Device}, {"module", id.Module}} {
		if part.id != "" && !registry.ValidID(part.id) {
			return causeway.Errorf(causeway.ArgumentInvalid, "iothub.route",
				"the %s id %q in the path is not one: an id has 1 to %d ASCII letters, digits and characters of - . %% _ * ? ! ( ) , : = @ $ '",
				part.name, clip(part.id), causeway.MaxIDLength)
		}
	}
	return nil
}

// write sends a reply.
func (h *handler) write(c *call, rep reply) int {
	head := c.w.Header()
	for k, v := range rep.header {
		head[k] = v // as spelled: some clients compare header names with case
	}
	if rep.etag != "" {
		head["ETag"] = []string{`"` + rep.etag + `"`}
	}
	if len(rep.body) > 0 && !rep.raw {
		head.Set("Content-Type", "application/json; charset=utf-8")
	}
	if rep.status != http.StatusNoContent {
		head.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	h.send(c, rep.status, rep.body)
	return rep.status
}

// send writes status and body. A client that does not take its reply in time
// loses the connection; there is nobody to tell.
func (h *handler) send(c *call, status int, body []byte) {
	if err := httpanswer.Send(c.w, status, body, replyTimeout); err != nil {
		h.log.Debug("reply not taken", obs.KeyRequest, c.request, obs.KeyError, err)
	}
}

// note writes the request to the log: faults of ours loudly, all else for
// developers. Reads and refusals are counted in metrics instead.
func (h *handler) note(c *call, status int, err error) {
	level := slog.LevelDebug
	if status >= 500 && status != http.StatusGatewayTimeout && status != http.StatusBadGateway && c.r.Context().Err() == nil {
		level = slog.LevelError
	}
	if !h.log.Enabled(c.r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String(obs.KeyRequest, c.request), slog.String(obs.KeyMethod, clip(c.r.Method)),
		slog.String(obs.KeyRoute, c.route.label()), slog.Int(obs.KeyStatus, status),
		slog.Duration(obs.KeyTook, time.Since(c.arrived)), slog.String(obs.KeyRemote, c.r.RemoteAddr),
	}
	if c.id.Device != "" {
		attrs = append(attrs, slog.Any(obs.KeyID, c.id))
	} else if c.id.Hub != "" {
		attrs = append(attrs, slog.String(obs.KeyHub, c.id.Hub))
	}
	if err != nil {
		attrs = append(attrs, slog.String(obs.KeyCode, causeway.CodeOf(err).Name()), slog.Any(obs.KeyError, err))
	}
	h.log.LogAttrs(c.r.Context(), level, "request", attrs...)
}

// audit records a change of the registry.
func (h *handler) audit(c *call, what string) {
	h.log.Info(what, obs.KeyID, c.id, "by", c.who, obs.KeyRequest, c.request, obs.KeyRemote, c.r.RemoteAddr)
}

// clip shortens text of a client that is repeated in a message or a log line.
func clip(s string) string { return hubhttp.Clip(s) }
